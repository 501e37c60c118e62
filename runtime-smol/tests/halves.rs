//! Two halves of a connection in tasks of their own.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_executor::{Executor, LocalExecutor};
use common::stream::{hear, say, server};
use common::{masked, serve, sleep_ms, unmasked};
use futures_lite::AsyncReadExt as _;
use futures_lite::future::{poll_once, yield_now, zip};
use smartsocket_smol::{CloseCode, Config, Connect, Error, Message, WebSocket};

const TEXT: u8 = 1;
const PING: u8 = 9;
const PONG: u8 = 10;

fn quiet() -> Config {
    Config {
        ping_interval: None,
        write_timeout: None,
        close_timeout: Duration::from_secs(3_600),
        ..Config::default()
    }
}

/// Runs an executor on four threads until `main` ends on the first.
fn on_threads<T>(executor: &Executor<'static>, main: impl Future<Output = T>) -> T {
    let (end, ended) = async_channel::bounded::<()>(1);
    thread::scope(|scope| {
        for _ in 0..3 {
            let ended = ended.clone();
            scope.spawn(move || async_io::block_on(executor.run(ended.recv())));
        }
        let result = common::run(executor.run(main));
        drop(end);
        result
    })
}

#[test]
fn everything_is_send_if_the_stream_is() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let (ws, _peer) = server(10, quiet());
    let (sender, mut receiver) = is_send(ws).split();
    drop(is_send(sender.send("")));
    drop(is_send(receiver.recv()));
    is_send(sender);
    is_send(receiver);
    drop(is_send(Connect::new("ws://127.0.0.1").unwrap().open()));
}

#[test]
fn a_sender_writes_at_once_while_the_receiver_is_busy_with_something_else() {
    common::run(async {
        let (ws, mut peer) = server(1_000, quiet());
        let (sender, mut receiver) = ws.split();
        let two = [masked(TEXT, b"slow"), masked(TEXT, b"next")].concat();
        say(&mut peer, &two).await;
        assert_eq!(
            receiver.recv().await.unwrap().unwrap(),
            Message::text("slow")
        );
        // "next" waits to be received, and nobody receives.
        sender.send("now").await.unwrap();
        let came = poll_once(hear(&mut peer, 5)).await;
        assert_eq!(came.unwrap(), unmasked(TEXT, b"now"));
    });
}

#[test]
fn pings_are_answered_while_only_receiving_and_while_a_sender_waits() {
    common::run(async {
        let config = Config {
            max_queued_bytes: 500,
            ..quiet()
        };
        let (ws, mut peer) = server(100, config);
        let (sender, mut receiver) = ws.split();
        let executor = LocalExecutor::new();
        let receiving = executor.spawn(async move {
            assert!(receiver.recv().await.is_none());
        });
        executor
            .run(async {
                say(&mut peer, &masked(PING, b"1")).await;
                assert_eq!(hear(&mut peer, 3).await, unmasked(PONG, b"1"));
                let sending = async {
                    for _ in 0..10 {
                        sender.send(vec![0; 100]).await.unwrap();
                    }
                    sender.flush().await;
                };
                let peer = async {
                    for _ in 0..20 {
                        yield_now().await;
                    }
                    say(&mut peer, &masked(PING, b"2")).await;
                    let all = hear(&mut peer, 10 * 102 + 3).await;
                    let pong = unmasked(PONG, b"2");
                    assert!(all.windows(3).any(|window| window == pong));
                    say(&mut peer, &masked(8, &[3, 232])).await;
                    assert_eq!(hear(&mut peer, 4).await, unmasked(8, &[3, 232]));
                    drop(peer);
                };
                zip(sending, peer).await;
                receiving.await;
            })
            .await;
    });
}

