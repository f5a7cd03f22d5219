//! Commands that count: strings as integers and as 80-bit floats.

use super::context::{Cx, string};
use super::extended::{self, Extended, Parsed};
use super::refused::{NOT_A_FLOAT, NOT_AN_INTEGER, Outcome, Refused};
use crate::store::{EMBSTR_MAX, Encoding, Value};
use crate::wire::resp::Argv;
use crate::wire::resp::number::{INTEGER_LEN, decimal, integer};

const OVERFLOW: Refused<'static> = Refused::Text("ERR increment or decrement would overflow");
const NO_OPPOSITE: Refused<'static> = Refused::Text("ERR decrement would overflow");
const NOT_FINITE: Refused<'static> = Refused::Text("ERR increment would produce NaN or Infinity");

/// INCR key
pub(super) fn incr<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    add(cx, argv, 1)
}

/// DECR key
pub(super) fn decr<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    add(cx, argv, -1)
}

/// INCRBY key increment
pub(super) fn incrby<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let by = integer(argv.get(2)).ok_or(NOT_AN_INTEGER)?;
    add(cx, argv, by)
}

/// DECRBY key decrement
pub(super) fn decrby<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let by = integer(argv.get(2)).ok_or(NOT_AN_INTEGER)?;
    add(cx, argv, by.checked_neg().ok_or(NO_OPPOSITE)?)
}

fn add<'a>(cx: &mut Cx<'_>, argv: Argv<'a>, by: i64) -> Outcome<'a> {
    let at = cx.at(argv.get(1));
    let before = match cx.look(&at) {
        Some(entry) => Some(integer(string(entry)?).ok_or(NOT_AN_INTEGER)?),
        None => None,
    };
    let sum = before.unwrap_or(0).checked_add(by).ok_or(OVERFLOW)?;
    let mut room = [0; INTEGER_LEN];
    let value = Value::Str(decimal(sum, &mut room));
    if before.is_some() {
        cx.store.replace_value(&at, value, Encoding::Int);
    } else {
        cx.store.set(&at, value, None, Encoding::Int);
    }
    cx.changed(&at);
    cx.reply.int(sum);
    Ok(())
}

/// INCRBYFLOAT key increment
pub(super) fn incrbyfloat<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let at = cx.at(argv.get(1));
    let before = match cx.look(&at) {
        Some(entry) => Some(extended::parse(string(entry)?).ok_or(NOT_A_FLOAT)?),
        None => None,
    };
    let by = extended::parse(argv.get(2)).ok_or(NOT_A_FLOAT)?;
    let sum = match (before.unwrap_or(Parsed::Finite(Extended::default())), by) {
        (Parsed::Finite(before), Parsed::Finite(by)) => before.plus(by),
        _ => None,
    };
    let text = sum.ok_or(NOT_FINITE)?.print();
    let encoding = if text.len() <= EMBSTR_MAX { Encoding::Embstr } else { Encoding::Raw };
    if before.is_some() {
        cx.store.replace_value(&at, Value::Str(&text), encoding);
    } else {
        cx.store.set(&at, Value::Str(&text), None, encoding);
    }
    cx.changed(&at);
    // Others need not count as exactly as we do.
    cx.rewrite(&[b"SET", at.key, &text, b"KEEPTTL"]);
    cx.reply.bulk(&text);
    Ok(())
}
