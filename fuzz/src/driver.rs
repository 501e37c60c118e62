//! A machine and an embedder that checks what every embedder relies on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use smartsocket_core::http::UpgradeRequest;
use smartsocket_core::internals::FrameHeader;
use smartsocket_core::websocket::{Accept, Event, Fill, Negotiated, Output, Role, Ticket};
use smartsocket_core::{Bytes, Config, Message, Refused, Seed, Tick, WebSocket};

/// What a machine told, parts joined.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Request(String),
    Open(Negotiated),
    Message(Message),
    Ping(Bytes),
    Pong(Bytes),
    Drained,
    Closed(String),
    Pause,
    Resume,
    Shutdown,
    Drop,
}

/// A message under way: whether it is text, and its bytes so far.
type Joined = (bool, Vec<u8>);

/// How a connection begins.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) role: Role,
    /// The handshake was done by somebody else, with this outcome.
    pub(crate) upgraded: Option<Negotiated>,
    pub(crate) config: Arc<Config>,
    /// Every message is sent back.
    pub(crate) echo: bool,
}

#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) ws: WebSocket,
    role: Role,
    pub(crate) now: Tick,
    echo: bool,
    max_message: usize,
    max_queued: usize,
    /// Requests are accepted as soon as they are seen.
    pub(crate) decides: bool,
    /// The socket takes no bytes.
    pub(crate) blocked: bool,
    pub(crate) seen: Vec<Seen>,
    /// All bytes the socket took.
    pub(crate) sent: Vec<u8>,
    pub(crate) tickets: VecDeque<Ticket>,
    part: Option<Joined>,
    /// What the machine took to send.
    pub(crate) accepted: Vec<Message>,
    unfinished: Option<Joined>,
    pub(crate) agreed: Option<Negotiated>,
    ended: bool,
    pub(crate) dropped: bool,
    pub(crate) outputs: usize,
}

/// The request of every client here.
pub(crate) fn upgrade_request() -> UpgradeRequest {
    UpgradeRequest::new("ws://server.example.com/chat")
        .expect("the URL is valid")
        .subprotocol("chat")
        .and_then(|request| request.subprotocol("superchat"))
        .expect("the subprotocols are tokens")
}

impl Start {
    pub(crate) fn machine(&self) -> WebSocket {
        let (config, seed, now) = (self.config.clone(), Seed::new([7; 32]), Tick::ZERO);
        match (&self.upgraded, self.role) {
            (Some(agreed), role) => WebSocket::upgraded(role, agreed.clone(), config, seed, now),
            (None, Role::Server) => WebSocket::server(config, seed, now),
            (None, Role::Client) => WebSocket::client(upgrade_request(), config, seed, now)
                .expect("the URL is not secure"),
        }
    }
}

impl Driver {
    pub(crate) fn new(start: &Start) -> Self {
        let mut driver = Self {
            ws: start.machine(),
            role: start.role,
            now: Tick::ZERO,
            echo: start.echo,
            max_message: start.config.max_message,
            max_queued: start.config.max_queued_bytes,
            decides: true,
            blocked: false,
            seen: Vec::new(),
            sent: Vec::new(),
            tickets: VecDeque::new(),
            part: None,
            accepted: Vec::new(),
            unfinished: None,
            agreed: start.upgraded.clone(),
            ended: false,
            dropped: false,
            outputs: 0,
        };
        // A client's request goes before anything comes.
        driver.drain();
        driver
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.ws.handle_bytes(self.now, &mut bytes);
    }

