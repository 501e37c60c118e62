//! A client, and a server's WebSocket machine that does as a test says.
//!
//! [`World::play`] takes a transcript, one step a line:
//!
//! ```text
//! S text            the server says this
//! C text            the client said this
//! E event           the application learned this, see `line`
//! T 1500            so many milliseconds pass
//! X 4001 words      the server closes
//! ```
//!
//! `<name>` stands for any text in `C` and `E` the first time, and for the same
//! text from then on. `binary [1, 2]` is a binary message, `␞` the byte 0x1e.
#![allow(clippy::wildcard_enum_match_arm)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use smartsocket_core::client::{
    Backoff, ClientConfig, Dial, Event, Jitter, LineId, Loss, Output, Payload, Provider,
    RequestError, RequestId, State, Verdict,
};
use smartsocket_core::websocket::{self, Decision};
use smartsocket_core::{Client, CloseCode, Config, Fault, Json, Message, Seed, Tick, WebSocket};

pub const UNIX_MS: u64 = 1_700_000_000_000;

/// A client, the host it dials, and a clock.
pub struct World {
    pub client: Client,
    pub now: Tick,
    /// What was asked for and not answered.
    pub dial: Option<Dial>,
    pub token: bool,
    pub server: Option<(LineId, WebSocket)>,
    pub events: Vec<Event>,
    /// What the server received.
    pub received: Vec<String>,
    pub requests: Vec<String>,
    /// The subprotocols of the requests.
    pub offered: Vec<String>,
    /// What it says to `POST`s, one after the other: a body, or a status.
    pub posts: VecDeque<Result<String, u16>>,
    /// How the server answers an upgrade.
    pub refuse: Option<u16>,
    /// What such an answer has as `Retry-After`.
    pub retry_after: Option<&'static str>,
    /// The longest frame it takes.
    pub max_frame: usize,
    /// The subprotocol it speaks.
    pub subprotocol: Option<&'static str>,
    /// How clients closed.
    pub closes: Vec<(u16, String)>,
    /// Channels, and the names of the connections, that wait for a proof.
    pub authorize: Vec<(String, String)>,
    names: BTreeMap<String, String>,
}

pub fn config() -> ClientConfig {
    let mut config = ClientConfig::new("ws://example.com/live");
    config.ping = None;
    config.reconnect = Some(Backoff {
        jitter: Jitter::NONE,
        ..Backoff::default()
    });
    config
}

pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl World {
    pub fn new(config: ClientConfig) -> Self {
        Self::of(Provider::Custom, config)
    }

    pub fn of(provider: Provider, config: ClientConfig) -> Self {
        let now = Tick::ZERO;
        let seed = Seed::new([3; 32]);
        let client = Client::new(provider, config, seed, now, UNIX_MS);
        Self {
            client: client.expect("a configuration"),
            now,
            dial: None,
            token: false,
            server: None,
            events: Vec::new(),
            received: Vec::new(),
            requests: Vec::new(),
            offered: Vec::new(),
            posts: VecDeque::new(),
            refuse: None,
            retry_after: None,
            max_frame: 1 << 30,
            subprotocol: None,
            closes: Vec::new(),
            authorize: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    /// Connected, with what happened so far forgotten.
    pub fn open(config: ClientConfig) -> Self {
        let mut world = Self::new(config);
        world.client.connect(world.now);
        world.answer_dial();
        assert_eq!(world.client.state(), State::Authenticated);
        world.events.clear();
        world.received.clear();
        world
    }

    /// Connected to a provider's server, which has said nothing yet.
    pub fn opened(provider: Provider, config: ClientConfig) -> Self {
        let mut world = Self::of(provider, config);
        world.client.connect(world.now);
        world.answer_dial();
        world
    }

    /// The host takes the dialed stream, and bytes go until none are left.
    pub fn answer_dial(&mut self) {
        self.run();
        let dial = self.dial.take().expect("a dial");
        let config = Config {
            decide: true,
            // What a client sends is looked at, however long.
            max_message: 1 << 30,
            max_frame: self.max_frame,
            subprotocols: self.subprotocol.map(str::to_owned).into_iter().collect(),
            ..Config::default()
        };
        let server = WebSocket::server(config, Seed::new([9; 32]), self.now);
        self.server = Some((dial.line, server));
        self.client.handle_dialed(self.now, dial.line);
        self.run();
    }

    pub fn run(&mut self) {
        loop {
            let mut idle = true;
            while let Some(output) = self.client.poll_output() {
                idle = false;
                match output {
                    Output::Dial(dial) => {
                        assert!(self.dial.is_none(), "two dials at once");
                        self.dial = Some(dial);
                    }
                    Output::Token => self.token = true,
                    Output::Event(event) => self.events.push(event),
                    Output::Transmit(line) => {
                        // Told once until nothing waits: a long message comes in parts.
                        while self.client.unsent(line).next().is_some() {
                            let unsent = self.client.unsent(line);
                            let mut bytes: Vec<u8> =
                                unsent.flat_map(|bytes| bytes.to_vec()).collect();
                            self.client.transmitted(self.now, line, bytes.len());
                            if let Some((of, server)) = &mut self.server
                                && *of == line
                            {
                                server.handle_bytes(self.now, &mut bytes);
                            }
                        }
                    }
                    Output::Shutdown(line) => {
                        if let Some((of, server)) = &mut self.server
                            && *of == line
                        {
                            server.handle_eof(self.now);
                        }
                    }
                    Output::Close(line) => {
                        if self.dial.as_ref().is_some_and(|dial| dial.line == line) {
                            self.dial = None;
                        }
                        if let Some((of, server)) = &mut self.server
                            && *of == line
                        {
                            server.handle_fault(self.now, Fault::Reset);
                        }
                    }
                    Output::Authorize { channel, socket } => {
                        self.authorize.push((channel.into(), socket.into()));
                    }
                    Output::PauseRead(_) | Output::ResumeRead(_) => {}
                }
            }
            if let Some((line, server)) = &mut self.server {
                while let Some(output) = server.poll_output() {
                    idle = false;
                    match output {
                        websocket::Output::Transmit => {
                            let unsent = server.unsent();
                            let mut bytes: Vec<u8> =
                                unsent.flat_map(|bytes| bytes.to_vec()).collect();
                            server.transmitted(self.now, bytes.len());
                            self.client.handle_bytes(self.now, *line, &mut bytes);
                        }
                        websocket::Output::Event(websocket::Event::Message(message)) => {
                            self.received.push(said(&message));
                        }
                        websocket::Output::Event(websocket::Event::Request(ticket)) => {
                            let request = ticket.request();
                            let target = request.target().to_owned();
                            let post = request.method() == "POST";
                            self.requests.push(if post {
                                format!("POST {target}")
                            } else {
                                target
                            });
                            let offered = request.header("sec-websocket-protocol");
                            self.offered.push(offered.unwrap_or_default().to_owned());
                            let decision: Decision = match self.refuse {
                                _ if post => {
                                    let answer = self.posts.pop_front().expect("an answer");
                                    let status = answer.as_ref().err().copied().unwrap_or(200);
                                    let response = smartsocket_core::http::Response::new(status);
                                    ticket.respond(response.body(answer.unwrap_or_default()))
                                }
                                None => ticket.accept(websocket::Accept::default()),
                                Some(status) => {
                                    let response = smartsocket_core::http::Response::new(status);
                                    let response = match &self.retry_after {
                                        Some(text) => response.header("Retry-After", text),
                                        None => Ok(response),
                                    };
                                    ticket.respond(response.expect("a header"))
                                }
                            };
                            server.decide(self.now, decision);
                        }
                        websocket::Output::Shutdown => {
                            self.client.handle_eof(self.now, *line);
                        }
                        websocket::Output::Event(websocket::Event::Closed(closed)) => {
                            let code = u16::from(closed.code);
                            self.closes.push((code, closed.reason.to_string()));
                        }
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

    pub fn say(&mut self, text: &str) {
        self.say_message(Message::text(text));
    }

    pub fn say_message(&mut self, message: Message) {
        let now = self.now;
        let (_, server) = self.server.as_mut().expect("a server");
        server.send(now, message).expect("open");
        self.run();
    }

    pub fn close(&mut self, code: u16) {
        self.close_with(code, "");
    }

    pub fn close_with(&mut self, code: u16, reason: &str) {
        let now = self.now;
        let (_, server) = self.server.as_mut().expect("a server");
        server.close(now, CloseCode::from(code), reason);
        self.run();
    }

    /// Does and expects what a transcript says, and nothing besides.
    #[track_caller]
    pub fn play(&mut self, transcript: &str) {
        self.run();
        let mut events: VecDeque<String> = VecDeque::new();
        for step in transcript.lines().map(str::trim) {
            events.extend(self.events.drain(..).map(|event| line(&event)));
            let (kind, rest) = step.split_once(' ').unwrap_or((step, ""));
            match kind {
                "" => {}
                "S" => self.say_message(message(&self.named(rest))),
                "T" => self.pass(Duration::from_millis(rest.parse().expect("milliseconds"))),
                "X" => {
                    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
                    self.close_with(code.parse().expect("a code"), reason);
                }
                "C" => {
                    assert!(!self.received.is_empty(), "the client did not say {rest}");
                    let found = self.received.remove(0);
                    self.expect(rest, &found);
                }
                "E" => {
                    let found = events.pop_front();
                    let found = found.unwrap_or_else(|| panic!("nobody was told {rest}"));
                    self.expect(rest, &found);
                }
                _ => panic!("no step of a transcript: {step}"),
            }
        }
        events.extend(self.events.drain(..).map(|event| line(&event)));
        assert_eq!(self.received, [""; 0], "the client said more");
        assert!(
            events.is_empty(),
            "the application was told more: {events:?}"
        );
    }

    /// With the names replaced by what they stand for.
    fn named(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.names {
            text = text.replace(name, value);
        }
        text
    }

    #[track_caller]
    fn expect(&mut self, pattern: &str, found: &str) {
        let pattern = self.named(pattern);
        let mut parts = pattern.split('<');
        let mut matches = found.strip_prefix(parts.next().unwrap_or_default());
        for part in parts {
            let Some(text) = matches else { break };
            let (name, literal) = part.split_once('>').expect("a name ends with >");
            let end = match literal {
                "" => Some(text.len()),
                _ => text.find(literal),
            };
            matches = end.map(|end| {
                self.names.insert(format!("<{name}>"), text[..end].into());
                &text[end + literal.len()..]
            });
        }
        if matches != Some("") {
            assert_eq!(found, pattern);
        }
    }

    pub fn drop_line(&mut self) {
        let (line, _) = self.server.take().expect("a server");
        self.client.handle_fault(self.now, line, Fault::Reset);
        self.run();
    }

    pub fn fail_dial(&mut self) {
        let dial = self.dial.take().expect("a dial");
        let now = self.now;
        self.client
            .handle_dial_failed(now, dial.line, Fault::Refused);
        self.run();
    }

    pub fn pass(&mut self, time: Duration) {
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

    pub fn states(&mut self) -> Vec<State> {
        let states = self.events.iter().filter_map(|event| match event {
            Event::State(state) => Some(*state),
            _ => None,
        });
        let states = states.collect();
        self.events.clear();
        states
    }

    pub fn verdict(&self) -> Option<Verdict> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Ended(_, verdict) => Some(*verdict),
            _ => None,
        })
    }

    pub fn answers(&mut self) -> Vec<(RequestId, Result<Json, RequestError>)> {
        let mut answers = Vec::new();
        self.events.retain(|event| match event {
            Event::Answered(id, answer) => {
                answers.push((*id, answer.clone()));
                false
            }
            _ => true,
        });
        answers
    }
}

/// A message as a transcript has it.
fn said(message: &Message) -> String {
    match message {
        Message::Text(text) => text.replace('\u{1e}', "␞"),
        Message::Binary(bytes) => format!("binary {:?}", bytes.to_vec()),
    }
}

fn message(step: &str) -> Message {
    match step.strip_prefix("binary ") {
        None => Message::text(step.replace('␞', "\u{1e}")),
        Some(bytes) => {
            let bytes: Vec<u8> = serde_json::from_str(bytes).expect("bytes");
            Message::binary(bytes)
        }
    }
}

/// An event as a transcript has it.
fn line(event: &Event) -> String {
    match event {
        Event::State(state) => format!("state {state}"),
        Event::Reconnecting { attempt, wait } => format!("attempt {attempt} in {wait:?}"),
        Event::Message(incoming) => {
            let mut line = String::from("message");
            for (name, text) in [("channel", &incoming.channel), ("event", &incoming.event)] {
                if let Some(text) = text {
                    line.push_str(&format!(" {name}={text}"));
                }
            }
            if incoming.ack.is_some() {
                line.push_str(" ack");
            }
            let data = match &incoming.data {
                Payload::Json(json) => json.to_string(),
                Payload::Message(message) => said(message),
            };
            format!("{line} {data}")
        }
        Event::Subscribed(channel) => format!("subscribed {channel}"),
        Event::SubscriptionRefused(channel, words) => format!("refused {channel}: {words}"),
        Event::Answered(_, Ok(json)) => format!("answer {json}"),
        Event::Answered(_, Err(error)) => format!("no answer: {error}"),
        Event::Ended(ending, verdict) => format!("ended {verdict:?}: {ending}"),
        Event::Unreadable(words) => format!("unreadable: {words}"),
        Event::Dropped(messages, Loss::Refused(words)) => format!("dropped {messages}: {words}"),
        Event::Dropped(messages, why) => format!("dropped {messages} {why:?}"),
    }
}
