//! The table of connections, and maps keyed by what clients choose.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use siphasher::sip::SipHasher13;

use super::ids::ConnId;

/// A hash map whose keys a client may choose: SipHash under a secret key, so
/// that nobody can choose keys that collide.
pub(super) type Map<K, V> = hashbrown::HashMap<K, V, Keyed>;

/// Makes hashers under one secret key.
#[derive(Clone, Copy)]
pub(super) struct Keyed(u64, u64);

impl Keyed {
    pub(super) fn new(random: [u8; 16]) -> Self {
        let (a, b) = random.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, &byte| n << 8 | u64::from(byte));
        Self(number(a), number(b))
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// An ordered set of connections: joining, leaving and finding are O(1), and
/// walking it is walking an array. Its keys are ours, so its hash need not
/// withstand anybody.
pub(super) type Members = indexmap::IndexSet<ConnId, Plain>;

/// Spreads small numbers over the bits; for keys that we choose.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plain;

#[derive(Debug, Default)]
pub(super) struct PlainHasher(u64);

impl BuildHasher for Plain {
    type Hasher = PlainHasher;

    fn build_hasher(&self) -> PlainHasher {
        PlainHasher::default()
    }
}

impl core::hash::Hasher for PlainHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

/// Values by [`ConnId`]. A value lives in a box of its own, so that a free
/// place costs next to nothing.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<Box<T>>,
}

impl<T> Table<T> {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, value: T) -> ConnId {
        self.len += 1;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot {
                    generation: 0,
                    value: None,
                });
                (self.slots.len() - 1) as u32
            }
        };
        let place = &mut self.slots[slot as usize];
        place.value = Some(Box::new(value));
        ConnId {
            slot,
            generation: place.generation,
        }
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Box<T>> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        self.len -= 1;
        Some(value)
    }

    #[inline]
    pub(super) fn get(&self, id: ConnId) -> Option<&T> {
        let slot = self.slots.get(id.slot as usize)?;
        (slot.generation == id.generation)
            .then_some(slot.value.as_deref())
            .flatten()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation {
            slot.value.as_deref_mut()
        } else {
            None
        }
    }

    /// All of them, in the order of their places.
    pub(super) fn ids(&self) -> impl Iterator<Item = ConnId> {
        self.slots.iter().enumerate().filter_map(|(slot, place)| {
            place.value.as_ref().map(|_| ConnId {
                slot: slot as u32,
                generation: place.generation,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut table = Table::new();
        let a = table.insert("a");
        assert_eq!(table.remove(a).as_deref(), Some(&"a"));
        let b = table.insert("b");
        assert_eq!((a.slot, b.slot, table.len()), (0, 0, 1));
        assert_eq!((table.get(a), table.get(b)), (None, Some(&"b")));
        assert!(table.get_mut(a).is_none() && table.remove(a).is_none());
        assert_eq!(table.ids().collect::<Vec<_>>(), [b]);
    }
}
