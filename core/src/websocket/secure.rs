//! TLS under the frames (feature `tls`): plain bytes wait in the sender's wire,
//! records in one of their own.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use crate::time::Tick;
use crate::tls::Layer;

use super::endpoint::Endpoint;
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
        let mut plain = mem::take(&mut shared.scratch);
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
