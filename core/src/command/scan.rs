//! Commands that walk the keys of a database. Keys of hidden slots are not met.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::context::{Caller, Cx};
use super::glob;
use super::number::cursor;
use super::options::is;
use super::refused::{NOT_AN_INTEGER, Outcome, Refused, SYNTAX};
use crate::ids::{ShardIndex, Shards};
use crate::link::Outbox;
use crate::slots::{Slot, hash_tag};
use crate::store::{Entry, Layout, Store};
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, Proto, Reply};

const CURSOR: Refused<'static> = Refused::Text("ERR invalid cursor");
const NOVALUES: Refused<'static> = Refused::Text("ERR NOVALUES option can only be used in HSCAN");
const NOSCORES: Refused<'static> = Refused::Text("ERR NOSCORES option can only be used in ZSCAN");
const SLOT_TWICE: Refused<'static> = Refused::Text("ERR SLOT option can only be specified once");
const NO_SLOT: Refused<'static> = Refused::Text("ERR Invalid or out of range slot");
/// Keys that a SCAN looks at when it is not told.
const COUNT: i64 = 10;
/// Names of types that SCAN knows, whether or not a key can have them.
const TYPES: [&str; 6] = ["string", "list", "set", "zset", "hash", "stream"];
/// Draws of RANDOMKEY before it makes do with a key whose time is over.
const DRAWS: usize = 100;
/// Where a scan's cursor has its slot.
const SLOT_SHIFT: u32 = 32;
/// Where it has its shard.
const SHARD_SHIFT: u32 = 48;

/// Keys found, encoded for the reply, since their number comes first there.
#[derive(Default)]
pub(super) struct Found {
    keys: Outbox,
    count: usize,
    /// Keys met whose time is over.
    over: Vec<Box<[u8]>>,
}

impl Found {
    /// Keeps what `walk` visits and the options want.
    pub(super) fn visit<T>(
        &mut self,
        cx: &Cx<'_>,
        options: &Options<'_>,
        walk: impl FnOnce(&Store, &mut dyn FnMut(&Entry)) -> T,
    ) -> T {
        let (now_ms, proto) = (cx.now.wall_ms(), Proto::default());
        walk(cx.store, &mut |entry| {
            if !options.want(entry) {
                return;
            }
            if entry.is_expired(now_ms) {
                self.over.push(entry.key().into());
            } else {
                Reply::new(&mut self.keys, proto).bulk(entry.key());
                self.count += 1;
            }
        })
    }

    /// Replies the keys. Those whose time is over end with that.
    pub(super) fn reply(self, cx: &mut Cx<'_>) {
        let (count, keys) = self.end(cx);
        cx.reply.array(count);
        keys.chunks().for_each(|chunk| cx.reply.raw(chunk));
    }

    /// How many keys, and these as bulk strings. Those whose time is over end with that.
    pub(super) fn end(self, cx: &mut Cx<'_>) -> (usize, Outbox) {
        for key in self.over {
            // Where the key lies, which is not where a walk is routed to.
            let at = cx.store.at(cx.db, &key);
            cx.is_gone(&at);
        }
        (self.count, self.keys)
    }
}

/// KEYS pattern
pub(super) fn keys<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    found(cx, argv.get(1)).reply(cx);
    Ok(())
}

/// How many keys a pattern takes, and these as bulk strings.
pub(crate) fn matching(cx: &mut Cx<'_>, pattern: &[u8]) -> (usize, Outbox) {
    let found = found(cx, pattern);
    (found.count, found.keys)
}

fn found(cx: &Cx<'_>, pattern: &[u8]) -> Found {
    let options = Options { pattern: Some(pattern), ..Options::default() };
    let mut found = Found::default();
    let slot = only_slot(cx, pattern);
    found.visit(cx, &options, |store, visit| match slot {
        Some(slot) if store.is_hidden(slot) => {}
        Some(slot) => store.keys_in_slot(cx.db, slot, usize::MAX, visit),
        None => store.for_each(cx.db, visit),
    });
    // Unlike SCAN it leaves alone what is over.
    found.over.clear();
    found
}

/// Whether a pattern takes a key. Unlike the patterns that match anything, the plain star takes the empty key too.
fn fits(pattern: &[u8], key: &[u8]) -> bool {
    pattern == b"*" || glob::matches(pattern, key)
}

/// The one slot in which all keys are that a pattern can take, if it says so before its first wildcard.
pub(super) fn only_slot(cx: &Cx<'_>, pattern: &[u8]) -> Option<Slot> {
    if cx.store.layout() == Layout::Cluster { slot_of(pattern) } else { None }
}

/// The same in cluster mode.
pub(super) fn slot_of(pattern: &[u8]) -> Option<Slot> {
    let plain = pattern.iter().take_while(|b| !b"*?[\\".contains(b)).count();
    let tagged = hash_tag(&pattern[..plain]).is_some();
    (plain == pattern.len() || tagged).then(|| Slot::of(&pattern[..plain]))
}

/// What a walk looks for.
pub(super) struct Options<'a> {
    pub(super) pattern: Option<&'a [u8]>,
    count: i64,
    kind: Option<&'static str>,
    /// CLUSTERSCAN: the only slot to walk.
    pub(super) slot: Option<Slot>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { pattern: None, count: COUNT, kind: None, slot: None }
    }
}

