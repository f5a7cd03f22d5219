//! The keyspace: numbered databases, one table of thin entries per slot.
//!
//! A key is located once, as an [`At`], and every operation takes that. In [`Layout::Cluster`] a key lies in the
//! table of its hash slot; in [`Layout::Standalone`] all keys lie in slot 0. A slot's table is a directory of small
//! leaves split by leading bits of the *position*, 32 bits out of the middle of a key's hash. `SCAN`, snapshots,
//! expiry, growth and freeing all go by leaf and in the order of positions, so "passed" means the same to each of
//! them while tables grow and shrink, and no operation copies more than one leaf and one small directory.
//!
//! The store has no clock and applies no expiry by itself: entries whose time is over are there until somebody
//! removes them.
//!
//! ```
//! use whimbrel_core::store::{Encoding, Layout, Store, StoreConfig, Value};
//!
//! let mut store = Store::new(StoreConfig { databases: 16, layout: Layout::Cluster, seed: 7 });
//! let at = store.at(0, b"greeting");
//! store.set(&at, Value::Str(b"hello"), None, Encoding::Embstr);
//! assert_eq!(store.get(&at).and_then(|e| e.string()), Some(&b"hello"[..]));
//! assert_eq!(store.len(0), 1);
//! ```

mod access;
mod cursor;
mod db;
mod entry;
mod expiry;
mod garbage;
mod hashes;
mod leaf;
mod node;
mod sample;
mod scan;
mod slab;
mod table;
mod value;

use alloc::vec::Vec;
use core::mem::size_of;

pub use access::{Access, Counting, Touch};
pub use cursor::{Cursor, StepEnd};
pub use entry::Entry;
pub use expiry::Due;
pub use sample::{Drawn, Pool};
pub use value::{EMBSTR_MAX, Encoding, INLINE_MAX, Kind, Value, View};

use crate::slots::{SLOTS, Slot, SlotSet};
use db::Db;
use entry::Traits;
use expiry::Sweep;
use garbage::Garbage;
use hashes::{Hashes, POSITION_BITS, POSITION_SHIFT, position};
use slab::Slab;

/// What one operation on a table changed.
#[derive(Clone, Copy)]
struct Change {
    /// Memory of tables.
    bytes: i64,
    keys: i64,
    expires: i64,
    /// An entry may have become due at this time.
    due_ms: u64,
    /// Entries and directory words moved in memory.
    moved: usize,
}

impl Change {
    const NONE: Self = Self { bytes: 0, keys: 0, expires: 0, due_ms: u64::MAX, moved: 0 };
}

/// Where keys lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// Each key in the table of its hash slot.
    Cluster,
    /// All keys in slot 0 (`cluster-enabled no`).
    Standalone,
}

/// What a store is made of.
#[derive(Clone, Copy, Debug)]
pub struct StoreConfig {
    /// How many numbered databases; at least 1.
    pub databases: u32,
    /// Where keys lie.
    pub layout: Layout,
    /// Seed of the hash of keys; the order in which keys are walked follows from it.
    pub seed: u64,
}

/// A key located once: what every operation on a key takes.
///
/// Valid for the store that made it, for as long as that store lives.
#[derive(Clone, Copy, Debug)]
pub struct At<'k> {
    /// The database, below the number of databases.
    pub db: u32,
    /// The slot whose table has the key.
    pub slot: Slot,
    /// The store's hash of the key.
    pub hash: u64,
    /// The key.
    pub key: &'k [u8],
}

/// Memory that a store has asked of the allocator, in bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Allocated {
    /// Entries: keys, values and what is said of them. Those of detached keys too.
    pub dataset: u64,
    /// Tables, those of detached keys too.
    pub overhead: u64,
    /// Room for entries that has none. Falls some time after keys are gone, so it is no reason to delete more.
    pub slack: u64,
}

impl Allocated {
    /// What deleting keys makes smaller at once, or by the time that they are freed: `used_memory`.
    #[must_use]
    pub const fn used(self) -> u64 {
        self.dataset + self.overhead
    }

    /// All that the allocator was asked for.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.used() + self.slack
    }
}

