//! What each provider's server says and hears, against a scripted server.
#![allow(clippy::wildcard_enum_match_arm)]

#[path = "../common/mod.rs"]
mod common;

mod ably;
mod action_cable;
mod aws;
mod binance;
mod echo;
mod graphql;
mod phoenix;
mod pusher;
mod signalr;
mod socket_io;

use std::time::Duration;

use common::client::World;
use proptest::prelude::*;
use smartsocket_core::client::Priority;
use smartsocket_core::{Json, Message};

fn json(text: &str) -> Json {
    Json::parse(text).expect("JSON")
}

/// Messages of a provider's own making, cut short, joined, and of anything.
fn noise(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<Message>> {
    let piece = || prop::sample::select(pieces);
    let text = prop_oneof![
        6 => piece().prop_map(str::to_owned),
        2 => (piece(), any::<prop::sample::Index>()).prop_map(|(piece, at)| {
            let ends: Vec<usize> = piece.char_indices().map(|(at, _)| at).collect();
            piece[..ends[at.index(ends.len())]].to_owned()
        }),
        2 => (piece(), any::<prop::sample::Index>(), any::<char>()).prop_map(|(piece, at, new)| {
            let at = at.index(piece.chars().count());
            let chars = piece.chars().enumerate();
            chars.map(|(n, old)| if n == at { new } else { old }).collect()
        }),
        1 => (piece(), piece()).prop_map(|(one, other)| format!("{one}{other}")),
        1 => any::<String>(),
    ];
    let message = prop_oneof![
        4 => text.prop_map(Message::text),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Message::binary),
    ];
    prop::collection::vec(message, 0..40)
}

/// Whatever comes, the client neither panics nor gets stuck, and what it was
/// asked comes to an end.
fn endure(world: &mut World, messages: Vec<Message>) {
    let now = world.now;
    let data = Json::EMPTY;
    let channel = || Some("private-c".into());
    let subscription = world.client.subscribe(now, "private-c");
    world.client.subscribe(now, "c");
    let publish = |world: &mut World| {
        let now = world.now;
        let data = Some(data.clone());
        world
            .client
            .publish(now, channel(), "client-e", data, Priority::Normal);
        let bytes = vec![1, 2];
        world
            .client
            .publish_bytes(now, channel(), "client-e", bytes, Priority::Low);
    };
    publish(world);
    let mut asked = Vec::new();
    for (n, message) in messages.into_iter().enumerate() {
        if world.dial.is_some() {
            world.answer_dial();
        }
        asked.push(world.client.request(world.now, channel(), "e", None, None));
        if let Some((_, server)) = &mut world.server {
            let _ = server.send(world.now, message);
        }
        world.run();
        for (channel, socket) in std::mem::take(&mut world.authorize) {
            let proof = json(r#"{"auth":"a"}"#);
            let proof = (n % 2 == 0).then_some(&proof);
            world
                .client
                .handle_authorized(world.now, &channel, &socket, proof);
        }
        publish(world);
        world.pass(Duration::from_millis(700));
    }
    world.client.unsubscribe(world.now, subscription);
    world.pass(Duration::from_secs(120));
    let answered: Vec<_> = world.answers().into_iter().map(|(id, _)| id).collect();
    for id in asked {
        let answers = answered.iter().filter(|&&other| other == id).count();
        assert_eq!(answers, 1, "each request has one answer");
    }
}
