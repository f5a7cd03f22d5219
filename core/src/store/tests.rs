//! The whole store against plain maps.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use core::mem::size_of;

use super::db::GROUP;
use super::leaf::Sums;
use super::*;
use crate::rng::Rng;

impl Store {
    /// Recounts everything that the store keeps by increments.
    fn audit(&self) {
        let (mut tables, mut entries) = (0, 0);
        for db in &self.dbs {
            let (mut all, mut shown) = (Sums::default(), Sums::default());
            let mut groups = alloc::vec![(0, u64::MAX); db.groups().len()];
            let of = |g| (g * GROUP..).zip(db.group_tables(g));
            for (i, table) in (0..groups.len()).flat_map(of) {
                let mut sums = Sums::default();
                table.audit(&self.hashes, &mut sums);
                if !self.hidden_at(i) {
                    shown.keys += sums.keys;
                    shown.expires += sums.expires;
                    groups[i / GROUP].0 += sums.keys;
                    groups[i / GROUP].1 = table.due_ms().min(groups[i / GROUP].1);
                }
                all.keys += sums.keys;
                all.bytes += sums.bytes;
                all.memory += sums.memory;
            }
            assert_eq!((db.keys(), db.expires(), db.total()), (shown.keys, shown.expires, all.keys));
            for (group, (keys, due_ms)) in db.groups().iter().zip(groups) {
                assert_eq!(group.keys, keys);
                assert!(group.due_ms <= due_ms, "a group due too late");
            }
            let groups: usize = (0..db.groups().len()).map(|g| size_of_val(db.group_tables(g))).sum();
            assert_eq!(db.bytes(), all.bytes + (groups + db.lists()) as u64);
            tables += db.bytes();
            entries += all.memory;
        }
        entries += self.garbage.audit(self);
        assert_eq!(self.tables, tables + self.garbage.bytes());
        assert_eq!(self.allocated().dataset, entries);
        self.slab.audit();
    }
}

fn store(databases: u32, layout: Layout, seed: u64) -> Store {
    Store::new(StoreConfig { databases, layout, seed })
}

#[test]
fn a_store_moves_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Store>();
    is_send::<Cursor>();
}

#[test]
fn headers_of_slots_stay_small() {
    assert_eq!(size_of::<table::Table>(), 64);
}

type Key = (u32, Vec<u8>);

/// What a store should hold.
#[derive(Default)]
struct Model {
    keys: BTreeMap<Key, (Vec<u8>, Option<u64>)>,
    hidden: BTreeSet<Slot>,
}

impl Model {
    fn visible<'m>(&'m self, store: &'m Store, db: u32) -> impl Iterator<Item = (&'m [u8], Option<u64>)> {
        let mine = self.keys.iter().filter(move |((d, _), _)| *d == db);
        mine.filter(|((d, key), _)| !self.hidden.contains(&store.at(*d, key).slot))
            .map(|((_, key), (_, expiry_ms))| (&key[..], *expiry_ms))
    }

    fn check(&self, store: &Store, rng: &mut Rng, seed: u64) {
        store.audit();
        for ((db, key), (value, expiry_ms)) in &self.keys {
            let entry = store.get(&store.at(*db, key));
            let found = entry.map(|e| (e.key(), e.string().unwrap_or_default(), e.expiry_ms()));
            assert!(found == Some((key, value, *expiry_ms)), "seed {seed}: {}", key.escape_ascii());
        }
        let total: u64 = Slot::all().map(|slot| store.slot_len_all(slot)).sum();
        assert_eq!(total, self.keys.len() as u64, "seed {seed}");
        assert_eq!(store.is_empty(), self.keys.is_empty());
        for db in 0..store.databases() {
            let visible: BTreeSet<&[u8]> = self.visible(store, db).map(|(key, _)| key).collect();
            assert_eq!(store.len(db), visible.len() as u64, "seed {seed}");
            let expires = self.visible(store, db).filter(|(_, ms)| ms.is_some()).count() as u64;
            assert_eq!(store.expires(db), expires, "seed {seed}");
            let (mut scanned, mut cursor) = (Vec::new(), 0);
            loop {
                let count = rng.index(100);
                cursor = store.scan(db, cursor, count, &mut |e| scanned.push(e.key().to_vec()));
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(scanned.len(), visible.len(), "seed {seed}");
            assert!(scanned.iter().all(|key| visible.contains(&key[..])), "seed {seed}");
            match store.random(db, rng) {
                Some(entry) => assert!(visible.contains(entry.key()), "seed {seed}"),
                None => assert!(visible.is_empty(), "seed {seed}"),
            }
        }
    }
}

