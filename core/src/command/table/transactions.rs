//! Transactions.

use super::access::RO;
use super::flags::{ALLOW_BUSY, FAST, LOADING, NO_MULTI, NOSCRIPT, SKIP_COMMANDLOG, STALE};
use super::{Command, Group, Id, KeySpec, acl};

const fn transactions(id: Id, name: &'static str, arity: i16, flags: u32, since: &'static str) -> Command {
    Command::new(Group::Transactions, acl::TRANSACTION, id, name, arity, flags, since)
}

pub(super) const COMMANDS: &[Command] = &[
    transactions(Id::Discard, "discard", 1, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY, "2.0.0")
        .about("Drops the commands queued since MULTI.")
        .cost("O(N) with N being the number of queued commands"),
    transactions(Id::Exec, "exec", 1, NOSCRIPT | LOADING | STALE | SKIP_COMMANDLOG, "1.2.0")
        .about("Runs the commands queued since MULTI.")
        .cost("Depends on the queued commands"),
    transactions(Id::Multi, "multi", 1, NOSCRIPT | LOADING | STALE | FAST | NO_MULTI | ALLOW_BUSY, "1.2.0")
        .about("Begins a transaction."),
    transactions(Id::Unwatch, "unwatch", 1, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY, "2.2.0")
        .about("Forgets all watched keys."),
    transactions(Id::Watch, "watch", -2, NOSCRIPT | LOADING | STALE | FAST | NO_MULTI | ALLOW_BUSY, "2.2.0")
        .about("Makes the next EXEC depend on keys staying unchanged.")
        .cost("O(1) for every key")
        .keys(&[KeySpec::rest(1, 1, RO)])
        .args("key#0*"),
];
