//! The snapshot cursor: a walk over slots in slices, while the keyspace goes on changing.
//!
//! A cursor walks the databases in ascending order, in each its ranges in the given order, slots and positions
//! ascending. It is used in mode *Latest*: what it emits is the value at that moment. Whoever owns the cursor keeps
//! this rule for every change of a key in its slots, **before** making the change:
//!
//! - [`Cursor::passed`]: forward the change, in the same stream as what the cursor emits. Else do neither: the cursor
//!   will meet what the key has become.
//! - A change of several keys of which any is passed, or that must be forwarded as one, first emits those that are
//!   not passed (if they exist) and calls [`Cursor::emitted_early`] for each of them, whether it exists or not;
//!   then it is forwarded.
//!
//! Then the receiver, applying emissions and forwarded changes in order, ends with exactly the content of the store.
//!
//! An owner that wants the content of one moment instead (mode *AsOf*) treats every change as one of several keys: it
//! emits each key that is not passed and calls [`Cursor::emitted_early`] before the first change. Then what is emitted
//! is what there was when the cursor was made.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use smallvec::SmallVec;

use super::entry::Entry;
use super::table::Table;
use super::{At, POSITION_BITS, Store, position};
use crate::slots::{Slot, SlotRanges, SlotSet};

/// What an emitted key costs of the budget besides its key and its value.
const KEY_COST: u64 = 32;
/// What a leaf or a slot without keys costs of the budget.
const EMPTY_COST: u64 = 1;

/// Why a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepEnd {
    /// The budget is used up.
    More,
    /// Every key has been emitted.
    Done,
}

/// Keys emitted before their turn, by database (as numbered at the start), slot and position.
type Early = BTreeMap<(u32, Slot, u32), SmallVec<[Box<[u8]>; 1]>>;

/// A walk over all keys of some slots.
pub struct Cursor {
    ranges: SlotRanges,
    slots: SlotSet,
    /// The database being walked, as numbered at the start.
    db: u32,
    databases: u32,
    /// Where the database that was number `i` at the start has been swapped to.
    places: SmallVec<[u32; 16]>,
    /// Slots of that database that are behind the cursor.
    behind: SlotSet,
    /// The index in `ranges` and the slot being walked; nothing at the end.
    turn: Option<(usize, Slot)>,
    /// Positions below this are behind the cursor; up to 2^32.
    position: u64,
    early: Early,
    total: u64,
    emitted: u64,
}

impl Cursor {
    /// A cursor before the first key of `ranges` in all databases of `store`.
    #[must_use]
    pub fn new(store: &Store, ranges: SlotRanges) -> Self {
        let slots = ranges.to_set();
        let total = slots.iter().map(|slot| store.slot_len_all(slot)).sum();
        let databases = store.databases();
        Self {
            turn: ranges.0.first().map(|r| (0, r.first)),
            ranges,
            slots,
            db: 0,
            databases,
            places: (0..databases).collect(),
            behind: SlotSet::new(),
            position: 0,
            early: Early::new(),
            total,
            emitted: 0,
        }
    }

    /// Whether the receiver already has what the cursor will ever emit of this key, so that a change of the key must
    /// be forwarded. Never true for a key in other slots.
    #[must_use]
    pub fn passed(&self, at: &At<'_>) -> bool {
        let db = self.origin(at.db);
        if !self.slots.contains(at.slot) {
            return false;
        }
        let Some((_, slot)) = self.turn else { return true };
        db < self.db
            || (db == self.db
                && (self.behind.contains(at.slot)
                    || (slot == at.slot && u64::from(position(at.hash)) < self.position)))
            || self.is_early(db, at.slot, position(at.hash), at.key)
    }

    /// Notes that the caller has emitted a key that is not passed, or that there is no such key to emit.
    pub fn emitted_early(&mut self, at: &At<'_>) {
        if self.slots.contains(at.slot) && !self.passed(at) {
            self.note_early(self.origin(at.db), at.slot, position(at.hash), at.key);
        }
    }

    /// Follows [`Store::swap`]; the swap itself must be forwarded.
    pub fn swapped(&mut self, a: u32, b: u32) {
        for place in &mut self.places {
            if *place == a {
                *place = b;
            } else if *place == b {
                *place = a;
            }
        }
    }