/// A key of the pool: one in two in one slot, the others anywhere.
fn draw_key(rng: &mut Rng, pool: u64) -> Vec<u8> {
    let n = rng.below(pool);
    if n.is_multiple_of(2) { format!("{{06S}}{n}") } else { format!("key:{n}") }.into_bytes()
}

fn run_model(seed: u64, layout: Layout) {
    let rng = &mut Rng::new(seed);
    let mut store = store(3, layout, seed);
    let mut model = Model::default();
    let pool = [50, 2000, 12_000][rng.index(3)];
    // Bits of the hash that are zero make deep and lopsided directories.
    store.hashes.mask = [u64::MAX, u64::MAX, !0x00ff_ff0f_0000_0000, !0x00ff_ffff_ff00_0000][rng.index(4)];
    for phase in 0..6 {
        let grow = rng.below(10);
        for _ in 0..pool / 2 {
            change(&mut store, &mut model, rng, pool, grow);
        }
        store.free(rng.index(500));
        store.give_back(rng.index(5));
        model.check(&store, rng, seed);
        if phase % 2 == 1 {
            for ((db, key), (value, _)) in core::mem::take(&mut model.keys) {
                if rng.one_in(40) {
                    store.set_expiry(&store.at(db, &key), None);
                    model.keys.insert((db, key), (value, None));
                } else {
                    let entry = store.take(&store.at(db, &key)).expect("a key of the model");
                    assert_eq!(entry.string(), Some(&value[..]), "seed {seed}");
                }
            }
            model.check(&store, rng, seed);
        }
    }
    store.detach_all();
    store.audit();
    while store.has_detached() {
        store.free(1 + rng.index(3000));
        store.audit();
    }
    check_empty(&mut store);
}

/// Nothing is left but the list of databases, the set of hidden slots, and what the slab is.
fn check_empty(store: &mut Store) {
    assert!(store.is_empty() && !store.has_detached());
    let list = (store.dbs.capacity() * size_of::<Db>() + SLOTS / 8) as u64;
    assert_eq!((store.allocated().dataset, store.allocated().overhead), (0, list));
    while store.allocated().slack >= slab::REGION as u64 {
        store.give_back(usize::MAX);
    }
    store.audit();
}

fn change(store: &mut Store, model: &mut Model, rng: &mut Rng, pool: u64, grow: u64) {
    let db = rng.below(3) as u32;
    let key = draw_key(rng, pool);
    let at = store.at(db, &key);
    let len = if rng.one_in(500) { 20_000 } else { rng.index(300) };
    let value = alloc::vec![rng.bits() as u8; len];
    let expiry_ms = rng.one_in(3).then(|| rng.below(1000));
    let id = (db, key.clone());
    if rng.below(10) < grow {
        let old = model.keys.insert(id, (value.clone(), expiry_ms));
        assert_eq!(store.set(&at, Value::Str(&value), expiry_ms, Encoding::Raw), old.is_some());
        return;
    }
    let known = model.keys.get_mut(&id);
    match rng.below(8) {
        0 => {
            assert_eq!(store.replace_value(&at, Value::Str(&value), Encoding::Raw), known.is_some());
            known.into_iter().for_each(|k| k.0 = value.clone());
        }
        1 => {
            assert_eq!(store.set_expiry(&at, expiry_ms), known.is_some());
            known.into_iter().for_each(|k| k.1 = expiry_ms);
        }
        2 => {
            let len = store.append(&at, &value);
            assert_eq!(len, known.as_ref().map(|k| k.0.len() + value.len()));
            known.into_iter().for_each(|k| k.0.extend_from_slice(&value));
        }
        3 => {
            let offset = rng.index(400);
            let len = store.write_range(&at, offset, &value);
            assert_eq!(len, known.as_ref().map(|k| k.0.len().max(offset + value.len())));
            if let Some((text, _)) = known {
                text.resize(text.len().max(offset + value.len()), 0);
                text[offset..offset + value.len()].copy_from_slice(&value);
            }
        }
        4 => {
            assert_eq!(store.remove(&at), model.keys.remove(&id).is_some());
        }
        5 => {
            let (db, key) = (rng.below(3) as u32, draw_key(rng, pool));
            let held = known.cloned();
            assert_eq!(store.copy(&at, &store.at(db, &key)), held.is_some());
            held.into_iter().for_each(|held| drop(model.keys.insert((db, key.clone()), held)));
        }
        6 => {
            let (db, key) = (rng.below(3) as u32, draw_key(rng, pool));
            let held = model.keys.remove(&id);
            assert_eq!(store.rename(&at, &store.at(db, &key)), held.is_some());
            held.into_iter().for_each(|held| drop(model.keys.insert((db, key.clone()), held)));
        }
        _ if rng.one_in(40) => change_much(store, model, rng, at.slot),
        _ => store.get(&at).into_iter().for_each(|entry| entry.touch(Touch::At(7))),
    }
}

