//! Commands that get and set one string whole.

use smallvec::SmallVec;

use super::context::{Cx, string};
use super::options::{Clock, Command, Condition, Options, Ttl, deadline_ms, is};
use super::refused::Outcome;
use crate::store::{At, Encoding, Value};
use crate::wire::resp::Argv;
use crate::wire::resp::number::{INTEGER_LEN, decimal};

/// GET key
pub(super) fn get<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let at = cx.at(argv.get(1));
    cx.reply_string(&at)?;
    Ok(())
}

/// SET key value [NX | XX | IFEQ value] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]
pub(super) fn set<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let options = Options::read(Command::Set, argv, 3)?;
    let deadline_ms = options.deadline_ms(Command::Set, cx.now)?;
    let (at, value) = (cx.at(argv.get(1)), argv.get(2));
    if options.get {
        cx.reply_string(&at)?;
    }
    if !is_met(cx, &at, options.condition)? {
        if !options.get {
            cx.reply.null();
        }
        // The look at the key passes for an access.
        cx.look(&at);
        return Ok(());
    }
    if !options.get {
        cx.reply.ok();
    }
    if deadline_ms.is_some_and(|ms| cx.is_past(ms as i64)) {
        if cx.peek(&at).is_some() {
            cx.delete_as_past(&at);
        }
        return Ok(());
    }
    store(cx, &at, value, deadline_ms, options.ttl == Ttl::Keep);
    match options.ttl {
        Ttl::New(Clock::PxAt, _) => {}
        // Valkey leaves the name as it was written where it changes no more than the expiry.
        Ttl::New(..) if argv.len() == 5 => rewrite_with_deadline(cx, argv.name(), &at, value, deadline_ms),
        Ttl::New(..) => rewrite_with_deadline(cx, b"SET", &at, value, deadline_ms),
        _ if options.get && cx.effects.is_followed() => cx.rewrite(&without_get(argv)),
        _ => {}
    }
    Ok(())
}

/// Whether the condition of a SET holds. Ends the key if its time is over.
fn is_met<'a>(cx: &mut Cx<'_>, at: &At<'_>, condition: Condition<'_>) -> Result<bool, super::Refused<'a>> {
    Ok(match condition {
        Condition::Always => {
            cx.is_gone(at);
            true
        }
        Condition::Missing => cx.peek(at).is_none(),
        Condition::Present => cx.peek(at).is_some(),
        Condition::Equal(expected) => match cx.peek(at) {
            Some(entry) => string(entry)? == expected,
            None => false,
        },
    })
}

/// Sets a key, whose time must not be over.
pub(super) fn store(cx: &mut Cx<'_>, at: &At<'_>, value: &[u8], deadline_ms: Option<u64>, keep_ttl: bool) {
    let (encoding, touch) = (Encoding::of(value), cx.touch());
    if !keep_ttl || !cx.store.replace_value(at, Value::Str(value), encoding) {
        cx.store.overwrite(at, Value::Str(value), deadline_ms, encoding, touch);
    } else if let Some(entry) = cx.store.get(at) {
        entry.touch(touch);
    }
    cx.changed(at);
}

/// What others repeat of a SET with an expiry: it must mean the same whenever they do.
fn rewrite_with_deadline(cx: &mut Cx<'_>, name: &[u8], at: &At<'_>, value: &[u8], deadline_ms: Option<u64>) {
    if let Some(ms) = deadline_ms {
        let mut room = [0; INTEGER_LEN];
        cx.rewrite(&[name, at.key, value, b"PXAT", decimal(ms as i64, &mut room)]);
    }
}

/// The arguments of a SET without expiry but for the option GET, which only matters to who gave it.
fn without_get<'a>(argv: Argv<'a>) -> SmallVec<[&'a [u8]; 8]> {
    let mut kept: SmallVec<[&[u8]; 8]> = argv.iter().take(3).collect();
    let mut options = argv.after(3).iter();
    while let Some(word) = options.next() {
        if !is(word, b"GET") {
            kept.push(word);
            if is(word, b"IFEQ") {
                kept.extend(options.next());
            }
        }
    }
    kept
}

/// SETNX key value
pub(super) fn setnx<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let at = cx.at(argv.get(1));
    let missing = cx.look(&at).is_none();
    if missing {
        store(cx, &at, argv.get(2), None, false);
    }
    cx.reply.int(i64::from(missing));
    Ok(())
}

/// SETEX key seconds value
pub(super) fn setex<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    set_for(cx, argv, Clock::Ex, "setex")
}

/// PSETEX key milliseconds value
pub(super) fn psetex<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    set_for(cx, argv, Clock::Px, "psetex")
}

fn set_for<'a>(cx: &mut Cx<'_>, argv: Argv<'a>, clock: Clock, name: &'static str) -> Outcome<'a> {
    let deadline_ms = deadline_ms(clock, argv.get(2), cx.now, name)?;
    let (at, value) = (cx.at(argv.get(1)), argv.get(3));
    cx.is_gone(&at);
    store(cx, &at, value, Some(deadline_ms), false);
    rewrite_with_deadline(cx, b"SET", &at, value, Some(deadline_ms));
    cx.reply.ok();
    Ok(())
}

/// GETSET key value
pub(super) fn getset<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let (at, value) = (cx.at(argv.get(1)), argv.get(2));
    cx.reply_string(&at)?;
    store(cx, &at, value, None, false);
    cx.rewrite(&[b"SET", at.key, value]);
    Ok(())
}

/// GETDEL key
pub(super) fn getdel<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let at = cx.at(argv.get(1));
    if cx.reply_string(&at)? {
        delete(cx, &at);
    }
    Ok(())
}

/// DELIFEQ key value
pub(super) fn delifeq<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let at = cx.at(argv.get(1));
    let equal = match cx.look(&at) {
        Some(entry) => string(entry)? == argv.get(2),
        None => false,
    };
    if equal {
        delete(cx, &at);
    }
    cx.reply.int(i64::from(equal));
    Ok(())
}

fn delete(cx: &mut Cx<'_>, at: &At<'_>) {
    cx.store.remove(at);
    cx.changed(at);
    cx.rewrite(&[b"DEL", at.key]);
}

/// GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]
pub(super) fn getex<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let options = Options::read(Command::GetEx, argv, 2)?;
    let deadline_ms = options.deadline_ms(Command::GetEx, cx.now)?;
    let at = cx.at(argv.get(1));
    if !cx.reply_string(&at)? {
        return Ok(());
    }
    match deadline_ms {
        Some(ms) if options.is_absolute() && cx.is_past(ms as i64) => cx.delete_as_past(&at),
        Some(ms) => {
            cx.store.set_expiry(&at, Some(ms));
            cx.changed(&at);
            cx.rewrite(&[b"PEXPIREAT", at.key, decimal(ms as i64, &mut [0; INTEGER_LEN])]);
        }
        None if options.ttl == Ttl::Persist && super::expiry::is_volatile(cx, &at) => {
            cx.store.set_expiry(&at, None);
            cx.changed(&at);
            cx.rewrite(&[b"PERSIST", at.key]);
        }
        None => {}
    }
    Ok(())
}
