//! Snapshots of a keyspace that changes under them, in a model of source and receiver.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use super::*;
use crate::rng::Rng;
use crate::slots::SlotRange;
use crate::store::{Encoding, Layout, StoreConfig, Value};

type Content = BTreeMap<(u32, Vec<u8>), (Vec<u8>, Option<u64>)>;

/// A change as it is forwarded.
#[derive(Clone, Debug)]
enum Op {
    Set(u32, Vec<u8>, Vec<u8>, Option<u64>),
    Append(u32, Vec<u8>, Vec<u8>),
    Expire(u32, Vec<u8>, Option<u64>),
    Del(u32, Vec<u8>),
    /// Moves a value, its expiry too, over another key.
    Rename(u32, Vec<u8>, Vec<u8>),
    FlushSlot(Slot),
    FlushDb(u32),
    Swap(u32, u32),
}

/// The end that gets emissions and forwarded changes.
#[derive(Default)]
struct Receiver {
    content: Content,
}

impl Receiver {
    /// A key that the receiver has must not be emitted again.
    fn emitted(&mut self, db: u32, entry: &Entry, seed: u64) {
        let value = (entry.view().as_slice().to_vec(), entry.expiry_ms());
        let old = self.content.insert((db, entry.key().to_vec()), value);
        assert!(old.is_none(), "seed {seed}: {} of {db} emitted twice", entry.key().escape_ascii());
    }

    fn apply(&mut self, op: Op) {
        let content = &mut self.content;
        match op {
            Op::Set(db, key, value, ms) => drop(content.insert((db, key), (value, ms))),
            Op::Append(db, key, tail) => {
                content.entry((db, key)).or_default().0.extend_from_slice(&tail);
            }
            Op::Expire(db, key, ms) => content.get_mut(&(db, key)).into_iter().for_each(|v| v.1 = ms),
            Op::Del(db, key) => drop(content.remove(&(db, key))),
            Op::Rename(db, from, to) => {
                if let Some(value) = content.remove(&(db, from)) {
                    content.insert((db, to), value);
                }
            }
            Op::FlushSlot(slot) => content.retain(|(_, key), _| Slot::of(key) != slot),
            Op::FlushDb(db) => content.retain(|(d, _), _| *d != db),
            Op::Swap(a, b) => {
                let swapped = core::mem::take(content).into_iter().map(|((db, key), value)| {
                    let db = if db == a {
                        b
                    } else if db == b {
                        a
                    } else {
                        db
                    };
                    ((db, key), value)
                });
                *content = swapped.collect();
            }
        }
    }
}

/// A source with a snapshot under way.
struct Stage {
    store: Store,
    cursor: Cursor,
    receiver: Receiver,
    seed: u64,
}

impl Stage {
    fn execute(&mut self, op: &Op) {
        let store = &mut self.store;
        match op {
            Op::Set(db, key, value, ms) => {
                store.set(&store.at(*db, key), Value::Str(value), *ms, Encoding::Raw);
            }
            Op::Append(db, key, tail) => {
                let at = store.at(*db, key);
                if store.append(&at, tail).is_none() {
                    store.set(&at, Value::Str(tail), None, Encoding::Raw);
                }
            }
            Op::Expire(db, key, ms) => drop(store.set_expiry(&store.at(*db, key), *ms)),
            Op::Del(db, key) => drop(store.remove(&store.at(*db, key))),
            Op::Rename(db, from, to) => {
                store.rename(&store.at(*db, from), &store.at(*db, to));
            }
            Op::FlushSlot(slot) => store.detach(*slot),
            Op::FlushDb(db) => store.detach_db(*db),
            Op::Swap(a, b) => {
                store.swap(*a, *b);
                self.cursor.swapped(*a, *b);
            }
        }
    }

    /// What the owner of a cursor does with a change.
    fn change(&mut self, op: Op) {
        match &op {
            Op::Set(db, key, ..) | Op::Append(db, key, _) | Op::Expire(db, key, _) | Op::Del(db, key) => {
                if self.cursor.passed(&self.store.at(*db, key)) {
                    self.receiver.apply(op.clone());
                }
            }
            Op::Rename(db, from, to) => {
                let (from, to) = (self.store.at(*db, from), self.store.at(*db, to));
                if self.cursor.passed(&from) || self.cursor.passed(&to) {
                    for at in [from, to] {
                        if !self.cursor.passed(&at) {
                            if let Some(entry) = self.store.get(&at) {
                                self.receiver.emitted(at.db, entry, self.seed);
                            }
                            self.cursor.emitted_early(&at);
                            assert!(self.cursor.passed(&at), "seed {}", self.seed);
                        }
                    }
                    self.receiver.apply(op.clone());
                }
            }
            Op::FlushSlot(_) | Op::FlushDb(_) | Op::Swap(..) => self.receiver.apply(op.clone()),
        }
        self.execute(&op);
    }

