//! Clients that stay connected, against a host that does not: a real hub and
//! scripted servers that die in the middle of everything and come back, on a
//! network that delays, splits, joins, stalls and cuts.

mod application;
mod host;
mod model;
mod peace;
mod script;
mod setup;
pub mod storm;
mod wires;
mod world;

use smartsocket_core::Seed;
use smartsocket_core::crypt::Key;

use world::World;

/// Whose protocol a client speaks, to what kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SmartSocket, with nothing to show.
    Open,
    /// With an API key.
    Keyed,
    /// Encrypted.
    Sealed,
    Echo,
    /// The manager of Protocol OS.
    Custom,
    /// Asks the server for its channels.
    Pusher,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Open,
        Self::Keyed,
        Self::Sealed,
        Self::Echo,
        Self::Custom,
        Self::Pusher,
    ];

    pub const fn is_smartsocket(self) -> bool {
        matches!(self, Self::Open | Self::Keyed | Self::Sealed)
    }
}

fn key(n: u8) -> Key {
    Key::generate(&Seed::new([n; 32]))
}

/// The number of a message that the application of a client said.
fn number(text: &str) -> Option<u64> {
    after(text, "\"n\":")
}

/// The number that stands behind this.
fn after(text: &str, what: &str) -> Option<u64> {
    let at = text.find(what)? + what.len();
    let digits = text[at..].split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub trace: u64,
    /// Messages said, seen by the host, and told as dropped.
    pub said: usize,
    pub seen: usize,
    pub dropped: usize,
    /// How often somebody got in.
    pub arrivals: usize,
}

pub fn run(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    let steps = 50 + world.chance.below(2_000);
    for _ in 0..steps {
        world.take_step();
    }
    world.make_peace();
    world.leave();
    world.outcome()
}
