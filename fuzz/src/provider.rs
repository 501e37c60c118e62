//! What a provider's server can say to a client.

use std::time::Duration;

use smartsocket_core::client::{Event, LineId, Output, Priority, Provider, Secret};
use smartsocket_core::websocket::{self, WebSocket};
use smartsocket_core::{Client, CloseCode, Config, Json, Message, Seed, Tick};
use stats_alloc::Region;

use crate::HEAP;
use crate::input::{Input, bit};

/// How often a server says all of it, to see whether a client keeps more each
/// time.
const ROUNDS: usize = 6;

/// A target for each provider.
macro_rules! targets {
    ($($name:ident => $provider:expr,)*) => {
        $(
            #[doc = concat!("What a server can say to `", stringify!($provider), "`.")]
            pub mod $name {
                use super::Provider;

                /// `messages with lengths`.
                pub fn run(data: &[u8]) {
                    super::run($provider, data);
                }
            }
        )*
    };
}

targets! {
    custom => Provider::Custom,
    socket_io => Provider::SocketIo,
    pusher => Provider::Pusher,
    ably => Provider::Ably,
    phoenix => Provider::Phoenix,
    action_cable => Provider::ActionCable,
    signalr => Provider::SignalR,
    graphql_transport_ws => Provider::GraphqlTransportWs,
    graphql_ws => Provider::GraphqlWs,
    aws_api_gateway => Provider::AwsApiGateway,
    binance => Provider::Binance,
    echo => Provider::Echo,
    smartsocket => Provider::SmartSocket(Box::default()),
}

/// `messages with lengths`: one byte for each message tells its kind and what
/// happens before it, two its length.
fn run(provider: Provider, data: &[u8]) {
    let mut input = Input(data);
    let mut steps = Vec::new();
    while !input.0.is_empty() && steps.len() < 64 {
        let flags = input.byte();
        let length = usize::from(input.byte()) + 256 * usize::from(input.byte());
        steps.push((flags, input.take(length)));
    }

    let region = Region::new(HEAP);
    let mut world = World::new(provider);
    let mut held = [0; ROUNDS];
    for held in &mut held {
        for (flags, bytes) in &steps {
            world.step(*flags, bytes);
        }
        // What was asked has an end by now.
        world.pass(Duration::from_secs(600));
        let change = region.change();
        let freed = change.bytes_deallocated;
        *held = change.bytes_allocated.saturating_sub(freed);
    }
    let said = data.len();
    let (early, late) = (held[ROUNDS / 2 - 1], held[ROUNDS - 1]);
    assert!(late <= early + said + 4 * 1_024, "{held:?} held for {said}");
    world.finish();
}

/// A client that is connected when it wants to be, and its server.
struct World {
    client: Client,
    now: Tick,
    server: Option<(LineId, WebSocket)>,
    asked: u64,
    answered: u64,
}

impl World {
    fn new(provider: Provider) -> Self {
        let now = Tick::ZERO;
        let mut config = provider.config("ws://example.com/a/b");
        config.token = Some(Secret::from("SECRET"));
        // Full after the first rounds: what waits is no leak.
        config.queue.max_messages = 2;
        let seed = Seed::new([1; 32]);
        let client = Client::new(provider, config, seed, now, 1_700_000_000_000);
        let mut world = Self {
            client: client.expect("a configuration"),
            now,
            server: None,
            asked: 0,
            answered: 0,
        };
        for channel in ["c", "private-c", "/c", "*", r#"{"channel":"c"}"#] {
            world.client.subscribe(now, channel);
        }
        world.client.connect(now);
        world.run();
        world
    }

