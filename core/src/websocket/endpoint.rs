//! States, deadlines and outputs of one endpoint.
//!
//! ```text
//! Handshake ──► Open ──► Closing ──► Ending ──► Ended
//!     │          └──────────────────────▲         ▲
//!     └─────────────────────────────────┴─────────┘
//! Closing: our close frame is queued, the peer's has not come
//! Ending:  the outcome is told; what is queued goes out, input is discarded
//! Ended:   the socket can be dropped
//! ```
//!
//! An outcome waits until the events before it are taken: a peer that sends a
//! message and a close frame in one packet still gets its answer.

use alloc::boxed::Box;
use core::mem;
use core::time::Duration;

use bytes::Bytes;

use crate::code::CloseCode;
use crate::error::{Fault, Refused};
use crate::frame::header::MAX_CONTROL;
use crate::http::{Response, UpgradeRequest};
use crate::message::{Message, Utf8Bytes};
use crate::time::Tick;

#[cfg(feature = "tls")]
use super::Config;
use super::codec::Codec;
use super::event::{Cause, Closed, Deadline, Event, Negotiated, Output, Stats, Violation};
use super::handshake::Handshake;
use super::receive::{Received, Receiver};
use super::send::Sender;
use super::wire::Wire;
use super::{ClientError, Fill, Role, Shared};

#[cfg(feature = "tls")]
use crate::tls::Layer;

/// Bytes discarded while ending before the peer is cut off.
const MAX_DISCARD: u64 = 16 << 20;

#[derive(Debug)]
pub(super) enum Phase {
    Handshake(Box<Handshake>),
    Open,
    Closing,
    Ending,
    Ended,
}

/// What has been told the embedder, and what it told us.
#[derive(Debug, Default)]
struct Flags {
    /// `Transmit` is told and the wire has not drained since.
    announced: bool,
    /// `Closed` is told.
    told: bool,
    /// `Shutdown` is told, or need not be.
    shut: bool,
    /// `Close` is told.
    dropped: bool,
    /// The peer's stream ended.
    eof: bool,
    /// The stream failed: nothing can be sent any more.
    broken: bool,
    /// Reading should rest; and whether that is told.
    pause: bool,
    paused: bool,
}

/// One RFC 6455 endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(super) role: Role,
    pub(super) phase: Phase,
    receiver: Receiver,
    sender: Sender,
    codec: Option<Box<Codec>>,
    #[cfg(feature = "tls")]
    tls: Option<Box<Tls>>,
    /// The outcome, while events before it wait.
    end: Option<Box<Closed>>,
    flags: Flags,
    clock: Tick,
    /// When the handshake, or the closing, must be over.
    deadline: Tick,
    /// When the last byte came.
    heard: Tick,
    /// When the last message came or went.
    active: Tick,
    /// When the peer last took a byte, or the embedder was told of some.
    progress: Tick,
    /// The keepalive ping that waits for its pong.
    ping: Option<(Tick, [u8; 8])>,
    /// Bytes thrown away while ending.
    discarded: u64,
    stats: Stats,
}

/// TLS under the frames: plain bytes wait in the sender's wire, records here.
#[cfg(feature = "tls")]
#[derive(Debug)]
struct Tls {
    layer: Layer,
    wire: Wire,
}

impl Endpoint {
    pub(crate) fn server(shared: &Shared, now: Tick) -> Self {
        let handshake = Handshake::server(&shared.config);
        let phase = Phase::Handshake(Box::new(handshake));
        let endpoint = Self::new(Role::Server, phase, shared, now);
        #[cfg(feature = "tls")]
        let endpoint = endpoint.secured(&shared.config);
        endpoint
    }

