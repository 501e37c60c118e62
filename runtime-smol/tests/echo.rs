//! Messages there and back, over every kind of stream.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;

use async_executor::LocalExecutor;
use common::stream::{Whims, pair};
use common::{echo, roomy, serve, serve_at, serve_echo};
use futures_lite::future::{yield_now, zip};
use futures_lite::{AsyncWriteExt as _, StreamExt as _};
use futures_util::SinkExt;
use smartsocket_smol::deflate::Deflate;
use smartsocket_smol::http::UpgradeRequest;
use smartsocket_smol::{
    Bytes, CloseCode, Config, Connect, Message, Negotiated, Part, Role, Server, WebSocket, block_on,
};

async fn echoes(ws: &mut WebSocket) {
    for message in [
        Message::text(""),
        Message::text("Grüße"),
        Message::binary(vec![]),
        Message::binary(vec![0; 125]),
        Message::binary(vec![1; 126]),
        Message::binary(vec![2; 65_535]),
        Message::binary(vec![3; 65_536]),
        Message::text("ü".repeat(300_000)),
    ] {
        ws.send(message.clone()).await.unwrap();
        assert!(ws.recv().await.unwrap().unwrap() == message);
    }
    let closed = ws.close(CloseCode::NORMAL, "done").await.unwrap();
    assert_eq!(closed.code, CloseCode::NORMAL);
    assert!(closed.is_clean());
    assert!(ws.recv().await.is_none());
}

#[test]
fn tcp() {
    let server = serve_echo();
    common::run(async { echoes(&mut server.open().await).await });
}

#[test]
fn ipv6() {
    let server = serve_at("[::1]:0", |server| server, echo);
    common::run(async {
        let mut ws = server.open().await;
        assert!(ws.get_ref().peer_addr().unwrap().is_ipv6());
        assert_eq!(ws.stats().sent_messages, 0);
        echoes(&mut ws).await;
        assert_eq!(ws.stats().sent_messages, 8);
    });
}

#[test]
fn an_ipv4_connection_to_a_socket_for_both_families() {
    let server = serve_at("[::]:0", |server| server, echo);
    let url = format!("ws://127.0.0.1:{}", server.address.port());
    common::run(async { echoes(&mut WebSocket::connect(&url).await.unwrap()).await });
}

#[test]
fn a_name_with_an_address_where_nobody_listens() {
    let server = serve_echo();
    let url = format!("ws://localhost:{}", server.address.port());
    common::run(async { echoes(&mut WebSocket::connect(&url).await.unwrap()).await });
}

