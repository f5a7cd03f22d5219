//! Commands about the shard as a whole: all keys, all clients, all jobs.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::action::{Action, Ending};
use crate::command::flush;
use crate::command::options::is;
use crate::command::table::{Command, Id};
use crate::ids::{ClientId, LinkId};
use crate::migration::failure::Failure;
use crate::migration::{export, import};
use crate::shard::branch::Branch;
use crate::shard::data::Data;
use crate::shard::debug::wrong_use;
use crate::shard::errand::Errand;
use crate::shard::filter::Filter;
use crate::shard::gather::Part;
use crate::shard::hold::{Class, Reason, Scope};
use crate::shard::imports::Importing;
use crate::shard::info::sums::Sums;
use crate::shard::serve::not_built;
use crate::shard::{Link, Shard, info, jobs, latency, listing, memory, slot_stats, users};
use crate::slots::{Slot, SlotSet};
use crate::time::{Now, Span};
use crate::wire::resp::number::integer;
use crate::wire::resp::{Argv, Reply};

/// A command about the whole shard and the client that gave it.
pub(crate) struct Request<'a> {
    pub(crate) link: LinkId,
    pub(crate) db: u32,
    pub(crate) argv: Argv<'a>,
    /// What siblings did of it, if all shards have a part in it.
    pub(crate) parts: &'a [Part],
}

