//! What must hold, kept as naively as can be: who is where, and what was said
//! to whom. The hub is right as long as nothing here disagrees.

use std::collections::{BTreeMap, BTreeSet};

use smartsocket_core::Tick;
use smartsocket_core::hub::{AckToken, Answer, ClientId, ConnId};

/// Steps of a run, counted.
pub type Step = u64;

/// A stretch of steps in which a connection is a member; open at the end while
/// it still is.
pub type Stay = (Step, Option<Step>);

/// What is known of one connection.
#[derive(Debug)]
pub struct Member {
    pub route: usize,
    /// Set once it is somebody; stays when it is nobody again.
    pub client: Option<ClientId>,
    pub somebody: bool,
    pub namespace: String,
    pub user: Option<String>,
    /// All users it ever was.
    pub was: BTreeSet<String>,
    /// Rooms and broker topics, and when it was in them.
    pub rooms: BTreeMap<String, Vec<Stay>>,
    /// It showed credentials that are good, or need not.
    pub proven: bool,
    /// What it has asked for, as far as the hub has got the words.
    pub asked_in: BTreeSet<String>,
    pub asked_out: BTreeSet<String>,
    pub asked_namespaces: BTreeSet<String>,
    /// Messages to it pass the application.
    pub transformed: bool,
    /// Its end was told to the application, or its socket was to be dropped.
    pub told_closed: bool,
    pub dropped: bool,
    /// Numbers it got, and the last of each way there is.
    got: BTreeSet<u64>,
    last: [u64; 2],
    /// Its own words that came back or went to others: the last by sender.
    heard: BTreeMap<usize, u64>,
    heard_all: BTreeSet<(usize, u64)>,
    /// Acks it asked for: how often it was answered.
    pub answered: BTreeMap<u64, u32>,
    pub owed_by_app: BTreeSet<u64>,
}

impl Member {
    pub fn new(route: usize, namespace: &str, proven: bool) -> Self {
        Self {
            route,
            client: None,
            somebody: false,
            namespace: namespace.into(),
            user: None,
            was: BTreeSet::new(),
            rooms: BTreeMap::new(),
            proven,
            asked_in: BTreeSet::new(),
            asked_out: BTreeSet::new(),
            asked_namespaces: BTreeSet::new(),
            transformed: false,
            told_closed: false,
            dropped: false,
            got: BTreeSet::new(),
            last: [0; 2],
            heard: BTreeMap::new(),
            heard_all: BTreeSet::new(),
            answered: BTreeMap::new(),
            owed_by_app: BTreeSet::new(),
        }
    }

    pub fn is_now(&mut self, user: Option<&str>) {
        self.user = user.map(Into::into);
        self.was.extend(self.user.clone());
    }

    pub fn is_in(&self, room: &str) -> bool {
        let stays = self.rooms.get(room);
        stays.is_some_and(|stays| stays.last().is_some_and(|(_, end)| end.is_none()))
    }

    pub fn now_in(&self) -> BTreeSet<String> {
        let rooms = self.rooms.keys().filter(|room| self.is_in(room));
        rooms.cloned().collect()
    }

    pub fn enter(&mut self, step: Step, room: &str) {
        if !self.is_in(room) {
            self.rooms
                .entry(room.into())
                .or_default()
                .push((step, None));
        }
    }

    pub fn exit(&mut self, step: Step, room: &str) {
        if let Some((_, end @ None)) = self.rooms.get_mut(room).and_then(|stays| stays.last_mut()) {
            *end = Some(step);
        }
    }

    /// Whether it was in the room at any step since.
    pub fn was_in(&self, room: &str, since: Step) -> bool {
        self.rooms.get(room).is_some_and(|stays| {
            stays
                .iter()
                .any(|(_, end)| end.is_none_or(|end| end >= since))
        })
    }
}

/// An event of the application.
#[derive(Debug)]
pub struct Said {
    /// Who may get it: all that were in its audience when it was said.
    pub to: BTreeSet<ConnId>,
    /// For a user who was away: one of its later connections may.
    pub kept_for: Option<String>,
    /// Past the application's look at what goes out.
    pub direct: bool,
    pub delivered: u64,
}

#[derive(Debug)]
pub struct Asked {
    pub id: ConnId,
    pub deadline: Tick,
    pub number: u64,
}

