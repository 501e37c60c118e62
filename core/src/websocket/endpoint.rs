//! States, inputs and outputs of one endpoint. `deadlines` and `ending` are
//! parts of it; so are `handshake` and `secure`.
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

use bytes::Bytes;

use crate::code::CloseCode;
use crate::error::{Fault, Refused};
use crate::frame::header::MAX_CONTROL;
use crate::http::{Response, UpgradeRequest};
use crate::message::Message;
use crate::proxy::{Tunnel, TunnelError};
use crate::time::Tick;

use super::codec::Codec;
use super::deadlines::after;
use super::event::{Cause, Closed, Event, Negotiated, Output, Stats};
use super::handshake::Handshake;
use super::receive::{Received, Receiver};
use super::send::{Packed, Sender};
use super::wire::Wire;
use super::{ClientError, Fill, Role, Shared};

#[cfg(feature = "tls")]
use super::secure::Tls;
#[cfg(feature = "tls")]
use crate::tls::Layer;

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
pub(super) struct Flags {
    /// `Transmit` is told and the wire has not drained since.
    pub(super) announced: bool,
    /// `Closed` is told.
    pub(super) told: bool,
    /// `Shutdown` is told, or need not be.
    pub(super) shut: bool,
    /// `Close` is told.
    pub(super) dropped: bool,
    /// The peer's stream ended.
    pub(super) eof: bool,
    /// The stream failed: nothing can be sent any more.
    pub(super) broken: bool,
    /// Reading should rest; and whether that is told.
    pub(super) pause: bool,
    pub(super) paused: bool,
}

/// One RFC 6455 endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(super) role: Role,
    pub(super) phase: Phase,
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
    pub(super) codec: Option<Box<Codec>>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Box<Tls>>,
    /// The outcome, while events before it wait.
    pub(super) end: Option<Box<Closed>>,
    pub(super) flags: Flags,
    pub(super) clock: Tick,
    /// When the handshake, or the closing, must be over.
    pub(super) deadline: Tick,
    /// When the last byte came.
    pub(super) heard: Tick,
    /// When the last message came or went.
    pub(super) active: Tick,
    /// When the peer last took a byte, or the embedder was told of some.
    pub(super) progress: Tick,
    /// The keepalive ping that waits for its pong.
    pub(super) ping: Option<(Tick, [u8; 8])>,
    /// Bytes thrown away while ending.
    pub(super) discarded: u64,
    pub(super) stats: Stats,
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
                Some(Tls::new(layer))
            }
        };
        #[cfg(not(feature = "tls"))]
        if request.url().secure() {
            return Err(ClientError::NoTls);
        }
        let tunnel = shared.config.proxy(request.url())?;
        let tunnel = tunnel.map(|proxy| Tunnel::new(proxy, request.url(), shared.config.head));
        if let Some((tunnel, first)) = tunnel {
            let handshake = Handshake::Tunnel {
                tunnel: Box::new(tunnel),
                request: Box::new(request),
                #[cfg(feature = "tls")]
                tls,
            };
            let phase = Phase::Handshake(Box::new(handshake));
            let mut endpoint = Self::new(Role::Client, phase, shared, now);
            endpoint.put_plain(first);
            return Ok(endpoint);
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
            let used = match self.phase {
                Phase::Open | Phase::Closing => self.read(shared, now, data),
                Phase::Handshake(_) => self.handshake_bytes(shared, now, data),
                Phase::Ending | Phase::Ended => return self.discard(data.len()),
            };
            data = &mut data[used..];
        }
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
        if mem::replace(&mut self.flags.eof, true) {
            return;
        }
        match &self.phase {
            // Who sent a whole HTTP request may end its stream and still read
            // the answer, if that comes soon.
            Phase::Handshake(handshake) if handshake.is_plain() => {
                self.deadline = self.clock + shared.config.close_timeout;
            }
            Phase::Handshake(handshake) if handshake.is_tunnel() => {
                self.end(Cause::Tunnel(TunnelError::Ended));
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
        } else if matches!(self.phase, Phase::Closing) {
            // The peer can answer a close frame only after what is before it.
            self.deadline = now + shared.config.close_timeout;
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

    /// Queues a whole message that goes to other connections too.
    pub(crate) fn send_packed(
        &mut self,
        shared: &mut Shared,
        now: Tick,
        message: &Message,
        packed: &mut Packed,
    ) -> Result<(), Refused> {
        let now = self.tick(now);
        match self.phase {
            Phase::Open => {}
            Phase::Handshake(_) => return Err(Refused::NotOpen),
            Phase::Closing | Phase::Ending | Phase::Ended => return Err(Refused::Closed),
        }
        self.sender
            .send_packed(shared, self.codec.as_deref_mut(), message, packed)?;
        self.active = now;
        self.stats.sent_messages += 1;
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

    /// Makes what is queued visible, as `Transmit` would; whether anything is
    /// that was not.
    pub(crate) fn flush(&mut self, shared: &mut Shared) -> bool {
        self.refill(shared);
        let shown = !self.wire().is_empty() && !mem::replace(&mut self.flags.announced, true);
        if shown {
            self.progress = self.clock;
        }
        shown
    }

    /// Whether its end waits to be told, and may wait: answers to what came
    /// before can still go out.
    pub(crate) fn ends_softly(&self) -> bool {
        let soft = |end: &Closed| matches!(end.cause, Cause::Peer | Cause::Eof);
        !self.flags.broken && self.end.as_deref().is_some_and(soft)
    }

    /// Whether it is open and there is nothing to tell, to send or to pause.
    pub(crate) fn rests(&self, shared: &Shared) -> bool {
        matches!(self.phase, Phase::Open)
            && !self.has_event(shared)
            && self.flags.pause == self.flags.paused
            && !self.has_unsent()
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

    pub(crate) const fn is_secure(&self) -> bool {
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

    /// Brings what the sender has as far towards the socket as it may go.
    #[inline]
    pub(super) fn refill(&mut self, shared: &mut Shared) {
        self.sender.refill(shared);
        self.sender.wire.seal();
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.seal(&mut self.sender, shared);
        }
    }

    /// The queue in front of the socket.
    #[inline]
    pub(super) fn wire(&self) -> &Wire {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return &tls.wire;
        }
        &self.sender.wire
    }

    #[inline]
    pub(super) fn wire_mut(&mut self) -> &mut Wire {
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
}
