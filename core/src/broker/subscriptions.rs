//! Who subscribed to what.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::hash::{BuildHasherDefault, Hash};

use indexmap::IndexSet;
use serde::{Serialize, Serializer};
use siphasher::sip::SipHasher13;

use crate::dialect::topic;

/// A set that can be walked, and asked for its n-th member. Its keys are the
/// embedder's, so the hash has no secret.
type Set<K> = IndexSet<K, BuildHasherDefault<SipHasher13>>;

/// What a subscription is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Purpose {
    /// All that is published.
    Publish,
    /// Requests, where nobody has a higher priority.
    Request(Priority),
}

/// How eager a subscriber is for requests; any finite number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Priority(f64);

/// Subscriptions, by topic and by subscriber.
#[derive(Debug)]
pub(super) struct Subscriptions<K> {
    topics: BTreeMap<Arc<str>, Members<K>>,
    held: BTreeMap<K, Held>,
    /// How many topics are patterns.
    patterns: usize,
}

/// The subscribers of one topic.
#[derive(Debug)]
pub(super) struct Members<K> {
    publish: Set<K>,
    request: BTreeMap<Priority, Set<K>>,
}

/// The subscriptions of one subscriber.
#[derive(Debug, Default)]
struct Held {
    publish: BTreeSet<Arc<str>>,
    request: BTreeMap<Arc<str>, Priority>,
}

impl<K: Copy + Ord + Hash> Subscriptions<K> {
    pub(super) fn new() -> Self {
        Self {
            topics: BTreeMap::new(),
            held: BTreeMap::new(),
            patterns: 0,
        }
    }

    /// How many one has.
    pub(super) fn count(&self, key: K) -> usize {
        let held = self.held.get(&key);
        held.map_or(0, |held| held.publish.len() + held.request.len())
    }

    /// Whether there is such a subscription, of whatever priority.
    pub(super) fn contains(&self, key: K, topic: &str, purpose: Purpose) -> bool {
        self.held.get(&key).is_some_and(|held| match purpose {
            Purpose::Publish => held.publish.contains(topic),
            Purpose::Request(_) => held.request.contains_key(topic),
        })
    }

    /// Adds one to `topic`, a name or a pattern, or changes its priority.
    /// Gives whether it is new.
    pub(super) fn add(&mut self, key: K, topic: &str, purpose: Purpose) -> bool {
        let is_new = !self.remove(key, topic, purpose);
        let name = match self.topics.get_key_value(topic) {
            Some((name, _)) => Arc::clone(name),
            None => {
                self.patterns += usize::from(topic::has_wildcards(topic));
                Arc::from(topic)
            }
        };
        let members = self.topics.entry(Arc::clone(&name)).or_insert(Members {
            publish: Set::default(),
            request: BTreeMap::new(),
        });
        let held = self.held.entry(key).or_default();
        match purpose {
            Purpose::Publish => {
                members.publish.insert(key);
                held.publish.insert(name);
            }
            Purpose::Request(priority) => {
                members.request.entry(priority).or_default().insert(key);
                held.request.insert(name, priority);
            }
        }
        is_new
    }

    /// Gives whether there was one, of whatever priority.
    pub(super) fn remove(&mut self, key: K, topic: &str, purpose: Purpose) -> bool {
        let Some(held) = self.held.get_mut(&key) else {
            return false;
        };
        let purpose = match purpose {
            Purpose::Publish => held.publish.remove(topic).then_some(purpose),
            Purpose::Request(_) => held.request.remove(topic).map(Purpose::Request),
        };
        if held.publish.is_empty() && held.request.is_empty() {
            self.held.remove(&key);
        }
        if let Some(purpose) = purpose {
            self.expel(key, topic, purpose);
        }
        purpose.is_some()
    }

    /// Removes all of one's.
    pub(super) fn leave(&mut self, key: K) {
        let held = self.held.remove(&key).unwrap_or_default();
        for topic in held.publish {
            self.expel(key, &topic, Purpose::Publish);
        }
        for (topic, priority) in held.request {
            self.expel(key, &topic, Purpose::Request(priority));
        }
    }

    /// Out of the members; a topic without any goes.
    fn expel(&mut self, key: K, topic: &str, purpose: Purpose) {
        let Some(members) = self.topics.get_mut(topic) else {
            return;
        };
        match purpose {
            Purpose::Publish => {
                members.publish.swap_remove(&key);
            }
            Purpose::Request(priority) => {
                if let Some(equals) = members.request.get_mut(&priority) {
                    equals.swap_remove(&key);
                    if equals.is_empty() {
                        members.request.remove(&priority);
                    }
                }
            }
        }
        if members.publish.is_empty() && members.request.is_empty() {
            self.topics.remove(topic);
            self.patterns -= usize::from(topic::has_wildcards(topic));
        }
    }

    /// Everybody to whom something published under a name goes, once each.
    pub(super) fn publish(&self, name: &str) -> Vec<K> {
        let mut all = Vec::new();
        for members in self.matching(name) {
            all.extend(&members.publish);
        }
        if self.patterns > 0 {
            all.sort_unstable();
            all.dedup();
        }
        all
    }

