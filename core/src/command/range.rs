//! Commands about a part of a string, or its length.

use alloc::vec;

use super::context::{Caller, Cx, string};
use super::refused::{NOT_AN_INTEGER, Outcome, Refused, TOO_LONG};
use crate::store::{Encoding, Value};
use crate::wire::resp::Argv;
use crate::wire::resp::number::integer;

const OFFSET: Refused<'static> = Refused::Text("ERR offset is out of range");

/// Whether a string may have `head + tail` bytes. A migration's source has decided that already.
fn fits(cx: &Cx<'_>, head: u64, tail: usize) -> Result<(), Refused<'static>> {
    let total = head.checked_add(tail as u64);
    let allowed = total.is_some_and(|total| total <= cx.config.proto_max_bulk_len);
    if allowed || cx.caller == Caller::Import { Ok(()) } else { Err(TOO_LONG) }
}

/// APPEND key value
pub(super) fn append<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let (at, tail) = (cx.at(argv.get(1)), argv.get(2));
    let before = match cx.look(&at) {
        Some(entry) => Some(string(entry)?.len()),
        None => None,
    };
    let length = if let Some(before) = before {
        fits(cx, before as u64, tail.len())?;
        cx.store.append(&at, tail);
        before + tail.len()
    } else {
        cx.store.set(&at, Value::Str(tail), None, Encoding::of(tail));
        tail.len()
    };
    cx.changed(&at);
    cx.reply.int(length as i64);
    Ok(())
}

/// STRLEN key
pub(super) fn strlen<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let at = cx.at(argv.get(1));
    let (found, reply) = cx.read_to_reply(&at);
    let length = found.map_or(Ok(0), |entry| string(entry).map(<[u8]>::len))?;
    reply.int(length as i64);
    Ok(())
}

/// SETRANGE key offset value
pub(super) fn setrange<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let offset = integer(argv.get(2)).ok_or(NOT_AN_INTEGER)?;
    let offset = u64::try_from(offset).map_err(|_| OFFSET)?;
    let (at, patch) = (cx.at(argv.get(1)), argv.get(3));
    let before = match cx.look(&at) {
        Some(entry) => Some(string(entry)?.len()),
        None => None,
    };
    if patch.is_empty() {
        cx.reply.int(before.unwrap_or(0) as i64);
        return Ok(());
    }
    fits(cx, offset, patch.len())?;
    let start = offset as usize;
    let end = start + patch.len();
    if before.is_some() {
        cx.store.write_range(&at, start, patch);
    } else {
        let mut value = vec![0; end];
        value[start..].copy_from_slice(patch);
        cx.store.set(&at, Value::Shared(value.into()), None, Encoding::Raw);
    }
    cx.changed(&at);
    cx.reply.int(before.unwrap_or(0).max(end) as i64);
    Ok(())
}

/// GETRANGE key start end, and SUBSTR, its name of old
pub(super) fn getrange<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let start = integer(argv.get(2)).ok_or(NOT_AN_INTEGER)?;
    let end = integer(argv.get(3)).ok_or(NOT_AN_INTEGER)?;
    let at = cx.at(argv.get(1));
    let (found, reply) = cx.read_to_reply(&at);
    let value = found.map_or(Ok(&b""[..]), string)?;
    reply.bulk(part(value, start, end));
    Ok(())
}

/// The bytes `start..=end`, where negative numbers count from the end.
fn part(value: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let length = value.len() as i64;
    let place = |n: i64| if n < 0 { (length + n).max(0) } else { n };
    let (start, end) = (place(start), place(end).min(length - 1));
    if start > end { b"" } else { &value[start as usize..=end as usize] }
}