    /// Reads into a lent buffer what fits, if one is lent; how much that was.
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut fill: Fill = self.ws.take_fill()?;
        let room = fill.room;
        assert!(fill.buf.capacity() - fill.buf.len() >= room, "no room");
        assert!(room > 0, "nothing to read");
        let piece = &bytes[..bytes.len().min(room)];
        fill.buf.extend_from_slice(piece);
        self.ws.handle_fill(self.now, fill);
        Some(piece.len())
    }

    /// Hands in bytes, into lent buffers where there are any and `fills` says so.
    pub(crate) fn read(&mut self, mut bytes: &[u8], fills: bool) {
        while fills && !bytes.is_empty() {
            match self.fill(bytes) {
                Some(read) => bytes = &bytes[read..],
                None => break,
            }
        }
        self.feed(bytes);
    }

    /// Takes all outputs; the socket takes all bytes unless it is blocked.
    pub(crate) fn drain(&mut self) {
        loop {
            while let Some(output) = self.poll() {
                self.output(output);
            }
            if self.blocked || self.dropped {
                return;
            }
            if !self.write(usize::MAX) {
                assert_eq!(self.ws.buffered(), 0, "hidden: {:?}", self.ws);
                return;
            }
        }
    }

    /// The next output, which the getters have announced.
    fn poll(&mut self) -> Option<Output> {
        let (event, due) = (self.ws.has_event(), self.ws.next_timeout());
        let output = self.ws.poll_output();
        let is_event = matches!(output, Some(Output::Event(_)));
        assert_eq!(event, is_event, "{output:?}: {:?}", self.ws);
        let waits = output.is_none() || due.is_some_and(|due| due <= self.now);
        assert!(waits, "{output:?} is due at {due:?}: {:?}", self.ws);
        output
    }

    /// The socket takes up to `n` bytes; whether there were any.
    pub(crate) fn write(&mut self, n: usize) -> bool {
        let mut taken = 0;
        for bytes in self.ws.unsent() {
            let more = bytes.len().min(n - taken);
            self.sent.extend_from_slice(&bytes[..more]);
            taken += more;
        }
        if taken == 0 {
            return false;
        }
        self.ws.transmitted(self.now, taken);
        true
    }

    /// Everything that is due up to `until` happens.
    pub(crate) fn pass(&mut self, until: Tick) {
        self.drain();
        let mut last = Tick::ZERO;
        let mut steps = 0;
        while let Some(due) = self.ws.next_timeout().filter(|due| *due <= until) {
            steps = if due > last { 0 } else { steps + 1 };
            assert!(
                steps < 8,
                "due for ever at {due:?}, {:?}: {:?}",
                self.now,
                self.ws
            );
            last = last.max(due);
            self.now = self.now.max(due);
            self.ws.handle_timeout(self.now);
            self.drain();
        }
        self.now = self.now.max(until);
        self.ws.handle_timeout(self.now);
        assert!(
            self.ws.poll_output().is_none(),
            "a call that is not due has an effect"
        );
    }

    /// The peer leaves, and there is time: the connection must come to its end.
    pub(crate) fn finish(&mut self) {
        self.drain();
        self.blocked = false;
        self.ws.handle_eof(self.now);
        self.drain();
        self.pass(self.now + Duration::from_secs(60));
        assert!(self.dropped, "not over: {:?}", self.ws);
        let stats = self.ws.stats();
        assert_eq!(stats.sent_bytes, self.sent.len() as u64);
        let messages = |seen: &&Seen| matches!(seen, Seen::Message(_));
        let messages = self.seen.iter().filter(messages).count();
        assert_eq!(stats.received_messages, messages as u64);
        assert_eq!(stats.sent_messages, self.accepted.len() as u64);
    }

    /// Calls that are not due, and looks, between any two inputs.
    pub(crate) fn fidget(&mut self) {
        if self.ws.next_timeout().is_none_or(|due| due > self.now) {
            self.ws.handle_timeout(self.now);
        }
        self.ws.transmitted(self.now, 0);
        self.ws.handle_bytes(self.now, &mut []);
    }

    /// What was told, in the order it was told, since the last call.
    pub(crate) fn told(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    fn output(&mut self, output: Output) {
        self.outputs += 1;
        assert!(!self.dropped, "{output:?} after the last output");
        let seen = match output {
            Output::Transmit => {
                assert!(self.ws.unsent().next().is_some(), "nothing to transmit");
                return;
            }
            Output::PauseRead => Seen::Pause,
            Output::ResumeRead => Seen::Resume,
            Output::Shutdown => Seen::Shutdown,
            Output::Close => {
                assert!(self.ended, "dropped without a word");
                self.dropped = true;
                Seen::Drop
            }
            Output::Event(event) => match self.event(event) {
                Some(seen) => seen,
                None => return,
            },
        };
        self.seen.push(seen);
    }

    fn event(&mut self, event: Event) -> Option<Seen> {
        assert!(!self.ended, "{event:?} after the outcome");
        Some(match event {
            Event::Request(ticket) => {
                let target = ticket.request().target().to_owned();
                if self.decides {
                    let decision = ticket.accept(Accept::default());
                    self.ws.decide(self.now, decision);
                } else {
                    self.tickets.push_back(ticket);
                }
                Seen::Request(target)
            }
            Event::Open(opened) => {
                assert!(self.agreed.is_none(), "opened twice");
                self.agreed = Some(opened.agreed.clone());
                Seen::Open(opened.agreed)
            }
            Event::Message(message) => self.message(message),
            Event::Part(part) => {
                assert!(part.last || !part.data.is_empty(), "a part of nothing");
                let message = join(&mut self.part, &part.data, part.last)?;
                self.message(message)
            }
            Event::Ping(payload) => Seen::Ping(payload),
            Event::Pong(payload) => Seen::Pong(payload),
            Event::Drained => Seen::Drained,
            Event::Closed(closed) => {
                self.ended = true;
                Seen::Closed(format!("{} {closed}", u16::from(closed.code)))
            }
        })
    }

    fn message(&mut self, message: Message) -> Seen {
        assert!(self.agreed.is_some(), "a message before the handshake");
        assert!(message.len() <= self.max_message, "{}", message.len());
        if self.echo {
            self.send(message.clone(), true);
        }
        Seen::Message(message)
    }

    /// Sends a message or a part of one; it may be refused.
    pub(crate) fn send(&mut self, part: Message, last: bool) {
        // An empty queue always takes one.
        let buffered = self.ws.buffered();
        let fits = buffered == 0 || buffered + part.len() <= self.max_queued;
        match self.ws.send_part(self.now, part.clone(), last) {
            Ok(()) => {
                assert!(fits, "{} more than {buffered}", part.len());
                let whole = join(&mut self.unfinished, &part, last);
                self.accepted.extend(whole);
            }
            Err(error) => {
                assert!(!fits || error.refused != Refused::Full, "{buffered}");
                assert_eq!(error.message, part, "handed back unharmed");
            }
        }
    }

    /// The frames that were sent, unmasked: opcode, FIN, payload. What is not
    /// whole at the end is left out.
    pub(crate) fn frames(&self) -> Vec<(u8, bool, Vec<u8>)> {
        let mut rest = self.stream();
        let mut frames = Vec::new();
        while let Some((header, size)) = FrameHeader::decode(rest).expect("our own frames") {
            let Some(payload) = rest[size..].get(..header.length as usize) else {
                break;
            };
            assert_eq!(header.mask.is_some(), self.role == Role::Client, "§5.1");
            let key = header.mask.unwrap_or_default();
            let payload = payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b);
            frames.push((header.opcode, header.fin, payload.collect()));
            rest = &rest[size + header.length as usize..];
        }
        frames
    }

    /// What was sent after the handshake.
    pub(crate) fn stream(&self) -> &[u8] {
        if self.agreed.is_none() {
            return &[];
        }
        let head = [&b"GET /chat "[..], b"HTTP/1.1 101 "];
        if !head.iter().any(|head| self.sent.starts_with(head)) {
            return &self.sent;
        }
        let end = self.sent.windows(4).position(|four| four == b"\r\n\r\n");
        &self.sent[end.map_or(self.sent.len(), |end| end + 4)..]
    }
}

/// Appends a part to a message; the message, if that was the last.
fn join(message: &mut Option<Joined>, part: &Message, last: bool) -> Option<Message> {
    let (text, mut data) = message.take().unwrap_or((part.is_text(), Vec::new()));
    assert_eq!(text, part.is_text(), "a message changes its kind");
    data.extend_from_slice(part.as_bytes());
    if !last {
        *message = Some((text, data));
        return None;
    }
    Some(if text {
        Message::text(String::from_utf8(data).expect("every part was text"))
    } else {
        Message::binary(data)
    })
}