#[derive(Debug, Default)]
pub struct Model {
    pub members: BTreeMap<ConnId, Member>,
    pub said: BTreeMap<u64, Said>,
    pub acks: BTreeMap<AckToken, Asked>,
    pub settled: u64,
    /// What peers have said, by peer and number: since which step the hub may
    /// have it, and where it was said.
    pub words: BTreeMap<(usize, u64), (Step, Option<String>)>,
    /// Which peer is which connection.
    pub peers: BTreeMap<usize, ConnId>,
}

impl Model {
    /// A client got the event with this number.
    pub fn received(&mut self, id: ConnId, number: u64) {
        let said = self.said.get_mut(&number);
        let said = said.unwrap_or_else(|| panic!("{id:?} got {number}, which nobody said"));
        let member = self.members.get_mut(&id).expect("a connection");
        assert!(member.proven, "{id:?} got {number} and is nobody");
        match &said.kept_for {
            Some(user) => {
                assert!(
                    member.was.contains(user),
                    "{id:?} got {number}, which was for {user}"
                );
                assert_eq!(said.delivered, 0, "{number} was kept once and told twice");
            }
            None => {
                assert!(said.to.contains(&id), "{id:?} got {number}: {said:?}");
                let way = usize::from(member.transformed && said.direct);
                assert!(
                    member.last[way] < number,
                    "{id:?} got {number} after {}",
                    member.last[way]
                );
                member.last[way] = number;
            }
        }
        said.delivered += 1;
        assert!(member.got.insert(number), "{id:?} got {number} twice");
    }

    /// A client got what another said to a room, a topic or to it alone.
    pub fn overheard(&mut self, id: ConnId, room: Option<&str>, peer: usize, number: u64) {
        let Some((since, place)) = self.words.get(&(peer, number)) else {
            panic!("{id:?} got {number} of {peer}, who had not said it");
        };
        let since = *since;
        if let Some(place) = place {
            assert_eq!(Some(place.as_str()), room, "said elsewhere");
        }
        let sender = self.peers[&peer];
        if let Some(room) = room {
            for who in [sender, id] {
                let member = &self.members[&who];
                // Topics are open to every sender, and subscriptions are the
                // broker's; and who has come and gone since was not seen.
                let topic = member.route == super::world::MB;
                let asked = member.asked_in.contains(room);
                let left = !member.somebody
                    || member.asked_out.contains(room)
                    || member.asked_out.contains("");
                assert!(
                    topic && (who == sender || asked)
                        || asked && left
                        || member.was_in(room, since),
                    "{who:?} is not in {room}, where {id:?} got {number} of {sender:?}"
                );
            }
        }
        let namespace = self.members[&sender].namespace.clone();
        let member = self.members.get_mut(&id).expect("a connection");
        assert_eq!(member.namespace, namespace, "across namespaces");
        assert!(
            member.heard_all.insert((peer, number)),
            "{id:?} got {number} of {peer} twice"
        );
        let last = member.heard.entry(peer).or_default();
        assert!(*last < number, "{id:?} got {number} of {peer} after {last}");
        *last = number;
    }

    /// A client got the answer to its own event.
    pub fn ack_came(&mut self, id: ConnId, number: u64) {
        let member = self.members.get_mut(&id).expect("a connection");
        let times = member.answered.entry(number).or_default();
        *times += 1;
        assert_eq!(*times, 1, "{id:?}: {number} was answered twice");
    }

    /// The hub told what came of an emit with ack.
    pub fn settled(&mut self, now: Tick, token: AckToken, answer: &Answer, open: bool) {
        let asked = self.acks.remove(&token);
        let asked = asked.unwrap_or_else(|| panic!("{token:?} is told twice, or never asked"));
        self.settled += 1;
        match answer {
            Answer::Data(data) => {
                let text = format!("\"r\":{}", asked.number);
                // It may have answered what it did not see yet, too.
                let right = data.as_str().contains(&text) || data.as_str().contains("\"r\":0");
                assert!(right, "{data:?} for {}", asked.number);
            }
            Answer::TimedOut => assert!(now >= asked.deadline, "{token:?} ended too early"),
            Answer::Closed => assert!(!open, "{token:?} ended by no end"),
        }
    }
}