/// The keyspace of one shard.
pub struct Store {
    dbs: Vec<Db>,
    garbage: Garbage,
    /// Where the entries of all tables lie.
    slab: Slab,
    layout: Layout,
    hashes: Hashes,
    /// Slots whose keys nobody sees: being imported.
    hidden: SlotSet,
    /// What entries remember of accesses.
    access: Access,
    /// Memory of all tables, detached ones too.
    tables: u64,
    sweep: Sweep,
}

impl Store {
    /// An empty keyspace.
    ///
    /// # Panics
    /// When there is to be no database.
    #[must_use]
    pub fn new(config: StoreConfig) -> Self {
        assert!(config.databases > 0, "a store has at least one database");
        Self {
            dbs: (0..config.databases).map(|_| Db::new()).collect(),
            layout: config.layout,
            hashes: Hashes::new(config.seed),
            hidden: SlotSet::new(),
            access: Access::new(config.seed),
            garbage: Garbage::default(),
            slab: Slab::new(),
            tables: 0,
            sweep: Sweep::default(),
        }
    }

    /// How many databases there are.
    #[must_use]
    pub fn databases(&self) -> u32 {
        self.dbs.len() as u32
    }

    /// Where keys lie.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Locates a key. `db` must be below the number of databases.
    #[must_use]
    pub fn at<'k>(&self, db: u32, key: &'k [u8]) -> At<'k> {
        let slot = match self.layout {
            Layout::Cluster => Slot::of(key),
            Layout::Standalone => Slot::default(),
        };
        At { db, slot, hash: self.hashes.of(key), key }
    }

    /// Locates a key whose hash slot is known from routing.
    #[must_use]
    pub fn at_in<'k>(&self, db: u32, slot: Slot, key: &'k [u8]) -> At<'k> {
        let slot = match self.layout {
            Layout::Cluster => slot,
            Layout::Standalone => Slot::default(),
        };
        At { db, slot, hash: self.hashes.of(key), key }
    }

    /// The entry of a key, expired or not.
    #[must_use]
    #[inline]
    pub fn get(&self, at: &At<'_>) -> Option<&Entry> {
        self.dbs[at.db as usize].table(at.slot)?.find(at.hash, at.key)
    }

    /// Looks at where a key may be, only so that its memory is near when the key is asked for. The answer means
    /// nothing; it depends on all that was looked at.
    #[must_use]
    #[inline]
    pub fn peek(&self, at: &At<'_>) -> u32 {
        self.dbs[at.db as usize].table(at.slot).map_or(0, |table| table.peek(at.hash))
    }

    /// The clock of accesses.
    #[must_use]
    #[inline]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The clock of accesses, to be set.
    pub fn access_mut(&mut self) -> &mut Access {
        &mut self.access
    }

    /// Puts a key with its value, over what it held before. A value that fits into the memory of the one before is
    /// written where that lies. It passes for an access. True when the key was there before.
    pub fn set(&mut self, at: &At<'_>, value: Value<'_>, expiry_ms: Option<u64>, encoding: Encoding) -> bool {
        let touch = self.access.touch();
        self.overwrite(at, value, expiry_ms, encoding, touch)
    }

    /// Like [`Store::set`], but `touch` is what becomes of the memory of accesses if the key was there before.
    pub fn overwrite(
        &mut self,
        at: &At<'_>,
        value: Value<'_>,
        expiry_ms: Option<u64>,
        encoding: Encoding,
        touch: Touch,
    ) -> bool {
        let (mut value, traits) = (Some(value), Traits { expiry_ms, encoding, clock: self.access.fresh() });
        let found = self.edit(at, |e, slab| {
            if let Some(value) = value.take() {
                e.assign(slab, value, Traits { clock: touch.apply(e.clock()), ..traits });
            }
        });
        if let Some(value) = value {
            let entry = Entry::new(&self.slab, at.key, value, traits);
            self.add(at, entry);
        }
        found.is_some()
    }

    /// Adds an entry whose key is not there.
    fn add(&mut self, at: &At<'_>, entry: Entry) {
        debug_assert_eq!(entry.key(), at.key, "an entry lies under its own key");
        let hidden = self.hidden.contains(at.slot);
        let (layout, db) = (self.layout, &mut self.dbs[at.db as usize]);
        self.tables += db.allocate(at.slot, layout, self.slab.tables());
        let Some(table) = db.table_mut(at.slot) else { return };
        let change = table.add(at.hash, entry, &self.hashes);
        db.book(at.slot, hidden, &change);
        self.tables = self.tables.wrapping_add_signed(change.bytes);
    }

    /// Puts an entry over what its key held before.
    fn put(&mut self, at: &At<'_>, entry: Entry) {
        let mut new = Some(entry);
        self.edit(at, |e, _| {
            if let Some(new) = new.take() {
                *e = new;
            }
        });
        if let Some(entry) = new {
            self.add(at, entry);
        }
    }

    /// Moves what a key holds to another key, over what that held before; a long value is not copied. False when
    /// there is no such key.
    pub fn rename(&mut self, from: &At<'_>, to: &At<'_>) -> bool {
        let Some(entry) = self.take(from) else { return false };
        let entry = entry.with_key(&self.slab, to.key);
        self.put(to, entry);
        true
    }

    /// Puts what a key holds under another key too, over what that held before; a long value is shared. False when
    /// there is no such key.
    pub fn copy(&mut self, from: &At<'_>, to: &At<'_>) -> bool {
        let Some(entry) = self.get(from) else { return false };
        let entry = entry.copied(&self.slab, to.key, self.access.fresh());
        self.put(to, entry);
        true
    }

    /// Replaces the value of a key and keeps its expiry. False when there is no such key.
    pub fn replace_value(&mut self, at: &At<'_>, value: Value<'_>, encoding: Encoding) -> bool {
        self.edit(at, |e, slab| e.set_value(slab, value, encoding)).is_some()
    }

    /// Adds bytes at the end of a string, which becomes `raw`. Answers its new length, or nothing when there is no
    /// such key.
    pub fn append(&mut self, at: &At<'_>, tail: &[u8]) -> Option<usize> {
        self.edit(at, |e, slab| {
            e.append(slab, tail);
            e.view().as_slice().len()
        })
    }

    /// Writes bytes at an offset of a string, which becomes `raw` and grows by zeros as needed. Answers its new
    /// length, or nothing when there is no such key.
    pub fn write_range(&mut self, at: &At<'_>, offset: usize, patch: &[u8]) -> Option<usize> {
        self.edit(at, |e, slab| {
            e.write_range(slab, offset, patch);
            e.view().as_slice().len()
        })
    }

    /// Sets or clears the expiry of a key (milliseconds since the Unix epoch). False when there is no such key.
    pub fn set_expiry(&mut self, at: &At<'_>, expiry_ms: Option<u64>) -> bool {
        self.edit(at, |e, slab| e.set_expiry(slab, expiry_ms)).is_some()
    }

    /// Takes a key out and frees what it held. False when there is no such key.
    pub fn remove(&mut self, at: &At<'_>) -> bool {
        self.take(at).is_some()
    }

    fn take(&mut self, at: &At<'_>) -> Option<Entry> {
        let hidden = self.hidden.contains(at.slot);
        let db = &mut self.dbs[at.db as usize];
        let (entry, change) = db.table_mut(at.slot)?.take(at.hash, at.key, &self.hashes)?;
        db.book(at.slot, hidden, &change);
        self.tables = self.tables.wrapping_add_signed(change.bytes);
        Some(entry)
    }

    /// Runs an edit that keeps the key, and books what it changed.
    fn edit<R>(&mut self, at: &At<'_>, edit: impl FnOnce(&mut Entry, &Slab) -> R) -> Option<R> {
        let hidden = self.hidden.contains(at.slot);
        let db = &mut self.dbs[at.db as usize];
        let slab = &self.slab;
        let (out, change) = db.table_mut(at.slot)?.edit(at.hash, at.key, |entry| edit(entry, slab))?;
        db.book(at.slot, hidden, &change);
        Some(out)
    }

    /// How many keys of a database are visible.
    #[must_use]
    pub fn len(&self, db: u32) -> u64 {
        self.dbs[db as usize].keys()
    }

    /// How many visible keys of a database have an expiry.
    #[must_use]
    pub fn expires(&self, db: u32) -> u64 {
        self.dbs[db as usize].expires()
    }

    /// Whether there is no key at all, visible or hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dbs.iter().all(Db::is_empty)
    }

    /// How many keys a slot has in one database, hidden or not.
    #[must_use]
    pub fn slot_len(&self, db: u32, slot: Slot) -> u64 {
        self.dbs[db as usize].table(slot).map_or(0, table::Table::len)
    }

    /// Whether neither the slot nor others near it have keys that are not hidden: more are ruled out at a time than by
    /// [`slot_len`](Self::slot_len), and without a look at their tables.
    #[must_use]
    pub fn is_bare(&self, db: u32, slot: Slot) -> bool {
        self.dbs[db as usize].groups().get(slot.index() / db::GROUP).is_none_or(|group| group.keys == 0)
    }

    /// How many keys a slot has in all databases, hidden or not.
    #[must_use]
    pub fn slot_len_all(&self, slot: Slot) -> u64 {
        (0..self.databases()).map(|db| self.slot_len(db, slot)).sum()
    }

    fn table_of(&self, db: u32, slot: Slot) -> Option<&table::Table> {
        self.dbs[db as usize].table(slot)
    }

    fn has_keys(&self, db: u32) -> bool {
        !self.dbs[db as usize].is_empty()
    }

    /// Memory that the store has asked of the allocator. Constant time.
    ///
    /// Exact but for the header of a long value's chunk, which the chunk does not tell.
    #[must_use]
    pub fn allocated(&self) -> Allocated {
        let figures = self.slab.figures();
        let lists = (self.dbs.capacity() * size_of::<Db>() + SLOTS / 8) as u64 + self.garbage.lists();
        Allocated {
            dataset: figures.entries + figures.objects,
            overhead: self.tables + lists,
            slack: figures.asked - figures.entries - figures.tables,
        }
    }

    /// Memory of the tables of one database.
    #[must_use]
    pub fn tables_memory(&self, db: u32) -> u64 {
        self.dbs[db as usize].bytes()
    }

    /// Memory of one key: its entry, and its share of the small table that the entry lies in (MEMORY USAGE).
    #[must_use]
    pub fn memory_of(&self, at: &At<'_>) -> Option<usize> {
        let table = self.table_of(at.db, at.slot)?;
        let entry = table.find(at.hash, at.key)?;
        let leaf = table.span(position(at.hash)).leaf;
        Some(entry.memory() + leaf.bytes().div_ceil(leaf.len()))
    }

    /// Gives memory that entries have not needed since the last call back to the allocator: a small part of it, at most
    /// `most` regions of 512 KB. To be called from time to time.
    pub fn give_back(&mut self, most: usize) {
        self.slab.give_back(most);
    }

    /// Gives all memory that no entry needs now back to the allocator, as far as it is whole regions.
    pub fn give_back_all(&mut self) {
        self.slab.give_back_all();
    }

    /// Hides a slot: its keys do not count, and no walk for clients or expiry meets them.
    pub fn hide(&mut self, slot: Slot) {
        if self.hidden.insert(slot) {
            for db in &mut self.dbs {
                db.conceal(slot);
            }
        }
    }

    /// Ends [`Store::hide`].
    pub fn unhide(&mut self, slot: Slot) {
        if self.hidden.remove(slot) {
            for db in &mut self.dbs {
                db.reveal(slot);
            }
        }
    }

    /// Whether a slot is hidden.
    #[must_use]
    pub fn is_hidden(&self, slot: Slot) -> bool {
        self.hidden.contains(slot)
    }

    /// Swaps two databases (SWAPDB). Constant time. Tell every [`Cursor`] by [`Cursor::swapped`].
    pub fn swap(&mut self, a: u32, b: u32) {
        self.dbs.swap(a as usize, b as usize);
    }
}

#[cfg(test)]
mod tests;
