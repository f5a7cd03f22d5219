//! Commands that walk the keys of a database. Keys of hidden slots are not met.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::context::{Caller, Cx};
use super::glob;
use super::number::cursor;
use super::options::is;
use super::refused::{NOT_AN_INTEGER, Outcome, Refused, SYNTAX};
use crate::link::Outbox;
use crate::slots::{Slot, hash_tag};
use crate::store::{Entry, Layout};
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, Proto, Reply};

const CURSOR: Refused<'static> = Refused::Text("ERR invalid cursor");
const NOVALUES: Refused<'static> = Refused::Text("ERR NOVALUES option can only be used in HSCAN");
const NOSCORES: Refused<'static> = Refused::Text("ERR NOSCORES option can only be used in ZSCAN");
/// Keys that a SCAN looks at when it is not told.
const COUNT: i64 = 10;
/// Names of types that SCAN knows, whether or not a key can have them.
const TYPES: [&str; 6] = ["string", "list", "set", "zset", "hash", "stream"];
/// Draws of RANDOMKEY before it makes do with a key whose time is over.
const DRAWS: usize = 100;
/// Where a scan's cursor has its slot.
const SLOT_SHIFT: u32 = 32;

/// Keys found, encoded for the reply, since their number comes first there.
#[derive(Default)]
struct Found {
    keys: Outbox,
    count: usize,
}

impl Found {
    fn push(&mut self, key: &[u8]) {
        // A bulk string is the same in all versions.
        Reply::new(&mut self.keys, Proto::default()).bulk(key);
        self.count += 1;
    }

    fn reply(self, reply: &mut Reply<'_>) {
        reply.array(self.count);
        self.keys.chunks().for_each(|chunk| reply.raw(chunk));
    }
}

/// KEYS pattern
pub(super) fn keys<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let pattern = argv.get(1);
    let now_ms = cx.now.wall_ms();
    let mut found = Found::default();
    let mut visit = |entry: &Entry| {
        if fits(pattern, entry.key()) && !entry.is_expired(now_ms) {
            found.push(entry.key());
        }
    };
    match only_slot(cx, pattern) {
        Some(slot) if cx.store.is_hidden(slot) => {}
        Some(slot) => cx.store.keys_in_slot(cx.db, slot, usize::MAX, &mut visit),
        None => cx.store.for_each(cx.db, &mut visit),
    }
    found.reply(&mut cx.reply);
    Ok(())
}

/// Whether a pattern takes a key. Unlike the patterns that match anything, the plain star takes the empty key too.
fn fits(pattern: &[u8], key: &[u8]) -> bool {
    pattern == b"*" || glob::matches(pattern, key)
}

/// The one slot in which all keys are that a pattern can take, if it says so before its first wildcard.
fn only_slot(cx: &Cx<'_>, pattern: &[u8]) -> Option<Slot> {
    if cx.store.layout() != Layout::Cluster {
        return None;
    }
    let plain = pattern.iter().take_while(|b| !b"*?[\\".contains(b)).count();
    let tagged = hash_tag(&pattern[..plain]).is_some();
    (plain == pattern.len() || tagged).then(|| Slot::of(&pattern[..plain]))
}

#[derive(Default)]
struct Options<'a> {
    pattern: Option<&'a [u8]>,
    count: i64,
    kind: Option<&'static str>,
}

fn options<'a>(argv: Argv<'a>) -> Result<Options<'a>, Refused<'a>> {
    let mut options = Options { count: COUNT, ..Options::default() };
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

/// SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]
pub(super) fn scan<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let cursor = cursor(argv.get(1)).ok_or(CURSOR)?;
    let options = options(argv)?;
    let now_ms = cx.now.wall_ms();
    let mut found = Found::default();
    let mut over: Vec<Box<[u8]>> = Vec::new();
    let mut visit = |entry: &Entry| {
        let wanted = options.kind.is_none_or(|name| entry.kind().name() == name)
            && options.pattern.is_none_or(|pattern| fits(pattern, entry.key()));
        if wanted && entry.is_expired(now_ms) {
            over.push(entry.key().into());
        } else if wanted {
            found.push(entry.key());
        }
    };
    let count = usize::try_from(options.count).unwrap_or(usize::MAX);
    let next = match options.pattern.and_then(|pattern| only_slot(cx, pattern)) {
        Some(slot) => scan_slot(cx, slot, cursor, count, &mut visit),
        None => cx.store.scan(cx.db, cursor, count, &mut visit),
    };
    cx.reply.array(2);
    cx.reply.bulk_int(next as i64);
    found.reply(&mut cx.reply);
    for key in over {
        let at = cx.store.at(cx.db, &key);
        cx.is_gone(&at);
    }
    Ok(())
}

/// The part of a scan that lies in one slot: a cursor before it is moved up to it, one behind it is at the end.
fn scan_slot(cx: &Cx<'_>, slot: Slot, cursor: u64, count: usize, visit: &mut dyn FnMut(&Entry)) -> u64 {
    let first = (slot.index() as u64) << SLOT_SHIFT;
    let from = cursor.max(first);
    if cx.store.is_hidden(slot) || from >> SLOT_SHIFT != slot.index() as u64 {
        return 0;
    }
    let next = cx.store.scan_slot(cx.db, slot, from as u32, count, visit);
    next.map_or(0, |position| first | u64::from(position))
}

/// RANDOMKEY
pub(super) fn randomkey<'a>(cx: &mut Cx<'_>, _argv: Argv<'a>) -> Outcome<'a> {
    let now_ms = cx.now.wall_ms();
    let mut draws = 0;
    loop {
        let Some(entry) = cx.store.random(cx.db, cx.rng) else {
            cx.reply.null();
            return Ok(());
        };
        draws += 1;
        if !entry.is_expired(now_ms) || (cx.caller != Caller::Client && draws == DRAWS) {
            cx.reply.bulk(entry.key());
            return Ok(());
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
