//! Commands about the shard as a whole: all keys, all clients, all jobs.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::action::Actions;
use crate::command::context::KeyStats;
use crate::command::options::is;
use crate::command::refused::{lines, not_built};
use crate::command::table::{Command, Id};
use crate::ids::{ClientId, LinkId};
use crate::migration::request::Refused;
use crate::shard::data::Totals;
use crate::shard::gather::Part;
use crate::shard::hold::{Class, Reason, Scope};
use crate::shard::info::sums::Sums;
use crate::shard::rates::{LongTurns, Rates};
use crate::shard::tally::Tally;
use crate::shard::waits::timeout_ms;
use crate::shard::{Shard, info, jobs, latency, memory, slot_stats, users};
use crate::time::{Now, Span};
use crate::wire::resp::{Argv, Reply};

/// A command about the whole shard and the client that gave it.
pub(crate) struct Request<'a> {
    pub(crate) link: LinkId,
    pub(crate) client: ClientId,
    pub(crate) db: u32,
    pub(crate) argv: Argv<'a>,
    /// What siblings did of it, if all shards have a part in it.
    pub(crate) parts: &'a [Part],
}

/// What becomes of the client that gave the command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// It has its reply and goes on.
    Stays,
    /// It has its reply and is closed.
    Killed,
    /// It is no client any more.
    Left,
    /// Its reply comes later.
    Waits,
    /// Siblings have to do something more before it gets its reply.
    Again,
}

impl Shard {
    /// Runs a command about the whole shard and writes its reply.
    pub(crate) fn run_whole(
        &mut self,
        now: Now,
        command: &'static Command,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
        out: &mut Actions,
    ) -> Caller {
        match command.id {
            Id::MemoryMallocStats => reply.bulk(b"Stats not supported for the current allocator"),
            Id::MemoryPurge => {
                self.purge();
                reply.ok();
            }
            Id::ClusterSyncslots => {
                let words: Vec<&[u8]> = request.argv.iter().skip(3).collect();
                match self.start_lane(now, request.link, &words, out) {
                    Ok(()) => return Caller::Left,
                    Err(Refused::NoSuchJob) if self.may_hear_of_job(request) => return Caller::Again,
                    Err(refused) => reply.error(&refused.to_string()),
                }
            }
            Id::ClusterGetslotmigrations => jobs::render(self, request.parts, reply),
            Id::Flushall | Id::Flushdb => self.flush(now, command.id, request, reply, out),
            Id::Swapdb => self.swap(now, request.argv, reply),
            Id::ClusterFlushslot => self.flush_slot(now, request.argv, reply, out),
            Id::ClientList => self.list_clients(now, request, reply),
            Id::ClientKill => return self.kill_clients(now, request, reply, out),
            Id::ClientPause => self.pause(now, request.argv, reply),
            Id::ClientUnpause => {
                self.woken |= self.data.holds.end_reason(Reason::Client);
                reply.ok();
            }
            Id::ClientUnblock => match self.unblock(now, request.argv, out) {
                Ok(unblocked) => reply.int((u64::from(unblocked) + request.counted_by_siblings()) as i64),
                Err(error) => reply.error(error),
            },
            Id::Dbsize | Id::Keys | Id::Randomkey | Id::Clusterscan => {
                self.answer_about_keys(now, command, request, reply, out);
            }
            Id::Monitor => self.monitor(request.link, reply),
            Id::ClientTracking => return self.track(request, reply),
            Id::Wait | Id::Waitaof => return self.wait(now, command.id, request, reply),
            Id::Debug => self.debug(now, request, reply, out),
            Id::ConfigResetstat => {
                self.reset_counts(now);
                reply.ok();
            }
            _ => self.show(now, command, request, reply),
        }
        Caller::Stays
    }

    /// Shows what was counted and written down, here and in siblings.
    fn show(&mut self, now: Now, command: &'static Command, request: &Request<'_>, reply: &mut Reply<'_>) {
        match command.id {
            Id::Info => {
                let text = info::render(now, self, request.argv, request.parts);
                reply.verbatim("txt", &text);
            }
            Id::MemoryStats => memory::stats(&Sums::of_all(now, self, request.parts, false), reply),
            Id::MemoryDoctor => {
                reply.verbatim("txt", &memory::doctor(&Sums::of_all(now, self, request.parts, false)));
            }
            Id::AclLog => {
                let refused = users::refused(request.argv, &mut self.data, &self.env);
                users::show_log(now, request.argv, users::with(refused, request.parts), reply);
            }
            Id::LatencyReset => {
                let names = request.argv.after(2);
                let mut all = self.data.scrutiny.latency.with(request.parts);
                self.data.scrutiny.latency.reset(names);
                reply.int(all.reset(names) as i64);
            }
            Id::LatencyLatest | Id::LatencyHistory | Id::LatencyGraph | Id::LatencyDoctor => {
                let all = self.data.scrutiny.latency.with(request.parts);
                all.show(now, command.id, request.argv, &self.env.config, reply);
            }
            Id::LatencyHistogram => {
                let sums = Sums::of_all(now, self, request.parts, true);
                latency::histograms(request.argv.after(2), &sums.tally, reply);
            }
            Id::ClusterSlotStats if !self.env.config.cluster_enabled => reply.error(lines::NO_CLUSTER),
            Id::ClusterSlotStats => {
                let figures = slot_stats::Figures::of_all(&self.data, request.parts);
                slot_stats::run(request.argv, &self.env.view, &figures, reply);
            }
            Id::SlowlogGet
            | Id::SlowlogLen
            | Id::SlowlogReset
            | Id::CommandlogGet
            | Id::CommandlogLen
            | Id::CommandlogReset => {
                self.data.scrutiny.logs.run(command.id, request.argv, request.parts, reply);
            }
            _ => reply.error(&not_built(&format!("'{}'", command.name.replace('|', " ")))),
        }
    }

    /// CLIENT PAUSE.
    fn pause(&mut self, now: Now, argv: Argv<'_>, reply: &mut Reply<'_>) {
        let class = match argv.opt(3) {
            None => Class::All,
            Some(w) if is(w, b"all") => Class::All,
            Some(w) if is(w, b"write") => Class::Writes,
            Some(_) => {
                reply.error("ERR CLIENT PAUSE mode must be WRITE or ALL");
                return;
            }
        };
        let ms = match timeout_ms(now, argv.get(2)) {
            Ok(ms) => ms,
            Err(error) => return reply.error(error),
        };
        // A pause in force becomes neither shorter nor milder.
        let old = self.data.holds.of_client();
        let until = old.map_or(now.mono, |(_, until)| until).max(now.mono + Span::ms(ms));
        let class = old.map_or(class, |(old, _)| old.max(class));
        self.data.holds.end_reason(Reason::Client);
        self.data.holds.begin(Scope::All, class, Reason::Client, Some(until));
        reply.ok();
    }

    /// CONFIG RESETSTAT.
    fn reset_counts(&mut self, now: Now) {
        self.data.totals = Totals::default();
        self.data.usage.reset();
        self.data.tally = Tally::default();
        self.data.refusals.reset_counts();
        self.data.scrutiny.busy_nanos = 0;
        self.data.scrutiny.expire_nanos = 0;
        self.data.stats = KeyStats::default();
        self.long_turns = LongTurns::default();
        self.loops.reset(&self.vitals);
        self.rates = Rates::new(now.mono);
        self.upkeep.reset();
        self.data.eviction.forget_counts();
    }
}
