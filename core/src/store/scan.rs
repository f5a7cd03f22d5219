//! Walks for clients: SCAN, keys of a slot, a random key. Hidden slots are not met.

use super::db::GROUP;
use super::entry::Entry;
use super::sample::Pool;
use super::table::Table;
use super::{POSITION_BITS, Store, position};
use crate::rng::Rng;
use crate::slots::Slot;

/// Leaves without keys and slots looked at per wanted key, before a scan returns with less than asked for.
const EMPTY_PER_KEY: usize = 10;

impl Store {
    /// Walks some keys of a database from `cursor` on, 0 to start. Answers the cursor to go on with, 0 at the end.
    ///
    /// Visits about `count` keys: always whole leaves, of up to 56 keys. A key that is there from the start of a walk
    /// to its end is visited at least once, however the tables grow and shrink meanwhile. A cursor is
    /// `slot << 32 | position`, so any cursor of a walk stays good for ever.
    pub fn scan(&self, db: u32, cursor: u64, count: usize, visit: &mut dyn FnMut(&Entry)) -> u64 {
        let db = &self.dbs[db as usize];
        let mut walk = Walk::new(count);
        let mut from = cursor as u32;
        let mut index = (cursor >> POSITION_BITS) as usize;
        while index < db.slots() {
            if index.is_multiple_of(GROUP) && db.groups()[index / GROUP].keys == 0 {
                index += GROUP;
                from = 0;
                continue;
            }
            let table = db.table_at(index).filter(|table| !table.is_empty());
            if let Some(table) = table.filter(|_| !self.hidden_at(index)) {
                if let Some(next) = self.walk(table, from, &mut walk, visit) {
                    return ((index as u64) << POSITION_BITS) | u64::from(next);
                }
            } else {
                walk.empty += 1;
            }
            index += 1;
            from = 0;
            if walk.is_over() && index < db.slots() {
                return (index as u64) << POSITION_BITS;
            }
        }
        0
    }

    /// Walks some keys of one slot, hidden or not, from a position on. Answers the position to go on with, nothing
    /// at the end. Otherwise like [`Store::scan`].
    pub fn scan_slot(
        &self,
        db: u32,
        slot: Slot,
        from: u32,
        count: usize,
        visit: &mut dyn FnMut(&Entry),
    ) -> Option<u32> {
        let table = self.dbs[db as usize].table(slot)?;
        self.walk(table, from, &mut Walk::new(count), visit)
    }

    /// Visits up to `max` keys of a slot, hidden or not.
    pub fn keys_in_slot(&self, db: u32, slot: Slot, max: usize, visit: &mut dyn FnMut(&Entry)) {
        let mut left = max;
        let mut from = Some(0);
        while let Some(position) = from.filter(|_| left > 0) {
            from = self.scan_slot(db, slot, position, left, &mut |entry| {
                if left > 0 {
                    left -= 1;
                    visit(entry);
                }
            });
        }
    }

    /// Visits every visible key of a database.
    pub fn for_each(&self, db: u32, visit: &mut dyn FnMut(&Entry)) {
        let mut cursor = 0;
        loop {
            cursor = self.scan(db, cursor, usize::MAX, visit);
            if cursor == 0 {
                return;
            }
        }
    }

    /// A visible key of a database drawn at random: slots by how many keys they have, leaves of a slot by the width
    /// of their positions, so that no key is drawn much more often than another.
    pub fn random(&self, db: u32, rng: &mut Rng) -> Option<&Entry> {
        let slot = self.draw_slot(db, Pool::All, rng)?;
        let table = self.dbs[db as usize].table(slot)?;
        let mut from = rng.bits() as u32;
        loop {
            let span = table.span(from);
            if span.leaf.len() > 0 {
                return span.leaf.table.iter().nth(rng.index(span.leaf.len()));
            }
            // Empty leaves are rare, so their neighbours do not get many more draws than others.
            from = span.end as u32;
        }
    }

    pub(super) fn hidden_at(&self, index: usize) -> bool {
        Slot::new(index as u16).is_some_and(|slot| self.hidden.contains(slot))
    }

    /// Visits whole leaves of a table until the walk is over. Answers the next position, nothing at the end.
    fn walk(&self, table: &Table, from: u32, walk: &mut Walk, visit: &mut dyn FnMut(&Entry)) -> Option<u32> {
        let mut from = from;
        loop {
            let span = table.span(from);
            for entry in &span.leaf.table {
                // A leaf that has merged since also covers positions that the walk has passed.
                if span.start == from || position(self.hashes.of(entry.key())) >= from {
                    walk.seen += 1;
                    visit(entry);
                }
            }
            walk.empty += usize::from(span.leaf.len() == 0);
            if span.end == 1 << POSITION_BITS {
                return None;
            }
            from = span.end as u32;
            if walk.is_over() {
                return Some(from);
            }
        }
    }
}

/// How far a walk has come.
struct Walk {
    count: usize,
    seen: usize,
    empty: usize,
}

impl Walk {
    fn new(count: usize) -> Self {
        Self { count: count.max(1), seen: 0, empty: 0 }
    }

    fn is_over(&self) -> bool {
        self.seen >= self.count || self.empty >= self.count.saturating_mul(EMPTY_PER_KEY)
    }
}
