//! Sending no faster than a client reads: nothing is lost, little waits.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::world::World;
use common::{close_frame, frame};
use smartsocket_core::hub::{ClientId, ConnId, EmitError, Interest, Overflow, Route};
use smartsocket_core::websocket::Role;
use smartsocket_core::{DropCause, Json, Message};

const LONG: usize = 10_000;

/// One who reads nothing, at the other end of these routes.
fn slow(route: Route) -> (World, ConnId, ClientId) {
    let mut world = World::new(vec![route]);
    let id = world.connect("/");
    world.got(id);
    world.sockets.get_mut(&id).unwrap().takes = Some(0);
    let client = world.client(id);
    (world, id, client)
}

fn offer(world: &mut World, client: ClientId, n: usize) -> Result<(), EmitError> {
    let data = Json::string(&format!("{n} {}", "x".repeat(LONG)));
    let offered = world.hub.try_emit(world.now, client, "e", Some(&data));
    world.drain();
    offered
}

fn read(world: &mut World, id: ConnId, bytes: usize) {
    world.sockets.get_mut(&id).unwrap().takes = Some(bytes);
    world.write(id);
    world.drain();
}

#[test]
fn half_of_the_outbox_is_used_and_nothing_is_lost_under_any_policy() {
    for overflow in [
        Overflow::Close,
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::KeepLatest,
    ] {
        let mut route = Route::smartsocket("/");
        route.outbox.max_messages = 40;
        route.outbox.overflow = overflow;
        let (mut world, id, client) = slow(route);
        let mut sent = 0;
        while offer(&mut world, client, sent).is_ok() {
            sent += 1;
        }
        // Seven are 64 KiB on the wire, and half of forty wait.
        assert_eq!(sent, 7 + 20, "{overflow:?}");
        assert_eq!(offer(&mut world, client, sent), Err(EmitError::Full));
        // What is sent without asking has the other half.
        for _ in 0..20 {
            world.hub.emit(world.now, client, "other", None);
            world.drain();
        }
        let waits = world.hub.client(id).unwrap().buffered();
        assert!(waits < 28 * (LONG + 100), "{waits}");

        // It is told once, when half of the room is free.
        let mut read_so_far = 0;
        while world.drained.is_empty() {
            read(&mut world, id, LONG);
            read_so_far += 1;
            assert!(read_so_far < 100);
        }
        assert!(read_so_far >= 10, "{read_so_far}");
        assert_eq!(world.drained, [client]);
        assert_eq!(offer(&mut world, client, sent), Ok(()));
        read(&mut world, id, usize::MAX);
        assert_eq!(world.drained, [client], "nobody waits any more");

        let (got, other): (Vec<_>, Vec<_>) = world
            .got(id)
            .into_iter()
            .partition(|got| got.starts_with(r#"{"event":"e""#));
        for (n, got) in got.iter().enumerate() {
            assert!(got.contains(&format!(r#":"{n} "#)), "{n}: {got:.60}");
        }
        assert_eq!(got.len(), sent + 1);
        let kept = if overflow == Overflow::KeepLatest {
            1
        } else {
            20
        };
        assert_eq!(other.len(), kept, "{overflow:?}");
        let dropped = world.hub.dropped(DropCause::Outbox);
        assert_eq!(dropped, 20 - kept as u64, "only what did not ask");
    }
}

#[test]
fn where_nothing_waits_one_message_goes_however_long() {
    let mut route = Route::raw("/");
    route.outbox.max_bytes = 1_000;
    let (mut world, id, client) = slow(route);
    let long = Message::binary(vec![0; 100_000]);
    // One on the wire, one that waits, and that is all.
    for expected in [Ok(()), Ok(()), Err(EmitError::Full)] {
        assert_eq!(world.hub.try_send(world.now, client, &long), expected);
        world.drain();
    }
    read(&mut world, id, usize::MAX);
    assert_eq!(world.drained, [client]);
    assert_eq!(world.got(id), ["2 100000 bytes", "2 100000 bytes"]);
}

#[test]
fn who_waits_for_a_client_that_goes_is_told() {
    let (mut world, id, client) = slow(Route::smartsocket("/"));
    while offer(&mut world, client, 0).is_ok() {}
    world
        .hub
        .handle_fault(world.now, id, smartsocket_core::Fault::Reset);
    world.drain();
    assert_eq!(world.drained, [client]);
    assert_eq!(offer(&mut world, client, 0), Err(EmitError::Gone));

    // One that is being closed takes no more, although it is still there.
    let (mut world, id, client) = slow(Route::smartsocket("/"));
    while offer(&mut world, client, 0).is_ok() {}
    world
        .hub
        .disconnect(world.now, client, smartsocket_core::CloseCode::NORMAL, "");
    world.drain();
    assert_eq!(world.drained, [client]);
    assert_eq!(offer(&mut world, client, 0), Err(EmitError::Gone));
    world.feed(id, close_frame(Role::Server, 1000, ""));
    assert_eq!(world.drained, [client]);
}

#[test]
fn who_keeps_up_is_never_told() {
    let (mut world, id, client) = slow(Route::smartsocket("/"));
    for n in 0..1_000 {
        read(&mut world, id, usize::MAX);
        assert_eq!(offer(&mut world, client, n), Ok(()));
    }
    // Nor is one that is slow, as long as nobody asks.
    read(&mut world, id, 0);
    for _ in 0..500 {
        world
            .hub
            .emit(world.now, client, "e", Some(Json::from(1_u64)));
        world.drain();
    }
    read(&mut world, id, usize::MAX);
    assert!(world.drained.is_empty());
}

#[test]
fn what_passes_the_application_goes_one_at_a_time() {
    let mut route = Route::smartsocket("/");
    route.interest = Interest::OUTBOUND;
    let (mut world, id, client) = slow(route);
    read(&mut world, id, usize::MAX);
    world.hub.transform(id);
    assert_eq!(offer(&mut world, client, 0), Ok(()));
    assert_eq!(offer(&mut world, client, 1), Err(EmitError::Full));
    let turn = world.turn();
    world.decide(turn.allow());
    assert_eq!(world.drained, [client]);
    assert_eq!(offer(&mut world, client, 1), Ok(()));
    // Its own words do not wait for that.
    world.feed(id, frame(Role::Server, 9, "p"));
    let got = world.got(id);
    assert_eq!(got.len(), 2);
    assert!(got[1] == "10 1 bytes", "{got:.60?}");
}

/// What there was room for stays, whatever else is said in the meantime.
#[test]
fn a_flood_of_what_did_not_ask_does_not_push_it_out() {
    for overflow in [Overflow::DropOldest, Overflow::KeepLatest] {
        let mut route = Route::smartsocket("/");
        route.outbox.max_messages = 40;
        route.outbox.overflow = overflow;
        let (mut world, id, client) = slow(route);
        let mut sent = 0;
        while offer(&mut world, client, sent).is_ok() {
            sent += 1;
        }
        for n in 0..100 {
            world.hub.emit(world.now, client, format!("other{n}"), None);
            world.drain();
        }
        read(&mut world, id, usize::MAX);
        let got = world.got(id);
        let paced = got.iter().filter(|got| got.starts_with(r#"{"event":"e""#));
        assert_eq!(paced.count(), sent, "{overflow:?}");
        assert_eq!(got.len(), sent + 20, "the latest of the others");
        assert_eq!(world.hub.dropped(DropCause::Outbox), 80);
    }
}