#[test]
fn unix() {
    let path = std::env::temp_dir().join(format!("smartsocket-{}.sock", std::process::id()));
    let server = Server::bind_unix(&path).unwrap();
    assert!(server.local_addr().is_none());
    assert!(Server::bind_unix(&path).is_err(), "the file exists");
    let stopper = server.stopper();
    let thread = thread::spawn(move || block_on(server.run(echo)).unwrap());
    common::run(async {
        let connect = Connect::new("ws://anything/path").unwrap().unix(&path);
        let mut ws = connect.open().await.unwrap();
        assert!(ws.get_ref().peer_addr().is_none());
        echoes(&mut ws).await;
        let nowhere = Connect::new("ws://x").unwrap().unix("/nonexistent/socket");
        let error = nowhere.open().await.unwrap_err();
        assert!(
            error.to_string().starts_with("cannot connect to "),
            "{error}"
        );
    });
    stopper.stop();
    thread.join().unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn both_roles_over_a_stream_in_memory() {
    for seed in 0..10 {
        let (client, server) = pair(1_000, Whims::seed(seed));
        common::run(async {
            let request = UpgradeRequest::new("ws://example.com/chat?x=1").unwrap();
            let (client, server) = zip(
                WebSocket::handshake(client, request, Config::default()),
                WebSocket::accept(server, Config::default()),
            )
            .await;
            let (mut client, mut server) = (client.unwrap(), server.unwrap());
            assert_eq!(client.response().unwrap().status(), 101);
            assert_eq!(server.request().unwrap().target(), "/chat?x=1");
            assert_eq!(client.agreed(), server.agreed());
            let there = Message::binary(vec![7; 5_000]);
            let back = async {
                let message = server.recv().await.unwrap().unwrap();
                server.send(message).await.unwrap();
                assert!(server.recv().await.is_none());
            };
            let forth = async {
                client.send(there.clone()).await.unwrap();
                assert_eq!(client.recv().await.unwrap().unwrap(), there);
                client.close(CloseCode::NORMAL, "").await;
            };
            zip(forth, back).await;
        });
    }
}

#[test]
fn sixteen_mebibytes() {
    let server = serve(|server| server.config(roomy()), echo);
    common::run(async {
        let mut ws = server.connect().config(roomy()).open().await.unwrap();
        let data: Bytes = (0..16_u32 << 20).map(|n| (n ^ (n >> 9)) as u8).collect();
        ws.send(data.clone()).await.unwrap();
        let answer = ws.recv().await.unwrap().unwrap();
        assert!(answer.as_bytes() == &data[..]);
        let text = "0123456789abcdef".repeat(1 << 20);
        ws.send(text.clone()).await.unwrap();
        let answer = ws.recv().await.unwrap().unwrap();
        assert!(answer.as_text() == Some(&text));
    });
}

#[test]
fn ten_thousand_messages_before_the_first_answer_is_read() {
    let server = serve_echo();
    common::run(async {
        let (sender, mut receiver) = server.open().await.split();
        let speaking = async {
            for n in 0..10_000 {
                sender.send(n.to_string()).await.unwrap();
            }
        };
        let hearing = async {
            for n in 0..10_000 {
                let heard = receiver.recv().await.unwrap().unwrap();
                assert_eq!(heard.as_text().unwrap(), n.to_string());
            }
        };
        zip(speaking, hearing).await;
    });
}

#[test]
fn ten_thousand_messages_in_one_task_that_does_not_listen_meanwhile() {
    let server = serve_echo();
    common::run(async {
        let mut ws = server.open().await;
        // The answers fit into the buffers between us.
        for n in 0..10_000 {
            ws.send(n.to_string()).await.unwrap();
        }
        for n in 0..10_000 {
            let heard = ws.recv().await.unwrap().unwrap();
            assert_eq!(heard.as_text().unwrap(), n.to_string());
        }
    });
}

#[test]
fn compression_is_used_where_both_want_it() {
    let compressing = || Config {
        deflate: Some(Deflate::default()),
        ..Config::default()
    };
    let server = serve(move |server| server.config(compressing()), echo);
    common::run(async {
        let mut ws = server.connect().config(compressing()).open().await.unwrap();
        assert!(ws.agreed().unwrap().deflate.is_some());
        let text: String = (0..50_000).map(|n| format!("{} and ", n % 1_000)).collect();
        ws.send(text.clone()).await.unwrap();
        assert_eq!(ws.recv().await.unwrap().unwrap(), Message::text(text));
        assert!(ws.stats().sent_bytes < 40_000, "{:?}", ws.stats());
        let ws = server.open().await;
        assert!(ws.agreed().unwrap().deflate.is_none());
    });
}

#[test]
fn upgraded_takes_what_was_read_beyond_the_head() {
    common::run(async {
        let (mut peer, ours) = pair(1_000, Whims::NONE);
        let mut early = common::masked(1, b"early");
        let rest = early.split_off(3);
        let agreed = Negotiated::default();
        let mut ws = WebSocket::upgraded(ours, Role::Server, agreed, &early, Config::default());
        peer.write_all(&rest).await.unwrap();
        peer.flush().await.unwrap();
        assert_eq!(ws.recv().await.unwrap().unwrap(), Message::text("early"));
        assert!(ws.request().is_none() && ws.agreed().is_none());
    });
}

#[test]
fn a_message_in_parts() {
    let config = || Config {
        streaming: true,
        max_message: 10 << 20,
        ..Config::default()
    };
    // Sends every part on as it comes.
    let server = serve(
        move |server| server.config(config()),
        async |mut ws: WebSocket| {
            while let Some(Ok(Part { data, last })) = ws.recv_part().await {
                ws.send_part(data, last).await.unwrap();
            }
        },
    );
    common::run(async {
        let mut ws = server.connect().config(config()).open().await.unwrap();
        for (part, last) in [("ein", false), ("", false), ("zwei", true)] {
            ws.send_part(part, last).await.unwrap();
        }
        let mut heard = String::new();
        loop {
            let part = ws.recv_part().await.unwrap().unwrap();
            heard += part.data.as_text().unwrap();
            if part.last {
                break;
            }
        }
        assert_eq!(heard, "einzwei");
        // Two kinds in one message, and a whole message inside another.
        ws.send_part("text", false).await.unwrap();
        assert!(ws.send_part(vec![1], true).await.is_err());
        ws.send_part("", true).await.unwrap();

        let data = vec![9; 5 << 20];
        ws.send(data.clone()).await.unwrap();
        let (mut heard, mut parts) = (Vec::<u8>::new(), 0);
        loop {
            let part = ws.recv_part().await.unwrap().unwrap();
            if !part.data.is_text() {
                heard.extend(part.data.as_bytes());
                parts += 1;
                if part.last {
                    break;
                }
            }
        }
        assert!(heard == data);
        assert!(parts > 5, "{parts}");
    });
}

#[test]
fn a_stream_and_a_sink() {
    let server = serve_echo();
    common::run(async {
        let mut ws = server.open().await;
        let messages: Vec<_> = (0..100).map(|n| Message::text(n.to_string())).collect();
        for message in &messages {
            SinkExt::feed(&mut ws, message.clone()).await.unwrap();
        }
        SinkExt::flush(&mut ws).await.unwrap();
        let heard: Vec<_> = (&mut ws)
            .take(100)
            .map(|message| message.unwrap())
            .collect()
            .await;
        assert_eq!(heard, messages);
        SinkExt::close(&mut ws).await.unwrap();
        assert!(ws.closed().unwrap().is_clean());
        assert!(ws.next().await.is_none());
        assert!(SinkExt::send(&mut ws, Message::text("late")).await.is_err());

        let (sender, receiver) = server.open().await.split();
        for n in 0..10 {
            sender.send(n.to_string()).await.unwrap();
        }
        let heard: Vec<_> = receiver
            .take(10)
            .map(|message| message.unwrap())
            .collect()
            .await;
        assert_eq!(heard, messages[..10]);
    });
}

#[test]
fn a_hot_connection_takes_turns_with_a_cool_one() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let (hot, mut flood) = pair(1 << 20, Whims::NONE);
    let (cool, mut drip) = pair(1 << 20, Whims::NONE);
    common::run(async {
        let executor = LocalExecutor::new();
        let listen = |name: char, end| {
            let log = Rc::clone(&log);
            executor.spawn(async move {
                let mut ws = WebSocket::upgraded(
                    end,
                    Role::Server,
                    Negotiated::default(),
                    &[],
                    Config::default(),
                );
                while let Some(Ok(_)) = ws.recv().await {
                    log.borrow_mut().push(name);
                }
            })
        };
        let frame = common::masked(1, &[b'x'; 100]);
        for _ in 0..5_000 {
            flood.write_all(&frame).await.unwrap();
        }
        flood.flush().await.unwrap();
        let _tasks = [listen('h', hot), listen('c', cool)];
        let seen = Rc::clone(&log);
        let dripping = executor.spawn(async move {
            for n in 1..=5 {
                drip.write_all(&frame).await.unwrap();
                drip.flush().await.unwrap();
                while seen.borrow().iter().filter(|name| **name == 'c').count() < n {
                    yield_now().await;
                }
            }
        });
        executor.run(dripping).await;
        // 5,000 hot messages were there from the start; a turn takes one read.
        let log = log.borrow();
        let hot_before = |n: usize| {
            let at = log
                .iter()
                .enumerate()
                .filter(|(_, c)| **c == 'c')
                .nth(n)
                .unwrap()
                .0;
            log[..at].iter().filter(|c| **c == 'h').count()
        };
        assert!(hot_before(0) <= 1_300, "{}", hot_before(0));
        assert!(hot_before(4) < 5_000, "{}", hot_before(4));
    });
}
