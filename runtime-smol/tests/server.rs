//! A server's whole life: its limits, its handlers' mistakes, its end.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::pending;
use std::io::Write as _;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use async_executor::Executor;
use common::{
    close_payload, echo, masked, raw, raw_upgraded, read_all, read_head, run, serve, serve_echo,
    sleep_ms, unmasked,
};
use futures_lite::FutureExt as _;
use smartsocket_smol::{
    Cause, CloseCode, Closed, Config, Deadline, Error, Message, Server, WebSocket, block_on,
};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// Receives to the end and tells what it was.
async fn end(ws: &mut WebSocket) -> Closed {
    while let Some(message) = ws.recv().await {
        if let Err(error) = message {
            return error.closed().unwrap().clone();
        }
    }
    ws.closed().unwrap().clone()
}

fn is(closed: &Closed, code: CloseCode, reason: &str) {
    assert_eq!(
        (closed.code, closed.reason.as_str()),
        (code, reason),
        "{closed}"
    );
}

/// Handlers in one, by what the client says first.
async fn moody(mut ws: WebSocket) {
    let Some(Ok(mood)) = ws.recv().await else {
        return;
    };
    ws.send("here").await.unwrap();
    match mood.as_text().unwrap() {
        "leave" => {}
        "panic" => panic!("on purpose"),
        "dream" => pending().await,
        "unwilling" => loop {
            // Receives only to see the end, and does not go then.
            if ws.recv().await.is_none() {
                pending::<()>().await;
            }
        },
        _ => echo(ws).await,
    }
}

async fn in_mood(server: &common::Running, mood: &str) -> WebSocket {
    let mut ws = server.open().await;
    ws.send(mood).await.unwrap();
    assert_eq!(ws.recv().await.unwrap().unwrap(), Message::text("here"));
    ws
}

#[test]
fn a_handler_that_leaves_says_1000_and_one_that_panics_1011() {
    let server = serve(|server| server, moody);
    run(async {
        let mut bystander = in_mood(&server, "echo").await;
        is(
            &end(&mut in_mood(&server, "leave").await).await,
            CloseCode::NORMAL,
            "",
        );
        is(
            &end(&mut in_mood(&server, "panic").await).await,
            CloseCode::INTERNAL,
            "",
        );
        bystander.send("well?").await.unwrap();
        assert_eq!(
            bystander.recv().await.unwrap().unwrap(),
            Message::text("well?")
        );
    });
}

#[test]
fn handlers_that_wait_for_ever_stop_nobody_else() {
    let server = serve(
        |server| server.drain_timeout(Duration::from_millis(100)),
        moody,
    );
    run(async {
        let mut dreamers = Vec::new();
        for _ in 0..20 {
            dreamers.push(in_mood(&server, "dream").await);
        }
        let mut ws = in_mood(&server, "echo").await;
        for n in 0..100 {
            ws.send(n.to_string()).await.unwrap();
            assert_eq!(
                ws.recv().await.unwrap().unwrap(),
                Message::text(n.to_string())
            );
        }
        // At its end the server does not wait for them longer than told, and
        // says why.
        server.stopper.stop();
        for ws in &mut dreamers {
            is(&end(ws).await, CloseCode::GOING_AWAY, "server is stopping");
        }
    });
    server.join();
}

#[test]
fn a_stopped_server_says_goodbye_to_everybody() {
    let server = serve(|server| server.shards(2), echo);
    let stopper = server.stopper.clone();
    run(async {
        let mut all = Vec::new();
        for _ in 0..30 {
            all.push(server.open().await);
        }
        // One in the middle of the handshake, one that has said nothing.
        let mut half = raw(server.address, b"GET / HTTP/1.1\r\nHost");
        let mut silent = raw(server.address, b"");
        sleep_ms(100).await;
        thread::spawn(move || stopper.stop());
        for ws in &mut all {
            is(&end(ws).await, CloseCode::GOING_AWAY, "server is stopping");
        }
        for socket in [&mut half, &mut silent] {
            let answer = String::from_utf8(read_all(socket)).unwrap();
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        }
    });
    let address = server.address;
    server.join();
    assert!(TcpStream::connect(address).is_err());
    drop(Server::bind(address).unwrap());
}

