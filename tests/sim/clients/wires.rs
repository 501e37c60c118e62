//! The network, and what goes wrong with it and with the host.

use std::collections::VecDeque;

use smartsocket_core::Fault;
use smartsocket_core::client::{LineId, Secret};

use super::super::chance::Chance;
use super::host::End;
use super::world::World;

/// A stream between a client and the host.
#[derive(Debug)]
pub struct Wire {
    pub number: usize,
    pub client: usize,
    pub line: LineId,
    pub end: Option<End>,
    pub up: VecDeque<u8>,
    pub down: VecDeque<u8>,
    /// The client has not dropped it.
    pub held: bool,
    pub client_wants: bool,
    pub client_paused: bool,
    pub host_wants: bool,
    pub host_paused: bool,
    /// After the bytes the client's direction ends; told so.
    pub up_ends: bool,
    pub up_ended: bool,
    /// The same of the other direction, and whether it ends well.
    pub down_ends: Option<bool>,
    pub down_ended: bool,
    pub stalled: bool,
    /// Nothing moves any more, and nobody is told.
    pub vanished: bool,
    pub accepted: bool,
}

impl World {
    pub fn dialed(&mut self, at: usize) {
        let Some(line) = self.clients[at].dialing.take() else {
            return;
        };
        let now = self.now;
        let far = &mut self.clients[at];
        let reached = self.host.up && !self.chance.percent(self.weather.failures);
        let end = reached.then(|| self.host.accept(now, far.model.kind));
        let Some(end) = end.flatten() else {
            let fault = [Fault::Refused, Fault::TimedOut, Fault::NotFound("h".into())];
            let fault = self.chance.of(&fault).clone();
            assert!(far.client.handle_dial_failed(now, line, fault));
            return self.settle(at, None, None);
        };
        assert!(far.client.handle_dialed(now, line), "it was wanted");
        self.next_wire += 1;
        self.ends.insert(end, (at, self.next_wire));
        self.wires.push(Wire {
            number: self.next_wire,
            client: at,
            line,
            end: Some(end),
            up: VecDeque::new(),
            down: VecDeque::new(),
            held: true,
            client_wants: false,
            client_paused: false,
            host_wants: false,
            host_paused: false,
            up_ends: false,
            up_ended: false,
            down_ends: None,
            down_ended: false,
            stalled: false,
            vanished: false,
            accepted: false,
        });
        let number = self.next_wire;
        self.settle(at, None, None);
        // Often nothing is in the way at first.
        for _ in 0..self.chance.below(8) {
            self.move_up(number, usize::MAX);
            self.move_down(number, usize::MAX);
        }
    }