#[test]
fn a_message_that_a_waiting_sender_read_wakes_the_receiver() {
    common::run(async {
        let config = Config {
            max_queued_bytes: 500,
            ..quiet()
        };
        let (ws, mut peer) = server(100, config);
        let (sender, mut receiver) = ws.split();
        let executor = LocalExecutor::new();
        // The sender fills the queue and waits before the receiver first runs.
        let sending = executor.spawn(async move {
            for _ in 0..20 {
                sender.send(vec![0; 100]).await.unwrap();
            }
            sender.flush().await;
        });
        let receiving = executor.spawn(async move { receiver.recv().await.unwrap().unwrap() });
        executor
            .run(async {
                say(&mut peer, &masked(TEXT, b"hello")).await;
                assert_eq!(receiving.await, Message::text("hello"));
                let reading = async { hear(&mut peer, 20 * 102).await };
                zip(sending, reading).await;
            })
            .await;
    });
}

#[test]
fn the_receiver_is_not_woken_by_every_send() {
    common::run(async {
        let (ws, mut peer) = server(100_000, Config::default());
        let (sender, mut receiver) = ws.split();
        let executor = Rc::new(LocalExecutor::new());
        let polls = Rc::new(std::cell::Cell::new(0));
        let counted = Rc::clone(&polls);
        let _receiving = executor.spawn(async move {
            let mut recv = Box::pin(receiver.recv());
            std::future::poll_fn(|cx| {
                counted.set(counted.get() + 1);
                recv.as_mut().poll(cx)
            })
            .await
        });
        executor
            .run(async {
                for n in 0..100 {
                    sender.send(vec![n; 10]).await.unwrap();
                    yield_now().await;
                }
                hear(&mut peer, 1_200).await;
            })
            .await;
        assert!(polls.get() < 10, "{} polls", polls.get());
    });
}

#[test]
fn many_senders_on_many_threads_and_an_idle_receiver() {
    const SENDERS: usize = 16;
    const EACH: usize = 60;
    let server = serve(
        |server| server,
        async |mut ws: WebSocket| {
            let mut next = [0; SENDERS];
            let mut heard = 0;
            while let Some(message) = ws.recv().await {
                let message = message.unwrap();
                let (sender, n) = message.as_text().unwrap().trim().split_once('/').unwrap();
                let sender: usize = sender.parse().unwrap();
                assert_eq!(next[sender].to_string(), n, "sender {sender}");
                next[sender] += 1;
                heard += 1;
                if heard == SENDERS * EACH {
                    ws.send("all of it").await.unwrap();
                }
            }
        },
    );
    let executor = Arc::new(Executor::new());
    on_threads(&executor, async {
        let config = Config {
            max_queued_bytes: 10_000,
            ..quiet()
        };
        let ws = server.connect().config(config).open().await.unwrap();
        let (sender, mut receiver) = ws.split();
        let sending: Vec<_> = (0..SENDERS)
            .map(|who| {
                let sender = sender.clone();
                executor.spawn(async move {
                    for n in 0..EACH {
                        let text = format!("{who}/{n:<2000}");
                        sender.send(text).await.unwrap();
                        if n % 7 == who % 7 {
                            yield_now().await;
                        }
                    }
                })
            })
            .collect();
        let receiving = executor.spawn(async move {
            let heard = receiver.recv().await.unwrap().unwrap();
            assert_eq!(heard, Message::text("all of it"));
            receiver
        });
        for task in sending {
            task.await;
        }
        let mut receiver = receiving.await;
        let ends = zip(sender.close(CloseCode::NORMAL, ""), receiver.recv());
        assert!(ends.await.1.is_none());
    });
}

#[test]
fn halves_on_threads_echo_both_ways_at_once() {
    let server = serve(
        |server| server,
        async |ws: WebSocket| {
            let (sender, mut receiver) = ws.split();
            while let Some(Ok(message)) = receiver.recv().await {
                if sender.send(message).await.is_err() {
                    break;
                }
            }
        },
    );
    common::run(async {
        let (sender, mut receiver) = server.open().await.split();
        let messages = 3_000;
        let speaking = thread::spawn(move || {
            async_io::block_on(async {
                for n in 0..messages {
                    sender.send(n.to_string()).await.unwrap();
                }
                sender
            })
        });
        for n in 0..messages {
            assert_eq!(
                receiver.recv().await.unwrap().unwrap(),
                Message::text(n.to_string())
            );
        }
        let sender = speaking.join().unwrap();
        let seen = zip(sender.close(CloseCode::GOING_AWAY, ""), receiver.recv())
            .await
            .1;
        assert!(seen.is_none());
    });
}