#[test]
fn what_was_sent_before_the_stop_arrives_before_the_goodbye() {
    let server = serve(|server| server, echo);
    run(async {
        let mut ws = server.open().await;
        for n in 0..100 {
            ws.send(n.to_string()).await.unwrap();
        }
        assert_eq!(ws.recv().await.unwrap().unwrap(), Message::text("0"));
        server.stopper.stop();
        server.stopper.stop();
        let mut next = 1;
        while let Some(message) = ws.recv().await {
            assert_eq!(message.unwrap(), Message::text(next.to_string()));
            next += 1;
        }
        is(
            ws.closed().unwrap(),
            CloseCode::GOING_AWAY,
            "server is stopping",
        );
    });
    server.join();
}

#[test]
fn a_peer_that_does_not_answer_the_goodbye_is_left_after_the_drain() {
    let config = Config {
        close_timeout: Duration::from_secs(3_600),
        ..Config::default()
    };
    let server = serve(
        move |server| {
            server
                .config(config)
                .drain_timeout(Duration::from_millis(300))
        },
        echo,
    );
    let mut mute = raw_upgraded(server.address);
    run(sleep_ms(50));
    let start = Instant::now();
    server.stop();
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(250),
        "it drained for {took:?}"
    );
    assert!(took < Duration::from_secs(10), "it drained for {took:?}");
    let goodbye = close_payload(1001, "server is stopping");
    assert_eq!(read_all(&mut mute), unmasked(CLOSE, &goodbye));
}

#[test]
fn a_stop_waits_for_handlers_that_still_work() {
    let done = Arc::new(Mutex::new(false));
    let told = Arc::clone(&done);
    let server = serve(
        |server| server,
        move |mut ws: WebSocket| {
            let told = Arc::clone(&told);
            async move {
                while ws.recv().await.is_some() {}
                drop(ws);
                sleep_ms(200).await;
                *told.lock().unwrap() = true;
            }
        },
    );
    run(async {
        let mut ws = server.open().await;
        server.stopper.stop();
        end(&mut ws).await;
    });
    server.join();
    assert!(*done.lock().unwrap());
}

#[test]
fn a_stop_reaches_connections_wherever_the_handler_took_them() {
    // To an executor of its own, inside a combinator with wakers of its own,
    // and in halves.
    static ELSEWHERE: Executor<'static> = Executor::new();
    let (end_thread, ended) = async_channel::bounded::<()>(1);
    let thread = thread::spawn(move || block_on(ELSEWHERE.run(ended.recv())));
    let server = serve(
        |server| server,
        async |mut ws: WebSocket| {
            let Some(Ok(how)) = ws.recv().await else {
                return;
            };
            ws.send("here").await.unwrap();
            match how.as_text().unwrap() {
                "elsewhere" => ELSEWHERE.spawn(echo(ws)).detach(),
                "nested" => {
                    let mut all = futures_util::stream::FuturesUnordered::new();
                    all.push(echo(ws).boxed_local());
                    all.push(pending().boxed_local());
                    use futures_lite::StreamExt as _;
                    all.next().await;
                }
                _ => {
                    let (sender, mut receiver) = ws.split();
                    let receiving =
                        ELSEWHERE.spawn(async move { while receiver.recv().await.is_some() {} });
                    receiving.await;
                    drop(sender);
                }
            }
        },
    );
    run(async {
        let mut all = Vec::new();
        for how in ["elsewhere", "nested", "halves"] {
            all.push(in_mood(&server, how).await);
        }
        sleep_ms(50).await;
        server.stopper.stop();
        for ws in &mut all {
            is(&end(ws).await, CloseCode::GOING_AWAY, "server is stopping");
        }
    });
    server.join();
    drop(end_thread);
    let _ = thread.join().unwrap();
}

#[test]
fn a_server_whose_future_is_dropped_lets_go_of_everything() {
    let server = Server::bind("127.0.0.1:0").unwrap().shards(2);
    let address = server.local_addr().unwrap();
    run(async {
        let mut ws = Vec::new();
        let serving = async { server.run(echo).await.unwrap() };
        serving
            .or(async {
                for _ in 0..4 {
                    ws.push(
                        WebSocket::connect(&format!("ws://{address}"))
                            .await
                            .unwrap(),
                    );
                }
            })
            .await;
        for ws in &mut ws {
            is(&end(ws).await, CloseCode::GOING_AWAY, "server is stopping");
        }
    });
    let _ = Server::bind(address).unwrap();
}

