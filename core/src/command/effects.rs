//! What a command changed, in the words others repeat: the source of WATCH, and of the feed that slot
//! migrations (later replicas and the append-only file) follow.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use hashbrown::HashMap;

use crate::ids::ShardIndex;
use crate::slots::Slot;
use crate::store::At;

/// One write to repeat, located so that a snapshot cursor can tell whether it has passed the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Database the write went to.
    pub db: u32,
    /// Slot of its keys.
    pub slot: Slot,
    /// Hash of its first key.
    pub hash: u64,
    /// Its first key, as a range of [`Effects::bytes`]; empty where no follower has to know it.
    pub key: Range<usize>,
    /// Its RESP form as a range of [`Effects::bytes`]; `None` when it is the command as it was given.
    pub rewritten: Option<Range<usize>>,
}

/// What those who follow a slot have to know of the writes there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Followed {
    /// Nobody follows it.
    #[default]
    Nothing,
    /// What was written: they have all keys.
    Writes,
    /// Of which key, too: some of them have not come to all keys.
    Keys,
}

impl Followed {
    /// Whether anybody follows it.
    #[inline]
    #[must_use]
    pub fn is_any(self) -> bool {
        self != Self::Nothing
    }
}

/// The changes of one command, and the versions of watched keys.
#[derive(Debug, Default)]
pub struct Effects {
    /// What has to be recorded of this command.
    followed: Followed,
    /// The database the command was given in; its own record belongs there, also when it wrote to another (COPY, MOVE).
    db: u32,
    /// Changes by the command itself.
    dirty: u64,
    /// Changes by commands since start (`rdb_changes_since_last_save`).
    total: u64,
    records: Vec<Record>,
    bytes: Vec<u8>,
    /// The record of the command itself, once it changed something.
    own: Option<usize>,
    watched: Watched,
}

/// Names of keys, each with its database.
pub type Keys = Vec<(u32, Box<[u8]>)>;

/// Keys that some transaction waits on, with versions that grow at each change.
#[derive(Debug, Default)]
pub struct Watched {
    versions: HashMap<(u32, Box<[u8]>), Version, foldhash::fast::FixedState>,
    /// Keys that changed, if somebody wants to know all of them.
    noted: Option<Vec<Box<[u8]>>>,
    /// Whose keys these are.
    shard: ShardIndex,
    /// Keys of siblings that a client does not watch any more.
    released: Vec<(ShardIndex, Keys)>,
}

/// A name in [`Watched`], borrowed: a change of a key costs no allocation.
#[derive(Hash)]
struct Name<'k>(u32, &'k [u8]);

impl hashbrown::Equivalent<(u32, Box<[u8]>)> for Name<'_> {
    fn equivalent(&self, (db, key): &(u32, Box<[u8]>)) -> bool {
        self.0 == *db && *self.1 == **key
    }
}

#[derive(Debug, Default)]
struct Version {
    changes: u64,
    /// How often the key went by itself: its time was over, memory was short, or all keys went.
    ends: u64,
    watchers: usize,
}

/// What somebody saw of a key who began to watch it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    changes: u64,
    /// `None`: there was no key, or its time was over. That it goes is no change then.
    ends: Option<u64>,
}

impl Seen {
    /// Whether there was a key.
    #[must_use]
    pub fn is_there(self) -> bool {
        self.ends.is_some()
    }
}

impl Watched {
    /// Begins to watch a key, which is there (and its time not over) or not; returns what to compare at EXEC.
    pub fn watch(&mut self, db: u32, key: &[u8], is_there: bool) -> Seen {
        let version = self.versions.entry((db, key.into())).or_default();
        version.watchers += 1;
        Seen { changes: version.changes, ends: is_there.then_some(version.ends) }
    }

    /// Whether the key is still as it was when [`watch`](Self::watch) returned this.
    #[must_use]
    pub fn unchanged(&self, db: u32, key: &[u8], seen: Seen) -> bool {
        let same = |v: &Version| v.changes == seen.changes && seen.ends.is_none_or(|ends| v.ends == ends);
        self.versions.get(&Name(db, key)).is_some_and(same)
    }

    /// From now on these are the keys of this shard.
    pub fn belong_to(&mut self, shard: ShardIndex) {
        self.shard = shard;
    }

    /// The shard whose keys these are.
    #[must_use]
    pub fn shard(&self) -> ShardIndex {
        self.shard
    }

