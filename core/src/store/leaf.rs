//! A leaf: a small hash table, the unit in which a slot's table grows, is walked and is freed.

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::entry::Entry;
use super::slab::ForTables;
use super::{Change, Hashes};

#[cfg(test)]
pub(super) use tests::Sums;

/// A leaf with this many entries splits before it takes another: 64 buckets, full.
pub(super) const FULL: usize = 56;
/// Two neighbours with at most this many entries together become one. Far from [`FULL`], so that a leaf does not
/// split and merge in turns.
pub(super) const SPARSE: usize = 14;

/// Bytes whose pages cost as much to free as a key.
const COSTLY: usize = 4096;

/// Entries whose positions share their leading bits.
pub(super) struct Leaf {
    pub(super) table: HashTable<Entry, ForTables>,
    /// No entry here is due before this, in milliseconds since the Unix epoch.
    pub(super) due_ms: u64,
    /// How many entries have an expiry.
    pub(super) volatile: u32,
    /// How many leading bits they share, counted from the node that holds the leaf.
    pub(super) depth: u8,
}

impl Leaf {
    pub(super) const fn new(memory: ForTables) -> Self {
        Self { table: HashTable::new_in(memory), due_ms: u64::MAX, volatile: 0, depth: 0 }
    }

    /// Takes the table, and leaves an empty one.
    fn take_table(&mut self) -> HashTable<Entry, ForTables> {
        let memory = *self.table.allocator();
        core::mem::replace(&mut self.table, HashTable::new_in(memory))
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.table.find(hash, |e| e.key() == key)
    }

    /// Touches both ends of all entries. They lie anywhere in memory: looked at one after another each is waited for,
    /// looked at together the processor fetches as many at a time as it can.
    pub(super) fn fetch(&self) {
        core::hint::black_box(self.table.iter().fold(0, |seen, e| seen | e.peek_end()));
    }

    /// The same for their keys alone, which have to be hashed again.
    fn fetch_keys(&self) {
        core::hint::black_box(self.table.iter().fold(0, |seen, e| seen | e.peek_start()));
    }

    /// Memory of the table; entries have theirs from the slab.
    pub(super) fn bytes(&self) -> usize {
        self.table.allocation_size()
    }

    /// What freeing the leaf costs of a budget in keys: one for each, more for values of many pages, one for itself.
    pub(super) fn cost(&self) -> usize {
        self.table.iter().map(|e| 1 + e.memory() / COSTLY).sum::<usize>() + 1
    }

    /// Adds an entry whose key is not here.
    pub(super) fn add(&mut self, hash: u64, entry: Entry, hashes: &Hashes, change: &mut Change) {
        self.note_expiry(None, entry.expiry_ms());
        if self.table.len() < self.table.capacity() {
            self.table.insert_unique(hash, entry, |e| hashes.of(e.key()));
        } else {
            let before = self.table.allocation_size();
            change.moved += self.table.len();
            self.fetch_keys();
            self.table.insert_unique(hash, entry, |e| hashes.of(e.key()));
            change.bytes += self.table.allocation_size() as i64 - before as i64;
        }
    }

    /// Takes an entry out, and gives memory back when the table has become much too large.
    pub(super) fn take(
        &mut self,
        hash: u64,
        key: &[u8],
        hashes: &Hashes,
        change: &mut Change,
    ) -> Option<Entry> {
        let found = self.table.find_entry(hash, |e| e.key() == key).ok()?;
        let entry = found.remove().0;
        self.note_expiry(entry.expiry_ms(), None);
        let len = self.table.len();
        if len == 0 || (self.table.num_buckets() > 16 && len * 8 <= self.table.num_buckets()) {
            let before = self.table.allocation_size();
            if len == 0 {
                drop(self.take_table());
            } else {
                change.moved += len;
                self.table.shrink_to(len * 2, |e| hashes.of(e.key()));
            }
            change.bytes += self.table.allocation_size() as i64 - before as i64;
        }
        Some(entry)
    }

