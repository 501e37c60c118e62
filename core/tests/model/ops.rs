//! What can happen, and how often it does.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{PLACES, Place};

/// One of a few who connect, one connection at a time each.
pub(crate) type Who = usize;

#[derive(Clone, Debug)]
pub(crate) enum Name {
    /// `a`, `b`, `c`.
    Short(usize),
    /// One of those that were made.
    Made(usize),
    /// `ws:x`.
    Reserved,
    Empty,
    TooLong,
}

#[derive(Clone, Debug)]
pub(crate) enum To {
    All,
    Namespace(Place),
    Room(Place, Name),
    User(u8),
    Client(Who),
}

/// What happens: by the clock, by clients on the wire, by the application.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Pass(u64),
    Connect(Who, Place),
    Impostor(Who),
    Goodbye(Who),
    Reset(Who),
    /// So many events, one after the other.
    Say(Who, &'static str, usize),
    AskInto(Who, Name),
    AskOutOf(Who, Name),
    SpeakIn(Who, Name),
    Direct(Who, Who),
    Connected(Who, Option<Place>),
    Answer(Who, usize),
    Kick(Who),
    Join(Who, Name),
    Leave(Who, Name),
    SetUser(Who, Option<u8>),
    Create(Place, Option<usize>),
    Remove(Place, Name),
    Publish(To, Vec<Who>),
    Ask(Who, u64),
}

pub(crate) const PEOPLE: usize = 5;

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let who = || 0..PEOPLE;
    let place = || prop::sample::select(&PLACES[..]);
    let name = || {
        prop_oneof![
            6 => (0..3_usize).prop_map(Name::Short),
            4 => (0..4_usize).prop_map(Name::Made),
            1 => Just(Name::Reserved),
            1 => Just(Name::Empty),
            1 => Just(Name::TooLong),
        ]
    };
    let to = prop_oneof![
        1 => Just(To::All),
        1 => place().prop_map(To::Namespace),
        3 => (place(), name()).prop_map(|(place, name)| To::Room(place, name)),
        1 => (0..2_u8).prop_map(To::User),
        1 => who().prop_map(To::Client),
    ];
    prop_oneof![
        8 => prop_oneof![1..60_u64, 60..300_u64, 300..1_100_u64, Just(1_000_u64), 1_100..3_000_u64]
            .prop_map(Op::Pass),
        8 => (who(), place()).prop_map(|(who, place)| Op::Connect(who, place)),
        1 => who().prop_map(Op::Impostor),
        1 => who().prop_map(Op::Goodbye),
        1 => who().prop_map(Op::Reset),
        8 => (who(), prop::sample::select(&["save", "other"][..]), 1..5_usize)
            .prop_map(|(who, event, times)| Op::Say(who, event, times)),
        5 => (who(), name()).prop_map(|(who, name)| Op::AskInto(who, name)),
        2 => (who(), name()).prop_map(|(who, name)| Op::AskOutOf(who, name)),
        3 => (who(), name()).prop_map(|(who, name)| Op::SpeakIn(who, name)),
        2 => (who(), who()).prop_map(|(who, to)| Op::Direct(who, to)),
        2 => (who(), prop::option::weighted(0.9, place()))
            .prop_map(|(who, to)| Op::Connected(who, to)),
        4 => (who(), 0..4_usize).prop_map(|(who, which)| Op::Answer(who, which)),
        1 => who().prop_map(Op::Kick),
        6 => (who(), name()).prop_map(|(who, name)| Op::Join(who, name)),
        3 => (who(), name()).prop_map(|(who, name)| Op::Leave(who, name)),
        3 => (who(), prop::option::weighted(0.8, 0..2_u8))
            .prop_map(|(who, user)| Op::SetUser(who, user)),
        3 => (place(), prop::option::of(0..3_usize))
            .prop_map(|(place, max)| Op::Create(place, max)),
        1 => (place(), name()).prop_map(|(place, name)| Op::Remove(place, name)),
        8 => (to, vec(who(), 0..2)).prop_map(|(to, except)| Op::Publish(to, except)),
        5 => (who(), 1..2_000_u64).prop_map(|(who, timeout)| Op::Ask(who, timeout)),
    ]
}