#[test]
fn the_receiver_sees_the_close_of_the_sender_and_waiting_senders_are_refused() {
    common::run(async {
        let config = Config {
            max_queued_bytes: 200,
            ..quiet()
        };
        let (ws, mut peer) = server(50, config);
        let (sender, mut receiver) = ws.split();
        let executor = LocalExecutor::new();
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let sender = sender.clone();
                executor.spawn(async move {
                    loop {
                        if let Err(error) = sender.send(vec![0; 150]).await {
                            return error;
                        }
                    }
                })
            })
            .collect();
        let receiving = executor.spawn(async move { receiver.recv().await });
        let closing = executor.spawn(async move { sender.close(CloseCode::NORMAL, "").await });
        executor
            .run(async {
                for task in waiting {
                    let error = task.await;
                    assert!(matches!(error, Error::Send(_)), "{error}");
                }
                // Only now the peer reads.
                let mut last = Vec::new();
                while !last.ends_with(&unmasked(8, &[3, 232])) {
                    last.extend(hear(&mut peer, 1).await);
                }
                say(&mut peer, &masked(8, &[3, 232])).await;
                assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
                drop(peer);
                assert!(receiving.await.is_none());
                closing.await;
            })
            .await;
    });
}

#[test]
fn the_close_deadline_runs_although_the_closing_future_was_dropped() {
    common::run(async {
        let config = Config {
            close_timeout: Duration::from_millis(50),
            ..quiet()
        };
        let (ws, _peer) = server(10, config);
        let (sender, mut receiver) = ws.split();
        sender.send(vec![0; 1_000]).await.unwrap();
        let executor = LocalExecutor::new();
        let receiving = executor.spawn(async move { receiver.recv().await });
        executor
            .run(async {
                yield_now().await;
                assert!(
                    poll_once(sender.close(CloseCode::NORMAL, ""))
                        .await
                        .is_none()
                );
                let error = receiving.await.unwrap().unwrap_err();
                assert!(error.closed().is_some(), "{error}");
            })
            .await;
    });
}

#[test]
fn one_half_works_on_when_the_other_is_dropped_and_the_last_says_1000() {
    common::run(async {
        let (ws, mut peer) = server(1_000, quiet());
        let (sender, mut receiver) = ws.split();
        drop(sender);
        say(&mut peer, &masked(TEXT, b"heard")).await;
        assert_eq!(
            receiver.recv().await.unwrap().unwrap(),
            Message::text("heard")
        );
        drop(receiver);
        assert_eq!(hear(&mut peer, 4).await, unmasked(8, &[3, 232]));
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);

        let (ws, mut peer) = server(1_000, quiet());
        let (sender, receiver) = ws.split();
        drop(receiver);
        sender.send("sent").await.unwrap();
        assert_eq!(hear(&mut peer, 6).await, unmasked(TEXT, b"sent"));
        let other = sender.clone();
        drop(sender);
        other.send("sent").await.unwrap();
        drop(other);
        assert_eq!(hear(&mut peer, 10).await[6..], unmasked(8, &[3, 232]));
    });
}

#[test]
fn a_receiver_may_move_between_tasks_and_threads() {
    let server = common::serve_echo();
    common::run(async {
        let (sender, mut receiver) = server.open().await.split();
        for round in 0..20 {
            // Polled here, and then no more: its waker must not be the last.
            assert!(poll_once(receiver.recv()).await.is_none());
            let task = thread::spawn(move || {
                async_io::block_on(async {
                    let heard = receiver.recv().await.unwrap().unwrap();
                    (receiver, heard)
                })
            });
            if round % 2 == 0 {
                sleep_ms(2).await;
            }
            sender.send(round.to_string()).await.unwrap();
            let (back, heard) = task.join().unwrap();
            receiver = back;
            assert_eq!(heard, Message::text(round.to_string()));
        }
    });
}
