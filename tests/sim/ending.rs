//! How a run ends: all comes to rest, is accounted for, and goes.

use std::time::Duration;

use smartsocket_core::hub::{Publication, Target};
use smartsocket_core::{DropCause, Fault};

use super::world::{EMPTY_ROOM, USERS, World};

impl World {
    /// The storm is over: everything moves, everything is answered.
    pub fn calm_down(&mut self) {
        for peer in self.peers.values_mut() {
            peer.stalled = false;
        }
        self.weather.prompt = 100;
        for round in 0.. {
            assert!(round < 10_000, "it never comes to rest");
            self.step += 1;
            let before = self.trace;
            for id in self.peers.keys().copied().collect::<Vec<_>>() {
                self.move_up(id, usize::MAX);
                self.move_down(id, usize::MAX);
            }
            let idle = self.turns.is_empty() && self.tickets.is_empty();
            self.decide_some();
            self.settle();
            let moving = self.peers.values().any(|peer| {
                !peer.vanished && (!peer.upward.is_empty() && !peer.paused || peer.wanted)
            });
            if idle && !moving && before == self.trace {
                break;
            }
        }
    }

    /// What was sent is with the clients, or counted as lost.
    pub fn account(&mut self) {
        if std::env::var("SIM_DEBUG").is_ok() {
            eprintln!(
                "account lossy={} calm={} sent={} outbox={} closed={} frames={} vanished={} settled={} words={} said={} del={} peers={} overflow={:?}",
                self.lossy,
                self.weather.calm,
                self.hub.sent_messages(),
                self.hub.dropped(DropCause::Outbox),
                self.hub.dropped(DropCause::Closed),
                self.frames,
                self.peers.values().any(|p| p.vanished),
                self.model.settled,
                self.model.words.len(),
                self.model.said.len(),
                self.model.said.values().map(|s| s.delivered).sum::<u64>(),
                self.peers.len(),
                self.weather.overflow
            );
        }
        let sent = self.hub.sent_messages();
        let arrived = self.frames + self.peers.values().map(|peer| peer.frames).sum::<u64>();
        assert!(arrived <= sent, "{arrived} of {sent} came");
        if self.lossy || self.peers.values().any(|peer| peer.vanished) {
            return;
        }
        let lost = self.hub.dropped(DropCause::Outbox) + self.hub.dropped(DropCause::Closed);
        assert!(
            arrived + lost >= sent,
            "{sent} sent, {arrived} came, {lost} are counted as lost"
        );
    }

    /// Clients that are there, and were answered, were answered once.
    pub fn account_acks(&self) {
        for peer in self.peers.values().filter(|peer| !peer.vanished) {
            let member = &self.model.members[&peer.id];
            if member.somebody && !peer.ends {
                for number in &member.owed_by_app {
                    assert!(
                        member.answered.contains_key(number),
                        "{:?}: {number}",
                        peer.id
                    );
                }
            }
        }
    }

    /// Nothing but time happens for so long.
    pub fn idle(&mut self, long: Duration) {
        let end = self.now + long;
        let before = self.wakeups;
        let peers = self.peers.len() as u64;
        while let Some(due) = self.hub.next_timeout().filter(|due| *due <= end) {
            self.step += 1;
            self.pass(due.max(self.now));
            self.settle();
            for id in self.peers.keys().copied().collect::<Vec<_>>() {
                self.move_down(id, usize::MAX);
                self.settle();
                self.move_up(id, usize::MAX);
                self.settle();
            }
            let spent = self.wakeups - before;
            // Pings of both kinds, their answers, and what was due anyhow.
            let bound = 200 + 40 * peers + peers * long.as_secs() / 3;
            assert!(spent <= bound, "{spent} wake-ups for {peers} idle clients");
        }
        self.pass(end);
        self.settle();
    }

    /// Everybody leaves, one way or another, and nothing is left of them.
    pub fn empty(&mut self) {
        let stops = self.chance.percent(30);
        if stops {
            self.hub.stop(self.now);
        } else {
            for id in self.peers.keys().copied().collect::<Vec<_>>() {
                let peer = self.peers.get_mut(&id).expect("listed");
                match self.chance.below(3) {
                    0 => {
                        self.lossy = true;
                        self.hub.handle_fault(self.now, id, Fault::Reset);
                    }
                    1 => peer.ends = true,
                    _ => {
                        peer.close(&mut self.chance);
                        peer.ends = true;
                    }
                }
            }
        }
        self.settle();
        self.calm_down();
        self.idle(Duration::from_secs(200));
        assert!(
            self.hub.is_empty() && self.peers.is_empty(),
            "{:?}",
            self.peers
        );
        assert!(self.model.acks.is_empty(), "{:?}", self.model.acks);
        for (id, member) in &self.model.members {
            assert!(member.dropped, "{id:?} was never let go");
            assert!(
                member.client.is_none() || member.told_closed,
                "{id:?}: its end was not told"
            );
        }
        self.idle(EMPTY_ROOM);
        for (namespace, members) in self.hub.namespace_stats() {
            assert_eq!(members, 0, "{namespace}");
            assert!(self.hub.rooms_in(namespace).is_empty(), "{namespace}");
        }
        assert_eq!(self.hub.next_timeout(), None, "nothing to wait for");
        for user in USERS {
            let target = Target::User(user.into());
            assert_eq!(
                self.hub
                    .publish(self.now, Publication::new(target, "x", None)),
                0
            );
        }
    }
}
