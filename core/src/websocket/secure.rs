//! TLS under the frames (feature `tls`): plain bytes wait in the sender's wire,
//! records in one of their own.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use crate::time::Tick;
use crate::tls::Layer;

use super::endpoint::{Endpoint, Phase};
use super::event::Cause;
use super::send::Sender;
use super::wire::Wire;
use super::{Config, Shared};

/// TLS under the frames: plain bytes wait in the sender's wire, records here.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) layer: Layer,
    pub(super) wire: Wire,
}

impl Tls {
    pub(super) fn new(layer: Layer) -> Box<Self> {
        Box::new(Self {
            layer,
            wire: Wire::default(),
        })
    }

    /// Makes records of what the sender has, a wire's worth at a time, so that
    /// a queue is not held twice.
    pub(super) fn seal(&mut self, sender: &mut Sender, shared: &mut Shared) {
        const TARGET: usize = 64 * 1024;
        self.collect();
        while self.wire.len() < TARGET && !self.layer.is_handshaking() {
            let Some(plain) = sender.wire.pop() else {
                break;
            };
            for piece in plain.chunks(TARGET) {
                self.layer.seal(piece);
                self.collect();
            }
            sender.refill(shared);
            sender.wire.seal();
        }
    }

    /// Takes what TLS wants on the wire.
    pub(super) fn collect(&mut self) {
        if self.layer.wants_write() {
            let mut records = Vec::new();
            self.layer.take_output(&mut records);
            self.wire.push(records.into());
        }
    }
}

impl Endpoint {
    /// Puts TLS below, if the configuration has it.
    pub(super) fn secured(mut self, config: &Config) -> Self {
        match config.server_tls.as_ref().map(Layer::server) {
            None => {}
            Some(Ok(layer)) => self.tls = Some(Tls::new(layer)),
            Some(Err(error)) => self.end(Cause::Tls(error)),
        }
        self
    }

    /// Cipher text came: what it holds goes the way of plain bytes.
    pub(super) fn handle_cipher(&mut self, shared: &mut Shared, now: Tick, mut data: &[u8]) {
        if matches!(self.phase, Phase::Ending) && self.flags.shut {
            // Our side of TLS is closed. What still comes is thrown away as it
            // is, until the stream ends: closing the socket on it would reset
            // the connection and take our close frame back.
            return self.discard(data.len());
        }
        let mut plain = shared.take_scratch();
        while !data.is_empty() {
            let Some(tls) = &mut self.tls else { break };
            plain.clear();
            let mut closed = false;
            let (used, failure) = match tls.layer.open(data, &mut plain) {
                Ok(opened) => {
                    closed = opened.closed;
                    (opened.consumed, None)
                }
                Err(error) => (data.len(), Some(error)),
            };
            // The scratch must be free for inflating what came.
            let mut frames = mem::take(&mut plain);
            self.handle_plain(shared, now, &mut frames);
            plain = frames;
            if let Some(error) = failure {
                self.end(Cause::Tls(error));
                break;
            }
            if closed {
                self.handle_eof(shared, now);
                break;
            }
            data = &data[used..];
        }
        shared.keep_scratch(plain);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cause, Config, Event, Output, WebSocket};
    use super::*;
    use crate::http::UpgradeRequest;
    use crate::tls::testing::{HOST, Pki};
    use crate::{CloseCode, Message, Seed, Tick};

    /// Follows a machine's outputs; its events and what they say to do.
    fn drain(ws: &mut WebSocket) -> Vec<Output> {
        core::iter::from_fn(|| ws.poll_output()).collect()
    }

    fn sent(ws: &mut WebSocket) -> Vec<u8> {
        let bytes: Vec<u8> = ws.unsent().flat_map(|bytes| bytes.to_vec()).collect();
        ws.transmitted(Tick::ZERO, bytes.len());
        bytes
    }

