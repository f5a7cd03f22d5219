//! The directory of a big slot: an extendible hash of leaves, itself kept small by nesting.
//!
//! A node distinguishes up to [`NODE_BITS`] bits of a position. Where that does not suffice it holds a node of the
//! next bits instead of a leaf, so that growing never copies more than one directory of 1024 words, however many
//! keys there are.

use alloc::vec;
use alloc::vec::Vec;
use core::mem::size_of;

use super::leaf::{Leaf, SPARSE};
use super::{Change, Hashes, POSITION_BITS, POSITION_SHIFT};

/// Position bits of one node.
const NODE_BITS: u8 = 10;
/// Nodes start at bits 0, 10 and 20; the two bits left would not pay for a fourth level.
const MAX_BASE: u8 = 2 * NODE_BITS;

/// Marks a directory word as the index of a child node.
const CHILD: u32 = 1 << 31;

/// One directory with its leaves and deeper nodes.
pub(super) struct Node {
    /// Position bits that lead to this node.
    base: u8,
    /// Further bits that the directory tells apart.
    bits: u8,
    /// `2^bits` words: an index into `leaves`, or one into `nodes` marked with [`CHILD`].
    dir: Vec<u32>,
    leaves: Vec<Leaf>,
    nodes: Vec<Node>,
    /// No entry below is due before this.
    due_ms: u64,
}

/// A leaf and the positions it covers.
pub(super) struct Span<'t> {
    pub(super) leaf: &'t Leaf,
    pub(super) start: u32,
    /// One past the last position; up to 2^32.
    pub(super) end: u64,
}

/// Where due entries may be.
pub(super) enum NextDue {
    /// In the leaf of this position.
    Leaf(u32),
    /// Nowhere before this position.
    Later(u32),
    /// Nowhere.
    End,
}

enum Word {
    Leaf(usize),
    Child(usize),
}

fn word(raw: u32) -> Word {
    if raw & CHILD == 0 { Word::Leaf(raw as usize) } else { Word::Child((raw & !CHILD) as usize) }
}

impl Node {
    /// A node with one leaf.
    pub(super) fn new(base: u8, mut leaf: Leaf) -> Self {
        leaf.depth = 0;
        let due_ms = leaf.due_ms;
        Self { base, bits: 0, dir: vec![0], leaves: vec![leaf], nodes: Vec::new(), due_ms }
    }

    /// Memory of the lists of this node alone, with their spare room.
    pub(super) fn lists(&self) -> usize {
        self.dir.capacity() * size_of::<u32>()
            + self.leaves.capacity() * size_of::<Leaf>()
            + self.nodes.capacity() * size_of::<Self>()
    }

    fn index(&self, position: u32) -> usize {
        let shift = POSITION_BITS - u32::from(self.base) - u32::from(self.bits);
        (u64::from(position) >> shift) as usize & ((1 << self.bits) - 1)
    }

    pub(super) fn due_ms(&self) -> u64 {
        self.due_ms
    }

    /// Whether the node has come down to one leaf, which it then gives away.
    pub(super) fn sole_leaf(&mut self) -> Option<Leaf> {
        if self.bits == 0 && self.nodes.is_empty() { self.leaves.pop() } else { None }
    }

    #[inline]
    pub(super) fn leaf(&self, position: u32) -> &Leaf {
        let mut node = self;
        loop {
            match word(node.dir[node.index(position)]) {
                Word::Leaf(i) => return &node.leaves[i],
                Word::Child(i) => node = &node.nodes[i],
            }
        }
    }

    /// The leaf of a position, to change an entry that may be due at `due_ms`.
    #[inline]
    pub(super) fn leaf_mut(&mut self, position: u32, due_ms: u64) -> &mut Leaf {
        let mut node = self;
        loop {
            node.due_ms = node.due_ms.min(due_ms);
            match word(node.dir[node.index(position)]) {
                Word::Leaf(i) => return &mut node.leaves[i],
                Word::Child(i) => node = &mut node.nodes[i],
            }
        }
    }