    /// Whether every key has been emitted.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.turn.is_none()
    }

    /// About how many keys are still to be emitted: those there at the start less those emitted.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        if self.is_done() { 0 } else { self.total.saturating_sub(self.emitted) }
    }

    /// How many keys this cursor has emitted itself.
    #[must_use]
    pub fn emitted(&self) -> u64 {
        self.emitted
    }

    /// Emits keys until `budget_bytes` are used, each key counting its key, its value and 32 bytes; at least one if
    /// there is one. A leaf that is begun is finished when up to a quarter more of the budget does it. `emit` gets the
    /// database's present number.
    pub fn step(&mut self, store: &Store, budget_bytes: u64, emit: &mut dyn FnMut(u32, &Entry)) -> StepEnd {
        let budget = i64::try_from(budget_bytes).unwrap_or(i64::MAX).max(1);
        let mut slice = Slice { left: budget, slack: budget / 4, emitted: 0, emit };
        while let Some((_, slot)) = self.turn {
            let place = self.places[self.db as usize];
            let table = if self.behind.contains(slot) { None } else { store.table_of(place, slot) };
            match table.filter(|t| !t.is_empty()) {
                Some(table) => {
                    if !self.step_table(store, table, slot, place, &mut slice) {
                        self.emitted += slice.emitted;
                        return StepEnd::More;
                    }
                }
                None => slice.charge(EMPTY_COST),
            }
            self.next_slot(store);
            if slice.is_over() && self.turn.is_some() {
                self.emitted += slice.emitted;
                return StepEnd::More;
            }
        }
        self.emitted += slice.emitted;
        StepEnd::Done
    }

    /// Emits the rest of a slot. False when the budget ended first.
    fn step_table(
        &mut self,
        store: &Store,
        table: &Table,
        slot: Slot,
        place: u32,
        slice: &mut Slice<'_>,
    ) -> bool {
        while self.position < 1 << POSITION_BITS {
            if slice.is_over() {
                return false;
            }
            let from = self.position as u32;
            let span = table.span(from);
            // Positions are computed only where they matter: after a merge, and where keys were emitted early.
            let last = (span.end - 1) as u32;
            let early = self.early.range((self.db, slot, from)..=(self.db, slot, last)).next().is_some();
            let whole = span.start == from && !early;
            span.leaf.fetch();
            let mut done = 0;
            let pending = span.leaf.table.iter().filter(|entry| {
                whole || {
                    let at = position(store.hashes.of(entry.key()));
                    at >= from && !(early && self.is_early(self.db, slot, at, entry.key()))
                }
            });
            let mut cut = false;
            for entry in pending {
                if slice.must_stop() {
                    cut = true;
                    break;
                }
                slice.emit(place, entry);
                done += 1;
            }
            if cut {
                self.note_leaf(store, span.leaf.table.iter(), slot, from, done);
                return false;
            }
            slice.charge(if span.leaf.len() == 0 { EMPTY_COST } else { 0 });
            self.position = span.end;
            if early {
                self.forget_early(slot);
            }
        }
        true
    }

    /// Notes the first `done` keys of an unfinished leaf that were not early before.
    fn note_leaf<'e>(
        &mut self,
        store: &Store,
        entries: impl Iterator<Item = &'e Entry>,
        slot: Slot,
        from: u32,
        done: usize,
    ) {
        let mut done = done;
        for entry in entries {
            if done == 0 {
                return;
            }
            let at = position(store.hashes.of(entry.key()));
            if at >= from && !self.is_early(self.db, slot, at, entry.key()) {
                self.note_early(self.db, slot, at, entry.key());
                done -= 1;
            }
        }
    }

    /// The number that a database had when the cursor was made, if it has been swapped since.
    #[must_use]
    pub fn origin(&self, db: u32) -> u32 {
        if self.places.get(db as usize) == Some(&db) {
            return db;
        }
        self.places.iter().position(|&place| place == db).map_or(db, |i| i as u32)
    }

    fn is_early(&self, db: u32, slot: Slot, position: u32, key: &[u8]) -> bool {
        !self.early.is_empty()
            && self.early.get(&(db, slot, position)).is_some_and(|keys| keys.iter().any(|k| **k == *key))
    }

    fn note_early(&mut self, db: u32, slot: Slot, position: u32, key: &[u8]) {
        self.early.entry((db, slot, position)).or_default().push(key.into());
    }

    /// Drops early keys of the slot being walked that are behind the cursor.
    fn forget_early(&mut self, slot: Slot) {
        let (first, last) = ((self.db, slot, 0), (self.db, slot, (self.position - 1) as u32));
        while let Some((&place, _)) = self.early.range(first..=last).next() {
            self.early.remove(&place);
        }
    }

    /// Turns to the next slot, of the next database after the last.
    fn next_slot(&mut self, store: &Store) {
        let Some((range, slot)) = self.turn else { return };
        self.position = 1 << POSITION_BITS;
        self.forget_early(slot);
        self.behind.insert(slot);
        self.position = 0;
        let last = self.ranges.0[range].last;
        self.turn = if slot < last {
            Slot::new(slot.number() + 1).map(|next| (range, next))
        } else {
            self.ranges.0.get(range + 1).map(|r| (range + 1, r.first))
        };
        while self.turn.is_none() && self.db + 1 < self.databases {
            self.db += 1;
            self.behind = SlotSet::new();
            if store.has_keys(self.places[self.db as usize]) {
                self.turn = self.ranges.0.first().map(|r| (0, r.first));
            } else {
                self.early.retain(|&(db, ..), _| db > self.db);
            }
        }
    }
}

/// One step's budget and sink.
struct Slice<'e> {
    left: i64,
    /// How far beyond the budget a begun leaf is finished, since keys of an unfinished one must be remembered.
    slack: i64,
    emitted: u64,
    emit: &'e mut dyn FnMut(u32, &Entry),
}

impl Slice<'_> {
    fn charge(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub_unsigned(bytes);
    }

    fn is_over(&self) -> bool {
        self.left <= 0
    }

    fn must_stop(&self) -> bool {
        self.left <= -self.slack
    }

    fn emit(&mut self, db: u32, entry: &Entry) {
        self.charge((entry.key().len() + entry.view().as_slice().len()) as u64 + KEY_COST);
        self.emitted += 1;
        (self.emit)(db, entry);
    }
}

#[cfg(test)]
mod tests;
