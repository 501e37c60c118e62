//! Futures dropped at every await: nothing lost, nothing twice, order kept.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::stream::{End, Whims, pair};
use common::talk::{Drops, Impatience, converse, messages};
use futures_lite::future::{poll_once, yield_now, zip};
use smartsocket_smol::http::UpgradeRequest;
use smartsocket_smol::{
    CloseCode, Config, Error, Message, Negotiated, Receiver, Role, Sender, WebSocket,
};

fn config() -> Config {
    Config {
        max_queued_bytes: 2_000,
        fragment_size: 700,
        // No deadline may help out where a wake-up was missed.
        ping_interval: None,
        write_timeout: None,
        close_timeout: Duration::from_secs(3_600),
        ..Config::default()
    }
}

fn both(ends: (End, End)) -> (WebSocket<End>, WebSocket<End>) {
    let agreed = Negotiated::default;
    (
        WebSocket::upgraded(ends.0, Role::Client, agreed(), &[], config()),
        WebSocket::upgraded(ends.1, Role::Server, agreed(), &[], config()),
    )
}

fn conversation(drops: Drops, capacity: usize, whims: Whims) -> usize {
    let impatience = Impatience::new(drops);
    common::run(converse(both(pair(capacity, whims)), &impatience));
    impatience.waits.get()
}

#[test]
fn a_conversation_without_whims_never_misses_a_wake_up() {
    for capacity in [1, 7, 100, 1_000, 100_000] {
        conversation(Drops::Never, capacity, Whims::NONE);
    }
}

#[test]
fn a_conversation_survives_every_whim_of_its_stream() {
    for seed in 0..60 {
        conversation(
            Drops::Never,
            50 + 40 * usize::try_from(seed).unwrap(),
            Whims::seed(seed),
        );
    }
}

#[test]
fn every_future_may_be_dropped_after_any_number_of_polls() {
    for most in 1..=12 {
        for capacity in [40, 1_000] {
            conversation(Drops::Each(most), capacity, Whims::NONE);
        }
        for seed in 0..8 {
            conversation(Drops::Each(most), 1_000, Whims::seed(seed));
        }
    }
}

#[test]
fn any_single_wait_of_a_conversation_may_be_the_last_of_its_future() {
    let waits = conversation(Drops::Never, 600, Whims::NONE);
    assert!(waits > 100, "{waits}");
    for at in 1..=waits {
        conversation(Drops::Once(at), 600, Whims::NONE);
    }
    let waits = conversation(Drops::Never, 2_000, Whims::seed(3));
    for at in (1..=waits).step_by(7) {
        conversation(Drops::Once(at), 2_000, Whims::seed(3));
    }
}

/// A short one: two messages there and back, and a close.
fn exchange(drops: Drops, whims: Whims) -> usize {
    let impatience = Impatience::new(drops);
    let (mut client, mut server) = both(pair(64, whims));
    let ours = [Message::text("hi"), Message::binary(vec![7; 130])];
    let client_side = async {
        for message in &ours {
            let sent = impatience.over(async || client.send(message.clone()).await);
            sent.await.unwrap();
        }
        for message in &ours {
            let answer = impatience.over(async || client.recv().await).await;
            assert_eq!(&answer.unwrap().unwrap(), message);
        }
        impatience
            .over(async || client.close(CloseCode::NORMAL, "").await.is_some())
            .await;
        assert!(client.closed().unwrap().is_clean());
    };
    let server_side = async {
        while let Some(message) = impatience.over(async || server.recv().await).await {
            let message = message.unwrap();
            let sent = impatience.over(async || server.send(message.clone()).await);
            sent.await.unwrap();
        }
        assert!(server.closed().unwrap().is_clean());
    };
    common::run(zip(client_side, server_side));
    impatience.waits.get()
}

#[test]
fn every_wait_may_be_the_last_whatever_the_stream_takes_at_once() {
    let mut runs = 0;
    for portion in (1..=20).chain([31, 64, 135, 300]) {
        let waits = exchange(Drops::Never, Whims::portions(portion));
        for at in 1..=waits {
            exchange(Drops::Once(at), Whims::portions(portion));
        }
        runs += waits;
    }
    assert!(runs > 500, "{runs}");
}

#[test]
fn a_storm_of_waits_for_nothing_passes() {
    for storm in [1, 2, 10, 100] {
        exchange(Drops::Never, Whims::storm(storm));
        for each in [1, 5] {
            exchange(Drops::Each(each + storm as usize), Whims::storm(storm));
        }
    }
}

type Halves = (Sender<End>, Receiver<End>);