    /// The leaf of a position with its bounds.
    pub(super) fn span(&self, position: u32) -> Span<'_> {
        let mut node = self;
        loop {
            match word(node.dir[node.index(position)]) {
                Word::Child(i) => node = &node.nodes[i],
                Word::Leaf(i) => {
                    let leaf = &node.leaves[i];
                    let width = 1u64 << (POSITION_BITS - u32::from(node.base) - u32::from(leaf.depth));
                    let start = u64::from(position) & !(width - 1);
                    return Span { leaf, start: start as u32, end: start + width };
                }
            }
        }
    }

    /// Splits the leaf of a position. False when all bits are used up, and the leaf has to grow instead.
    pub(super) fn split(&mut self, position: u32, hashes: &Hashes, change: &mut Change) -> bool {
        if let Word::Child(i) = word(self.dir[self.index(position)]) {
            return self.nodes[i].split(position, hashes, change);
        }
        let before = self.lists();
        let split = self.split_here(position, hashes, change);
        change.bytes += self.lists() as i64 - before as i64;
        split
    }

    fn split_here(&mut self, position: u32, hashes: &Hashes, change: &mut Change) -> bool {
        loop {
            let at = self.index(position);
            let i = match word(self.dir[at]) {
                Word::Child(i) => return self.nodes[i].split(position, hashes, change),
                Word::Leaf(i) => i,
            };
            let depth = self.leaves[i].depth;
            if depth < self.bits {
                let bit = POSITION_BITS - 1 - u32::from(self.base) - u32::from(depth);
                let high = self.leaves[i].split(1 << (bit + POSITION_SHIFT), hashes, change);
                let width = 1 << (self.bits - depth);
                let first = at & !(width - 1);
                let new = self.leaves.len() as u32;
                self.dir[first + width / 2..first + width].fill(new);
                // Growing the list copies the leaves' headers, at most 1024 of them.
                if self.leaves.len() == self.leaves.capacity() {
                    change.moved += self.leaves.len();
                    // By an eighth: most slots have but a few leaves, and room for more would be a byte per key.
                    self.leaves.reserve_exact(1 + self.leaves.len() / 8);
                }
                self.leaves.push(high);
                return true;
            }
            if self.bits < NODE_BITS {
                self.double(change);
            } else if self.base < MAX_BASE {
                self.sink(at, i, change);
            } else {
                return false;
            }
        }
    }

    /// Twice as many words, each leaf covering twice as many.
    fn double(&mut self, change: &mut Change) {
        let words = self.dir.len();
        let mut dir = Vec::with_capacity(2 * words);
        dir.extend(self.dir.iter().flat_map(|&w| [w, w]));
        self.dir = dir;
        self.bits += 1;
        change.moved += words;
    }

    /// Replaces a leaf by a node of the next bits that holds it.
    fn sink(&mut self, at: usize, i: usize, change: &mut Change) {
        let leaf = self.remove_leaf(i);
        self.dir[at] = CHILD | self.nodes.len() as u32;
        if self.nodes.len() == self.nodes.capacity() {
            change.moved += self.nodes.len();
            self.nodes.reserve_exact(1 + self.nodes.len() / 8);
        }
        let node = Self::new(self.base + self.bits, leaf);
        change.bytes += node.lists() as i64;
        self.nodes.push(node);
    }

    /// Takes a leaf out of the list; the words that named it are left to the caller.
    fn remove_leaf(&mut self, i: usize) -> Leaf {
        let last = self.leaves.len() - 1;
        let leaf = self.leaves.swap_remove(i);
        if i != last {
            self.rename(last as u32, i as u32);
        }
        if self.leaves.len() * 4 <= self.leaves.capacity() {
            self.leaves.shrink_to(self.leaves.len() * 2);
        }
        leaf
    }

    fn rename(&mut self, from: u32, to: u32) {
        for w in self.dir.iter_mut().filter(|w| **w == from) {
            *w = to;
        }
    }

    /// Joins the leaf of a position with its neighbours while they are sparse.
    pub(super) fn merge(&mut self, position: u32, hashes: &Hashes, change: &mut Change) {
        if let Word::Child(i) = word(self.dir[self.index(position)]) {
            self.nodes[i].merge(position, hashes, change);
        }
        let before = self.lists();
        self.merge_here(position, hashes, change);
        change.bytes += self.lists() as i64 - before as i64;
    }

    fn merge_here(&mut self, position: u32, hashes: &Hashes, change: &mut Change) {
        loop {
            let at = self.index(position);
            let i = match word(self.dir[at]) {
                Word::Leaf(i) => i,
                Word::Child(i) => {
                    if !self.raise(at, i, change) {
                        return;
                    }
                    continue;
                }
            };
            let depth = self.leaves[i].depth;
            if depth == 0 {
                return;
            }
            let width = 1 << (self.bits - depth);
            let neighbour_at = (at & !(width - 1)) ^ width;
            let Word::Leaf(n) = word(self.dir[neighbour_at]) else { return };
            if self.leaves[n].depth != depth || self.leaves[i].len() + self.leaves[n].len() > SPARSE {
                return;
            }
            self.dir[neighbour_at..neighbour_at + width].fill(i as u32);
            self.leaves[i].depth -= 1;
            // Removing the neighbour may move the leaf itself: find it again by its position.
            let neighbour = self.remove_leaf(n);
            let Word::Leaf(i) = word(self.dir[at]) else { unreachable!("a leaf stays a leaf") };
            self.leaves[i].absorb(neighbour, hashes, change);
            self.halve(change);
        }
    }

    /// Takes the leaf of a child that has only one back into this node.
    fn raise(&mut self, at: usize, i: usize, change: &mut Change) -> bool {
        let Some(mut leaf) = self.nodes[i].sole_leaf() else { return false };
        leaf.depth = self.bits;
        let last = self.nodes.len() - 1;
        change.bytes -= self.nodes.swap_remove(i).lists() as i64;
        if self.nodes.len() * 4 <= self.nodes.capacity() {
            self.nodes.shrink_to(self.nodes.len() * 2);
        }
        if i != last {
            self.rename(CHILD | last as u32, CHILD | i as u32);
        }
        self.dir[at] = self.leaves.len() as u32;
        self.leaves.push(leaf);
        true
    }

    /// Halves the directory as long as no leaf needs its last bit.
    fn halve(&mut self, change: &mut Change) {
        while self.bits > 0 && self.nodes.is_empty() && self.leaves.iter().all(|l| l.depth < self.bits) {
            let mut dir = Vec::with_capacity(self.dir.len() / 2);
            dir.extend(self.dir.iter().step_by(2));
            self.dir = dir;
            self.bits -= 1;
            change.moved += self.dir.len();
        }
    }

    /// Looks, from position `from` on, for a leaf that may hold entries due before `now_ms`. Looks through at most one
    /// child that has none, so that a call stays short.
    pub(super) fn next_due(&mut self, now_ms: u64, from: u32) -> NextDue {
        let shift = POSITION_BITS - u32::from(self.base) - u32::from(self.bits);
        let below = (1u64 << (POSITION_BITS - u32::from(self.base))) - 1;
        let prefix = u64::from(from) & !below;
        let mut at = self.index(from);
        let mut from = from;
        while at < self.dir.len() {
            let start_of = |at: usize| (prefix | ((at as u64) << shift)) as u32;
            match word(self.dir[at]) {
                Word::Child(i) => {
                    at += 1;
                    let child = &mut self.nodes[i];
                    if child.due_ms < now_ms {
                        match child.next_due(now_ms, from) {
                            NextDue::End if at < self.dir.len() => return NextDue::Later(start_of(at)),
                            NextDue::End => break,
                            found => return found,
                        }
                    }
                }
                Word::Leaf(i) => {
                    if self.leaves[i].due_ms < now_ms {
                        return NextDue::Leaf(from);
                    }
                    let width = 1 << (self.bits - self.leaves[i].depth);
                    at = (at & !(width - 1)) + width;
                }
            }
            from = start_of(at);
        }
        self.refresh_due();
        NextDue::End
    }

    /// Recomputes `due_ms` from the leaves and nodes right below.
    pub(super) fn refresh_due(&mut self) {
        let leaves = self.leaves.iter().map(|l| l.due_ms);
        self.due_ms = leaves.chain(self.nodes.iter().map(|n| n.due_ms)).min().unwrap_or(u64::MAX);
    }

    /// Frees leaves until `budget` entries are gone. True when nothing is left but empty lists.
    pub(super) fn free(&mut self, budget: &mut usize, change: &mut Change) -> bool {
        while let Some(node) = self.nodes.last_mut() {
            if !node.free(budget, change) {
                return false;
            }
            change.bytes -= node.lists() as i64;
            self.nodes.pop();
        }
        while let Some(leaf) = self.leaves.last() {
            if *budget == 0 {
                return false;
            }
            *budget = budget.saturating_sub(leaf.cost());
            change.keys -= leaf.len() as i64;
            change.bytes -= leaf.bytes() as i64;
            self.leaves.pop();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::leaf::Sums;

    impl Node {
        /// Checks a node whose positions all start with `prefix`.
        pub(in crate::store) fn audit(&self, hashes: &Hashes, prefix: u64, sums: &mut Sums) {
            assert_eq!(self.dir.len(), 1 << self.bits);
            assert!(self.bits > 0, "a node of one leaf is no node");
            let deepest = self.leaves.iter().map(|l| l.depth).max();
            assert!(deepest == Some(self.bits) || !self.nodes.is_empty(), "a directory too large");
            let (mut at, mut leaves, mut nodes) = (0, 0, 0);
            while at < self.dir.len() {
                match word(self.dir[at]) {
                    Word::Child(i) => {
                        let node = &self.nodes[i];
                        assert_eq!((self.bits, node.base), (NODE_BITS, self.base + NODE_BITS));
                        assert!(self.due_ms <= node.due_ms, "a node due too late");
                        node.audit(hashes, (prefix << self.bits) | at as u64, sums);
                        nodes += 1;
                        at += 1;
                    }
                    Word::Leaf(i) => {
                        let leaf = &self.leaves[i];
                        let width = 1 << (self.bits - leaf.depth);
                        assert!(at % width == 0 && self.dir[at..at + width].iter().all(|&w| w == i as u32));
                        assert!(self.due_ms <= leaf.due_ms, "a node due too late");
                        let inner = (at / width) as u64;
                        let bits = u32::from(self.base + leaf.depth);
                        leaf.audit(hashes, (prefix << leaf.depth) | inner, bits, sums);
                        self.audit_neighbour(at, width, leaf);
                        leaves += 1;
                        at += width;
                    }
                }
            }
            assert_eq!((leaves, nodes), (self.leaves.len(), self.nodes.len()));
            sums.bytes += self.lists() as u64;
        }

        /// Counts what is left of a node that is being freed.
        pub(in crate::store) fn count(&self, sums: &mut Sums) {
            sums.bytes += self.lists() as u64;
            self.leaves.iter().for_each(|leaf| leaf.count(sums));
            self.nodes.iter().for_each(|node| node.count(sums));
        }

        fn audit_neighbour(&self, at: usize, width: usize, leaf: &Leaf) {
            if leaf.depth > 0
                && let Word::Leaf(n) = word(self.dir[at ^ width])
                && self.leaves[n].depth == leaf.depth
            {
                assert!(self.leaves[n].len() + leaf.len() > SPARSE, "two sparse leaves side by side");
            }
        }
    }
}