    fn step(&mut self, flags: u8, bytes: &[u8]) {
        let now = self.now;
        let channel = bit(flags, 1).then(|| "private-c".into());
        if bit(flags, 2) {
            self.client.request(now, channel, "e", None, None);
            self.asked += 1;
        } else if bit(flags, 3) {
            let data = Some(Json::EMPTY);
            self.client
                .publish(now, channel, "client-e", data, Priority::Normal);
        }
        if bit(flags, 4) {
            let channel = self.client.subscribe(now, "/d");
            self.run();
            self.client.unsubscribe(now, channel);
        }
        self.run();
        // One that was told to stay away begins anew.
        self.client.connect(now);
        self.run();
        let message = match String::from_utf8(bytes.to_vec()) {
            Ok(text) if !bit(flags, 0) => Message::text(text),
            Ok(_) | Err(_) => Message::binary(bytes.to_vec()),
        };
        if let Some((_, server)) = &mut self.server {
            // One that is closing says no more.
            let _ = server.send(now, message);
        }
        self.run();
        if bit(flags, 5) {
            self.pass(Duration::from_secs(40));
        }
        if bit(flags, 6)
            && let Some((_, server)) = &mut self.server
        {
            let code = u16::from_be_bytes([bytes.len() as u8, flags]);
            server.close(self.now, CloseCode::from(code), "");
            self.run();
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.client.next_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.client.handle_timeout(self.now);
            self.run();
        }
        self.now = until;
        self.client.handle_timeout(self.now);
        self.run();
    }

    fn run(&mut self) {
        loop {
            let mut idle = true;
            while let Some(output) = self.client.poll_output() {
                idle = false;
                self.did(output);
            }
            if let Some((line, server)) = &mut self.server {
                while let Some(output) = server.poll_output() {
                    idle = false;
                    match output {
                        websocket::Output::Transmit => {
                            let mut bytes = joined(server.unsent());
                            server.transmitted(self.now, bytes.len());
                            self.client.handle_bytes(self.now, *line, &mut bytes);
                        }
                        websocket::Output::Shutdown => self.client.handle_eof(self.now, *line),
                        websocket::Output::Event(_)
                        | websocket::Output::PauseRead
                        | websocket::Output::ResumeRead
                        | websocket::Output::Close => {}
                    }
                }
            }
            if idle {
                return;
            }
        }
    }

    fn did(&mut self, output: Output) {
        let now = self.now;
        match output {
            Output::Dial(dial) => {
                let subprotocols = ["actioncable-v1-json", "graphql-transport-ws", "graphql-ws"];
                let config = Config {
                    subprotocols: subprotocols.map(str::to_owned).into(),
                    ..Config::default()
                };
                let server = WebSocket::server(config, Seed::new([2; 32]), now);
                self.server = Some((dial.line, server));
                self.client.handle_dialed(now, dial.line);
            }
            Output::Authorize { channel, socket } => {
                let proof = Json::parse(r#"{"auth":"a"}"#).expect("JSON");
                let proof = Some(&proof);
                self.client.handle_authorized(now, &channel, &socket, proof);
            }
            Output::Transmit(line) => {
                let mut bytes = joined(self.client.unsent(line));
                self.client.transmitted(now, line, bytes.len());
                if let Some((of, server)) = &mut self.server
                    && *of == line
                {
                    server.handle_bytes(now, &mut bytes);
                }
            }
            Output::Shutdown(line) | Output::Close(line) => {
                if let Some((of, server)) = &mut self.server
                    && *of == line
                {
                    server.handle_eof(now);
                }
            }
            Output::Event(event) => self.told(&event),
            Output::Token | Output::PauseRead(_) | Output::ResumeRead(_) => {}
        }
    }

    fn told(&mut self, event: &Event) {
        match event {
            Event::Answered(..) => {
                self.answered += 1;
                assert!(self.answered <= self.asked, "an answer without a request");
            }
            Event::Ended(ending, _) => {
                let words = format!("{ending} {ending:?}");
                assert!(!words.contains("SECRET"), "{words}");
            }
            Event::State(_)
            | Event::Reconnecting { .. }
            | Event::Message(_)
            | Event::Subscribed(_)
            | Event::SubscriptionRefused(..)
            | Event::Unreadable(_)
            | Event::Dropped(..) => {}
        }
    }

    /// In the end each request has had its one answer.
    fn finish(mut self) {
        self.client.disconnect(self.now, CloseCode::NORMAL, "");
        self.run();
        self.pass(Duration::from_secs(600));
        assert_eq!(self.answered, self.asked);
    }
}

fn joined<'a, T: AsRef<[u8]> + 'a>(parts: impl Iterator<Item = &'a T>) -> Vec<u8> {
    parts.flat_map(|part| part.as_ref().to_vec()).collect()
}