#[test]
fn one_connection_too_many_is_told_to_come_back() {
    let server = serve(|server| server.max_connections(2), echo);
    run(async {
        let first = server.open().await;
        let mut second = server.open().await;
        let Err(error) = server.connect().open().await else {
            panic!("a third came in")
        };
        let Cause::Refused(response) = &error.closed().unwrap().cause else {
            panic!("{error}")
        };
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers().get("retry-after"), Some("5"));
        second.send("still").await.unwrap();
        assert_eq!(
            second.recv().await.unwrap().unwrap(),
            Message::text("still")
        );
        drop(first);
        // The place is free once the server has seen the end.
        while server.connect().open().await.is_err() {
            sleep_ms(10).await;
        }
    });
}

#[test]
fn a_connection_moved_out_of_its_handler_keeps_its_place() {
    thread_local! {
        static KEPT: RefCell<Vec<WebSocket>> = const { RefCell::new(Vec::new()) };
    }
    let server = serve(
        |server| server.max_connections(2).drain_timeout(Duration::ZERO),
        async |ws: WebSocket| KEPT.with_borrow_mut(|kept| kept.push(ws)),
    );
    run(async {
        let _first = server.open().await;
        let _second = server.open().await;
        sleep_ms(50).await;
        assert!(server.connect().open().await.is_err());
    });
}

#[test]
fn shards_share_the_work_and_the_limit() {
    let threads = Arc::new(Mutex::new(HashSet::new()));
    let seen = Arc::clone(&threads);
    let server = serve(
        |server| server.shards(2).max_connections(6),
        move |ws: WebSocket| {
            seen.lock().unwrap().insert(thread::current().id());
            echo(ws)
        },
    );
    run(async {
        let mut all = Vec::new();
        for _ in 0..6 {
            let mut ws = server.open().await;
            ws.send("hi").await.unwrap();
            assert_eq!(ws.recv().await.unwrap().unwrap(), Message::text("hi"));
            all.push(ws);
        }
        assert!(server.connect().open().await.is_err());
    });
    assert_eq!(threads.lock().unwrap().len(), 2);
}

#[test]
fn a_handler_may_keep_state_of_its_thread() {
    let server = serve(
        |server| server,
        async |mut ws: WebSocket| {
            let count = Rc::new(RefCell::new(0));
            while let Some(Ok(_)) = ws.recv().await {
                *count.borrow_mut() += 1;
                let text = count.borrow().to_string();
                ws.send(text).await.unwrap();
            }
        },
    );
    run(async {
        let mut ws = server.open().await;
        for n in 1..5 {
            ws.send("").await.unwrap();
            assert_eq!(
                ws.recv().await.unwrap().unwrap(),
                Message::text(n.to_string())
            );
        }
    });
}

#[test]
fn a_peer_that_answers_no_ping_is_dropped() {
    let config = Config {
        ping_interval: Some(Duration::from_millis(100)),
        pong_timeout: Duration::from_millis(100),
        ..Config::default()
    };
    let (told, hear) = async_channel::unbounded();
    let server = serve(
        move |server| server.config(config),
        move |mut ws: WebSocket| {
            let told = told.clone();
            async move {
                told.send(end(&mut ws).await).await.unwrap();
            }
        },
    );
    let mut mute = raw_upgraded(server.address);
    let ended = run(hear.recv()).unwrap();
    assert!(
        matches!(ended.cause, Cause::Timeout(Deadline::Pong)),
        "{ended}"
    );
    assert_eq!(read_all(&mut mute)[0], 0x89, "a ping came first");
    // Whoever answers stays.
    run(async {
        let mut ws = server.open().await;
        let quiet = async {
            sleep_ms(1_000).await;
            None
        };
        let over = async { Some(ws.recv().await.is_some()) };
        assert_eq!(over.or(quiet).await, None);
    });
}

