//! The other libraries, each at the level where a message is an event.

use bytes::BytesMut;
use fastwebsockets::{FragmentCollector, WebSocket as FastWebSocket};
use futures_util::{FutureExt as _, StreamExt as _};
use sockudo_ws::protocol::Protocol;
use sockudo_ws::{Message as SockudoMessage, WebSocketStream as SockudoStream};
use tokio_websockets::{Limits, ServerBuilder, WebSocketStream};
use tungstenite::WebSocket;
use yawc::WebSocket as YawcWebSocket;

use crate::stream::Wire;
use crate::{Codec, Failure, Make, Sink};

const MAX_MESSAGE: usize = 64 << 20;

pub(crate) const CODECS: &[(&str, Make)] = &[
    ("tungstenite WebSocket", |wire| {
        let role = tungstenite::protocol::Role::Server;
        Ok(Box::new(WebSocket::from_raw_socket(wire, role, None)))
    }),
    ("fastwebsockets", |wire| {
        let role = fastwebsockets::Role::Server;
        let ws = FastWebSocket::after_handshake(wire, role);
        Ok(Box::new(FragmentCollector::new(ws)))
    }),
    ("tokio-websockets", |wire| {
        let limits = Limits::default().max_payload_len(Some(MAX_MESSAGE));
        let ws = ServerBuilder::new().limits(limits).serve(wire);
        Ok(Box::new(ws))
    }),
    ("soketto", |wire| {
        let builder = soketto::connection::Builder::new(wire, soketto::Mode::Server);
        let (_sender, receiver) = builder.finish();
        let message = Vec::new();
        Ok(Box::new(Soketto {
            _sender,
            receiver,
            message,
        }))
    }),
    ("sockudo-ws Protocol", |wire| {
        Ok(Box::new(Sockudo {
            wire,
            protocol: Protocol::new(sockudo_ws::Role::Server, MAX_MESSAGE, MAX_MESSAGE),
            buffer: BytesMut::with_capacity(sockudo_ws::RECV_BUFFER_SIZE),
            messages: Vec::new(),
        }))
    }),
    ("sockudo-ws WebSocketStream", |wire| {
        let config = sockudo_ws::Config::builder()
            .max_message_size(MAX_MESSAGE)
            .max_frame_size(MAX_MESSAGE)
            .build();
        Ok(Box::new(SockudoStream::server(wire, config)))
    }),
    ("yawc", |wire| {
        let options = yawc::Options::default()
            .with_limits(MAX_MESSAGE, 2 * MAX_MESSAGE)
            .with_utf8();
        let ws = YawcWebSocket::from_stream(wire, yawc::Role::Server, options)?;
        Ok(Box::new(ws))
    }),
];

/// The stream always has something, so nothing ever waits.
fn at_once(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    future.now_or_never().ok_or("it waits")?
}

impl Codec for WebSocket<Wire> {
    fn run(&mut self, messages: u64, sink: &mut Sink) -> Result<(), Failure> {
        for _ in 0..messages {
            sink.message(&self.read()?.into_data());
        }
        Ok(())
    }
}

impl Codec for FragmentCollector<Wire> {
    fn run(&mut self, messages: u64, sink: &mut Sink) -> Result<(), Failure> {
        at_once(async {
            for _ in 0..messages {
                sink.message(&self.read_frame().await?.payload);
            }
            Ok(())
        })
    }
}

impl Codec for WebSocketStream<Wire> {
    fn run(&mut self, messages: u64, sink: &mut Sink) -> Result<(), Failure> {
        at_once(async {
            for _ in 0..messages {
                let message = self.next().await.ok_or("the end")??;
                sink.message(message.as_payload());
            }
            Ok(())
        })
    }
}

struct Soketto {
    _sender: soketto::Sender<Wire>,
    receiver: soketto::Receiver<Wire>,
    message: Vec<u8>,
}

impl Codec for Soketto {
    fn run(&mut self, messages: u64, sink: &mut Sink) -> Result<(), Failure> {
        at_once(async {
            for _ in 0..messages {
                self.message.clear();
                self.receiver.receive_data(&mut self.message).await?;
                sink.message(&self.message);
            }
            Ok(())
        })
    }
}

/// Without a stream: what is read is given to it in pieces.
struct Sockudo {
    wire: Wire,
    protocol: Protocol,
    buffer: BytesMut,
    messages: Vec<SockudoMessage>,
}

impl Codec for Sockudo {
    fn run(&mut self, messages: u64, sink: &mut Sink) -> Result<(), Failure> {
        let end = sink.messages + messages;
        loop {
            let left = usize::try_from(end - sink.messages)?;
            for message in self.messages.drain(..left.min(self.messages.len())) {
                sink.message(message.as_bytes());
            }
            if sink.messages == end {
                return Ok(());
            }
            self.buffer.reserve(sockudo_ws::RECV_BUFFER_SIZE);
            let room = self.buffer.capacity() - self.buffer.len();
            self.wire
                .give(room, |piece| self.buffer.extend_from_slice(piece));
            self.protocol
                .process_into(&mut self.buffer, &mut self.messages)?;
        }
    }
}

impl Codec for SockudoStream<Wire> {
    fn run(&mut self, messages: u64, sink: &mut Sink) -> Result<(), Failure> {
        at_once(async {
            for _ in 0..messages {
                let message = self.next().await.ok_or("the end")??;
                sink.message(message.as_bytes());
            }
            Ok(())
        })
    }
}

impl Codec for YawcWebSocket<Wire> {
    fn run(&mut self, messages: u64, sink: &mut Sink) -> Result<(), Failure> {
        at_once(async {
            for _ in 0..messages {
                sink.message(self.next_frame().await?.payload());
            }
            Ok(())
        })
    }
}