    #[test]
    fn a_peer_in_the_middle_of_a_message_too_long_still_learns_of_it() {
        let pki = Pki::new();
        let config = Config {
            max_message: 1_000,
            server_tls: Some(pki.server()),
            ..Config::default()
        };
        let mut server = WebSocket::server(config, Seed::new([1; 32]), Tick::ZERO);
        let request = UpgradeRequest::new(&alloc::format!("wss://{HOST}/")).unwrap();
        let config = Config {
            client_tls: Some(pki.client()),
            ..Config::default()
        };
        let mut client =
            WebSocket::client(request, config, Seed::new([2; 32]), Tick::ZERO).unwrap();
        while !client.is_open() {
            drain(&mut client);
            server.handle_bytes(Tick::ZERO, &mut sent(&mut client));
            drain(&mut server);
            client.handle_bytes(Tick::ZERO, &mut sent(&mut server));
        }
        drain(&mut client);
        let message = Message::binary(alloc::vec![7; 100_000]);
        client.send(Tick::ZERO, message).unwrap();
        drain(&mut client);
        let mut long = sent(&mut client);
        let (first, rest) = long.split_at_mut(40_000);
        server.handle_bytes(Tick::ZERO, first);
        drain(&mut server);
        let mut goodbye = sent(&mut server);
        drain(&mut server);
        goodbye.extend(sent(&mut server));
        assert!(matches!(drain(&mut server)[..], [Output::Shutdown]));
        server.handle_bytes(Tick::ZERO, rest);
        assert!(
            drain(&mut server).is_empty(),
            "it waits for the end of the stream"
        );
        client.handle_bytes(Tick::ZERO, &mut goodbye);
        let Some(Output::Event(Event::Closed(closed))) = drain(&mut client).into_iter().next()
        else {
            panic!("the client learns of the end");
        };
        assert!(closed.code == CloseCode::TOO_BIG && matches!(closed.cause, Cause::Peer));
        server.handle_eof(Tick::ZERO);
        assert!(matches!(drain(&mut server)[..], [Output::Close]));
    }

    /// The adapter has yet to report that the proxy got our question when the
    /// answer comes: its bytes and the records stay apart.
    #[test]
    fn behind_a_proxy_tls_begins_once_there_is_a_way() {
        use crate::proxy::{Proxies, Proxy};
        let pki = Pki::new();
        for cut in [1, 100, usize::MAX] {
            let config = Config {
                server_tls: Some(pki.server()),
                ..Config::default()
            };
            let mut server = WebSocket::server(config, Seed::new([1; 32]), Tick::ZERO);
            let request = UpgradeRequest::new(&alloc::format!("wss://{HOST}/")).unwrap();
            let config = Config {
                client_tls: Some(pki.client()),
                proxies: Some(Proxies::from(Proxy::parse("http://proxy").unwrap())),
                ..Config::default()
            };
            let mut client =
                WebSocket::client(request, config, Seed::new([2; 32]), Tick::ZERO).unwrap();
            drain(&mut client);
            let asked: Vec<u8> = client.unsent().flat_map(|it| it.to_vec()).collect();
            assert!(asked.starts_with(b"CONNECT localhost:443 HTTP/1.1\r\n"));
            assert!(asked.ends_with(b"\r\n\r\n"), "no record yet");
            for piece in b"HTTP/1.1 200 OK\r\n\r\n".to_vec().chunks_mut(cut) {
                client.handle_bytes(Tick::ZERO, piece);
            }
            drain(&mut client);
            client.transmitted(Tick::ZERO, asked.len());
            while !client.is_open() {
                drain(&mut client);
                let mut hello = sent(&mut client);
                assert!(!hello.is_empty());
                server.handle_bytes(Tick::ZERO, &mut hello);
                drain(&mut server);
                for piece in sent(&mut server).chunks_mut(cut) {
                    client.handle_bytes(Tick::ZERO, piece);
                }
            }
            client.send(Tick::ZERO, "secret").unwrap();
            drain(&mut client);
            server.handle_bytes(Tick::ZERO, &mut sent(&mut client));
            let heard = drain(&mut server).into_iter().any(|output| {
                matches!(output, Output::Event(Event::Message(it)) if it == Message::text("secret"))
            });
            assert!(heard);
        }
    }
}
