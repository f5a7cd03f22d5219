//! Active expiry: finding keys whose time is over, in slices, without a second index.
//!
//! Every leaf, node, table and group of slots keeps a lower bound of its earliest expiry, so that a round looks only
//! at leaves that may have something due. Bounds are made exact when a round has looked.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::db::GROUP;
use super::{POSITION_BITS, Store};
use crate::slots::Slot;

/// Where the round of active expiry stands.
#[derive(Default)]
pub(super) struct Sweep {
    db: usize,
    slot: usize,
    position: u32,
}

/// A key whose time is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Due {
    /// Its database.
    pub db: u32,
    /// Its slot.
    pub slot: Slot,
    /// The key.
    pub key: Box<[u8]>,
}

impl Store {
    /// Looks for visible keys that are expired at `now_ms` and adds them to `found`; the caller removes them.
    ///
    /// `budget` counts entries looked at, and falls; at most one leaf (56 keys) more is looked at. True when the round
    /// through all databases ended within the budget, false when there may be more: the next call goes on there.
    pub fn expire_due(&mut self, now_ms: u64, budget: &mut usize, found: &mut Vec<Due>) -> bool {
        while self.sweep.db < self.dbs.len() {
            while self.sweep.slot < self.dbs[self.sweep.db].tables().len() {
                if *budget == 0 {
                    return false;
                }
                let group = self.dbs[self.sweep.db].groups()[self.sweep.slot / GROUP];
                if group.due_ms >= now_ms {
                    *budget -= 1;
                    self.sweep.slot = (self.sweep.slot / GROUP + 1) * GROUP;
                    self.sweep.position = 0;
                    continue;
                }
                if !self.sweep_table(now_ms, budget, found) {
                    return false;
                }
                self.sweep.slot += 1;
                self.sweep.position = 0;
                let end = self.sweep.slot == self.dbs[self.sweep.db].tables().len();
                if end || self.sweep.slot.is_multiple_of(GROUP) {
                    self.refresh_group((self.sweep.slot - 1) / GROUP);
                }
            }
            self.sweep = Sweep { db: self.sweep.db + 1, ..Sweep::default() };
        }
        self.sweep = Sweep::default();
        true
    }

    /// Looks through the rest of the table where the sweep stands. False when the budget ended first.
    fn sweep_table(&mut self, now_ms: u64, budget: &mut usize, found: &mut Vec<Due>) -> bool {
        if self.hidden_at(self.sweep.slot) {
            return true;
        }
        let db = self.sweep.db as u32;
        let Some(slot) = Slot::new(self.sweep.slot as u16) else { return true };
        let table = self.dbs[self.sweep.db].table_mut(slot);
        while let Some(position) = table.next_due(now_ms, self.sweep.position) {
            if *budget == 0 {
                self.sweep.position = position;
                return false;
            }
            let leaf = table.refreshed_leaf(position);
            *budget = budget.saturating_sub(leaf.len());
            let due = leaf.table.iter().filter(|e| e.is_expired(now_ms));
            found.extend(due.map(|e| Due { db, slot, key: e.key().into() }));
            let end = table.span(position).end;
            if end == 1 << POSITION_BITS {
                break;
            }
            self.sweep.position = end as u32;
        }
        table.refresh_due(now_ms);
        true
    }

    /// Makes the bound of a group as exact as those of its tables.
    fn refresh_group(&mut self, group: usize) {
        let first = group * GROUP;
        let db = &self.dbs[self.sweep.db];
        let tables = db.tables().iter().enumerate().skip(first).take(GROUP);
        let due_ms =
            tables.filter(|(i, _)| !self.hidden_at(*i)).map(|(_, t)| t.due_ms()).min().unwrap_or(u64::MAX);
        self.dbs[self.sweep.db].groups_mut()[group].due_ms = due_ms;
    }
}
