//! Which keys a command writes or reads beside its first: those have to be at the target of a migration before the
//! command is repeated there.

use crate::command::table::{Command, Id, keys_of};
use crate::shard::exports::Exports;
use crate::slots::Slot;
use crate::store::Store;
use crate::wire::resp::Argv;
use crate::wire::resp::number::integer;

/// Emits whatever the command needs and the snapshot cursors have not reached. A command of one key in one database
/// needs nothing: either its key was emitted, and the command follows, or the cursor will meet what it made of it.
pub(crate) fn emit(
    exports: &mut Exports,
    store: &Store,
    db: u32,
    slot: Slot,
    command: &'static Command,
    argv: Argv<'_>,
) {
    if command.sole_key().is_some() && command.id != Id::Move {
        return;
    }
    let elsewhere = elsewhere(command.id, argv);
    let mut keys = keys_of(command, argv);
    let (first, second) = (keys.next(), keys.next());
    if second.is_none() && elsewhere.is_none() {
        return;
    }
    for index in first.into_iter().chain(second).chain(keys) {
        exports.emit_ahead(store, &store.at_in(db, slot, argv.get(index)));
    }
    if let Some((db, key)) = elsewhere.filter(|&(db, _)| db < store.databases()) {
        exports.emit_ahead(store, &store.at_in(db, slot, key));
    }
}

/// The database and key that COPY or MOVE write to besides the selected database.
fn elsewhere<'a>(id: Id, argv: Argv<'a>) -> Option<(u32, &'a [u8])> {
    let number = |word: &[u8]| integer(word).and_then(|n| u32::try_from(n).ok());
    match id {
        Id::Move => Some((number(argv.get(2))?, argv.get(1))),
        Id::Copy => {
            let at = (3..argv.len()).find(|&i| argv.get(i).eq_ignore_ascii_case(b"db"))?;
            Some((argv.opt(at + 1).and_then(number)?, argv.get(2)))
        }
        _ => None,
    }
}
