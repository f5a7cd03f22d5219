//! Data commands: what they do to keys, what they reply, what of it others have to repeat.
//!
//! [`run`] is called for a command that is known, has a possible number of arguments, may be run by its client, and
//! whose keys are here. A command writes its reply where it finds it ([`Cx`]) and notes what it changed
//! ([`effects::Effects`]).

pub(crate) mod clusterscan;
pub mod context;
mod counter;
pub mod effects;
mod expiry;
pub mod extended;
pub mod flush;
pub mod glob;
pub mod introspect;
mod keys;
mod lcs;
mod many;
mod memory;
pub mod number;
pub(crate) mod object;
pub mod options;
mod range;
pub mod refused;
pub(crate) mod scan;
mod string;
pub mod table;

pub use context::{Caller, Cx, KeyStats};
pub use refused::{Outcome, Refused};
use table::Id;

use crate::wire::resp::Argv;

/// A data command: it needs no more than its surroundings and arguments.
type Run = for<'a> fn(&mut Cx<'_>, Argv<'a>) -> Outcome<'a>;

/// Runs a data command. `false`, and nothing happened, when `id` is none.
pub fn run(id: Id, cx: &mut Cx<'_>, argv: Argv<'_>) -> bool {
    let Some(run) = data_command(id) else { return false };
    if let Err(refused) = run(cx, argv) {
        refused.reply(&mut cx.reply);
    }
    true
}

fn data_command(id: Id) -> Option<Run> {
    Some(match id {
        Id::Append => range::append,
        Id::Copy => keys::copy,
        Id::Dbsize => scan::dbsize,
        Id::Decr => counter::decr,
        Id::Decrby => counter::decrby,
        Id::Del | Id::Unlink => keys::del,
        Id::Delifeq => string::delifeq,
        Id::Exists => keys::exists,
        Id::Expire => expiry::expire,
        Id::Expireat => expiry::expireat,
        Id::Expiretime => expiry::expiretime,
        Id::Get => string::get,
        Id::Getdel => string::getdel,
        Id::Getex => string::getex,
        Id::Getrange | Id::Substr => range::getrange,
        Id::Getset => string::getset,
        Id::Incr => counter::incr,
        Id::Incrby => counter::incrby,
        Id::Incrbyfloat => counter::incrbyfloat,
        Id::Keys => scan::keys,
        Id::Lcs => lcs::lcs,
        Id::MemoryUsage => memory::usage,
        Id::Mget => many::mget,
        Id::Move => keys::move_key,
        Id::Mset => many::mset,
        Id::Msetex => many::msetex,
        Id::Msetnx => many::msetnx,
        Id::ObjectEncoding => object::encoding,
        Id::ObjectFreq => object::freq,
        Id::ObjectHelp => object::help,
        Id::ObjectIdletime => object::idletime,
        Id::ObjectRefcount => object::refcount,
        Id::Persist => expiry::persist,
        Id::Pexpire => expiry::pexpire,
        Id::Pexpireat => expiry::pexpireat,
        Id::Pexpiretime => expiry::pexpiretime,
        Id::Psetex => string::psetex,
        Id::Pttl => expiry::pttl,
        Id::Randomkey => scan::randomkey,
        Id::Scan => scan::scan,
        Id::Rename => keys::rename,
        Id::Renamenx => keys::renamenx,
        Id::Set => string::set,
        Id::Setex => string::setex,
        Id::Setnx => string::setnx,
        Id::Setrange => range::setrange,
        Id::Strlen => range::strlen,
        Id::Touch => keys::touch,
        Id::Ttl => expiry::ttl,
        Id::Type => keys::kind,
        _ => return None,
    })
}

#[cfg(test)]
pub(crate) mod bench;
#[cfg(test)]
mod tests;