fn change_much(store: &mut Store, model: &mut Model, rng: &mut Rng, slot: Slot) {
    let (a, b) = (rng.below(3) as u32, rng.below(3) as u32);
    match rng.below(8) {
        0 => {
            let keys = store.slot_len_all(slot) + store.detached();
            store.detach(slot);
            assert_eq!(store.detached(), keys);
            model.keys.retain(|(db, key), _| store.at(*db, key).slot != slot);
        }
        1 if rng.one_in(4) => {
            store.detach_db(a);
            model.keys.retain(|(db, _), _| *db != a);
        }
        2 | 3 => {
            store.hide(slot);
            model.hidden.insert(slot);
        }
        4 | 5 => {
            store.unhide(slot);
            model.hidden.remove(&slot);
        }
        _ => {
            store.swap(a, b);
            let moved = core::mem::take(&mut model.keys).into_iter().map(|((db, key), held)| {
                let db = if db == a {
                    b
                } else if db == b {
                    a
                } else {
                    db
                };
                ((db, key), held)
            });
            model.keys = moved.collect();
        }
    }
}

#[test]
fn the_store_holds_what_a_map_would() {
    for seed in 0..30 {
        let layout = if seed % 3 == 0 { Layout::Standalone } else { Layout::Cluster };
        run_model(seed, layout);
    }
}

#[test]
fn removing_every_key_gives_all_but_the_headers_back() {
    for layout in [Layout::Standalone, Layout::Cluster] {
        let mut store = store(2, layout, 1);
        let key = |n: u32| if n < 60_000 { format!("{{06S}}{n}") } else { format!("{n}") };
        for slot in Slot::all().step_by(GROUP) {
            let key = format!("{{{}}}", slot.tag());
            store.set(&store.at(0, key.as_bytes()), Value::Str(b""), None, Encoding::Embstr);
            assert!(store.remove(&store.at(0, key.as_bytes())));
        }
        let headers = store.allocated().used();
        for n in 0..100_000 {
            store.set(&store.at(0, key(n).as_bytes()), Value::Str(b"value"), Some(9), Encoding::Embstr);
        }
        store.audit();
        for n in 0..100_000 {
            assert!(store.remove(&store.at(0, key(n).as_bytes())));
            if n % 20_000 == 0 {
                store.audit();
            }
        }
        assert_eq!(store.allocated().used(), headers);
        store.audit();
        store.detach_all();
        store.free(usize::MAX);
        check_empty(&mut store);
    }
}

