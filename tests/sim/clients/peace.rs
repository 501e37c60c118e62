//! How a run ends: the host is well, everything arrives, and all leave.

use std::time::Duration;

use smartsocket_core::CloseCode;
use smartsocket_core::client::State;

use super::Kind;
use super::host::Mood;
use super::world::World;

impl World {
    /// The host is well, everything moves and everybody is answered.
    pub fn make_peace(&mut self) {
        if self.host.stopped {
            self.kill();
        }
        if !self.host.up {
            self.host.start(self.now);
        }
        self.host.mood = Mood {
            refuses: 0,
            prompt: 100,
            answers: 100,
        };
        self.weather.failures = 0;
        self.weather.bite = 1 << 20;
        for wire in &mut self.wires {
            wire.stalled = false;
        }
        for at in 0..self.clients.len() {
            let now = self.now;
            self.clients[at].resume(now);
            self.settle(at, None, None);
        }
        // Longer than attempts and waits last, and than what is queued takes.
        self.live(Duration::from_secs(400));
        for at in 0..self.clients.len() {
            if self.clients[at].wrong {
                continue;
            }
            // Whoever has given up is told to try again.
            self.clients[at].connect(self.now);
            self.settle(at, None, None);
        }
        self.live(Duration::from_secs(100));
        for at in 0..self.clients.len() {
            let far = &self.clients[at];
            if far.wrong {
                continue;
            }
            let limited = self.weather.limited && far.model.kind.is_smartsocket();
            far.model.at_peace(limited);
            self.look_at_channels(at);
            // Nobody is in somebody else's way: what is said now arrives.
            self.say(at);
            self.clients[at].last_words = Some(self.next_number);
        }
        self.live(Duration::from_secs(10));
        for far in &self.clients {
            let Some(number) = far.last_words else {
                continue;
            };
            let limited = self.weather.limited && far.model.kind.is_smartsocket();
            assert!(far.model.has_arrived(number) || limited, "{number} is lost");
        }
    }

    /// The server knows what the application wants to hear of.
    fn look_at_channels(&self, at: usize) {
        let far = &self.clients[at];
        if far.model.kind != Kind::Pusher {
            return;
        }
        let names = far.model.subscriptions.values();
        let wanted = names.filter(|name| !name.ends_with('*')).cloned().collect();
        let mut known = self
            .wires
            .iter()
            .filter(|wire| wire.client == at && wire.accepted);
        let known = known.any(|wire| {
            let channels = wire.end.and_then(|end| self.host.channels(end));
            channels == Some(&wanted)
        });
        assert!(known, "nobody knows that it wants {wanted:?}");
    }

    /// Time passes deadline by deadline, and everything moves.
    fn live(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.rush();
            match self.next_timeout() {
                Some(due) if due <= until => self.pass(due.max(self.now)),
                _ => break,
            }
        }
        self.pass(until);
        self.rush();
    }

    /// Everything moves until nothing does.
    fn rush(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "it never comes to rest");
            let before = (self.trace, self.host.has_waiting());
            for at in 0..self.clients.len() {
                self.hook(at);
                self.dialed(at);
            }
            let numbers: Vec<_> = self.wires.iter().map(|wire| wire.number).collect();
            for number in numbers {
                self.move_up(number, usize::MAX);
                self.move_down(number, usize::MAX);
            }
            self.host.decide_some(self.now);
            self.settle_host();
            let hooks = self
                .clients
                .iter()
                .any(|far| far.hooks > 0 || far.dialing.is_some());
            let moving = self.wires.iter().any(|wire| {
                let up = wire.end.is_some() && !wire.host_paused && !wire.up.is_empty();
                let down = wire.held && !wire.client_paused && !wire.down.is_empty();
                let ends = wire.held && wire.down_ends.is_some() && !wire.down_ended;
                let wants = wire.client_wants || wire.host_wants;
                !wire.vanished && (up || down || ends && !wire.client_paused || wants)
            });
            if before == (self.trace, false) && !hooks && !moving {
                break;
            }
        }
    }

    /// Everybody leaves, for good.
    pub fn leave(&mut self) {
        for at in 0..self.clients.len() {
            let now = self.now;
            self.clients[at]
                .client
                .disconnect(now, CloseCode::NORMAL, "bye");
            self.settle(at, None, None);
            assert_eq!(self.clients[at].model.state, State::Disconnected);
        }
        self.live(Duration::from_secs(3_600));
        for (at, far) in self.clients.iter().enumerate() {
            assert!(far.dialing.is_none(), "it dials after all");
            assert!(far.model.rests());
            let held = self.wires.iter().any(|wire| wire.client == at && wire.held);
            assert!(!held, "a line is left");
            assert_eq!(far.client.next_timeout(), None, "{:?}", far.client);
        }
    }
}