    /// Ends one watch of a key of any shard; a sibling has to be told of it.
    pub fn release(&mut self, shard: ShardIndex, db: u32, key: Box<[u8]>) {
        if shard == self.shard {
            return self.unwatch(db, &key);
        }
        match self.released.iter_mut().find(|(of, _)| *of == shard) {
            Some((_, keys)) => keys.push((db, key)),
            None => self.released.push((shard, alloc::vec![(db, key)])),
        }
    }

    /// The ended watches that siblings have to be told of.
    pub fn take_released(&mut self) -> Vec<(ShardIndex, Keys)> {
        core::mem::take(&mut self.released)
    }

    /// Ends one watch of a key.
    pub fn unwatch(&mut self, db: u32, key: &[u8]) {
        if let Some(version) = self.versions.get_mut(&Name(db, key)) {
            version.watchers -= 1;
            if version.watchers == 0 {
                self.versions.remove(&Name(db, key));
            }
        }
    }

    /// Watched keys for which `changed` is true, by database and name, get a new version.
    pub fn touch_where(&mut self, mut changed: impl FnMut(u32, &[u8]) -> bool) {
        for ((db, key), version) in &mut self.versions {
            if changed(*db, key) {
                version.changes += 1;
            }
        }
    }

    /// Watched keys for which `gone` is true, by database and name, went by themselves.
    pub fn end_where(&mut self, mut gone: impl FnMut(u32, &[u8]) -> bool) {
        for ((db, key), version) in &mut self.versions {
            if gone(*db, key) {
                version.ends += 1;
            }
        }
    }

    /// How many keys are watched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    /// Whether no key is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// From now on the names of all changed keys are noted, or not any longer.
    pub fn note(&mut self, wanted: bool) {
        if wanted != self.noted.is_some() {
            self.noted = wanted.then(Vec::new);
        }
    }

    /// Hands over the keys that were noted, in the order in which they changed.
    pub fn drain_noted(&mut self, mut take: impl FnMut(&[u8])) {
        self.noted.iter_mut().flat_map(|keys| keys.drain(..)).for_each(|key| take(&key));
    }

    #[inline]
    fn touch(&mut self, db: u32, key: &[u8]) {
        if let Some(version) = self.note_change(db, key) {
            version.changes += 1;
        }
    }

    /// The key goes by itself.
    fn end(&mut self, db: u32, key: &[u8]) {
        if let Some(version) = self.note_change(db, key) {
            version.ends += 1;
        }
    }

    #[inline]
    fn note_change(&mut self, db: u32, key: &[u8]) -> Option<&mut Version> {
        if let Some(noted) = &mut self.noted {
            noted.push(key.into());
        }
        if self.versions.is_empty() { None } else { self.versions.get_mut(&Name(db, key)) }
    }
}

impl Effects {
    /// Starts a command given in database `db`; `followed` says what followers of its slot have to know.
    #[inline]
    pub fn begin(&mut self, db: u32, followed: Followed) {
        self.db = db;
        self.followed = followed;
        self.dirty = 0;
        if !self.records.is_empty() {
            self.records.clear();
            self.bytes.clear();
        }
        self.own = None;
    }

    /// The command changed the key at `at`.
    #[inline]
    pub fn changed(&mut self, at: &At<'_>) {
        self.dirty += 1;
        self.total += 1;
        self.watched.touch(at.db, at.key);
        if self.followed.is_any() && self.own.is_none() {
            self.own = Some(self.records.len());
            self.record(self.db, at, None);
        }
    }

    /// The command's own record gets this form instead of the one the client sent. Needs [`changed`](Self::changed).
    #[inline]
    pub fn rewrite(&mut self, argv: &[&[u8]]) {
        if let Some(own) = self.own {
            let form = self.encode(argv);
            self.records[own].rewritten = Some(form);
        }
    }

    /// A second key was changed by a change that [`changed`](Self::changed) has counted (RENAME, MOVE).
    pub fn also_changed(&mut self, at: &At<'_>) {
        self.watched.touch(at.db, at.key);
    }

    /// The shard itself deleted a key (expiry, eviction): no change that counts, but a record of its own. It comes
    /// before the command's, which may have set the key anew.
    pub fn deleted_by_us(&mut self, at: &At<'_>, word: &[u8]) {
        self.watched.end(at.db, at.key);
        if self.followed.is_any() {
            let form = self.encode(&[word, at.key]);
            self.record(at.db, at, Some(form));
            if let Some(own) = &mut self.own {
                self.records[*own..].rotate_right(1);
                *own += 1;
            }
        }
    }