#[test]
fn allocated_is_what_the_allocator_gave() {
    let ((mut store, told), (_, bytes)) = entry::kept(|| {
        let mut store = store(1, Layout::Cluster, 1);
        for n in 0..200_000u32 {
            let key = if n % 2 == 0 { format!("{{06S}}{n}") } else { format!("{n}") };
            let value = alloc::vec![b'v'; n as usize % 900 / (1 + n as usize % 7) * 4];
            store.set(&store.at(0, key.as_bytes()), Value::Str(&value), None, Encoding::Embstr);
        }
        let told = store.allocated();
        (store, told)
    });
    assert_eq!(told.total(), bytes as u64);
    assert!(told.slack < told.dataset / 10, "{told:?}");
    // Half the keys go: their tables and entries at once, then, in portions, the regions that are empty.
    let (_, freed) = entry::kept(|| {
        store.detach(Slot::of(b"{06S}"));
        while store.has_detached() {
            store.free(500);
        }
        store.audit();
        store.give_back(usize::MAX);
        store.give_back(usize::MAX);
    });
    assert_eq!(store.allocated().total(), (bytes + freed.1) as u64);
    assert!(store.allocated().dataset < told.dataset * 6 / 10);
    let (_, left) = entry::kept(|| drop(store));
    assert_eq!(left.1, -bytes - freed.1);
}

#[test]
fn the_memory_of_all_keys_is_the_memory_of_the_store() {
    let mut store = store(1, Layout::Cluster, 1);
    let key = |n: u32| if n.is_multiple_of(2) { format!("{{06S}}{n}") } else { format!("{n}") };
    for n in 0..50_000 {
        store.set(&store.at(0, key(n).as_bytes()), Value::Str(&[7; 50]), None, Encoding::Raw);
    }
    let sum: usize = (0..50_000).filter_map(|n| store.memory_of(&store.at(0, key(n).as_bytes()))).sum();
    assert!(store.memory_of(&store.at(0, b"none")).is_none());
    // What belongs to no key is headers of slots, of leaves and of directories.
    let used = store.allocated().used() as usize;
    assert!(sum < used && sum > used - 16384 * 64 - 50_000 * 8, "{sum} of {used}");
}

#[test]
fn no_insert_or_removal_moves_more_than_a_leaf_and_a_directory() {
    let mut store = store(1, Layout::Standalone, 5);
    let slot = Slot::default();
    store.dbs[0].allocate(slot, Layout::Standalone, store.slab.tables());
    let (mut worst, mut total) = (0, 0);
    let keys = 600_000u32;
    for n in 0..keys {
        let key = n.to_be_bytes();
        let traits = Traits { expiry_ms: None, encoding: Encoding::Embstr, clock: 0 };
        let entry = Entry::new(&store.slab, &key, Value::Str(b""), traits);
        let hash = store.hashes.of(&key);
        let change = store.dbs[0].table_mut(slot).expect("a table").add(hash, entry, &store.hashes);
        worst = worst.max(change.moved);
        total += change.moved;
    }
    assert!(worst <= 57 + 1024 + 1024, "{worst} moved at once");
    assert!(total < 6 * keys as usize, "{total} moved in all");
    assert!(store.dbs[0].table(slot).is_some_and(|t| t.span(0).end <= 1 << 22), "not nested");
    let mut worst = 0;
    for n in 0..keys {
        let key = n.to_be_bytes();
        let hash = store.hashes.of(&key);
        let taken = store.dbs[0].table_mut(slot).expect("a table").take(hash, &key, &store.hashes);
        worst = worst.max(taken.map_or(usize::MAX, |(_, change)| change.moved));
    }
    assert!(worst <= 57 + 1024, "{worst} moved at once");
    assert_eq!(store.dbs[0].table(slot).map(table::Table::bytes), Some(0));
}

#[test]
fn a_scan_meets_every_key_that_stays() {
    for seed in 0..20 {
        let rng = &mut Rng::new(seed);
        let layout = if seed % 2 == 0 { Layout::Standalone } else { Layout::Cluster };
        let mut store = store(1, layout, seed);
        let put = |store: &mut Store, key: &[u8]| {
            store.set(&store.at(0, key), Value::Str(b"v"), None, Encoding::Embstr);
        };
        let stay: BTreeSet<Vec<u8>> = (0..200).map(|n| format!("{{06S}}stay{n}").into_bytes()).collect();
        stay.iter().for_each(|key| put(&mut store, key));
        let others = |n: u64| format!("{{06S}}other{n}").into_bytes();
        let pool = 20_000;
        if seed % 4 < 2 {
            (0..pool).for_each(|n| put(&mut store, &others(n)));
        }
        let (mut met, mut cursor, mut calls) = (BTreeSet::new(), 0, 0);
        loop {
            cursor = store.scan(0, cursor, 1 + rng.index(40), &mut |e| {
                met.insert(e.key().to_vec());
            });
            calls += 1;
            if cursor == 0 {
                break;
            }
            // Grow or shrink by far more than the walk advances.
            for _ in 0..rng.below(2000) {
                let key = others(rng.below(pool));
                if seed % 4 < 2 {
                    store.remove(&store.at(0, &key));
                } else {
                    put(&mut store, &key);
                }
            }
        }
        assert!(stay.is_subset(&met), "seed {seed}");
        assert!(calls > 3, "seed {seed}: a walk of {calls} calls shows nothing");
        store.audit();
    }
}