#[test]
fn a_peer_that_reads_nothing_is_dropped_while_its_handler_sends() {
    let config = Config {
        write_timeout: Some(Duration::from_millis(200)),
        ..Config::default()
    };
    let (told, hear) = async_channel::unbounded();
    let server = serve(
        move |server| server.config(config),
        move |mut ws: WebSocket| {
            let told = told.clone();
            async move {
                let error = loop {
                    if let Err(error) = ws.send(vec![0; 100_000]).await {
                        break error;
                    }
                };
                assert!(matches!(error, Error::Send(_)), "{error}");
                told.send(end(&mut ws).await).await.unwrap();
            }
        },
    );
    let deaf = raw_upgraded(server.address);
    let ended = run(hear.recv()).unwrap();
    assert!(
        matches!(ended.cause, Cause::Timeout(Deadline::Write)),
        "{ended}"
    );
    drop(deaf);
}

#[test]
fn a_request_that_comes_letter_by_letter_is_cut_off() {
    let config = Config {
        handshake_timeout: Some(Duration::from_millis(300)),
        ..Config::default()
    };
    let server = serve(move |server| server.config(config), echo);
    let mut slow = raw(server.address, b"");
    let start = Instant::now();
    for byte in common::UPGRADE.bytes().cycle() {
        if slow.write_all(&[byte]).is_err() || start.elapsed() > Duration::from_secs(1) {
            break;
        }
        thread::sleep(Duration::from_millis(30));
    }
    let head = read_head(&mut slow);
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
}

#[test]
fn a_client_that_vanishes_ends_its_handler() {
    let (told, hear) = async_channel::unbounded();
    let server = serve(
        |server| server,
        move |mut ws: WebSocket| {
            let told = told.clone();
            async move {
                told.send(end(&mut ws).await).await.unwrap();
            }
        },
    );
    let mut socket = raw_upgraded(server.address);
    socket.write_all(&masked(TEXT, b"x")[..3]).unwrap();
    drop(socket);
    let ended = run(hear.recv()).unwrap();
    assert!(matches!(ended.cause, Cause::Eof), "{ended}");
    assert_eq!(ended.code, CloseCode::ABNORMAL);
}

#[test]
fn a_storm_of_connections_leaves_nothing_behind() {
    let server = serve(|server| server.max_connections(20).shards(2), echo);
    run(async {
        for _ in 0..300 {
            let mut ws = loop {
                match server.connect().open().await {
                    Ok(ws) => break ws,
                    Err(_) => sleep_ms(5).await,
                }
            };
            ws.send("hi").await.unwrap();
            assert_eq!(ws.recv().await.unwrap().unwrap(), Message::text("hi"));
            // Some part well, some just go.
            if ws.stats().sent_bytes % 2 == 0 {
                ws.close(CloseCode::NORMAL, "").await;
            }
        }
        // All twenty places are free again.
        let mut all = Vec::new();
        while all.len() < 20 {
            match server.connect().open().await {
                Ok(ws) => all.push(ws),
                Err(_) => sleep_ms(5).await,
            }
        }
    });
}

#[test]
fn an_existing_listener_is_served() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::from_listener(listener).unwrap();
    let stopper = server.stopper();
    let thread = thread::spawn(move || block_on(server.run(echo)).unwrap());
    run(async {
        let mut ws = WebSocket::connect(&format!("ws://{address}"))
            .await
            .unwrap();
        ws.send("hi").await.unwrap();
        assert_eq!(ws.recv().await.unwrap().unwrap(), Message::text("hi"));
    });
    stopper.stop();
    thread.join().unwrap();
}

#[test]
fn a_stopped_server_may_be_stopped_before_it_runs() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    server.stopper().stop();
    run(server.run(echo)).unwrap();
}

#[test]
fn many_connections_at_once() {
    let server = serve_echo();
    let executor = async_executor::LocalExecutor::new();
    let clients: Vec<_> = (0..200)
        .map(|who| {
            let connect = server.connect();
            executor.spawn(async move {
                let mut ws = connect.open().await.unwrap();
                for n in 0..20 {
                    let text = format!("{who} {n}");
                    ws.send(text.clone()).await.unwrap();
                    assert_eq!(ws.recv().await.unwrap().unwrap(), Message::text(text));
                }
                assert!(ws.close(CloseCode::NORMAL, "").await.unwrap().is_clean());
            })
        })
        .collect();
    run(executor.run(async {
        for client in clients {
            client.await;
        }
    }));
}