    /// One of those whose priority for requests under a name is the highest;
    /// `random` says which.
    pub(super) fn request(&self, name: &str, random: impl FnOnce() -> u64) -> Option<K> {
        let highest = self
            .matching(name)
            .filter_map(|members| members.request.last_key_value());
        let top = highest.map(|(priority, _)| *priority).max()?;
        let equals = self
            .matching(name)
            .filter_map(|members| members.request.get(&top));
        let equals: Vec<&Set<K>> = equals.collect();
        let all: usize = equals.iter().map(|set| set.len()).sum();
        let mut chosen = match all {
            1 => 0,
            _ => (random() % all as u64) as usize,
        };
        equals.into_iter().find_map(|set| {
            let one = set.get_index(chosen);
            chosen = chosen.saturating_sub(set.len());
            one.copied()
        })
    }

    /// A name's own subscribers and those of all patterns it matches.
    fn matching(&self, name: &str) -> impl Iterator<Item = &Members<K>> {
        let patterns = (self.patterns > 0).then(|| topic::patterns(name));
        let patterns = patterns.into_iter().flatten();
        self.topics
            .get(name)
            .into_iter()
            .chain(patterns.filter_map(|pattern| self.topics.get(&*pattern)))
    }

    /// All topics, in order.
    pub(super) fn topics(&self) -> impl Iterator<Item = (&str, &Members<K>)> {
        self.topics
            .iter()
            .map(|(topic, members)| (&**topic, members))
    }

    /// One's subscriptions, in order.
    pub(super) fn of(&self, key: K) -> Vec<(&str, Purpose)> {
        let held = self.held.get(&key).into_iter();
        let mut all: Vec<_> = held
            .flat_map(|held| {
                let publish = held
                    .publish
                    .iter()
                    .map(|topic| (&**topic, Purpose::Publish));
                let request = held.request.iter();
                publish.chain(request.map(|(topic, p)| (&**topic, Purpose::Request(*p))))
            })
            .collect();
        // Stable: published things stay before requests.
        all.sort_by_key(|(topic, _)| *topic);
        all
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.held.is_empty() && self.patterns == 0
    }
}

impl<K: Copy> Members<K> {
    pub(super) fn publish(&self) -> impl ExactSizeIterator<Item = K> {
        self.publish.iter().copied()
    }

    /// Those who take requests, the most eager first.
    pub(super) fn request(&self) -> impl Iterator<Item = (K, Priority)> {
        let sets = self.request.iter().rev();
        sets.flat_map(|(priority, set)| set.iter().map(|key| (*key, *priority)))
    }
}

impl Priority {
    pub(super) const DEFAULT: Self = Self(0.0);

    /// `None` for what is no number.
    pub(super) fn new(number: f64) -> Option<Self> {
        // Of the two zeros, the one.
        number.is_finite().then_some(Self(number + 0.0))
    }
}

impl Ord for Priority {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Priority {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Priority {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Priority {}

/// Whole numbers without a fraction, as JavaScript writes them.
impl Serialize for Priority {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = self.0 as i64;
        if whole as f64 == self.0 && whole.unsigned_abs() < 1 << 53 {
            serializer.serialize_i64(whole)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(priority: f64) -> Purpose {
        Purpose::Request(Priority::new(priority).unwrap())
    }

    #[test]
    fn only_the_most_eager_are_asked_and_all_of_them() {
        let mut all = Subscriptions::new();
        for (key, topic, priority) in [
            (1, "a.b", 0.0),
            (2, "a.b", 1.5),
            (3, "a.b", 1.5),
            (4, "a.+", 1.5),
            (5, "#", -1.0),
        ] {
            assert!(all.add(key, topic, request(priority)));
        }
        let asked: BTreeSet<_> = (0..30).map(|n| all.request("a.b", || n)).collect();
        assert_eq!(asked, [Some(2), Some(3), Some(4)].into());
        assert_eq!(all.request("a.c", || 0), Some(4));
        assert_eq!(all.request("a", || 0), Some(5));
        // Less eager now.
        assert!(!all.add(2, "a.b", request(-2.0)));
        all.leave(4);
        assert_eq!(all.request("a.b", || 7), Some(3));
        assert!(all.publish("a.b").is_empty());
        for key in 0..6 {
            all.leave(key);
        }
        assert!(all.is_empty());
        assert_eq!(all.request("a.b", || 0), None);
    }

    #[test]
    fn what_matches_twice_is_delivered_once() {
        let mut all = Subscriptions::new();
        for topic in ["a.b", "a.+", "+.b", "#", "a.#"] {
            assert!(all.add(1, topic, Purpose::Publish));
            assert!(!all.add(1, topic, Purpose::Publish));
        }
        assert!(all.add(2, "a.b.#", Purpose::Publish));
        assert_eq!(all.publish("a.b"), [1, 2]);
        assert_eq!(all.publish("x"), [1]);
        assert_eq!((all.count(1), all.count(2), all.count(3)), (5, 1, 0));
        assert!(all.remove(1, "#", Purpose::Publish));
        assert!(!all.remove(1, "#", Purpose::Publish));
        assert!(!all.remove(1, "a.b", request(0.0)));
        assert!(all.publish("x").is_empty());
    }

    #[test]
    fn priorities_are_written_as_javascript_does() {
        for (number, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (2.0, "2"),
            (-7.0, "-7"),
            (1.5, "1.5"),
            (9_007_199_254_740_991.0, "9007199254740991"),
        ] {
            let priority = Priority::new(number).unwrap();
            assert_eq!(serde_json::to_string(&priority).unwrap(), expected);
        }
        assert_eq!(Priority::new(-0.0), Priority::new(0.0));
        assert_eq!(Priority::new(f64::INFINITY), None);
    }
}