#[test]
fn a_walk_of_one_slot_is_cut_anywhere() {
    let mut store = store(1, Layout::Cluster, 3);
    for n in 0..5000 {
        let key = format!("{{06S}}{n}");
        store.set(&store.at(0, key.as_bytes()), Value::Str(b""), None, Encoding::Embstr);
    }
    let slot = Slot::of(b"{06S}");
    let (mut met, mut from) = (BTreeSet::new(), Some(0));
    while let Some(position) = from {
        from = store.scan_slot(0, slot, position, 10, &mut |e| assert!(met.insert(e.key().to_vec())));
    }
    assert_eq!(met.len(), 5000);
    let mut some = 0;
    store.keys_in_slot(0, slot, 123, &mut |_| some += 1);
    assert_eq!(some, 123);
    store.keys_in_slot(0, slot, 9999, &mut |_| some += 1);
    assert_eq!(some, 5123);
    assert_eq!(store.scan(0, u64::MAX, 10, &mut |_| panic!("a cursor past the end meets nothing")), 0);
    store.hide(slot);
    store.for_each(0, &mut |_| panic!("a hidden key"));
    assert!(store.random(0, &mut Rng::new(1)).is_none());
    store.keys_in_slot(0, slot, 1, &mut |_| some += 1);
    assert_eq!(some, 5124);
}

#[test]
fn a_leaf_that_merged_behind_a_walk_is_not_met_twice() {
    let mut store = store(1, Layout::Standalone, 3);
    let keys: Vec<[u8; 4]> = (0..5000u32).map(u32::to_be_bytes).collect();
    for key in &keys {
        store.set(&store.at(0, key), Value::Str(b""), None, Encoding::Embstr);
    }
    let mut met = BTreeSet::new();
    let cursor = store.scan(0, 0, 2500, &mut |e| assert!(met.insert(e.key().to_vec())));
    for key in keys.iter().filter(|k| k[3] > 0) {
        store.remove(&store.at(0, key));
    }
    assert_eq!(store.len(0), 20);
    assert_eq!(store.scan(0, cursor, 2500, &mut |e| assert!(met.insert(e.key().to_vec()))), 0);
    assert!(keys.iter().filter(|k| k[3] == 0).all(|k| met.contains(&k[..])));
}

#[test]
fn random_keys_are_drawn_fairly() {
    for (layout, keys) in [(Layout::Cluster, 3000), (Layout::Standalone, 3000), (Layout::Cluster, 10)] {
        let mut store = store(1, layout, 11);
        for n in 0..keys {
            // A third of the keys in one slot, so that slots must be weighted.
            let key = if n % 3 == 0 { format!("{{06S}}{n}") } else { format!("{n}") };
            store.set(&store.at(0, key.as_bytes()), Value::Str(b""), None, Encoding::Embstr);
        }
        let mut draws: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        let mut rng = Rng::new(1);
        for _ in 0..keys * 100 {
            let entry = store.random(0, &mut rng).expect("a key");
            *draws.entry(entry.key().to_vec()).or_default() += 1;
        }
        assert_eq!(draws.len(), keys as usize);
        let (least, most) = (draws.values().min().copied(), draws.values().max().copied());
        assert!(least > Some(20) && most < Some(400), "{least:?} to {most:?} draws around 100");
    }
}