    /// Puts TLS below, if the configuration has it.
    #[cfg(feature = "tls")]
    fn secured(mut self, config: &Config) -> Self {
        match config.server_tls.as_ref().map(Layer::server) {
            None => {}
            Some(Ok(layer)) => {
                self.tls = Some(Box::new(Tls {
                    layer,
                    wire: Wire::default(),
                }))
            }
            Some(Err(error)) => self.end(Cause::Tls(error)),
        }
        self
    }

    pub(crate) fn client(
        request: UpgradeRequest,
        shared: &mut Shared,
        now: Tick,
    ) -> Result<Self, ClientError> {
        #[cfg(feature = "tls")]
        let tls = match (&shared.config.client_tls, request.url().secure()) {
            (_, false) => None,
            (None, true) => return Err(ClientError::NoTls),
            (Some(tls), true) => {
                let layer = Layer::client(tls, request.url().host()).map_err(ClientError::Tls)?;
                Some(Box::new(Tls {
                    layer,
                    wire: Wire::default(),
                }))
            }
        };
        #[cfg(not(feature = "tls"))]
        if request.url().secure() {
            return Err(ClientError::NoTls);
        }
        let (handshake, head) = Handshake::client(request, shared);
        let mut endpoint = Self::new(
            Role::Client,
            Phase::Handshake(Box::new(handshake)),
            shared,
            now,
        );
        #[cfg(feature = "tls")]
        {
            endpoint.tls = tls;
        }
        endpoint.put_plain(head);
        Ok(endpoint)
    }

    pub(crate) fn upgraded(role: Role, agreed: &Negotiated, shared: &Shared, now: Tick) -> Self {
        let mut endpoint = Self::new(role, Phase::Open, shared, now);
        let codec = endpoint.make_codec(agreed, &shared.config);
        endpoint.start(now, codec);
        endpoint
    }

    fn new(role: Role, phase: Phase, shared: &Shared, now: Tick) -> Self {
        Self {
            role,
            phase,
            receiver: Receiver::new(role),
            sender: Sender::new(role),
            codec: None,
            #[cfg(feature = "tls")]
            tls: None,
            end: None,
            flags: Flags::default(),
            clock: now,
            deadline: after(now, shared.config.handshake_timeout),
            heard: now,
            active: now,
            progress: now,
            ping: None,
            discarded: 0,
            stats: Stats::default(),
        }
    }

    /// The handshake is over.
    pub(super) fn start(&mut self, now: Tick, codec: Option<Box<Codec>>) {
        self.phase = Phase::Open;
        self.codec = codec;
        self.deadline = Tick::MAX;
        self.heard = now;
        self.active = now;
    }

    // Inputs

