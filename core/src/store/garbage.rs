//! Tables taken out of the databases, freed in slices.

use alloc::boxed::Box;
use alloc::vec::{IntoIter, Vec};
use core::mem::{replace, size_of};

use super::Store;
use super::db::Db;
use super::table::Table;
use crate::slots::{Slot, SlotSet};

/// Keys that nobody can reach any more but whose memory is not yet given back.
#[derive(Default)]
pub(super) struct Garbage {
    current: Option<Table>,
    slots: Vec<Table>,
    /// Of databases.
    groups: Vec<Box<[Table]>>,
    opened: IntoIter<Table>,
    /// Memory of the group behind `opened`.
    opened_bytes: u64,
    keys: u64,
    /// Memory of all tables and of the groups of them that databases had.
    bytes: u64,
}

impl Garbage {
    fn push(&mut self, table: Table) {
        self.keys += table.len();
        self.bytes += table.bytes();
        if !table.is_empty() {
            self.slots.push(table);
        }
    }

    /// Takes the tables of a database. Answers the memory that it had besides, which is given back.
    fn push_db(&mut self, db: Db) -> u64 {
        let (keys, bytes) = (db.total(), db.bytes());
        if !db.has_tables() {
            return bytes;
        }
        let lists = db.lists() as u64;
        self.keys += keys;
        self.bytes += bytes - lists;
        self.groups.extend(db.into_tables());
        lists
    }

    /// Memory of tables and of the groups of them that databases had.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Memory of what waits here, without the tables and what databases had.
    pub(super) fn lists(&self) -> u64 {
        let tables = self.slots.capacity() * size_of::<Table>();
        (tables + self.groups.capacity() * size_of::<Box<[Table]>>()) as u64
    }

    fn has_work(&self) -> bool {
        self.keys > 0 || self.bytes > 0
    }

    fn free(&mut self, budget: usize) -> u64 {
        let (mut budget, before) = (budget, self.keys);
        while budget > 0 && self.has_work() {
            let Some(table) = &mut self.current else {
                self.next_table();
                continue;
            };
            let (keys, bytes, done) = table.free(&mut budget);
            self.keys -= keys;
            self.bytes -= bytes;
            if done {
                self.keys -= table.len();
                self.bytes -= table.bytes();
                self.current = None;
            }
        }
        before - self.keys
    }

    fn next_table(&mut self) {
        self.current = self.slots.pop().or_else(|| self.opened.next());
        if self.current.is_some() {
            return;
        }
        self.slots = Vec::new();
        self.bytes -= replace(&mut self.opened_bytes, 0);
        self.opened = match self.groups.pop() {
            Some(tables) => {
                self.opened_bytes = size_of_val(&tables[..]) as u64;
                tables.into_vec().into_iter()
            }
            None => {
                self.groups = Vec::new();
                Vec::new().into_iter()
            }
        };
    }
}

impl Store {
    /// Takes all keys of a slot out of every database, in constant time for each. [`Store::free`] gives their memory
    /// back.
    pub fn detach(&mut self, slot: Slot) {
        let hidden = self.hidden.contains(slot);
        for db in &mut self.dbs {
            if let Some(table) = db.detach_slot(slot, hidden, self.slab.tables()) {
                self.garbage.push(table);
            }
        }
    }

    /// Takes all keys of a database out, hidden ones too. Constant time. [`Store::free`] gives their memory back.
    pub fn detach_db(&mut self, db: u32) {
        let db = replace(&mut self.dbs[db as usize], Db::new());
        self.tables -= self.garbage.push_db(db);
    }

    /// The same, but the keys of `spared` slots stay.
    pub fn detach_db_but(&mut self, db: u32, spared: &SlotSet) {
        let place = &mut self.dbs[db as usize];
        let (hidden, memory) = (&self.hidden, self.slab.tables());
        let out = spared
            .iter()
            .filter_map(|s| place.detach_slot(s, hidden.contains(s), memory).map(|table| (s, table)));
        let kept: Vec<(Slot, Table)> = out.collect();
        self.detach_db(db);
        let place = &mut self.dbs[db as usize];
        for (slot, table) in kept {
            self.tables += place.allocate(slot, self.layout, memory);
            place.attach_slot(slot, self.hidden.contains(slot), table);
        }
    }

    /// Takes all keys out. Constant time for each database. [`Store::free`] gives their memory back.
    pub fn detach_all(&mut self) {
        for db in 0..self.databases() {
            self.detach_db(db);
        }
    }

    /// Frees about `budget` detached keys (a key with a long value counts for several, a table without keys for one),
    /// at most one leaf more. Answers how many.
    pub fn free(&mut self, budget: usize) -> u64 {
        let before = self.garbage.bytes;
        let freed = self.garbage.free(budget);
        self.tables -= before - self.garbage.bytes;
        freed
    }

    /// Whether there is something to [`Store::free`].
    #[must_use]
    pub fn has_detached(&self) -> bool {
        self.garbage.has_work()
    }

    /// How many detached keys wait to be freed.
    #[must_use]
    pub fn detached(&self) -> u64 {
        self.garbage.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::leaf::Sums;

    impl Garbage {
        /// Recounts what is kept by increments. Answers the memory of entries.
        pub(in crate::store) fn audit(&self, store: &Store) -> u64 {
            let mut sums = Sums::default();
            let groups = self.groups.iter().flat_map(|tables| tables.iter());
            let rest = self.slots.iter().chain(self.opened.as_slice()).chain(groups);
            rest.for_each(|table| table.audit(&store.hashes, &mut sums));
            self.current.iter().for_each(|table| table.count(&mut sums));
            let lists: usize = self.groups.iter().map(|tables| size_of_val(&tables[..])).sum();
            assert_eq!(self.keys, sums.keys);
            assert_eq!(self.bytes, sums.bytes + lists as u64 + self.opened_bytes);
            sums.memory
        }
    }
}
