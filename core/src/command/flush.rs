//! FLUSHDB and FLUSHALL, as far as they are about keys.

use super::effects::Effects;
use super::options::is;
use super::refused::{Refused, SYNTAX};
use crate::config::Config;
use crate::slots::SlotSet;
use crate::store::Store;
use crate::wire::resp::Argv;

/// Whether FLUSHDB or FLUSHALL frees memory in the background: `[ASYNC | SYNC]`.
///
/// # Errors
/// `ERR syntax error` for anything else.
pub fn is_lazy<'a>(config: &Config, argv: Argv<'a>) -> Result<bool, Refused<'a>> {
    match argv.opt(1) {
        None => Ok(config.lazyfree_lazy_user_flush),
        Some(word) if argv.len() == 2 && is(word, b"ASYNC") => Ok(true),
        Some(word) if argv.len() == 2 && is(word, b"SYNC") => Ok(false),
        Some(_) => Err(SYNTAX),
    }
}

/// Takes all keys of a database out, of all databases when `None`, but for those of `spared` slots; they are freed in
/// slices. Watched keys that were there have changed.
pub fn flush(store: &mut Store, effects: &mut Effects, db: Option<u32>, spared: &SlotSet) {
    effects.watched().end_where(|watched, key| {
        db.is_none_or(|flushed| flushed == watched) && store.get(&store.at(watched, key)).is_some()
    });
    let flushed = db.map_or(0..store.databases(), |db| db..db + 1);
    flushed.for_each(|db| store.detach_db_but(db, spared));
}