    #[inline]
    pub(crate) fn handle_bytes(&mut self, shared: &mut Shared, now: Tick, data: &mut [u8]) {
        let now = self.tick(now);
        if data.is_empty() {
            return;
        }
        self.heard = now;
        self.stats.received_bytes += data.len() as u64;
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return self.handle_cipher(shared, now, data);
        }
        self.handle_plain(shared, now, data);
    }

    #[inline]
    pub(super) fn handle_plain(&mut self, shared: &mut Shared, now: Tick, mut data: &mut [u8]) {
        while !data.is_empty() {
            if self.end.is_some() {
                return self.discard(data.len());
            }
            let used = match mem::replace(&mut self.phase, Phase::Ended) {
                Phase::Handshake(handshake) => self.handshake_bytes(shared, now, *handshake, data),
                phase @ (Phase::Open | Phase::Closing) => {
                    self.phase = phase;
                    self.read(shared, now, data)
                }
                phase @ (Phase::Ending | Phase::Ended) => {
                    self.phase = phase;
                    return self.discard(data.len());
                }
            };
            data = &mut data[used..];
        }
    }

    #[cfg(feature = "tls")]
    fn handle_cipher(&mut self, shared: &mut Shared, now: Tick, mut data: &[u8]) {
        let mut plain = mem::take(&mut shared.scratch);
        while !data.is_empty() {
            let Some(tls) = &mut self.tls else { break };
            plain.clear();
            let (used, failure) = match tls.layer.open(data, &mut plain) {
                Ok(opened) => {
                    if opened.closed {
                        self.flags.eof = true;
                    }
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
            if self.flags.eof {
                self.handle_eof(shared, now);
                break;
            }
            data = &data[used..];
        }
        shared.keep_scratch(plain);
    }

    pub(crate) fn take_fill(&mut self, shared: &Shared) -> Option<Fill> {
        if !matches!(self.phase, Phase::Open) || self.end.is_some() {
            return None;
        }
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return None;
        }
        self.receiver.take_fill(&shared.config)
    }

    pub(crate) fn handle_fill(&mut self, shared: &mut Shared, now: Tick, fill: Fill) {
        let now = self.tick(now);
        let before = fill.start;
        let came = fill.buf.len().saturating_sub(before);
        if came > 0 {
            self.heard = now;
            self.stats.received_bytes += came as u64;
        }
        match self.receiver.put_fill(fill) {
            Ok((received, mut beyond)) => {
                if let Some(received) = received {
                    self.received(shared, now, received);
                }
                self.handle_plain(shared, now, &mut beyond);
            }
            Err(violation) => self.violate(violation),
        }
    }

    pub(crate) fn handle_eof(&mut self, shared: &Shared, now: Tick) {
        self.tick(now);
        self.flags.eof = true;
        match &self.phase {
            // Who sent a whole HTTP request may end its stream and still read
            // the answer, if that comes soon.
            Phase::Handshake(handshake) if handshake.is_plain() => {
                self.deadline = self.clock + shared.config.close_timeout;
            }
            Phase::Handshake(_) => {
                self.refused();
                self.end(Cause::Eof);
            }
            Phase::Open | Phase::Closing | Phase::Ending | Phase::Ended => self.end(Cause::Eof),
        }
    }

    pub(crate) fn handle_fault(&mut self, now: Tick, fault: Fault) {
        self.tick(now);
        match &self.end {
            // The peer's close frame is the better explanation of a reset
            // that follows it.
            Some(_) => {}
            None => self.end(Cause::Fault(fault)),
        }
        self.phase = Phase::Ended;
        self.flags.eof = true;
        self.flags.broken = true;
        self.sender = Sender::new(self.role);
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.wire = Wire::default();
        }
    }

    pub(crate) fn handle_timeout(&mut self, shared: &mut Shared, now: Tick) {
        let now = self.tick(now);
        if now < self.due(shared) {
            return;
        }
        if now >= self.deadline {
            self.deadline = Tick::MAX;
            match &self.phase {
                Phase::Handshake(handshake) => {
                    let body = matches!(**handshake, Handshake::Body { .. });
                    match (body, self.role, self.is_secure()) {
                        (true, _, _) => self.refused(),
                        // Whoever sent half a request learns what was wrong.
                        (false, Role::Server, false) => {
                            let response = Response::text(408, "the request took too long\n");
                            self.respond(
                                shared,
                                response,
                                false,
                                Some(Cause::Timeout(Deadline::Handshake)),
                            );
                        }
                        (false, _, _) => self.end(Cause::Timeout(Deadline::Handshake)),
                    }
                }
                Phase::Closing => self.end(Cause::Timeout(Deadline::Close)),
                Phase::Ending => self.phase = Phase::Ended,
                Phase::Open | Phase::Ended => {}
            }
        }
        if now >= self.write_deadline(shared) {
            self.progress = Tick::MAX;
            self.end(Cause::Timeout(Deadline::Write));
            if self.flags.told {
                self.phase = Phase::Ended;
            }
        }
        if now >= self.idle_deadline(shared) {
            self.active = Tick::MAX;
            self.end(Cause::Timeout(Deadline::Idle));
        }
        if self.end.is_none() && now >= self.liveness_deadline(shared) {
            match self.ping {
                Some((sent, _)) if sent >= self.heard => {
                    self.ping = None;
                    self.heard = Tick::MAX;
                    self.end(Cause::Timeout(Deadline::Pong));
                }
                _ => {
                    let nonce = shared.entropy.nonce();
                    self.ping = Some((now, nonce));
                    self.sender.ping(Bytes::copy_from_slice(&nonce));
                }
            }
        }
    }

    #[inline]
    pub(crate) fn transmitted(&mut self, shared: &mut Shared, now: Tick, n: usize) {
        let now = self.tick(now);
        if n == 0 {
            return;
        }
        self.progress = now;
        self.stats.sent_bytes += n as u64;
        self.wire_mut().advance(n);
        self.refill(shared);
        if self.wire().is_empty() {
            self.flags.announced = false;
        }
        if self.sender.pressed && self.buffered() <= shared.config.max_queued_bytes / 2 {
            self.sender.pressed = false;
            if matches!(self.phase, Phase::Open) {
                shared.events.push(Event::Drained);
            }
        }
    }

    // Commands

    #[inline]
    pub(crate) fn send(
        &mut self,
        shared: &mut Shared,
        now: Tick,
        message: Message,
        last: bool,
    ) -> Result<(), (Message, Refused)> {
        let now = self.tick(now);
        match self.phase {
            Phase::Open => {}
            Phase::Handshake(_) => return Err((message, Refused::NotOpen)),
            Phase::Closing | Phase::Ending | Phase::Ended => {
                return Err((message, Refused::Closed));
            }
        }
        self.sender
            .send(shared, self.codec.as_deref_mut(), message, last)?;
        self.active = now;
        self.stats.sent_messages += u64::from(last);
        Ok(())
    }

    pub(crate) fn ping(&mut self, now: Tick, payload: Bytes) -> Result<(), Refused> {
        self.tick(now);
        match self.phase {
            Phase::Open if payload.len() > MAX_CONTROL => Err(Refused::TooLong),
            Phase::Open => {
                self.sender.ping(payload);
                Ok(())
            }
            Phase::Handshake(_) => Err(Refused::NotOpen),
            Phase::Closing | Phase::Ending | Phase::Ended => Err(Refused::Closed),
        }
    }

    pub(crate) fn close(&mut self, shared: &mut Shared, now: Tick, code: CloseCode, reason: &str) {
        let now = self.tick(now);
        if self.end.is_some() {
            return;
        }
        match &self.phase {
            Phase::Open => {
                self.sender.close(code, reason);
                self.phase = Phase::Closing;
                self.deadline = now + shared.config.close_timeout;
            }
            Phase::Handshake(_) if self.role == Role::Server => {
                self.respond(shared, Response::new(503), false, None);
            }
            Phase::Handshake(_) => {
                self.end = Some(Box::new(Closed {
                    code,
                    reason: reason.into(),
                    cause: Cause::Local,
                }));
            }
            Phase::Closing | Phase::Ending | Phase::Ended => {}
        }
    }

    // Outputs

    #[inline]
    pub(crate) fn poll_output(&mut self, shared: &mut Shared) -> Option<Output> {
        if let Some(event) = shared.events.pop() {
            return Some(Output::Event(event));
        }
        if let Some(closed) = self.end.take() {
            return Some(self.settle(shared, closed));
        }
        if self.flags.pause != self.flags.paused {
            self.flags.paused = self.flags.pause;
            return Some(if self.flags.paused {
                Output::PauseRead
            } else {
                Output::ResumeRead
            });
        }
        if matches!(self.phase, Phase::Ended) {
            return (!mem::replace(&mut self.flags.dropped, true)).then_some(Output::Close);
        }
        self.refill(shared);
        if !self.wire().is_empty() {
            if self.flags.announced {
                return None;
            }
            self.flags.announced = true;
            self.progress = self.clock;
            return Some(Output::Transmit);
        }
        if matches!(self.phase, Phase::Ending) {
            return self.poll_ending();
        }
        None
    }

    /// Makes what is queued visible, as `Transmit` would.
    pub(crate) fn flush(&mut self, shared: &mut Shared) {
        self.refill(shared);
        if !self.wire().is_empty() && !mem::replace(&mut self.flags.announced, true) {
            self.progress = self.clock;
        }
    }

    #[inline]
    pub(crate) fn has_event(&self, shared: &Shared) -> bool {
        !shared.events.is_empty() || self.end.is_some()
    }

    pub(crate) fn next_timeout(&self, shared: &Shared) -> Option<Tick> {
        let ended = matches!(self.phase, Phase::Ended);
        let waits = self.has_event(shared)
            || self.flags.pause != self.flags.paused
            || (!ended && !self.flags.announced && self.has_unsent())
            || match self.phase {
                Phase::Ended => !self.flags.dropped,
                Phase::Ending => !self.has_unsent() && (!self.flags.shut || self.flags.eof),
                Phase::Handshake(_) | Phase::Open | Phase::Closing => false,
            };
        let due = if waits { self.clock } else { self.due(shared) };
        (due < Tick::MAX).then_some(due)
    }

    pub(crate) fn unsent(&self) -> impl Iterator<Item = &Bytes> {
        self.wire().unsent()
    }

    // Getters

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    pub(crate) fn buffered(&self) -> usize {
        let sealed = 0;
        #[cfg(feature = "tls")]
        let sealed = self.tls.as_ref().map_or(sealed, |tls| tls.wire.len());
        self.sender.buffered() + sealed
    }

    pub(crate) const fn stats(&self) -> &Stats {
        &self.stats
    }

    // Helpers

    /// Notes the time; it never runs backwards.
    #[inline]
    pub(super) fn tick(&mut self, now: Tick) -> Tick {
        self.clock = self.clock.max(now);
        self.clock
    }

    pub(super) const fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    pub(super) const fn pause(&mut self) {
        self.flags.pause = true;
    }

    /// The application has decided.
    pub(super) fn resume(&mut self) {
        self.flags.pause = false;
        if self.flags.eof {
            self.end(Cause::Eof);
        }
    }

    /// Queues bytes that are no frame: a head.
    pub(super) fn put_plain(&mut self, bytes: alloc::vec::Vec<u8>) {
        self.sender.wire.push(bytes.into());
    }

    /// Reads frames up to the next event; gives back how many bytes it used.
    #[inline]
    fn read(&mut self, shared: &mut Shared, now: Tick, data: &mut [u8]) -> usize {
        if self.receiver.is_lent() {
            // The embedder broke the contract of `take_fill`; what it holds
            // comes before these bytes, so the stream cannot be read on.
            self.end(Cause::Fault(Fault::other(
                "bytes handed in while a fill was out",
            )));
            return data.len();
        }
        match self.receiver.read(shared, &mut self.codec, data) {
            Ok((used, received)) => {
                if let Some(received) = received {
                    self.received(shared, now, received);
                }
                used
            }
            Err(violation) => {
                self.violate(violation);
                data.len()
            }
        }
    }

    #[inline]
    fn received(&mut self, shared: &mut Shared, now: Tick, received: Received) {
        let open = matches!(self.phase, Phase::Open);
        match received {
            Received::Message(message) => {
                self.active = now;
                if open {
                    self.stats.received_messages += 1;
                    shared.events.push(Event::Message(message));
                } else {
                    self.stats.dropped_messages += 1;
                }
            }
            Received::Part(part) => {
                self.active = now;
                if open {
                    self.stats.received_messages += u64::from(part.last);
                    shared.events.push(Event::Part(part));
                } else {
                    self.stats.dropped_messages += u64::from(part.last);
                }
            }
            Received::Ping(payload) => {
                // After our close frame nothing may follow (RFC 6455 §5.5.1).
                if open {
                    self.sender.pong(shared, payload.clone());
                }
                if shared.config.control_events {
                    shared.events.push(Event::Ping(payload));
                }
            }
            Received::Pong(payload) => {
                if let Some((sent, nonce)) = self.ping
                    && payload == nonce[..]
                {
                    self.ping = None;
                    self.stats.round_trip = Some(now - sent);
                }
                if shared.config.control_events {
                    shared.events.push(Event::Pong(payload));
                }
            }
            Received::Close(code, reason) => {
                let cause = if open { Cause::Peer } else { Cause::Local };
                self.end = Some(Box::new(Closed {
                    code,
                    reason,
                    cause,
                }));
            }
        }
    }

    pub(super) fn violate(&mut self, violation: Violation) {
        self.end(Cause::Violation(violation));
    }

    /// Notes how the connection ended, once.
    pub(super) fn end(&mut self, cause: Cause) {
        if self.end.is_some() || self.flags.told {
            return;
        }
        let (code, reason) = match &cause {
            Cause::Violation(violation) => (
                violation.code(),
                Utf8Bytes::from(alloc::format!("{violation}")),
            ),
            Cause::Timeout(Deadline::Idle) => (CloseCode::NORMAL, Utf8Bytes::from_static("idle")),
            #[cfg(feature = "tls")]
            Cause::Tls(_) => (CloseCode::TLS, Utf8Bytes::default()),
            Cause::Local
            | Cause::Peer
            | Cause::Eof
            | Cause::Timeout(_)
            | Cause::Head(_)
            | Cause::Handshake(_)
            | Cause::Answered(_)
            | Cause::Refused(_)
            | Cause::Fault(_) => (CloseCode::ABNORMAL, Utf8Bytes::default()),
        };
        self.end = Some(Box::new(Closed {
            code,
            reason,
            cause,
        }));
    }

    /// Acts on the outcome and tells it.
    fn settle(&mut self, shared: &mut Shared, closed: Box<Closed>) -> Output {
        let upgraded = matches!(self.phase, Phase::Open | Phase::Closing);
        let open = matches!(self.phase, Phase::Open);
        self.phase = match &closed.cause {
            _ if self.flags.broken => Phase::Ended,
            Cause::Peer => {
                // The code that came goes back (RFC 6455 §5.5.1).
                self.sender.close(closed.code, "");
                Phase::Ending
            }
            Cause::Local if upgraded => Phase::Ending,
            Cause::Violation(_) | Cause::Timeout(Deadline::Idle) if upgraded => {
                if open {
                    self.sender.abandon();
                    self.sender.close(closed.code, &closed.reason);
                }
                Phase::Ending
            }
            Cause::Answered(_) | Cause::Head(_) | Cause::Timeout(Deadline::Handshake)
                if self.role == Role::Server =>
            {
                Phase::Ending
            }
            #[cfg(feature = "tls")]
            Cause::Tls(_) => Phase::Ending,
            Cause::Eof if self.role == Role::Server && !upgraded => Phase::Ending,
            Cause::Local
            | Cause::Violation(_)
            | Cause::Timeout(_)
            | Cause::Eof
            | Cause::Head(_)
            | Cause::Handshake(_)
            | Cause::Answered(_)
            | Cause::Refused(_)
            | Cause::Fault(_) => Phase::Ended,
        };
        // A client lets the server end the stream first (RFC 6455 §7.1.1);
        // one that failed the connection does not wait for that.
        self.flags.shut =
            self.role == Role::Client && matches!(closed.cause, Cause::Peer | Cause::Local);
        self.flags.told = true;
        // What is read from now on is discarded, but its end must be seen.
        self.resume();
        self.deadline = self.clock + shared.config.close_timeout;
        self.receiver.clear();
        if let Some(codec) = &mut self.codec {
            codec.release(&mut shared.pool);
        }
        Output::Event(Event::Closed(closed))
    }

    /// All is sent; what is left is to end the stream.
    fn poll_ending(&mut self) -> Option<Output> {
        if !mem::replace(&mut self.flags.shut, true) {
            #[cfg(feature = "tls")]
            if let Some(tls) = &mut self.tls {
                tls.layer.close();
                tls.collect();
                if !tls.wire.is_empty() {
                    self.flags.shut = false;
                    self.flags.announced = true;
                    self.progress = self.clock;
                    return Some(Output::Transmit);
                }
            }
            return Some(Output::Shutdown);
        }
        if self.flags.eof {
            self.phase = Phase::Ended;
            self.flags.dropped = true;
            return Some(Output::Close);
        }
        None
    }

    fn discard(&mut self, n: usize) {
        self.discarded += n as u64;
        if self.discarded > MAX_DISCARD && matches!(self.phase, Phase::Ending) {
            self.phase = Phase::Ended;
        }
    }

    /// Brings what the sender has as far towards the socket as it may go.
    #[inline]
    fn refill(&mut self, shared: &mut Shared) {
        self.sender.refill(shared);
        self.sender.wire.seal();
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.seal(&mut self.sender, shared);
        }
    }

    /// The queue in front of the socket.
    #[inline]
    fn wire(&self) -> &Wire {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return &tls.wire;
        }
        &self.sender.wire
    }

    #[inline]
    fn wire_mut(&mut self) -> &mut Wire {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return &mut tls.wire;
        }
        &mut self.sender.wire
    }

    /// Whether a `Transmit` is due or out.
    fn has_unsent(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return !tls.wire.is_empty()
                || tls.layer.wants_write()
                || (!self.sender.is_empty() && !tls.layer.is_handshaking());
        }
        !self.sender.is_empty()
    }

    // Deadlines

    /// The next of them.
    fn due(&self, shared: &Shared) -> Tick {
        let rests = match &self.phase {
            Phase::Handshake(handshake) => handshake.is_deciding() && !self.flags.eof,
            Phase::Ended => true,
            Phase::Open | Phase::Closing | Phase::Ending => false,
        };
        let phase = if rests { Tick::MAX } else { self.deadline };
        phase
            .min(self.write_deadline(shared))
            .min(self.idle_deadline(shared))
            .min(self.liveness_deadline(shared))
    }

    fn write_deadline(&self, shared: &Shared) -> Tick {
        // Until the embedder is told of bytes, nobody fails to take them.
        if !self.flags.announced || self.wire().is_empty() || matches!(self.phase, Phase::Ended) {
            Tick::MAX
        } else {
            after(self.progress, shared.config.write_timeout)
        }
    }

    fn idle_deadline(&self, shared: &Shared) -> Tick {
        if matches!(self.phase, Phase::Open) {
            after(self.active, shared.config.idle_timeout)
        } else {
            Tick::MAX
        }
    }

    fn liveness_deadline(&self, shared: &Shared) -> Tick {
        match (&self.phase, self.ping) {
            (Phase::Open, _) if shared.config.ping_interval.is_none() => Tick::MAX,
            (Phase::Open, Some((sent, _))) if sent >= self.heard => {
                sent + shared.config.pong_timeout
            }
            (Phase::Open, _) => after(self.heard, shared.config.ping_interval),
            _ => Tick::MAX,
        }
    }
}

#[cfg(feature = "tls")]
impl Tls {
    /// Makes records of what the sender has, a wire's worth at a time, so that
    /// a queue is not held twice.
    fn seal(&mut self, sender: &mut Sender, shared: &mut Shared) {
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

    fn collect(&mut self) {
        if self.layer.wants_write() {
            let mut records = alloc::vec::Vec::new();
            self.layer.take_output(&mut records);
            self.wire.push(records.into());
        }
    }
}

fn after(start: Tick, delay: Option<Duration>) -> Tick {
    delay.map_or(Tick::MAX, |delay| start + delay)
}
