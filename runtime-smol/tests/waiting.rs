//! What goes on while one call waits: no call may be deaf to the others' work.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::stream::{End, Whims, hear, pair, say, server};
use common::{close_payload, masked, unmasked};
use futures_lite::future::{poll_once, yield_now, zip};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
use futures_util::SinkExt;
use smartsocket_smol::{
    Cause, CloseCode, Config, Deadline, Error, Message, Negotiated, Refused, Role, WebSocket,
};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

fn quiet() -> Config {
    Config {
        max_queued_bytes: 1_000,
        ping_interval: None,
        write_timeout: None,
        close_timeout: Duration::from_secs(3_600),
        ..Config::default()
    }
}

/// Lets everybody who is ready run.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

#[test]
fn a_send_that_waits_for_room_answers_pings() {
    common::run(async {
        let (mut ws, mut peer) = server(200, quiet());
        let sending = async {
            for n in 0..20 {
                ws.send(vec![n; 124]).await.unwrap();
            }
            ws.flush().await;
        };
        let peer = async {
            settle().await;
            say(&mut peer, &masked(PING, b"there?")).await;
            let mut all = Vec::new();
            while all.len() < 20 * 126 + 8 {
                all.extend(hear(&mut peer, 2).await);
                let length = all[all.len() - 1];
                all.extend(hear(&mut peer, length.into()).await);
            }
            let pong = unmasked(PONG, b"there?");
            let at = all.windows(8).position(|window| window == pong).unwrap();
            assert!(at < 20 * 126, "behind everything");
        };
        zip(sending, peer).await;
    });
}

#[test]
fn a_send_that_waits_for_room_learns_that_the_peer_went() {
    common::run(async {
        let (mut ws, mut peer) = server(200, quiet());
        let sending = async {
            loop {
                if let Err(error) = ws.send(vec![7; 500]).await {
                    let Error::Send(error) = error else {
                        panic!("{error}")
                    };
                    assert_eq!(error.refused, Refused::Closed);
                    assert_eq!(error.message, Message::binary(vec![7; 500]));
                    break;
                }
            }
        };
        zip(sending, async {
            settle().await;
            say(&mut peer, &masked(CLOSE, &close_payload(1001, "bye"))).await;
        })
        .await;
        // The close frame behind 1,000 bytes goes out while we wait here.
        let rest = async {
            while peer.read(&mut [0; 100]).await.unwrap() > 0 {}
            peer.close().await.unwrap();
        };
        zip(rest, async { assert!(ws.recv().await.is_none()) }).await;
        assert_eq!(ws.closed().unwrap().reason.as_str(), "bye");
    });
}

#[test]
fn a_waiting_send_leaves_one_message_to_receive_and_reads_no_further() {
    common::run(async {
        let (mut ws, mut peer) = server(300, quiet());
        for n in 0..10 {
            say_now(&mut peer, &masked(TEXT, format!("{n:0>20}").as_bytes())).await;
            let _ = poll_once(ws.send(vec![0; 900])).await;
        }
        let feeding = async {
            for n in 10..200 {
                say(&mut peer, &masked(TEXT, format!("{n:0>20}").as_bytes())).await;
            }
        };
        // 200 messages do not fit into what the stream takes by itself.
        assert!(poll_once(zip(feeding, ws.flush())).await.is_none());
        for n in 0..10 {
            assert_eq!(
                ws.recv().await.unwrap().unwrap(),
                Message::text(format!("{n:0>20}"))
            );
        }
    });
}

async fn say_now(peer: &mut End, frame: &[u8]) {
    poll_once(say(peer, frame)).await.unwrap();
}

#[test]
fn a_flush_to_a_peer_that_takes_nothing_ends_with_the_deadline() {
    let config = Config {
        write_timeout: Some(Duration::from_millis(50)),
        ..quiet()
    };
    common::run(async {
        let (mut ws, peer) = server(10, config);
        ws.send(vec![1; 900]).await.unwrap();
        ws.flush().await;
        let error = ws.recv().await.unwrap().unwrap_err();
        let cause = &error.closed().unwrap().cause;
        assert!(matches!(cause, Cause::Timeout(Deadline::Write)), "{error}");
        ws.flush().await;
        drop(peer);
    });
}

#[test]
fn a_ping_and_a_sink_to_a_peer_that_takes_nothing_end_with_the_deadline() {
    let config = || Config {
        write_timeout: Some(Duration::from_millis(50)),
        ..quiet()
    };
    common::run(async {
        let (mut ws, _peer) = server(10, config());
        ws.send(vec![1; 900]).await.unwrap();
        ws.ping(vec![1; 100]).await.unwrap();
        let (mut ws, _peer) = server(10, config());
        let sent = async {
            loop {
                SinkExt::send(&mut ws, Message::binary(vec![1; 900])).await?;
            }
        };
        let error: Error = Result::<(), _>::unwrap_err(sent.await);
        assert!(matches!(error, Error::Send(_)), "{error}");
    });
}

#[test]
fn what_the_peer_said_before_it_went_is_heard_although_we_cannot_write() {
    common::run(async {
        let (mut ws, mut peer) = server(1_000, quiet());
        say(&mut peer, &masked(TEXT, b"last words")).await;
        say(&mut peer, &masked(CLOSE, &close_payload(1000, "bye"))).await;
        drop(peer);
        ws.send("nobody is there").await.unwrap();
        let refused = ws.send("still").await.unwrap_err();
        assert!(matches!(refused, Error::Send(_)), "{refused}");
        assert_eq!(
            ws.recv().await.unwrap().unwrap(),
            Message::text("last words")
        );
        assert!(ws.recv().await.is_none());
        assert_eq!(ws.closed().unwrap().reason.as_str(), "bye");
    });
}

