//! OBJECT: what is known of a key besides its value.

use super::context::Cx;
use super::refused::{Outcome, Refused};
use crate::store::{Encoding, Entry};
use crate::wire::resp::Argv;

/// The policy remembers times of accesses, not their number.
const NO_FREQUENCIES: Refused<'static> = Refused::Text(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
     between policies at runtime LRU and LFU data will take some time to adjust.",
);

/// The policy counts accesses and remembers only their minute.
const NO_IDLE_TIMES: Refused<'static> = Refused::Text(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies \
     at runtime LRU and LFU data will take some time to adjust.",
);

const HELP: [&str; 11] = [
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    How the value of the key is kept in memory.",
    "FREQ <key>",
    "    How often the key was used of late, on a logarithmic scale; needs an LFU policy.",
    "IDLETIME <key>",
    "    Seconds since the key was used last.",
    "REFCOUNT <key>",
    "    How many references the value of the key has.",
    "HELP",
    "    Print this help.",
];

/// OBJECT ENCODING key
pub(super) fn encoding<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let at = cx.at(argv.get(2));
    match cx.ask(&at).map(encoding_name) {
        Some(name) => cx.reply.bulk(name.as_bytes()),
        None => cx.reply.null(),
    }
    Ok(())
}

/// Valkey embeds a string where its object, expiry, key and value fill two cache lines at most.
pub(crate) fn encoding_name(entry: &Entry) -> &'static str {
    const ROOM: usize = 114;
    let encoding = entry.encoding();
    let key = entry.key().len();
    let header = if key < 32 { 1 } else { 3 };
    let expiry = if entry.expiry_ms().is_some() { 8 } else { 0 };
    let value = entry.string().map_or(0, <[u8]>::len);
    if encoding == Encoding::Embstr && header + key + expiry + value > ROOM {
        return Encoding::Raw.name();
    }
    encoding.name()
}

/// OBJECT REFCOUNT key: values are not shared between keys
pub(super) fn refcount<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let at = cx.at(argv.get(2));
    match cx.ask(&at) {
        Some(_) => cx.reply.int(1),
        None => cx.reply.null(),
    }
    Ok(())
}

/// OBJECT IDLETIME key
pub(super) fn idletime<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let at = cx.at(argv.get(2));
    match cx.ask(&at).map(Entry::clock) {
        Some(_) if cx.config.maxmemory_policy.counts_accesses() => return Err(NO_IDLE_TIMES),
        Some(stamp) => cx.reply.int(i64::from(cx.store.access().idle_secs(stamp))),
        None => cx.reply.null(),
    }
    Ok(())
}

/// OBJECT FREQ key
pub(super) fn freq<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let at = cx.at(argv.get(2));
    let Some(stamp) = cx.ask(&at).map(Entry::clock) else {
        cx.reply.null();
        return Ok(());
    };
    let frequency = cx.store.access().frequency(stamp).ok_or(NO_FREQUENCIES)?;
    cx.reply.int(i64::from(frequency));
    Ok(())
}

/// OBJECT HELP
pub(super) fn help<'a>(cx: &mut Cx<'_>, _argv: Argv<'a>) -> Outcome<'a> {
    cx.reply.array(HELP.len());
    for line in HELP {
        cx.reply.simple(line);
    }
    Ok(())
}
