//! What waits to be said, by priority.

use alloc::collections::BTreeMap;
use core::cmp::Reverse;

use super::config::QueueConfig;

/// What goes first when several messages wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// The first to be dropped.
    Low,
    /// Most messages.
    #[default]
    Normal,
    /// The first to go.
    High,
}

/// A bounded queue: the highest priority first, of one priority the oldest.
#[derive(Debug)]
pub(super) struct Queue<T> {
    entries: BTreeMap<(Reverse<Priority>, u64), (usize, T)>,
    serial: u64,
    bytes: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            serial: 0,
            bytes: 0,
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether one more can wait without another having to go for it.
    pub(super) fn fits(&self, config: &QueueConfig, bytes: usize) -> bool {
        self.entries.len() < config.max_messages
            && bytes <= config.max_bytes.saturating_sub(self.bytes)
    }

    /// Adds one, and gives what had to go for it: the oldest of what is less
    /// urgent or as urgent, or itself where all that waits is more urgent or it
    /// is too long for any queue.
    pub(super) fn push(
        &mut self,
        config: &QueueConfig,
        priority: Priority,
        bytes: usize,
        value: T,
    ) -> impl Iterator<Item = T> {
        let mut gone = alloc::vec::Vec::new();
        if bytes > config.max_bytes {
            gone.push(value);
            return gone.into_iter();
        }
        self.serial += 1;
        self.bytes += bytes;
        let key = (Reverse(priority), self.serial);
        self.entries.insert(key, (bytes, value));
        while self.entries.len() > config.max_messages || self.bytes > config.max_bytes {
            let Some((&(least, _), _)) = self.entries.last_key_value() else {
                break;
            };
            let mut class = self.entries.range((least, 0)..=(least, u64::MAX));
            let Some(oldest) = class.next().map(|(&key, _)| key) else {
                break;
            };
            if let Some((bytes, value)) = self.entries.remove(&oldest) {
                self.bytes -= bytes;
                gone.push(value);
            }
        }
        gone.into_iter()
    }

    /// The first of those that may go.
    pub(super) fn pop(&mut self, may_go: impl Fn(&T) -> bool) -> Option<T> {
        let mut entries = self.entries.iter();
        let (&key, _) = entries.find(|(_, (_, value))| may_go(value))?;
        let (bytes, value) = self.entries.remove(&key)?;
        self.bytes -= bytes;
        Some(value)
    }

    /// Takes out those that are not to go any more.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let bytes = &mut self.bytes;
        self.entries.retain(|_, (size, value)| {
            let keep = keep(value);
            *bytes -= if keep { 0 } else { *size };
            keep
        });
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.bytes = 0;
        core::mem::take(&mut self.entries)
            .into_values()
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Push(Priority, usize),
        Pop,
        /// One whose number is even.
        PopEven,
    }

    fn op() -> impl Strategy<Value = Op> {
        let priority = prop_oneof![
            Just(Priority::Low),
            Just(Priority::Normal),
            Just(Priority::High)
        ];
        prop_oneof![
            3 => (priority, 0_usize..40).prop_map(|(priority, bytes)| Op::Push(priority, bytes)),
            1 => Just(Op::Pop),
            1 => Just(Op::PopEven),
        ]
    }

    proptest! {
        #[test]
        fn a_queue_is_what_a_plain_list_says(
            ops in prop::collection::vec(op(), 0..200),
            max_messages in 0_usize..12,
            max_bytes in 0_usize..200,
        ) {
            let config = QueueConfig { max_messages, max_bytes };
            let mut queue = Queue::default();
            let mut list: Vec<(Priority, usize, usize)> = Vec::new();
            for (n, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Push(priority, bytes) => {
                        let fits = list.len() < max_messages
                            && list.iter().map(|entry| entry.1).sum::<usize>() + bytes <= max_bytes;
                        let could = queue.fits(&config, bytes);
                        prop_assert_eq!(could, fits);
                        let gone: Vec<usize> = queue.push(&config, priority, bytes, n).collect();
                        let mut expected = Vec::new();
                        if bytes > max_bytes {
                            expected.push(n);
                        } else {
                            list.push((priority, bytes, n));
                        }
                        while list.len() > max_messages
                            || list.iter().map(|entry| entry.1).sum::<usize>() > max_bytes
                        {
                            let least = list.iter().map(|entry| entry.0).min().expect("some");
                            let at = list.iter().position(|entry| entry.0 == least).expect("it");
                            expected.push(list.remove(at).2);
                        }
                        prop_assert_eq!(gone, expected);
                    }
                    Op::Pop | Op::PopEven => {
                        let may_go = |n: usize| matches!(op, Op::Pop) || n.is_multiple_of(2);
                        let able = || list.iter().filter(|entry| may_go(entry.2));
                        let best = able().map(|entry| entry.0).max();
                        let first = able().find(|entry| Some(entry.0) == best).map(|it| it.2);
                        list.retain(|entry| Some(entry.2) != first);
                        prop_assert_eq!(queue.pop(|&n| may_go(n)), first);
                    }
                }
                prop_assert_eq!(queue.len(), list.len());
                prop_assert_eq!(queue.bytes(), list.iter().map(|entry| entry.1).sum::<usize>());
            }
        }
    }
}
