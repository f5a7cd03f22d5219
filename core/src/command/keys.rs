//! Commands about keys, whatever they hold.

use super::context::Cx;
use super::options::is;
use super::refused::{
    DB_INDEX, NO_SUCH_KEY, NOT_32_BITS, NOT_AN_INTEGER, Outcome, Refused, SAME_KEY, SYNTAX,
};
use crate::store::At;
use crate::wire::resp::Argv;
use crate::wire::resp::number::integer;

/// DEL key [key …], and UNLINK: values are freed at once and in pieces of bounded size either way
pub(super) fn del<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let mut deleted = 0;
    for key in argv.after(1).iter() {
        let at = cx.at(key);
        if !cx.is_gone(&at) && cx.store.remove(&at) {
            cx.changed(&at);
            deleted += 1;
        }
    }
    cx.reply.int(deleted);
    Ok(())
}

/// EXISTS key [key …]
pub(super) fn exists<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let found = argv.after(1).iter().filter(|key| {
        let at = cx.at(key);
        cx.ask(&at).is_some()
    });
    let found = found.count();
    cx.reply.int(found as i64);
    Ok(())
}

/// TOUCH key [key …]
pub(super) fn touch<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    // The one command that touches also for clients that do not want to.
    let no_touch = core::mem::replace(&mut cx.no_touch, false);
    let found = argv.after(1).iter().filter(|key| {
        let at = cx.at(key);
        cx.read(&at).is_some()
    });
    let found = found.count();
    cx.no_touch = no_touch;
    cx.reply.int(found as i64);
    Ok(())
}

/// TYPE key
pub(super) fn kind<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let at = cx.at(argv.get(1));
    let name = cx.ask(&at).map_or("none", |entry| entry.kind().name());
    cx.reply.simple(name);
    Ok(())
}

/// RENAME key newkey
pub(super) fn rename<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let (from, to) = (cx.at(argv.get(1)), cx.at(argv.get(2)));
    if cx.look(&from).is_none() {
        return Err(NO_SUCH_KEY);
    }
    if from.key != to.key {
        cx.is_gone(&to);
        relocate(cx, &from, &to);
    }
    cx.reply.ok();
    Ok(())
}

/// RENAMENX key newkey
pub(super) fn renamenx<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let (from, to) = (cx.at(argv.get(1)), cx.at(argv.get(2)));
    if cx.look(&from).is_none() {
        return Err(NO_SUCH_KEY);
    }
    let free = from.key != to.key && cx.look(&to).is_none();
    if free {
        relocate(cx, &from, &to);
    }
    cx.reply.int(i64::from(free));
    Ok(())
}

/// MOVE key db
pub(super) fn move_key<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let db = db_index(cx, argv.get(2))?;
    if db == cx.db {
        return Err(SAME_KEY);
    }
    let (from, to) = (cx.at(argv.get(1)), cx.at_db(db, argv.get(1)));
    let moved = cx.look(&from).is_some() && cx.look(&to).is_none();
    if moved {
        relocate(cx, &from, &to);
    }
    cx.reply.int(i64::from(moved));
    Ok(())
}

/// Puts the entry at `from`, which must be there, in the place of `to`.
fn relocate(cx: &mut Cx<'_>, from: &At<'_>, to: &At<'_>) {
    if cx.store.rename(from, to) {
        cx.changed(from);
        cx.effects.also_changed(to);
    }
}

/// COPY source destination [DB db] [REPLACE]
pub(super) fn copy<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let (mut db, mut replace) = (cx.db, false);
    let mut words = argv.after(3).iter();
    while let Some(word) = words.next() {
        if is(word, b"REPLACE") {
            replace = true;
        } else if is(word, b"DB") {
            db = db_index(cx, words.next().ok_or(SYNTAX)?)?;
        } else {
            return Err(SYNTAX);
        }
    }
    let (from, to) = (cx.at(argv.get(1)), cx.at_db(db, argv.get(2)));
    if from.db == to.db && from.key == to.key {
        return Err(SAME_KEY);
    }
    let copied = cx.read(&from).is_some() && (cx.look(&to).is_none() || replace);
    if copied {
        cx.store.copy(&from, &to);
        cx.changed(&to);
    }
    cx.reply.int(i64::from(copied));
    Ok(())
}

/// The number of a database.
fn db_index(cx: &Cx<'_>, text: &[u8]) -> Result<u32, Refused<'static>> {
    let number = integer(text).ok_or(NOT_AN_INTEGER)?;
    let number = i32::try_from(number).map_err(|_| NOT_32_BITS)?;
    u32::try_from(number).ok().filter(|&db| db < cx.store.databases()).ok_or(DB_INDEX)
}