    /// Follows an entry whose expiry changes, comes or goes.
    pub(super) fn note_expiry(&mut self, before: Option<u64>, after: Option<u64>) {
        self.volatile += u32::from(after.is_some());
        self.volatile -= u32::from(before.is_some());
        if self.volatile == 0 {
            self.due_ms = u64::MAX;
        } else if let Some(ms) = after {
            self.due_ms = self.due_ms.min(ms);
        }
    }

    /// Makes `due_ms` exact.
    pub(super) fn refresh_due(&mut self) {
        self.due_ms = self.table.iter().filter_map(Entry::expiry_ms).min().unwrap_or(u64::MAX);
    }

    /// Moves the entries whose hash has `bit` set to a new leaf, one bit deeper.
    pub(super) fn split(&mut self, bit: u64, hashes: &Hashes, change: &mut Change) -> Self {
        change.moved += self.table.len();
        change.bytes -= self.table.allocation_size() as i64;
        self.fetch_keys();
        let entries: SmallVec<[(u64, Entry); FULL]> =
            self.take_table().into_iter().map(|e| (hashes.of(e.key()), e)).collect();
        let high_len = entries.iter().filter(|(hash, _)| hash & bit != 0).count();
        let depth = self.depth + 1;
        let memory = *self.table.allocator();
        let part = |len| Self { table: HashTable::with_capacity_in(len, memory), depth, ..Self::new(memory) };
        let (mut low, mut high) = (part(entries.len() - high_len), part(high_len));
        for (hash, entry) in entries {
            let side = if hash & bit != 0 { &mut high } else { &mut low };
            side.note_expiry(None, entry.expiry_ms());
            side.table.insert_unique(hash, entry, |e| hashes.of(e.key()));
        }
        change.bytes += (low.table.allocation_size() + high.table.allocation_size()) as i64;
        *self = low;
        high
    }

    /// Takes over all entries of a neighbour.
    pub(super) fn absorb(&mut self, mut other: Self, hashes: &Hashes, change: &mut Change) {
        change.moved += other.table.len();
        change.bytes -= other.table.allocation_size() as i64;
        for entry in other.take_table() {
            self.add(hashes.of(entry.key()), entry, hashes, change);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::mem::size_of;

    use super::*;
    use crate::store::{POSITION_BITS, position};

    /// What an audit has counted.
    #[derive(Default, PartialEq, Eq, Debug)]
    pub(in crate::store) struct Sums {
        pub(in crate::store) keys: u64,
        pub(in crate::store) expires: u64,
        /// Memory of tables.
        pub(in crate::store) bytes: u64,
        /// Memory of entries.
        pub(in crate::store) memory: u64,
    }

    impl Leaf {
        /// Counts what there is.
        pub(in crate::store) fn count(&self, sums: &mut Sums) {
            sums.keys += self.len() as u64;
            sums.expires += u64::from(self.volatile);
            sums.bytes += self.bytes() as u64;
            sums.memory += self.table.iter().map(|e| e.memory() as u64).sum::<u64>();
        }

        /// Checks a leaf whose positions all start with `prefix`, of `bits` bits.
        pub(in crate::store) fn audit(&self, hashes: &Hashes, prefix: u64, bits: u32, sums: &mut Sums) {
            let mut volatile = 0;
            for entry in &self.table {
                let position = u64::from(position(hashes.of(entry.key())));
                assert_eq!(position >> (POSITION_BITS - bits), prefix, "an entry in a wrong leaf");
                if let Some(ms) = entry.expiry_ms() {
                    volatile += 1;
                    assert!(self.due_ms <= ms, "a leaf due too late");
                }
            }
            assert_eq!(self.volatile, volatile);
            assert!(volatile > 0 || self.due_ms == u64::MAX);
            assert!(!self.table.is_empty() || self.table.allocation_size() == 0);
            self.count(sums);
        }
    }

    #[test]
    fn a_leaf_has_sixty_four_buckets_when_full() {
        assert_eq!(HashTable::<Entry>::with_capacity(FULL).num_buckets(), 64);
        assert_eq!(size_of::<Leaf>(), 56);
    }
}