    fn step(&mut self, budget_bytes: u64) -> StepEnd {
        let (receiver, seed) = (&mut self.receiver, self.seed);
        let mut spent = 0;
        let mut last = 0;
        let end = self.cursor.step(&self.store, budget_bytes, &mut |db, entry| {
            receiver.emitted(db, entry, seed);
            last = (entry.key().len() + entry.view().as_slice().len()) as u64 + KEY_COST;
            spent += last;
        });
        assert!(spent - last <= budget_bytes + budget_bytes / 4, "seed {seed}: {spent} of {budget_bytes}");
        end
    }

    fn content(&self, slots: &SlotSet) -> Content {
        let mut content = Content::new();
        for db in 0..self.store.databases() {
            self.store.for_each(db, &mut |entry| {
                if slots.contains(self.store.at(db, entry.key()).slot) {
                    let value = (entry.view().as_slice().to_vec(), entry.expiry_ms());
                    content.insert((db, entry.key().to_vec()), value);
                }
            });
        }
        content
    }
}

/// Keys of a few slots: `bar` in 5061, `06S` in 0, `Qi` in 1, `foo` in 12182.
const TAGS: [&str; 4] = ["bar", "06S", "Qi", "foo"];

fn draw_key(rng: &mut Rng, tag: usize, pool: u64) -> Vec<u8> {
    format!("{{{}}}{}", TAGS[tag], rng.below(pool)).into_bytes()
}

fn draw_op(rng: &mut Rng, databases: u64, pool: u64, grow: u64) -> Op {
    let (db, tag) = (rng.below(databases) as u32, rng.index(4));
    let key = draw_key(rng, tag, pool);
    let value = alloc::vec![b'a' + rng.below(26) as u8; rng.index(30)];
    let ms = rng.one_in(3).then(|| rng.below(1000));
    if rng.below(10) < grow {
        return Op::Set(db, key, value, ms);
    }
    match rng.below(20) {
        0..4 => Op::Append(db, key, value),
        4..7 => Op::Expire(db, key, ms),
        7..10 => Op::Rename(db, key, draw_key(rng, tag, pool)),
        10 if rng.one_in(200) => Op::FlushSlot(Slot::of(&key)),
        11 if rng.one_in(300) => Op::FlushDb(db),
        12 if rng.one_in(100) => Op::Swap(db, rng.below(databases) as u32),
        _ => Op::Del(db, key),
    }
}

fn ranges(rng: &mut Rng) -> SlotRanges {
    let range = |a, b| SlotRange::new(a, b).expect("a range");
    match rng.below(4) {
        // Not in ascending order, and without slot 12182.
        0 => [range(5000, 5100), range(0, 0), range(1, 9)].into_iter().collect(),
        1 => [range(1, 1), range(0, 0)].into_iter().collect(),
        // Overlapping: each slot is walked once.
        2 => [range(1, 6000), range(0, 5061), range(12182, 12182)].into_iter().collect(),
        _ => [range(0, 16383)].into_iter().collect(),
    }
}

/// One snapshot under random changes. Answers how many steps it took.
fn run(seed: u64) -> usize {
    let rng = &mut Rng::new(seed);
    let databases = 1 + rng.below(3);
    let config = StoreConfig { databases: databases as u32, layout: Layout::Cluster, seed };
    let mut store = Store::new(config);
    if seed % 4 == 3 {
        store.hashes.mask = !0x00ff_f0ff_f000_0000;
    }
    let pool = [20, 300, 3000][rng.index(3)];
    for _ in 0..rng.below(pool * 6) {
        let (db, tag) = (rng.below(databases) as u32, rng.index(4));
        let key = draw_key(rng, tag, pool);
        store.set(&store.at(db, &key), Value::Str(b"start"), None, Encoding::Raw);
    }
    let ranges = ranges(rng);
    let slots = ranges.to_set();
    let cursor = Cursor::new(&store, ranges);
    let mut stage = Stage { store, cursor, receiver: Receiver::default(), seed };
    let (budget, busy) = ([1, 200, 3000, 40_000][rng.index(4)], [3, 40, 700][rng.index(3)]);
    let (mut steps, mut changes) = (0, 10_000);
    while !stage.cursor.is_done() {
        let grow = rng.below(8);
        for _ in 0..rng.below(busy).min(changes) {
            stage.change(draw_op(rng, databases, pool, grow));
            changes -= 1;
        }
        let end = stage.step(1 + rng.below(budget));
        assert_eq!(end == StepEnd::Done, stage.cursor.is_done());
        steps += 1;
    }
    assert!(stage.cursor.early.is_empty(), "seed {seed}: early keys left behind");
    assert_eq!(stage.cursor.remaining(), 0);
    for _ in 0..100 {
        stage.change(draw_op(rng, databases, pool, 3));
    }
    let received: Content =
        stage.receiver.content.into_iter().filter(|((_, key), _)| slots.contains(Slot::of(key))).collect();
    let stage = Stage { receiver: Receiver::default(), ..stage };
    assert!(received == stage.content(&slots), "seed {seed}: the receiver differs");
    steps
}

