//! Keys drawn at random as candidates for eviction. Hidden slots are not met.

use super::db::{Db, GROUP};
use super::entry::Entry;
use super::node::NextDue;
use super::{POSITION_BITS, Store};
use crate::rng::Rng;
use crate::slots::Slot;

/// Which keys are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pool {
    /// All of them.
    All,
    /// Those with an expiry.
    Volatile,
}

/// A key drawn.
#[derive(Debug)]
pub struct Drawn<'s> {
    /// Its slot.
    pub slot: Slot,
    /// Its entry.
    pub entry: &'s Entry,
    /// How good a candidate its accesses make it: see [`Access::idleness`](super::Access::idleness).
    pub idleness: u32,
}

impl Store {
    /// How many visible keys of a database are in the pool.
    #[must_use]
    pub fn pooled(&self, db: u32, pool: Pool) -> u64 {
        match pool {
            Pool::All => self.len(db),
            Pool::Volatile => self.expires(db),
        }
    }

    /// Draws up to `count` keys of the pool: a slot by how many of its keys are in the pool, a leaf of it, and there
    /// keys that lie side by side. Fewer come out of a small slot; none only if the pool is empty.
    pub fn sample(
        &mut self,
        db: u32,
        pool: Pool,
        count: usize,
        rng: &mut Rng,
        visit: &mut dyn FnMut(&Drawn<'_>),
    ) -> usize {
        let Some(slot) = self.draw_slot(db, pool, rng) else { return 0 };
        let Self { dbs, access, .. } = self;
        let Some(table) = dbs[db as usize].table_mut(slot) else { return 0 };
        let mut visit =
            |entry: &Entry| visit(&Drawn { slot, entry, idleness: access.idleness(entry.clock()) });
        let mut from = rng.bits() as u32;
        let start = rng.index(64);
        // A whole round through the positions of the slot and the rest up to where it began: there is a key.
        for _ in 0..3 {
            loop {
                let next = match pool {
                    Pool::All => NextDue::Leaf(from),
                    Pool::Volatile => table.next_due(u64::MAX, from),
                };
                let end = match next {
                    NextDue::Leaf(position) => {
                        let span = table.span(position);
                        let leaf = &span.leaf.table;
                        let skipped = start * leaf.len() / 64;
                        let round = leaf.iter().skip(skipped).chain(leaf.iter().take(skipped));
                        let fits = |e: &&Entry| pool == Pool::All || e.expiry_ms().is_some();
                        let drawn = round.filter(fits).take(count).map(&mut visit).count();
                        if drawn > 0 {
                            return drawn;
                        }
                        span.end
                    }
                    NextDue::Later(position) => u64::from(position),
                    NextDue::End => break,
                };
                if end == 1 << POSITION_BITS {
                    break;
                }
                from = end as u32;
            }
            from = 0;
        }
        0
    }

    /// A visible slot, drawn by how many of its keys are in the pool.
    pub(super) fn draw_slot(&self, db: u32, pool: Pool, rng: &mut Rng) -> Option<Slot> {
        let mut n = rng.below(self.pooled(db, pool));
        let db: &Db = &self.dbs[db as usize];
        for (g, group) in db.groups().iter().enumerate() {
            let pooled = match pool {
                Pool::All => group.keys,
                Pool::Volatile => group.expires,
            };
            if n >= pooled {
                n -= pooled;
                continue;
            }
            let tables = (g * GROUP..).zip(db.group_tables(g));
            for (index, table) in tables.filter(|(index, _)| !self.hidden_at(*index)) {
                let pooled = match pool {
                    Pool::All => table.len(),
                    Pool::Volatile => table.expires(),
                };
                if n < pooled {
                    return Slot::new(index as u16);
                }
                n -= pooled;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::format;
    use alloc::string::String;

    use super::*;
    use crate::store::{Encoding, Layout, StoreConfig, Value};

    /// Puts keys, every `nth` of them with an expiry.
    fn filled(layout: Layout, keys: u32, nth: u32) -> Store {
        let mut store = Store::new(StoreConfig { databases: 2, layout, seed: 3 });
        for n in 0..keys {
            let key = format!("key{n}");
            let at = store.at(1, key.as_bytes());
            let expiry_ms = n.is_multiple_of(nth).then_some(u64::from(n) + 1);
            store.set(&at, Value::Str(b"v"), expiry_ms, Encoding::Embstr);
        }
        store
    }

    fn draw(store: &mut Store, pool: Pool, rounds: usize) -> BTreeMap<String, u32> {
        let (mut rng, mut drawn) = (Rng::new(9), BTreeMap::new());
        for _ in 0..rounds {
            let mut seen = 0;
            let count = store.sample(1, pool, 5, &mut rng, &mut |drawn_key| {
                seen += 1;
                let &Drawn { slot, entry, .. } = drawn_key;
                assert!(pool == Pool::All || entry.expiry_ms().is_some());
                let key = String::from_utf8_lossy(entry.key()).into_owned();
                assert_eq!(slot, if slot.number() == 0 { slot } else { Slot::of(key.as_bytes()) });
                *drawn.entry(key).or_insert(0) += 1;
            });
            assert!(count == seen && (1..=5).contains(&count));
        }
        drawn
    }

    #[test]
    fn every_key_of_the_pool_is_drawn_and_no_other() {
        for layout in [Layout::Cluster, Layout::Standalone] {
            for (keys, nth) in [(1, 1), (40, 3), (2000, 7), (2000, 1999)] {
                let mut store = filled(layout, keys, nth);
                assert_eq!(store.sample(0, Pool::All, 5, &mut Rng::new(1), &mut |_| panic!("empty")), 0);
                for pool in [Pool::All, Pool::Volatile] {
                    let there = store.pooled(1, pool);
                    let drawn = draw(&mut store, pool, 40_000);
                    assert_eq!(drawn.len() as u64, there, "{layout:?} {keys} {nth} {pool:?}");
                    let most = drawn.values().max().unwrap();
                    let fair = 40_000 * 5 / there as u32;
                    assert!(*most < fair * 12 + 50, "{layout:?} {keys} {nth} {pool:?}: {most} of {fair}");
                }
            }
        }
    }

    #[test]
    fn keys_of_hidden_slots_are_never_drawn() {
        let mut store = filled(Layout::Cluster, 500, 2);
        let hidden = Slot::of(b"key0");
        (0..500).map(|n| Slot::of(format!("key{n}").as_bytes())).take(400).for_each(|slot| store.hide(slot));
        assert!(store.is_hidden(hidden) && store.pooled(1, Pool::Volatile) > 0);
        for pool in [Pool::All, Pool::Volatile] {
            let drawn = draw(&mut store, pool, 5_000);
            assert_eq!(drawn.len() as u64, store.pooled(1, pool));
        }
    }
}
