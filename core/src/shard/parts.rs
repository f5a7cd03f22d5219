//! Which commands all shards have a part in, and what it is: the one list of both.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::action::Actions;
use crate::command::clusterscan;
use crate::command::options::is;
use crate::command::table::{Command, Id};
use crate::link::Outbox;
use crate::shard::debug::{digest, keys};
use crate::shard::gather::Part;
use crate::shard::info::sums::Sums;
use crate::shard::whole::Request;
use crate::shard::{Shard, info, jobs, slot_stats, users};
use crate::time::Now;
use crate::wire::resp::{Argv, Proto, Reply};

/// How a shard does its part.
pub(crate) type Does = fn(&mut Shard, Now, &'static Command, &Request<'_>, &mut Actions) -> Part;

/// The part of each shard in what a command does, if all have one.
pub(crate) fn part_of(command: &Command, argv: Argv<'_>) -> Option<Does> {
    let does: Does = match command.id {
        Id::Flushall
        | Id::Flushdb
        | Id::ClientPause
        | Id::ClientUnpause
        | Id::ConfigResetstat
        | Id::MemoryPurge
        | Id::SlowlogReset
        | Id::CommandlogReset => alike,
        Id::Dbsize => |shard, _, _, request, _| Part::Count(shard.data.store.len(request.db)),
        // The node has to know how many keys there are.
        Id::ClusterReset | Id::ClusterFlushslots | Id::ClusterReplicate => all_keys,
        Id::Keys => |shard, now, _, request, _| shard.matching(now, request),
        Id::Randomkey => |shard, now, _, request, _| shard.draw(now, request.db),
        Id::Clusterscan if clusterscan::is_wide(argv) => {
            |shard, now, _, request, _| shard.stretch(now, request)
        }
        Id::ClientList => {
            |shard, now, _, request, _| Part::Clients(shard.client_rows(now, request).unwrap_or_default())
        }
        Id::ClientUnblock => |shard, now, _, request, out| {
            Part::Count(shard.unblock(now, request.argv, out).unwrap_or_default().into())
        },
        Id::ClientKill => |shard, now, _, request, out| {
            Part::Killed(shard.kill_matching(now, request, out).map_or_else(|_| Vec::new(), |(ids, _)| ids))
        },
        // Who moves is looked for elsewhere, and its new home answers.
        Id::ClientTracking => |_, _, _, _, _| Part::Found(None),
        Id::Monitor => |shard, _, _, request, _| {
            shard.data.scrutiny.watch(request.link);
            Part::Done
        },
        Id::AclLog => {
            |shard, _, _, request, _| Part::Refused(users::refused(request.argv, &mut shard.data, &shard.env))
        }
        Id::LatencyLatest | Id::LatencyHistory | Id::LatencyGraph | Id::LatencyDoctor => {
            |shard, _, _, _, _| Part::Latency(Box::new(shard.data.scrutiny.latency.clone()))
        }
        Id::LatencyReset => |shard, _, _, request, _| {
            let before = shard.data.scrutiny.latency.clone();
            shard.data.scrutiny.latency.reset(request.argv.after(2));
            Part::Latency(Box::new(before))
        },
        Id::ClusterGetslotmigrations => |shard, _, _, _, _| Part::Jobs(jobs::live(shard)),
        Id::ClusterSlotStats => |shard, _, _, _, _| Part::Slots(slot_stats::own(&shard.data, &shard.env)),
        Id::Info => |shard, now, _, request, _| sums(shard, now, info::shows_times(request.argv)),
        Id::MemoryStats | Id::MemoryDoctor => |shard, now, _, _, _| sums(shard, now, false),
        Id::LatencyHistogram => |shard, now, _, _, _| sums(shard, now, true),
        Id::SlowlogGet | Id::CommandlogGet => |shard, _, command, request, _| {
            Part::Logged(shard.data.scrutiny.logs.newest(command.id, request.argv))
        },
        Id::SlowlogLen | Id::CommandlogLen => |shard, _, command, request, _| {
            Part::Count(shard.data.scrutiny.logs.len(command.id, request.argv) as u64)
        },
        Id::Debug => return part_of_debug(argv.get(1)),
        _ => return None,
    };
    Some(does)
}

impl Shard {
    /// What this shard has to say to a command over all of them. To LANE it is nothing: that siblings are asked is enough.
    pub(super) fn part(
        &mut self,
        now: Now,
        command: &'static Command,
        request: &Request<'_>,
        out: &mut Actions,
    ) -> Part {
        part_of(command, request.argv).map_or(Part::Done, |does| does(self, now, command, request, out))
    }
}

fn part_of_debug(word: &[u8]) -> Option<Does> {
    let list: [(&[u8], Does); 9] = [
        (b"digest", |shard, _, _, _, _| {
            Part::Digests(digest::by_database(&shard.data.store, shard.env.config.databases_in_use()))
        }),
        (b"digest-value", |shard, _, _, request, _| Part::Digests(shard.values(request))),
        (b"htstats", |shard, _, _, request, _| {
            let databases = shard.env.config.databases_in_use();
            Part::Tables(keys::entries_named(&shard.data.store, request.argv, databases))
        }),
        (b"change-repl-id", alike),
        (b"sleep", alike),
        (b"set-active-expire", alike),
        (b"pause-cron", alike),
        (b"populate", alike),
        (b"slotmigration", alike),
    ];
    list.iter().find(|(known, _)| is(word, known)).map(|(_, does)| *does)
}

/// It does what the shard of the client does, which replies.
fn alike(
    shard: &mut Shard,
    now: Now,
    command: &'static Command,
    request: &Request<'_>,
    out: &mut Actions,
) -> Part {
    let mut unread = Outbox::default();
    shard.run_whole(now, command, request, &mut Reply::new(&mut unread, Proto::default()), out);
    Part::Done
}

/// The keys of all databases.
fn all_keys(shard: &mut Shard, _: Now, _: &'static Command, _: &Request<'_>, _: &mut Actions) -> Part {
    let databases = shard.env.config.databases_in_use();
    Part::Count((0..databases).map(|db| shard.data.store.len(db)).sum())
}

/// What it counted; with how long calls took, or without.
fn sums(shard: &Shard, now: Now, times: bool) -> Part {
    Part::Sums(Box::new(Sums::of(now, shard).into_owned(times)))
}