#[test]
fn detached_keys_are_freed_in_slices() {
    for layout in [Layout::Cluster, Layout::Standalone] {
        let ((), left) = entry::kept(|| {
            let mut store = store(2, layout, 4);
            for n in 0..50_000 {
                let key = if n % 2 == 0 { format!("{{06S}}{n}") } else { format!("{n}") };
                store.set(&store.at(n % 2, key.as_bytes()), Value::Str(b"v"), None, Encoding::Embstr);
            }
            let before = store.allocated();
            store.detach_all();
            assert_eq!(
                (store.detached(), store.len(0), store.allocated().dataset),
                (50_000, 0, before.dataset)
            );
            let mut slices = 0;
            while store.has_detached() {
                let before = store.detached();
                let freed = store.free(1000);
                assert_eq!(before - store.detached(), freed);
                assert!(freed <= 1056, "a slice freed {freed}");
                slices += 1;
            }
            assert!(slices >= 48);
            check_empty(&mut store);
        });
        assert_eq!(left, (0, 0));
    }
}

#[test]
fn a_slice_frees_fewer_keys_with_long_values() {
    let mut store = store(1, Layout::Standalone, 4);
    for n in 0..100u8 {
        store.set(&store.at(0, &[n]), Value::Str(&[7; 100_000]), None, Encoding::Raw);
    }
    store.detach_all();
    assert!(store.free(200) <= 56);
    store.free(usize::MAX);
    check_empty(&mut store);
}

#[test]
fn memory_that_keys_left_is_used_again_before_it_is_given_back() {
    let mut store = store(1, Layout::Standalone, 4);
    let fill = |store: &mut Store, len: usize| {
        for n in 0..20_000u32 {
            store.set(&store.at(0, &n.to_be_bytes()), Value::Str(&[7; 500][..len]), None, Encoding::Raw);
        }
    };
    fill(&mut store, 100);
    store.detach_all();
    while store.has_detached() {
        store.free(1000);
    }
    let before = store.allocated().total();
    let ((), (made, _)) = entry::kept(|| fill(&mut store, 50));
    assert!(made < 2000, "{made} allocations for tables of twenty thousand keys");
    assert!(store.allocated().total() < before + 2 * slab::REGION as u64);
    store.detach_all();
    store.free(usize::MAX);
    // A wave that comes back in time finds what the last one left; a part goes in each interval without need.
    store.give_back(usize::MAX);
    let left = store.allocated().slack / slab::REGION as u64;
    store.give_back(usize::MAX);
    let after = store.allocated().slack / slab::REGION as u64;
    assert_eq!(left - after, left.div_ceil(slab::PATIENCE as u64));
    store.give_back(0);
    assert_eq!(store.allocated().slack / slab::REGION as u64, after);
    store.give_back_all();
    assert_eq!(store.allocated().slack / slab::REGION as u64, 0);
}

#[test]
fn a_million_keys() {
    let mut store = store(1, Layout::Cluster, 2);
    for n in 0..1_000_000u32 {
        let key = n.to_be_bytes();
        store.set(&store.at(0, &key), Value::Str(&key), None, Encoding::Embstr);
    }
    assert_eq!(store.len(0), 1_000_000);
    let found = (0..1_000_000u32).filter(|n| store.get(&store.at(0, &n.to_be_bytes())).is_some());
    assert_eq!(found.count(), 1_000_000);
    let per_key = store.allocated().used() as f64 / 1e6;
    // Six bytes of header, four of key, four of value, rounded up; the rest is tables.
    assert!(per_key < 16.0 + 22.0, "{per_key} bytes per key");
}

#[test]
fn spared_slots_keep_their_keys_in_a_flush() {
    let mut store = store(2, Layout::Cluster, 4);
    let slot = Slot::of(b"{06S}");
    for n in 0..400 {
        let key = if n % 4 == 0 { format!("{{06S}}{n}") } else { format!("{n}") };
        store.set(&store.at(n % 2, key.as_bytes()), Value::Str(b"v"), Some(9), Encoding::Embstr);
    }
    store.hide(slot);
    for _ in 0..2 {
        (0..2).for_each(|db| store.detach_db_but(db, &SlotSet::from_iter([slot])));
        store.audit();
        assert_eq!((store.len(0), store.len(1), store.slot_len(0, slot)), (0, 0, 100));
    }
    store.unhide(slot);
    assert_eq!((store.len(0), store.len(1)), (100, 0));
    store.audit();
    store.detach_all();
    while store.has_detached() {
        store.free(10);
    }
    check_empty(&mut store);
}
