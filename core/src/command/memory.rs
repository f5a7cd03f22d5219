//! MEMORY USAGE: what one key takes.

use super::context::Cx;
use super::options::is;
use super::refused::{NOT_AN_INTEGER, Outcome, SYNTAX};
use crate::wire::resp::Argv;
use crate::wire::resp::number::integer;

/// MEMORY USAGE key [SAMPLES count]
///
/// The number of samples matters to values with members, of which there are none: it is only checked. Neither a hit
/// nor an access, and a key whose time is over still takes what it takes.
pub(super) fn usage<'a>(cx: &mut Cx<'_>, argv: Argv<'a>) -> Outcome<'a> {
    let mut options = argv.after(3).iter();
    while let Some(option) = options.next() {
        let count = options.next().filter(|_| is(option, b"samples")).ok_or(SYNTAX)?;
        if integer(count).ok_or(NOT_AN_INTEGER)? < 0 {
            return Err(SYNTAX);
        }
    }
    let at = cx.at(argv.get(2));
    match cx.store.memory_of(&at) {
        Some(bytes) => cx.reply.int(bytes as i64),
        None => cx.reply.null(),
    }
    Ok(())
}