    /// Bytes of a client come nearer to the host, as many as this.
    pub fn move_up(&mut self, number: usize, n: usize) {
        let now = self.now;
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == number) else {
            return;
        };
        if wire.stalled || wire.vanished {
            return;
        }
        if wire.held && wire.client_wants {
            let far = &mut self.clients[wire.client];
            let unsent = far.client.unsent(wire.line);
            let mut bytes: Vec<u8> = unsent.flat_map(|part| part.to_vec()).collect();
            // More may follow at once, which is told again.
            wire.client_wants = bytes.len() > n;
            bytes.truncate(n);
            wire.up.extend(&bytes);
            far.client.transmitted(now, wire.line, bytes.len());
            let client = wire.client;
            self.settle(client, None, None);
        }
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == number) else {
            return;
        };
        let Some(end) = wire.end else {
            wire.up.clear();
            return;
        };
        if wire.host_paused {
            return;
        }
        let n = n.min(wire.up.len());
        let mut bytes: Vec<u8> = wire.up.drain(..n).collect();
        if n > 0 {
            self.host.handle_bytes(now, end, &mut bytes);
            self.note(n as u64);
        } else if wire.up_ends && !wire.up_ended {
            wire.up_ended = true;
            self.host.handle_eof(now, end);
        }
        self.settle_host();
    }

    pub fn move_down(&mut self, number: usize, n: usize) {
        let now = self.now;
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == number) else {
            return;
        };
        if wire.stalled || wire.vanished {
            return;
        }
        if let Some(end) = wire.end
            && wire.host_wants
        {
            wire.down.extend(self.host.take(now, end, n));
            wire.host_wants = self.host.has_unsent(end);
            self.settle_host();
        }
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.number == number) else {
            return;
        };
        if !wire.held {
            wire.down.clear();
            return;
        }
        let (client, line) = (wire.client, wire.line);
        if wire.client_paused {
            return;
        }
        let n = n.min(wire.down.len());
        let mut bytes: Vec<u8> = wire.down.drain(..n).collect();
        let ends = wire.down_ends.filter(|_| !wire.down_ended);
        let far = &mut self.clients[client];
        if n > 0 {
            if self.chance.percent(30)
                && let Some(mut fill) = far.client.take_fill(line)
            {
                let part = n.min(fill.room);
                fill.buf.extend_from_slice(&bytes[..part]);
                far.client.handle_fill(now, line, fill);
                bytes.drain(..part);
                self.settle(client, None, None);
            }
            if !bytes.is_empty() {
                let far = &mut self.clients[client];
                far.client.handle_bytes(now, line, &mut bytes);
            }
        } else if let Some(well) = ends {
            wire.down_ended = true;
            if well {
                far.client.handle_eof(now, line);
            } else {
                far.client.handle_fault(now, line, Fault::Reset);
            }
        } else {
            return;
        }
        self.note(n as u64 + 1);
        self.settle(client, None, None);
    }

    pub fn misfortune(&mut self) {
        let now = self.now;
        match self.chance.below(8) {
            0 | 1 if self.host.up => self.kill(),
            0 | 1 => self.host.start(now),
            2 if self.host.up && self.chance.percent(30) => {
                self.host.stop(now);
                self.settle_host();
            }
            3 => self.host.floor = self.tokens + 1,
            _ if self.wires.is_empty() => {}
            kind => {
                let at = self.chance.below(self.wires.len());
                let wire = &mut self.wires[at];
                match kind {
                    4 => wire.vanished = true,
                    5 => wire.stalled = !wire.stalled,
                    _ => {
                        let end = wire.end;
                        cut(wire, &mut self.chance);
                        if let Some(end) = end {
                            self.host.handle_fault(now, end);
                        }
                    }
                }
            }
        }
        self.settle_host();
    }

    pub fn kill(&mut self) {
        self.host.die();
        self.ends.clear();
        for wire in &mut self.wires {
            cut(wire, &mut self.chance);
        }
    }

    pub fn host_does(&mut self) {
        let now = self.now;
        let ends: Vec<End> = self.wires.iter().filter_map(|wire| wire.end).collect();
        match self.chance.below(10) {
            0 if !ends.is_empty() && self.weather.misfortunes > 0 => {
                let codes = [1000, 1008, 1012, 1013, 3003, 4000, 4001, 4999];
                let (end, code) = (*self.chance.of(&ends), *self.chance.of(&codes));
                self.host.close(now, end, code);
            }
            1..3 if !ends.is_empty() => {
                let end = *self.chance.of(&ends);
                self.host.ask(now, end);
            }
            _ => {
                self.announced += 1;
                self.host.announce(now, self.announced);
            }
        }
    }

    /// Words about lines that are no more, or never were.
    pub fn ghosts(&mut self, at: usize) {
        let now = self.now;
        let gone = self.wires.iter().find(|wire| !wire.held);
        if let Some(Wire { client, line, .. }) = gone {
            let (client, line) = (*client, *line);
            let far = &mut self.clients[client];
            far.client.handle_bytes(now, line, &mut [0x81, 1, b'x']);
            far.client.handle_eof(now, line);
            far.client.transmitted(now, line, 3);
            assert!(!far.client.handle_dialed(now, line));
            assert!(!far.client.handle_dial_failed(now, line, Fault::Refused));
            assert!(far.client.take_fill(line).is_none());
            self.settle(client, None, None);
        }
        let far = &mut self.clients[at];
        if far.hooks == 0 {
            // The answer to a question of long ago.
            far.client.handle_token(now, Some(Secret::from("T0")));
            self.settle(at, None, None);
        }
    }
}

/// The stream breaks, somewhere among what is on its way.
fn cut(wire: &mut Wire, chance: &mut Chance) {
    wire.end = None;
    wire.host_wants = false;
    wire.down.truncate(chance.below(wire.down.len() + 1));
    match chance.below(3) {
        0 => wire.vanished = true,
        kind => wire.down_ends = Some(kind == 1),
    }
}
