//! The table of one slot: nothing, one leaf, or a directory of leaves.

use alloc::boxed::Box;
use core::mem::size_of;

use super::entry::Entry;
use super::leaf::{FULL, Leaf, SPARSE};
use super::node::{NextDue, Node, Span};
use super::slab::ForTables;
use super::{Change, Hashes, position};

/// All entries of one slot in one database.
pub(super) struct Table {
    root: Root,
    /// Memory of what holds the entries.
    bytes: u64,
}

enum Root {
    Leaf(Leaf),
    Big(Box<Big>),
}

struct Big {
    node: Node,
    keys: u64,
    expires: u64,
}

impl Table {
    pub(super) const fn new(memory: ForTables) -> Self {
        Self { root: Root::Leaf(Leaf::new(memory)), bytes: 0 }
    }

    pub(super) fn len(&self) -> u64 {
        match &self.root {
            Root::Leaf(leaf) => leaf.len() as u64,
            Root::Big(big) => big.keys,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn expires(&self) -> u64 {
        match &self.root {
            Root::Leaf(leaf) => u64::from(leaf.volatile),
            Root::Big(big) => big.expires,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// No entry is due before this.
    pub(super) fn due_ms(&self) -> u64 {
        match &self.root {
            Root::Leaf(leaf) => leaf.due_ms,
            Root::Big(big) => big.node.due_ms(),
        }
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        match &self.root {
            Root::Leaf(leaf) => leaf.find(hash, key),
            Root::Big(big) => big.node.leaf(position(hash)).find(hash, key),
        }
    }

    /// What lies where a key with this hash would be, see [`Store::peek`](super::Store::peek).
    #[inline]
    pub(super) fn peek(&self, hash: u64) -> u32 {
        let leaf = match &self.root {
            Root::Leaf(leaf) => leaf,
            Root::Big(big) => big.node.leaf(position(hash)),
        };
        leaf.table.find(hash, |_| true).map_or(0, Entry::clock)
    }

    fn leaf_mut(&mut self, position: u32, due_ms: u64) -> &mut Leaf {
        match &mut self.root {
            Root::Leaf(leaf) => leaf,
            Root::Big(big) => big.node.leaf_mut(position, due_ms),
        }
    }

    /// Books what an operation changed in this table.
    fn book(&mut self, change: &Change) {
        self.bytes = self.bytes.wrapping_add_signed(change.bytes);
        if let Root::Big(big) = &mut self.root {
            big.keys = big.keys.wrapping_add_signed(change.keys);
            big.expires = big.expires.wrapping_add_signed(change.expires);
        }
    }

    /// Adds an entry whose key is not here.
    pub(super) fn add(&mut self, hash: u64, entry: Entry, hashes: &Hashes) -> Change {
        let mut change = Change { keys: 1, ..Change::NONE };
        if let Some(ms) = entry.expiry_ms() {
            change.expires = 1;
            change.due_ms = ms;
        }
        let position = position(hash);
        self.make_room(position, hashes, &mut change);
        self.leaf_mut(position, change.due_ms).add(hash, entry, hashes, &mut change);
        self.book(&change);
        change
    }

    fn make_room(&mut self, position: u32, hashes: &Hashes, change: &mut Change) {
        if let Root::Leaf(leaf) = &mut self.root {
            if leaf.len() < FULL {
                return;
            }
            let memory = *leaf.table.allocator();
            let leaf = core::mem::replace(leaf, Leaf::new(memory));
            let (keys, expires) = (leaf.len() as u64, u64::from(leaf.volatile));
            let node = Node::new(0, leaf);
            change.bytes += (size_of::<Big>() + node.lists()) as i64;
            self.root = Root::Big(Box::new(Big { node, keys, expires }));
        }
        let Root::Big(big) = &mut self.root else { unreachable!("made big above") };
        while big.node.leaf(position).len() >= FULL && big.node.split(position, hashes, change) {}
    }

    /// Takes an entry out.
    pub(super) fn take(&mut self, hash: u64, key: &[u8], hashes: &Hashes) -> Option<(Entry, Change)> {
        let mut change = Change::NONE;
        let position = position(hash);
        let leaf = self.leaf_mut(position, u64::MAX);
        let entry = leaf.take(hash, key, hashes, &mut change)?;
        let sparse = leaf.len() <= SPARSE;
        change.keys = -1;
        change.expires = -i64::from(entry.expiry_ms().is_some());
        if sparse && let Root::Big(big) = &mut self.root {
            big.node.merge(position, hashes, &mut change);
        }
        let sole = match &mut self.root {
            Root::Big(big) if sparse => big.node.sole_leaf().map(|leaf| (leaf, big.node.lists())),
            _ => None,
        };
        if let Some((leaf, lists)) = sole {
            self.root = Root::Leaf(leaf);
            change.bytes -= (size_of::<Big>() + lists) as i64;
        }
        self.book(&change);
        Some((entry, change))
    }

    /// Changes an entry, whose key stays the same.
    pub(super) fn edit<R>(
        &mut self,
        hash: u64,
        key: &[u8],
        edit: impl FnOnce(&mut Entry) -> R,
    ) -> Option<(R, Change)> {
        let position = position(hash);
        let leaf = self.leaf_mut(position, u64::MAX);
        let entry = leaf.table.find_mut(hash, |e| e.key() == key)?;
        let before = entry.expiry_ms();
        let out = edit(entry);
        let after = entry.expiry_ms();
        let change = Change {
            expires: i64::from(after.is_some()) - i64::from(before.is_some()),
            due_ms: if before == after { u64::MAX } else { after.unwrap_or(u64::MAX) },
            ..Change::NONE
        };
        if before != after {
            leaf.note_expiry(before, after);
            if let Root::Big(big) = &mut self.root {
                big.node.leaf_mut(position, change.due_ms);
            }
        }
        self.book(&change);
        Some((out, change))
    }

    /// The leaf of a position with its bounds.
    pub(super) fn span(&self, position: u32) -> Span<'_> {
        match &self.root {
            Root::Leaf(leaf) => Span { leaf, start: 0, end: 1 << super::POSITION_BITS },
            Root::Big(big) => big.node.span(position),
        }
    }

    /// Looks, from position `from` on, for a leaf that may hold entries due before `now_ms`.
    pub(super) fn next_due(&mut self, now_ms: u64, from: u32) -> NextDue {
        match &mut self.root {
            Root::Leaf(leaf) if leaf.due_ms < now_ms => NextDue::Leaf(from),
            Root::Leaf(_) => NextDue::End,
            Root::Big(big) => big.node.next_due(now_ms, from),
        }
    }

    /// The leaf of a position, its `due_ms` made exact.
    pub(super) fn refreshed_leaf(&mut self, position: u32) -> &Leaf {
        let leaf = self.leaf_mut(position, u64::MAX);
        leaf.refresh_due();
        leaf
    }

    /// Recomputes `due_ms` from the leaves.
    pub(super) fn refresh_due(&mut self) {
        if let Root::Big(big) = &mut self.root {
            big.node.refresh_due();
        }
    }

    /// Frees entries until about `budget` are gone. Answers how many, how much smaller the table is, and whether
    /// nothing is left.
    pub(super) fn free(&mut self, budget: &mut usize) -> (u64, u64, bool) {
        let mut change = Change::NONE;
        let (keys, bytes) = (self.len(), self.bytes);
        let done = match &mut self.root {
            Root::Big(big) => big.node.free(budget, &mut change),
            Root::Leaf(leaf) => {
                *budget = budget.saturating_sub(leaf.cost());
                true
            }
        };
        self.book(&change);
        (keys - self.len(), bytes - self.bytes, done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::leaf::Sums;

    impl Table {
        /// Counts what is left of a table that is being freed.
        pub(in crate::store) fn count(&self, all: &mut Sums) {
            let mut sums = Sums::default();
            match &self.root {
                Root::Leaf(leaf) => leaf.count(&mut sums),
                Root::Big(big) => {
                    big.node.count(&mut sums);
                    sums.bytes += size_of::<Big>() as u64;
                }
            }
            assert_eq!((sums.keys, sums.bytes), (self.len(), self.bytes));
            all.keys += sums.keys;
            all.bytes += sums.bytes;
            all.memory += sums.memory;
        }

        pub(in crate::store) fn audit(&self, hashes: &Hashes, all: &mut Sums) {
            let mut sums = Sums::default();
            match &self.root {
                Root::Leaf(leaf) => leaf.audit(hashes, 0, 0, &mut sums),
                Root::Big(big) => {
                    assert!(big.keys > 0, "an empty slot has no directory");
                    big.node.audit(hashes, 0, &mut sums);
                    sums.bytes += size_of::<Big>() as u64;
                }
            }
            let own =
                Sums { keys: self.len(), expires: self.expires(), bytes: self.bytes, memory: sums.memory };
            assert_eq!(sums, own);
            all.keys += sums.keys;
            all.expires += sums.expires;
            all.bytes += sums.bytes;
            all.memory += sums.memory;
        }
    }
}