    /// Whether records are made: without, there is no need to build what [`rewrite`](Self::rewrite) takes.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.followed.is_any()
    }

    /// Changes by the command so far.
    #[must_use]
    pub fn dirty(&self) -> u64 {
        self.dirty
    }

    /// Changes by commands since start.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What others have to repeat, in order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The memory that the ranges of [`records`](Self::records) point into.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many keys are watched.
    #[must_use]
    pub fn watched_keys(&self) -> usize {
        self.watched.len()
    }

    /// The watched keys, to look at.
    #[must_use]
    pub fn watches(&self) -> &Watched {
        &self.watched
    }

    /// The watched keys.
    pub fn watched(&mut self) -> &mut Watched {
        &mut self.watched
    }

    fn record(&mut self, db: u32, at: &At<'_>, rewritten: Option<Range<usize>>) {
        let start = self.bytes.len();
        if self.followed == Followed::Keys {
            self.bytes.extend_from_slice(at.key);
        }
        let key = start..self.bytes.len();
        self.records.push(Record { db, slot: at.slot, hash: at.hash, key, rewritten });
    }

    fn encode(&mut self, argv: &[&[u8]]) -> Range<usize> {
        let start = self.bytes.len();
        crate::wire::resp::encode_command(&mut self.bytes, argv);
        start..self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Layout, Store, StoreConfig};

    #[test]
    fn a_key_is_watched_until_its_last_watcher_leaves() {
        let store = Store::new(StoreConfig { databases: 2, layout: Layout::Standalone, seed: 1 });
        let mut effects = Effects::default();
        let first = effects.watched().watch(0, b"k", true);
        effects.changed(&store.at(0, b"k"));
        let second = effects.watched().watch(0, b"k", true);
        effects.changed(&store.at(1, b"k"));
        assert!(!effects.watched().unchanged(0, b"k", first));
        assert!(effects.watched().unchanged(0, b"k", second));
        effects.watched().unwatch(0, b"k");
        assert!(effects.watched().unchanged(0, b"k", second));
        assert_eq!(effects.watched().len(), 1);
        effects.watched().unwatch(0, b"k");
        effects.watched().unwatch(0, b"k");
        assert!(effects.watched().is_empty());
    }

    #[test]
    fn records_say_where_the_key_lies() {
        let store = Store::new(StoreConfig { databases: 2, layout: Layout::Cluster, seed: 1 });
        let (gone, key) = (store.at(1, b"{a}gone"), store.at(1, b"{a}key"));
        let mut effects = Effects::default();
        effects.begin(1, Followed::Keys);
        effects.changed(&key);
        effects.rewrite(&[b"PERSIST", b"{a}key"]);
        effects.deleted_by_us(&gone, b"UNLINK");
        let [before, own] = effects.records() else { panic!("{:?}", effects.records()) };
        for (record, at, form) in [
            (before, gone, &b"*2\r\n$6\r\nUNLINK\r\n$7\r\n{a}gone\r\n"[..]),
            (own, key, b"*2\r\n$7\r\nPERSIST\r\n$6\r\n{a}key\r\n"),
        ] {
            assert_eq!((record.db, record.slot, record.hash), (1, at.slot, at.hash));
            assert_eq!(&effects.bytes()[record.key.clone()], at.key);
            assert_eq!(&effects.bytes()[record.rewritten.clone().unwrap()], form);
        }
        assert_eq!((effects.dirty(), effects.total()), (1, 1));
        effects.begin(1, Followed::Writes);
        effects.changed(&key);
        let [own] = effects.records() else { panic!("{:?}", effects.records()) };
        assert_eq!((own.slot, own.hash, own.key.len(), &own.rewritten), (key.slot, key.hash, 0, &None));
        effects.begin(0, Followed::Nothing);
        effects.changed(&key);
        effects.rewrite(&[b"PERSIST", b"{a}key"]);
        effects.deleted_by_us(&gone, b"UNLINK");
        assert_eq!((effects.records(), effects.bytes()), (&[][..], &[][..]));
        assert_eq!((effects.dirty(), effects.total()), (1, 3));
    }
}