#[test]
fn a_peer_that_went_without_a_word_is_an_error_told_once() {
    common::run(async {
        let (mut ws, peer) = server(1_000, quiet());
        drop(peer);
        let error = ws.recv().await.unwrap().unwrap_err();
        assert_eq!(error.closed().unwrap().code, CloseCode::ABNORMAL);
        assert!(ws.recv().await.is_none());
        assert!(ws.recv().await.is_none());
        ws.flush().await;
        assert!(ws.close(CloseCode::NORMAL, "").await.is_some());
    });
}

#[test]
fn dropped_open_it_says_1000_and_dropped_with_a_close_frame_unseen_it_answers() {
    common::run(async {
        let (ws, mut peer) = server(1_000, quiet());
        drop(ws);
        let mut rest = Vec::new();
        // The pair loses what is not flushed.
        peer.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, unmasked(CLOSE, &close_payload(1000, "")));

        let (mut ws, mut peer) = server(1_000, quiet());
        let mut both = masked(TEXT, b"quit");
        both.extend(masked(CLOSE, &close_payload(1001, "")));
        say(&mut peer, &both).await;
        assert_eq!(ws.recv().await.unwrap().unwrap(), Message::text("quit"));
        drop(ws);
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, unmasked(CLOSE, &close_payload(1001, "")));
    });
}

#[test]
fn answers_wait_for_the_messages_that_came_with_them_and_leave_in_one_write() {
    common::run(async {
        let (mut ws, mut peer) = server(10_000, quiet());
        let three = [masked(TEXT, b"a"), masked(TEXT, b"b"), masked(TEXT, b"c")];
        say(&mut peer, &three.concat()).await;
        for n in 0..3 {
            let message = ws.recv().await.unwrap().unwrap();
            ws.send(message).await.unwrap();
            let came = poll_once(peer.read(&mut [0; 100])).await;
            assert_eq!(came.is_some(), n == 2, "answer {n}");
        }
        let more = [masked(TEXT, b"a"), masked(TEXT, b"b")].concat();
        say(&mut peer, &more).await;
        ws.recv().await.unwrap().unwrap();
        ws.send("now").await.unwrap();
        ws.flush().await;
        assert_eq!(hear(&mut peer, 5).await, unmasked(TEXT, b"now"));
    });
}

#[test]
fn a_websocket_runs_inside_another() {
    /// A stream whose bytes are the messages of a WebSocket.
    #[derive(Debug)]
    struct Tunnel(WebSocket<End>, Vec<u8>);

    impl futures_io::AsyncRead for Tunnel {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            buf: &mut [u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            use futures_core::Stream as _;
            if self.1.is_empty() {
                match std::task::ready!(std::pin::Pin::new(&mut self.0).poll_next(cx)) {
                    Some(Ok(message)) => self.1 = message.into_bytes().to_vec(),
                    Some(Err(error)) => {
                        return std::task::Poll::Ready(Err(std::io::Error::other(error)));
                    }
                    None => return std::task::Poll::Ready(Ok(0)),
                }
            }
            let n = buf.len().min(self.1.len());
            buf[..n].copy_from_slice(&self.1[..n]);
            self.1.drain(..n);
            std::task::Poll::Ready(Ok(n))
        }
    }

    impl futures_io::AsyncWrite for Tunnel {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            buf: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            let _ = std::task::ready!(self.0.poll_ready_unpin(cx));
            let sent = self.0.start_send_unpin(Message::binary(buf.to_vec()));
            sent.map_err(std::io::Error::other)?;
            std::task::Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            self.0.poll_flush_unpin(cx).map_err(std::io::Error::other)
        }

        fn poll_close(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            self.0.poll_close_unpin(cx).map_err(std::io::Error::other)
        }
    }

    common::run(async {
        let (a, b) = pair(500, Whims::NONE);
        let [mut a, mut b] = [(a, Role::Client), (b, Role::Server)].map(|(end, role)| {
            let outer = WebSocket::upgraded(end, role, Negotiated::default(), &[], quiet());
            let tunnel = Tunnel(outer, Vec::new());
            WebSocket::upgraded(tunnel, role, Negotiated::default(), &[], quiet())
        });
        let client = async {
            a.send("through the tunnel").await.unwrap();
            assert_eq!(
                a.recv().await.unwrap().unwrap(),
                Message::text("through the tunnel")
            );
        };
        let server = async {
            let message = b.recv().await.unwrap().unwrap();
            b.send(message).await.unwrap();
        };
        zip(client, server).await;
    });
}

#[test]
fn a_large_message_over_any_stream_is_read_into_its_own_buffer() {
    common::run(async {
        let config = Config {
            max_message: 8 << 20,
            ..quiet()
        };
        let (a, b) = pair(100_000, Whims::NONE);
        let mut a =
            WebSocket::upgraded(a, Role::Client, Negotiated::default(), &[], config.clone());
        let mut b = WebSocket::upgraded(b, Role::Server, Negotiated::default(), &[], config);
        let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
        let sending = async {
            a.send(data.clone()).await.unwrap();
            a.flush().await;
        };
        let receiving = async {
            let message = b.recv().await.unwrap().unwrap();
            assert!(message == Message::binary(data.clone()));
        };
        zip(sending, receiving).await;
    });
}