/// Both sides speak and listen at once, by halves.
async fn converse_by_halves(ends: (End, End), impatience: &Impatience) {
    let (client, server) = both(ends);
    let speak_and_hear =
        async |(sender, mut receiver): Halves, ours: Vec<Message>, theirs: Vec<Message>| {
            let speak = async {
                for message in &ours {
                    let sent = impatience.over(async || sender.send(message.clone()).await);
                    sent.await.unwrap();
                }
                impatience.over(async || sender.flush().await).await;
            };
            let hear = async {
                let mut heard = Vec::new();
                while heard.len() < theirs.len() {
                    heard.push(
                        impatience
                            .over(async || receiver.recv().await)
                            .await
                            .unwrap()
                            .unwrap(),
                    );
                }
                assert_eq!(heard, theirs);
            };
            zip(speak, hear).await;
            (sender, receiver)
        };
    let (ours, theirs) = (messages(0x00), messages(0x80));
    let (client, server) = zip(
        speak_and_hear(client.split(), ours.clone(), theirs.clone()),
        speak_and_hear(server.split(), theirs.clone(), ours.clone()),
    )
    .await;
    let end = async |mut receiver: Receiver<End>| {
        assert!(
            impatience
                .over(async || receiver.recv().await)
                .await
                .is_none()
        );
    };
    let close = async {
        impatience
            .over(async || client.0.close(CloseCode::GOING_AWAY, "tired").await)
            .await;
        let refused = client.0.send("more").await;
        assert!(matches!(refused, Err(Error::Send(_))), "{refused:?}");
    };
    zip(close, zip(end(client.1), end(server.1))).await;
}

fn conversation_by_halves(drops: Drops, capacity: usize, whims: Whims) -> usize {
    let impatience = Impatience::new(drops);
    common::run(converse_by_halves(pair(capacity, whims), &impatience));
    impatience.waits.get()
}

#[test]
fn halves_never_miss_a_wake_up() {
    for capacity in [1, 7, 100, 1_000, 100_000] {
        conversation_by_halves(Drops::Never, capacity, Whims::NONE);
    }
    for seed in 0..40 {
        conversation_by_halves(Drops::Never, 500, Whims::seed(seed));
    }
}

#[test]
fn futures_of_halves_may_be_dropped_at_any_wait() {
    for most in 1..=10 {
        conversation_by_halves(Drops::Each(most), 40, Whims::NONE);
        for seed in 0..6 {
            conversation_by_halves(Drops::Each(most), 800, Whims::seed(seed));
        }
    }
    let waits = conversation_by_halves(Drops::Never, 600, Whims::NONE);
    for at in 1..=waits {
        conversation_by_halves(Drops::Once(at), 600, Whims::NONE);
    }
}

#[test]
fn a_dropped_send_was_not_sent_and_never_in_half() {
    common::run(async {
        let (client_end, server_end) = pair(100, Whims::NONE);
        let (mut client, mut server) = both((client_end, server_end));
        // Nobody reads: the queue fills, and the one that waits is dropped.
        let mut sent = Vec::new();
        for n in 0..20 {
            let message = Message::text(format!("{n:0>500}"));
            match poll_once(client.send(message.clone())).await {
                Some(done) => {
                    done.unwrap();
                    sent.push(message);
                }
                None => continue,
            }
        }
        assert!((3..10).contains(&sent.len()), "{}", sent.len());
        let speak = async {
            client.flush().await;
            client.close(CloseCode::NORMAL, "").await;
        };
        let hear = async {
            let mut heard = Vec::new();
            while let Some(message) = server.recv().await {
                heard.push(message.unwrap());
            }
            heard
        };
        assert_eq!(zip(speak, hear).await.1, sent);
    });
}

#[test]
fn a_handshake_dropped_at_any_wait_ends_the_other_side_too() {
    for polls in 0..60 {
        for client_drops in [true, false] {
            let (client, server) = pair(60, Whims::NONE);
            common::run(async {
                let request = UpgradeRequest::new("ws://example.com/").unwrap();
                let open = WebSocket::handshake(client, request, config());
                let accept = WebSocket::accept(server, config());
                // Whoever loses patience drops; whoever is left sees the end.
                let left = if client_drops {
                    zip(impatient(open, polls), ended(accept)).await.1
                } else {
                    zip(ended(open), impatient(accept, polls)).await.0
                };
                assert!(left, "after {polls} polls");
            });
        }
    }
}

/// Polls that often, and drops what comes of it.
async fn impatient(future: impl Future, polls: usize) {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        if poll_once(future.as_mut()).await.is_some() {
            return;
        }
        yield_now().await;
    }
}

/// Whether it fails, or opens and then ends.
async fn ended(opening: impl Future<Output = Result<WebSocket<End>, Error>>) -> bool {
    match opening.await {
        Ok(mut ws) => !matches!(ws.recv().await, Some(Ok(_))),
        Err(_) => true,
    }
}