/// Whether the client that gave the command is closed by it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    Stays,
    Killed,
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
        out: &mut crate::action::Actions,
    ) -> Caller {
        match command.id {
            Id::MemoryMallocStats => reply.bulk(b"Stats not supported for the current allocator"),
            Id::MemoryPurge => {
                self.purge();
                reply.ok();
            }
            Id::ClusterGetslotmigrations => jobs::render(self, request.parts, reply),
            Id::Flushall | Id::Flushdb => self.flush(now, command.id, request, reply, out),
            Id::Swapdb => self.swap(request.argv, reply),
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
            Id::Dbsize | Id::Keys | Id::Randomkey => {
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
            Id::MemoryStats => memory::stats(&Sums::of_all(now, self, request.parts), reply),
            Id::MemoryDoctor => {
                reply.verbatim("txt", &memory::doctor(&Sums::of_all(now, self, request.parts)));
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
                let mut all = self.data.scrutiny.latency.with(request.parts);
                all.run(now, command.id, request.argv, &self.data.tally, &self.env.config, reply);
            }
            Id::LatencyHistogram => {
                let sums = Sums::of_all(now, self, request.parts);
                latency::histograms(request.argv.after(2), &sums.tally, reply);
            }
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

    /// CONFIG RESETSTAT.
    fn reset_counts(&mut self, now: Now) {
        self.data.totals = crate::shard::data::Totals::default();
        self.data.usage.reset();
        self.data.tally = crate::shard::tally::Tally::default();
        self.data.refusals.reset_counts();
        self.data.scrutiny.busy_nanos = 0;
        self.data.scrutiny.expire_nanos = 0;
        self.data.stats = crate::command::context::KeyStats::default();
        self.long_turns = crate::shard::rates::LongTurns::default();
        self.loops.reset(&self.vitals);
        self.rates = crate::shard::rates::Rates::new(now.mono);
        self.upkeep.reset();
        self.data.eviction.forget_counts();
    }

    fn flush(
        &mut self,
        now: Now,
        id: Id,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
        out: &mut crate::action::Actions,
    ) {
        if let Err(refused) = flush::is_lazy(&self.env.config, request.argv) {
            refused.reply(reply);
            return;
        }
        let all = id == Id::Flushall;
        let spared = self.being_taken_over();
        // A job whose slots hold no key in what is flushed loses nothing and goes on.
        let dbs = if all { 0..self.env.config.databases_in_use() } else { request.db..request.db + 1 };
        let store = &self.data.store;
        let hit: Vec<_> = self
            .job_names()
            .into_iter()
            .filter(|(_, ranges)| !ranges.slots().any(|slot| spared.contains(slot)))
            .filter(|(_, ranges)| dbs.clone().any(|db| ranges.slots().any(|s| store.slot_len(db, s) > 0)))
            .map(|(name, _)| name)
            .collect();
        for name in hit {
            self.stop_job(now, name, &Failure::DataFlushed, out);
        }
        self.data.scrutiny.tracking.flushed(Some(request.link));
        let Data { store, effects, .. } = &mut self.data;
        flush::flush(store, effects, (!all).then_some(request.db), &spared);
        reply.ok();
    }

    /// The slots of imports that have asked to take them over. Whether they are ours already is not known here, and
    /// the source may be gone: a client of this node cannot see these keys, so it cannot mean them either. To it the
    /// take-over comes after its command.
    fn being_taken_over(&self) -> SlotSet {
        let granted = |i: &&Importing| i.import.state() == import::State::FailoverGranted;
        let granted = self.importing().filter(granted).flat_map(|i| i.job.ranges.slots());
        // What becomes of an import of a sibling is said there.
        granted.chain(self.grafts.iter().flat_map(|graft| graft.slots.iter())).collect()
    }

    fn swap(&mut self, argv: Argv<'_>, reply: &mut Reply<'_>) {
        if self.env.config.cluster_enabled {
            reply.error("ERR SWAPDB is not allowed in cluster mode");
            return;
        }
        let databases = i64::from(self.env.config.databases_in_use());
        let (first, second) = match (integer(argv.get(1)), integer(argv.get(2))) {
            (None, _) => return reply.error("ERR invalid first DB index"),
            (_, None) => return reply.error("ERR invalid second DB index"),
            (Some(first), Some(second)) => (first, second),
        };
        let known = |db: i64| (0..databases).contains(&db);
        if !known(first) || !known(second) {
            return reply.error("ERR DB index is out of range");
        }
        let (a, b) = (first as u32, second as u32);
        if a != b {
            self.data.store.swap(a, b);
            self.data.effects.watched().touch_where(|db, _| db == a || db == b);
        }
        reply.ok();
    }

    fn flush_slot(
        &mut self,
        now: Now,
        argv: Argv<'_>,
        reply: &mut Reply<'_>,
        out: &mut crate::action::Actions,
    ) {
        if !self.env.config.cluster_enabled {
            reply.error(crate::shard::reads::NO_CLUSTER);
            return;
        }
        let known = |w: &[u8]| is(w, b"sync") || is(w, b"async");
        if argv.len() > 4 {
            reply.error(&wrong_use(argv, "CLUSTER"));
            return;
        }
        let Some(slot) = slot_stats::slot(argv.get(2)) else {
            reply.error("ERR Invalid or out of range slot");
            return;
        };
        if argv.opt(3).is_some_and(|w| !known(w)) {
            reply.error("ERR syntax error");
            return;
        }
        if self.being_taken_over().contains(slot) {
            reply.ok();
            return;
        }
        // What an import brought belongs to another node's clients: it would be missing after the take-over.
        let imports = self.importing().filter(|i| i.job.ranges.contains(slot)).map(|i| i.job.name);
        for name in imports.collect::<Vec<_>>() {
            self.stop_job(now, name, &Failure::DataFlushed, out);
        }
        if self.data.exports.follow(Some(slot)) {
            // The target has to hear of it, or the keys would come back with the slot.
            for db in 0..self.env.config.databases_in_use() {
                let mut keys: Vec<Vec<u8>> = Vec::new();
                self.data.store.keys_in_slot(db, slot, usize::MAX, &mut |e| keys.push(e.key().to_vec()));
                for key in keys {
                    let at = self.data.store.at_in(db, slot, &key);
                    self.data.exports.append_unlink(&at);
                }
            }
        }
        self.keys_vanish(|other| other == slot);
        self.data.effects.watched().touch_where(|_, key| Slot::of(key) == slot);
        self.data.store.detach(slot);
        reply.ok();
    }

    fn list_clients(&mut self, now: Now, request: &Request<'_>, reply: &mut Reply<'_>) {
        let mut rows = match self.client_rows(now, request) {
            Ok(rows) => rows,
            Err(error) => return reply.error(&error),
        };
        for part in request.parts {
            if let Part::Clients(others) = part {
                rows.extend_from_slice(others);
            }
        }
        rows.sort_by_key(|(id, _)| *id);
        let mut text = String::new();
        for (_, row) in rows {
            text.push_str(&row);
            text.push('\n');
        }
        reply.verbatim("txt", &text);
    }

    /// The lines of the clients of this shard that a filter takes.
    pub(crate) fn client_rows(
        &self,
        now: Now,
        request: &Request<'_>,
    ) -> Result<Vec<(ClientId, String)>, String> {
        let filter = Filter::parse(request.argv, &self.env.config)?;
        let mut rows: Vec<(ClientId, String)> = Vec::new();
        let watches = self.data.effects.watches();
        let spared = filter.skip_me.filter(|skip| *skip).map(|_| request.link);
        for (name, link) in self.links.iter().filter(|(link, _)| spared != Some(**link)) {
            match link {
                Link::Client(session)
                    if filter.matches(&session.client, &session.client.flags(watches), now) =>
                {
                    let mine =
                        if *name == request.link { request.argv.iter().map(<[u8]>::len).sum() } else { 0 };
                    let row = listing::line(now, &session.client, &session.outbox, mine, watches);
                    rows.push((session.client.id, row));
                }
                Link::Import(importing) if filter.matches(&importing.client, b"i", now) => {
                    let row = listing::describe(now, &importing.client, &importing.outbox, b"i");
                    rows.push((importing.client.id, row));
                }
                _ => {}
            }
        }
        for exporting in self.data.exports.iter().filter(|e| filter.matches(&e.client, b"E", now)) {
            let row = listing::describe(now, &exporting.client, &exporting.feed.outbox, b"E");
            rows.push((exporting.client.id, row.replacen("user=default", "user=(superuser)", 1)));
        }
        Ok(rows)
    }

    fn kill_clients(
        &mut self,
        now: Now,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
        out: &mut crate::action::Actions,
    ) -> Caller {
        let (killed, caller) = match self.kill_matching(now, request, out) {
            Ok(killed) => killed,
            Err(error) => {
                reply.error(&error);
                return Caller::Stays;
            }
        };
        let killed = killed as u64 + request.counted_by_siblings();
        if request.argv.len() > 3 {
            reply.int(killed as i64);
        } else if killed == 0 {
            reply.error("ERR No such client");
        } else {
            reply.ok();
        }
        caller
    }

    /// Closes the clients of this shard that a filter takes: how many, and whether who asked for it is one of them.
    pub(crate) fn kill_matching(
        &mut self,
        now: Now,
        request: &Request<'_>,
        out: &mut crate::action::Actions,
    ) -> Result<(usize, Caller), String> {
        let old_form = request.argv.len() == 3;
        let filter = if old_form {
            Filter::address(request.argv.get(2))
        } else {
            Filter::parse(request.argv, &self.env.config)?
        };
        let spare_me = filter.skip_me.unwrap_or(!old_form);
        let watches = self.data.effects.watches();
        let hit: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(link, l)| {
                !(spare_me && **link == request.link)
                    && match l {
                        Link::Client(session) => {
                            filter.matches(&session.client, &session.client.flags(watches), now)
                        }
                        Link::Import(importing) => filter.matches(&importing.client, b"i", now),
                        Link::Export => self
                            .data
                            .exports
                            .iter()
                            .any(|e| e.link == **link && filter.matches(&e.client, b"E", now)),
                    }
            })
            .map(|(link, _)| *link)
            .collect();
        let killed = hit.len();
        let mut caller = Caller::Stays;
        for link in hit {
            if link == request.link {
                caller = Caller::Killed;
            } else {
                out.push(Action::Close { link, ending: Ending::Abrupt });
                self.closed(now, link, out);
            }
        }
        Ok((killed, caller))
    }

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
        match integer(argv.get(2)) {
            None => reply.error("ERR timeout is not an integer or out of range"),
            Some(ms) if ms < 0 => reply.error("ERR timeout is negative"),
            Some(ms) if ms > i64::MAX - now.wall_ms() as i64 => {
                reply.error("ERR timeout is out of range");
            }
            Some(ms) => {
                // A pause in force becomes neither shorter nor milder.
                let old = self.data.holds.of_client();
                let until = old.map_or(now.mono, |(_, until)| until).max(now.mono + Span::ms(ms as u64));
                let class = old.map_or(class, |(old, _)| old.max(class));
                self.data.holds.end_reason(Reason::Client);
                self.data.holds.begin(Scope::All, class, Reason::Client, Some(until));
                reply.ok();
            }
        }
    }

    /// Ends a job of either side from within the shard.
    pub(crate) fn stop_job(
        &mut self,
        now: Now,
        name: crate::ids::JobName,
        failure: &Failure,
        out: &mut crate::action::Actions,
    ) {
        let branch = self.data.exports.branches().find(|b| b.job.name == name);
        if let Some(home) = branch.map(Branch::home) {
            out.pass(home, Errand::Stop { job: name, failure: failure.clone() });
        }
        self.with_exports(now, out, |exports, s| {
            exports.tell_job(name, export::Input::Stopped(failure.clone()), s);
        });
        self.tell_import(now, name, crate::shard::imports::stopped(failure), out);
    }
}
