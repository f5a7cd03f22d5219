//! Active expiry: finding keys whose time is over, in slices, without a second index.
//!
//! Every leaf, node, table and group of slots keeps a lower bound of its earliest expiry, so that a round looks only
//! at leaves that may have something due. Bounds are made exact when a round has looked.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::db::GROUP;
use super::node::NextDue;
use super::{POSITION_BITS, Store};
use crate::slots::Slot;

/// What looking through a directory for leaves costs of the budget.
const NODE_COST: usize = 32;

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
            while self.sweep.slot < self.dbs[self.sweep.db].slots() {
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
                let end = self.sweep.slot == self.dbs[self.sweep.db].slots();
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
        let Some(table) = self.dbs[self.sweep.db].table_mut(slot) else { return true };
        loop {
            if *budget == 0 {
                return false;
            }
            match table.next_due(now_ms, self.sweep.position) {
                NextDue::Leaf(position) => {
                    let leaf = table.refreshed_leaf(position);
                    *budget = budget.saturating_sub(leaf.len());
                    let due = leaf.table.iter().filter(|e| e.is_expired(now_ms));
                    found.extend(due.map(|e| Due { db, slot, key: e.key().into() }));
                    let end = table.span(position).end;
                    if end == 1 << POSITION_BITS {
                        table.refresh_due();
                        return true;
                    }
                    self.sweep.position = end as u32;
                }
                NextDue::Later(position) => {
                    *budget = budget.saturating_sub(NODE_COST);
                    self.sweep.position = position;
                }
                NextDue::End => return true,
            }
        }
    }

    /// Makes the bound of a group as exact as those of its tables.
    fn refresh_group(&mut self, group: usize) {
        let first = group * GROUP;
        let db = &self.dbs[self.sweep.db];
        let tables = (first..).zip(db.group_tables(group));
        let due_ms =
            tables.filter(|(i, _)| !self.hidden_at(*i)).map(|(_, t)| t.due_ms()).min().unwrap_or(u64::MAX);
        self.dbs[self.sweep.db].groups_mut()[group].due_ms = due_ms;
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::format;
    use alloc::string::String;

    use super::*;
    use crate::rng::Rng;
    use crate::store::{Encoding, Layout, StoreConfig, Value};

    #[test]
    fn every_due_key_is_found_and_no_other() {
        for seed in 0..30 {
            let rng = &mut Rng::new(seed);
            let layout = if seed % 2 == 0 { Layout::Standalone } else { Layout::Cluster };
            let mut store = Store::new(StoreConfig { databases: 2, layout, seed });
            let mut model: BTreeMap<(u32, String), u64> = BTreeMap::new();
            for now_ms in (0..1000).step_by(50) {
                for _ in 0..rng.below(1500) {
                    let (db, n) = (rng.below(2) as u32, rng.below(3000));
                    let key = if n % 2 == 0 { format!("{{06S}}{n}") } else { format!("{n}") };
                    let expiry_ms = (!rng.one_in(3)).then(|| now_ms + rng.below(400));
                    let at = store.at(db, key.as_bytes());
                    store.set(&at, Value::Str(b""), expiry_ms, Encoding::Embstr);
                    match expiry_ms {
                        Some(ms) => model.insert((db, key), ms),
                        None => model.remove(&(db, key)),
                    };
                }
                let due: Vec<_> =
                    model.iter().filter(|(_, ms)| **ms < now_ms).map(|(k, _)| k.clone()).collect();
                let mut found = sweep(&mut store, now_ms, rng);
                found.sort();
                assert_eq!(found, due, "seed {seed} at {now_ms}");
                for (db, key) in found {
                    assert!(store.remove(&store.at(db, key.as_bytes())));
                    model.remove(&(db, key));
                }
            }
        }
    }

    /// One whole round in slices.
    fn sweep(store: &mut Store, now_ms: u64, rng: &mut Rng) -> Vec<(u32, String)> {
        let mut found = Vec::new();
        loop {
            let mut budget = 1 + rng.index(300);
            let (given, before) = (budget, found.len());
            let done = store.expire_due(now_ms, &mut budget, &mut found);
            assert!(budget == 0 || done);
            assert!(found.len() - before <= given + 56);
            if done {
                break;
            }
        }
        found.into_iter().map(|due| (due.db, String::from_utf8_lossy(&due.key).into_owned())).collect()
    }

    #[test]
    fn rounds_without_due_keys_cost_next_to_nothing() {
        let mut store = Store::new(StoreConfig { databases: 1, layout: Layout::Cluster, seed: 1 });
        for n in 0..50_000u32 {
            let key = n.to_be_bytes();
            store.set(&store.at(0, &key), Value::Str(b""), Some(1000), Encoding::Embstr);
        }
        let (mut budget, mut found) = (200, Vec::new());
        assert!(store.expire_due(1000, &mut budget, &mut found), "a round that skips all groups");
        assert!(found.is_empty());
        // Keys that are refreshed leave their old bounds behind: one costly round makes them exact.
        for n in 0..50_000u32 {
            store.set_expiry(&store.at(0, &n.to_be_bytes()), Some(9000));
        }
        let mut budget = 100_000;
        assert!(store.expire_due(2000, &mut budget, &mut found));
        assert!(budget <= 100_000 - 50_000);
        let mut budget = 200;
        assert!(store.expire_due(2000, &mut budget, &mut found) && found.is_empty());
    }

    #[test]
    fn hidden_keys_are_not_found_until_they_are_shown() {
        let mut store = Store::new(StoreConfig { databases: 1, layout: Layout::Cluster, seed: 1 });
        let at = store.at(0, b"key");
        store.set(&at, Value::Str(b""), Some(1), Encoding::Embstr);
        store.hide(at.slot);
        let (mut budget, mut found) = (1000, Vec::new());
        assert!(store.expire_due(5, &mut budget, &mut found) && found.is_empty());
        store.unhide(at.slot);
        assert!(store.expire_due(5, &mut budget, &mut found));
        assert_eq!(found, [Due { db: 0, slot: at.slot, key: b"key"[..].into() }]);
    }
}
