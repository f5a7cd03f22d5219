//! Tables taken out of the store, to be freed in slices.

use alloc::boxed::Box;
use alloc::vec::{IntoIter, Vec};

use super::Store;
use super::db::Db;
use super::table::Table;
use crate::slots::Slot;

/// Keys that no longer belong to the store but whose memory is not yet given back.
///
/// Free them by [`Detached::free`], a slice a turn; dropping frees the rest at once.
#[derive(Default)]
#[must_use = "dropping frees all keys in one go"]
pub struct Detached {
    current: Table,
    slots: Vec<Table>,
    databases: Vec<Box<[Table]>>,
    opened: IntoIter<Table>,
    keys: u64,
    bytes: u64,
}

impl Detached {
    pub(super) fn push(&mut self, table: Table) {
        self.keys += table.len();
        self.bytes += table.bytes();
        if !table.is_empty() {
            self.slots.push(table);
        }
    }

    pub(super) fn push_db(&mut self, db: Db) {
        self.keys += db.total();
        self.bytes += db.bytes();
        if db.has_tables() {
            self.databases.push(db.into_tables());
        }
    }

    /// Keys not yet freed.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.keys
    }

    /// Whether all keys are freed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Memory not yet given back; falls when a whole table is done.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Frees about `budget` keys (tables without keys count for one), at most one leaf more. True when all is done.
    pub fn free(&mut self, budget: usize) -> bool {
        let mut budget = budget;
        while budget > 0 {
            let (keys, bytes) = (self.current.len(), self.current.bytes());
            let done = self.current.free(&mut budget);
            self.keys -= keys - self.current.len();
            if !done {
                return false;
            }
            self.bytes -= bytes;
            match self.slots.pop().or_else(|| self.opened.next()) {
                Some(table) => self.current = table,
                None => match self.databases.pop() {
                    Some(tables) => self.opened = tables.into_vec().into_iter(),
                    None => {
                        // What is left is the lists of tables, which went with the tables.
                        self.bytes = 0;
                        self.opened = Vec::new().into_iter();
                        return true;
                    }
                },
            }
        }
        false
    }
}

impl Store {
    /// Takes all keys of a slot out of every database, in constant time for each.
    pub fn detach(&mut self, slot: Slot) -> Detached {
        let hidden = self.hidden.contains(slot);
        let mut detached = Detached::default();
        for db in &mut self.dbs {
            if let Some(table) = db.detach_slot(slot, hidden) {
                self.used -= table.bytes();
                detached.push(table);
            }
        }
        detached
    }

    /// Takes all keys of a database out, hidden ones too. Constant time.
    pub fn detach_db(&mut self, db: u32) -> Detached {
        let mut detached = Detached::default();
        self.detach_into(db, &mut detached);
        detached
    }

    /// Takes all keys out. Constant time for each database.
    pub fn detach_all(&mut self) -> Detached {
        let mut detached = Detached::default();
        for db in 0..self.databases() {
            self.detach_into(db, &mut detached);
        }
        detached
    }

    fn detach_into(&mut self, db: u32, detached: &mut Detached) {
        let db = core::mem::replace(&mut self.dbs[db as usize], Db::new());
        self.used -= db.bytes();
        detached.push_db(db);
    }
}