#[test]
fn the_receiver_ends_with_the_content_of_the_source() {
    let seeds = if cfg!(miri) { 0..2 } else { 0..200 };
    let steps: usize = seeds.clone().map(run).sum();
    assert!(steps > 10 * seeds.count(), "snapshots too short to meet changes: {steps} steps");
}

#[test]
fn keys_of_other_slots_are_never_passed() {
    let mut store = Store::new(StoreConfig { databases: 1, layout: Layout::Cluster, seed: 1 });
    store.set(&store.at(0, b"foo"), Value::Str(b""), None, Encoding::Raw);
    let mut cursor = Cursor::new(&store, SlotRanges::from_iter([SlotRange::one(Slot::of(b"bar"))]));
    let foo = store.at(0, b"foo");
    cursor.emitted_early(&foo);
    assert!(!cursor.passed(&foo));
    let end = cursor.step(&store, 1 << 20, &mut |_, _| panic!("a key of another slot"));
    assert_eq!(end, StepEnd::Done);
    assert!(!cursor.passed(&foo) && cursor.passed(&store.at(0, b"bar")));
}

#[test]
fn a_standalone_keyspace_is_walked_whole_and_progress_is_told() {
    let mut store = Store::new(StoreConfig { databases: 3, layout: Layout::Standalone, seed: 1 });
    let mut keys = BTreeSet::new();
    for n in 0..9000u32 {
        let key = n.to_be_bytes();
        store.set(&store.at(n % 2 * 2, &key), Value::Str(b"value"), None, Encoding::Embstr);
        keys.insert((n % 2 * 2, key.to_vec()));
    }
    let mut cursor = Cursor::new(&store, SlotRanges::from_iter(SlotRange::new(0, 16383)));
    assert_eq!(cursor.remaining(), 9000);
    let mut last = 9000;
    while cursor.step(&store, 4096, &mut |db, e| assert!(keys.remove(&(db, e.key().to_vec()))))
        == StepEnd::More
    {
        assert_eq!(cursor.remaining() + cursor.emitted(), 9000);
        assert!(cursor.remaining() <= last);
        last = cursor.remaining();
    }
    assert!(keys.is_empty() && cursor.remaining() == 0);
}

#[test]
fn early_keys_are_forgotten_leaf_by_leaf() {
    let mut store = Store::new(StoreConfig { databases: 1, layout: Layout::Standalone, seed: 1 });
    for n in 0..20_000u32 {
        let key = n.to_be_bytes();
        store.set(&store.at(0, &key), Value::Str(b"value"), None, Encoding::Embstr);
    }
    let mut cursor = Cursor::new(&store, SlotRanges::from_iter([SlotRange::one(Slot::default())]));
    let mut most = 0;
    while cursor.step(&store, 300, &mut |_, _| {}) == StepEnd::More {
        most = most.max(cursor.early.len());
    }
    assert!((1..=56).contains(&most), "{most} early keys at once");
    assert_eq!(cursor.emitted(), 20_000);
}

#[test]
fn as_of_a_moment_is_what_there_was() {
    for seed in 0..60 {
        let rng = &mut Rng::new(seed);
        let mut store = Store::new(StoreConfig { databases: 2, layout: Layout::Cluster, seed });
        for _ in 0..4000 {
            let (db, tag) = (rng.below(2) as u32, rng.index(4));
            let key = draw_key(rng, tag, 1000);
            store.set(&store.at(db, &key), Value::Str(b"start"), None, Encoding::Raw);
        }
        let ranges = ranges(rng);
        let slots = ranges.to_set();
        let cursor = Cursor::new(&store, ranges);
        let mut stage = Stage { store, cursor, receiver: Receiver::default(), seed };
        let then = stage.content(&slots);
        while stage.step(1 + rng.below(4000)) == StepEnd::More {
            for _ in 0..rng.below(60) {
                let op = draw_op(rng, 2, 1000, 4);
                let (db, keys) = match &op {
                    Op::Set(db, key, ..) | Op::Append(db, key, _) | Op::Expire(db, key, _) => {
                        (*db, [key, key])
                    }
                    Op::Del(db, key) => (*db, [key, key]),
                    Op::Rename(db, from, to) => (*db, [from, to]),
                    Op::FlushSlot(_) | Op::FlushDb(_) | Op::Swap(..) => continue,
                };
                for key in keys {
                    let at = stage.store.at(db, key);
                    if slots.contains(at.slot) && !stage.cursor.passed(&at) {
                        if let Some(entry) = stage.store.get(&at) {
                            stage.receiver.emitted(db, entry, seed);
                        }
                        stage.cursor.emitted_early(&at);
                    }
                }
                stage.execute(&op);
            }
        }
        assert!(stage.receiver.content == then, "seed {seed}");
    }
}