impl<'a> Options<'a> {
    /// The options of SCAN.
    fn read(argv: Argv<'a>) -> Result<Self, Refused<'a>> {
        Self::read_all(argv, false)
    }

    /// The options of CLUSTERSCAN.
    pub(super) fn read_cluster(argv: Argv<'a>) -> Result<Self, Refused<'a>> {
        Self::read_all(argv, true)
    }

    fn read_all(argv: Argv<'a>, cluster: bool) -> Result<Self, Refused<'a>> {
        let mut options = Self::default();
        let mut words = argv.after(2).iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(SYNTAX);
            if is(word, b"COUNT") {
                options.count = integer(value()?).ok_or(NOT_AN_INTEGER)?;
                if options.count < 1 {
                    return Err(SYNTAX);
                }
            } else if is(word, b"MATCH") {
                options.pattern = Some(value()?);
            } else if is(word, b"TYPE") {
                let name = value()?;
                let known = TYPES.into_iter().find(|known| is(name, known.as_bytes()));
                options.kind = Some(known.ok_or(Refused::UnknownType(name))?);
            } else if cluster && is(word, b"SLOT") {
                if options.slot.is_some() {
                    return Err(SLOT_TWICE);
                }
                let slot = integer(value()?).and_then(|n| u16::try_from(n).ok()).and_then(Slot::new);
                options.slot = Some(slot.ok_or(NO_SLOT)?);
            } else if is(word, b"NOVALUES") {
                return Err(NOVALUES);
            } else if is(word, b"NOSCORES") {
                return Err(NOSCORES);
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }

    /// How many keys to look at.
    pub(super) fn count(&self) -> usize {
        usize::try_from(self.count).unwrap_or(usize::MAX)
    }

    fn want(&self, entry: &Entry) -> bool {
        self.kind.is_none_or(|name| entry.kind().name() == name)
            && self.pattern.is_none_or(|pattern| fits(pattern, entry.key()))
    }
}

/// SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]
pub(super) fn scan<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    scan_part(cx, argv, Shards::ONE, ShardIndex::default())
}

/// The shard where a SCAN goes on: that of the only slot of its pattern, or that which its cursor names.
pub(crate) fn shard_of(argv: Argv<'_>, shards: Shards) -> Option<ShardIndex> {
    let slot = Options::read(argv).ok()?.pattern.and_then(slot_of);
    let named = || shard_of_cursor(cursor(argv.get(1))?, shards);
    slot.map(|slot| shards.of(slot)).or_else(named)
}

fn shard_of_cursor(cursor: u64, shards: Shards) -> Option<ShardIndex> {
    let index = (cursor >> SHARD_SHIFT) as u16;
    (index < shards.count()).then_some(ShardIndex(index))
}

/// SCAN as far as it goes in this shard. Above the position its cursor has
/// the shard; after the last key of a shard the walk begins in the next one.
pub(crate) fn scan_part<'a>(
    cx: &mut Cx<'_>,
    argv: Argv<'a>,
    shards: Shards,
    index: ShardIndex,
) -> Outcome<'a> {
    let cursor = cursor(argv.get(1)).ok_or(CURSOR)?;
    let options = Options::read(argv)?;
    let slot = options.pattern.and_then(|pattern| only_slot(cx, pattern));
    let mut found = Found::default();
    let next = found.visit(cx, &options, |store, visit| match slot {
        Some(slot) => scan_slot(store, cx.db, slot, cursor, options.count(), visit),
        None if shards == Shards::ONE => store.scan(cx.db, cursor, options.count(), visit),
        None if shard_of_cursor(cursor, shards) != Some(index) => 0,
        None => {
            let within = cursor & ((1 << SHARD_SHIFT) - 1);
            let (next, shard) = match store.scan(cx.db, within, options.count(), visit) {
                0 if index.0 + 1 < shards.count() => (0, index.0 + 1),
                0 => (0, 0),
                next => (next, index.0),
            };
            u64::from(shard) << SHARD_SHIFT | next
        }
    });
    cx.reply.array(2);
    cx.reply.bulk_int(next as i64);
    found.reply(cx);
    Ok(())
}

/// The part of a scan that lies in one slot: a cursor before it is moved up to it, one behind it is at the end.
fn scan_slot(
    store: &Store,
    db: u32,
    slot: Slot,
    cursor: u64,
    count: usize,
    visit: &mut dyn FnMut(&Entry),
) -> u64 {
    let first = (slot.index() as u64) << SLOT_SHIFT;
    let from = cursor.max(first);
    if store.is_hidden(slot) || from >> SLOT_SHIFT != slot.index() as u64 {
        return 0;
    }
    let next = store.scan_slot(db, slot, from as u32, count, visit);
    next.map_or(0, |position| first | u64::from(position))
}

/// RANDOMKEY
pub(super) fn randomkey<'a>(cx: &mut Cx<'_>, _argv: Argv<'a>) -> Outcome<'a> {
    match draw(cx) {
        Some(key) => cx.reply.bulk(&key),
        None => cx.reply.null(),
    }
    Ok(())
}

/// A key drawn at random; of those whose time is over, the ones it meets end with that.
pub(crate) fn draw(cx: &mut Cx<'_>) -> Option<Box<[u8]>> {
    let now_ms = cx.now.wall_ms();
    let mut draws = 0;
    loop {
        let entry = cx.store.random(cx.db, cx.rng)?;
        draws += 1;
        if !entry.is_expired(now_ms) || (cx.caller != Caller::Client && draws == DRAWS) {
            return Some(entry.key().into());
        }
        let key: Box<[u8]> = entry.key().into();
        let at = cx.store.at(cx.db, &key);
        cx.is_gone(&at);
    }
}

/// DBSIZE
pub(super) fn dbsize<'a>(cx: &mut Cx<'_>, _argv: Argv<'a>) -> Outcome<'a> {
    let keys = cx.store.len(cx.db);
    cx.reply.int(keys as i64);
    Ok(())
}
