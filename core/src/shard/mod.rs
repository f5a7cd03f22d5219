//! The data plane: client sessions, the keys of its slots, and the links of slot migrations.

mod about;
mod ahead;
mod commandlog;
mod connection;
mod data;
mod debug;
mod encode;
mod eviction;
mod exporting;
mod exports;
mod filter;
mod footprint;
mod histogram;
mod hold;
mod home;
mod imports;
pub mod info;
mod jobs;
mod latency;
mod limits;
mod listing;
mod memory;
mod monitor;
mod notices;
mod orders;
mod pressure;
mod rates;
mod reads;
mod redact;
mod route;
mod scrutiny;
mod serve;
mod session;
mod slices;
mod slot_stats;
mod tally;
mod tracking;
mod transaction;
mod upcoming;
mod upkeep;
mod usage;
mod users;
mod waits;
mod whole;

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::sync::Arc;

use hashbrown::HashMap;

use crate::acl;
use crate::action::{Action, Actions, Ending};
use crate::cluster::View;
use crate::command::context::KeyStats;
use crate::command::effects::Effects;
use crate::command::table::Command;
use crate::config::Config;
use crate::ids::{ClientId, HoldId, JobName, LinkId, ShardIndex, Shards};
use crate::input::{Input, Origin, Progress, Vitals};
use crate::link::{Outbox, Rooms};
use crate::mail::{Fact, Mail};
use crate::migration::{export, import};
use crate::rng::Rng;
use crate::shard::data::{Data, Totals};
use crate::shard::debug::Debugging;
use crate::shard::eviction::Eviction;
use crate::shard::exporting::Surroundings;
use crate::shard::exports::Exports;
use crate::shard::footprint::Footprint;
use crate::shard::hold::{Class, Holds, Reason, Scope};
use crate::shard::imports::{After, Importing};
use crate::shard::info::Process;
use crate::shard::limits::Largest;
use crate::shard::rates::{LongTurns, Loops, Pauses, Rates};
use crate::shard::scrutiny::Scrutiny;
use crate::shard::serve::{Env, Served};
use crate::shard::session::{Session, Waiting};
use crate::shard::tally::Tally;
use crate::shard::upkeep::Upkeep;
use crate::shard::usage::SlotUsage;
use crate::shard::users::Secret;
use crate::shard::waits::Waits;
use crate::slots::SlotRanges;
use crate::stopwatch::Stopwatch;
use crate::store::{Layout, Store, StoreConfig};
use crate::time::{Mono, Now};
use crate::wire::resp::{ArgvBuf, Reply};

/// A waiting client may have this much unread before its socket is left alone.
const UNREAD_LIMIT: usize = 1024 * 1024;

/// What a link of the shard is.
#[derive(Debug)]
pub(crate) enum Link {
    /// A client.
    Client(Box<Session>),
    /// The source of a migration to us.
    Import(Box<Importing>),
    /// The target of a migration from us; the job owns its outbox.
    Export,
}

/// The data plane of one core: see the [module](self).
pub struct Shard {
    env: Env,
    data: Data,
    links: HashMap<LinkId, Link, foldhash::fast::FixedState>,
    /// Memory for outboxes of clients.
    rooms: Rooms,
    /// How many of the links are imports: few, and not worth a search when there are none.
    imports: usize,
    /// Imports whose link is gone and that still clean up.
    unlinked: HashMap<JobName, Box<Importing>, foldhash::fast::FixedState>,
    /// Clients whose WAIT has not ended.
    waits: Waits,
    upkeep: Upkeep,
    vitals: Vitals,
    debugging: Debugging,
    process: Process,
    run_id: [u8; 40],
    rates: Rates,
    pauses: Pauses,
    long_turns: LongTurns,
    loops: Loops,
    peak_memory: u64,
    largest: Largest,
    next_client: u64,
    next_link: u64,
    /// The hold of a client whose EXEC waits for the node.
    exec_hold: Option<(LinkId, HoldId)>,
    /// A hold ended: waiting clients have to be woken before the step ends.
    woken: bool,
}

impl Shard {
    /// The first or only shard of a process, without keys. `view` and `config` are what the node has published so far.
    #[must_use]
    pub fn new(config: Arc<Config>, view: Arc<View>, seed: u64, now: Now) -> Self {
        Self::nth(ShardIndex(0), config, view, seed, now)
    }

    /// The shard with this index, of as many as `config` says.
    #[must_use]
    pub fn nth(index: ShardIndex, config: Arc<Config>, view: Arc<View>, seed: u64, now: Now) -> Self {
        let mut rng = Rng::new(seed);
        let mut run_id = [0; 40];
        rng.hex(&mut run_id);
        let mut fingerprint = [0; 6];
        rng.hex(&mut fingerprint);
        let layout = if config.cluster_enabled { Layout::Cluster } else { Layout::Standalone };
        let store =
            Store::new(StoreConfig { databases: config.databases_in_use(), layout, seed: rng.bits() });
        let mut data = Data {
            store,
            effects: Effects::default(),
            stats: KeyStats::default(),
            rng,
            exports: Exports::default(),
            holds: Holds::default(),
            totals: Totals::default(),
            tally: Tally::default(),
            eviction: Eviction::new(&config),
            footprint: Footprint::default(),
            scrutiny: Scrutiny::default(),
            refusals: acl::Log::default(),
            secret: Secret::of(seed),
            usage: SlotUsage::default(),
        };
        data.configure(&config);
        Self {
            env: Env {
                index,
                shards: Shards::new(config.shards),
                config,
                view,
                jobs: Arc::default(),
                started: now,
                fingerprint,
            },
            data,
            links: HashMap::default(),
            rooms: Rooms::default(),
            imports: 0,
            unlinked: HashMap::default(),
            waits: Waits::default(),
            upkeep: Upkeep::new(now),
            vitals: Vitals::default(),
            debugging: Debugging::default(),
            process: Process::default(),
            run_id,
            rates: Rates::new(now.mono),
            pauses: Pauses::default(),
            long_turns: LongTurns::default(),
            loops: Loops::default(),
            peak_memory: 0,
            largest: Largest::default(),
            next_client: 1,
            next_link: 0,
            exec_hold: None,
            woken: false,
        }
    }

    /// Lends the shard a clock to measure with how long commands take; without one they take no time.
    pub fn lend(&mut self, stopwatch: Stopwatch) {
        self.data.scrutiny.lend(stopwatch);
    }

    /// Takes in one thing that happened. What has to be done is appended to `out`.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Actions) -> Progress {
        self.data.store.access_mut().set_time(now.wall_ms());
        match input {
            Input::Filled { link, bytes } => self.filled(now, link, bytes, out),
            Input::InboxFilled { link, len } => {
                if let Some(Link::Client(session)) = self.links.get_mut(&link) {
                    session.reader.inbox_filled(len);
                }
                self.filled(now, link, &[], out);
            }
            Input::Opened { link, origin } => self.opened(now, link, origin, out),
            Input::Drained { link } => self.drained(now, link, out),
            Input::Closed { link } => self.closed(now, link, out),
            Input::Connected { link, .. } => self.with_exports(now, out, |e, s| e.connected(link, s)),
            Input::ConnectFailed { link, reason } => {
                self.links.remove(&link);
                self.with_exports(now, out, |e, s| {
                    e.tell_link(link, export::Input::ConnectFailed { reason }, s);
                });
            }
            Input::Mailed(Mail::Order(order)) => self.obey(now, order, out),
            Input::Observed(vitals) => {
                self.loops.observe(now.mono, &self.vitals, &vitals);
                self.vitals = vitals;
            }
            Input::Turned { took, cpu } => self.long_turns.note(took, cpu),
            Input::Introduced(process) => self.process = process,
            Input::Ticked => self.ticked(now, out),
            Input::Terminated { .. }
            | Input::Done { .. }
            | Input::Read { .. }
            | Input::Mailed(Mail::Fact(_)) => {}
        }
        self.evict_clients(now, out);
        self.wake(now, out);
        self.tell_watchers(out);
        self.with_exports(now, out, Exports::flush);
        self.debugging.hold_back(out);
        self.progress()
    }

    /// When to call with [`Input::Ticked`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        let holds = [self.data.holds.deadline(), self.waits.deadline()].into_iter().flatten().min();
        let timers = [holds, self.data.exports.deadline(), self.imports_deadline()];
        timers.into_iter().flatten().chain([self.upkeep.deadline()]).min()
    }

    /// Memory to read into while a large value is incomplete; otherwise read into a buffer of your own.
    pub fn inbox(&mut self, link: LinkId) -> Option<&mut [u8]> {
        match self.links.get_mut(&link)? {
            Link::Client(session) if session.client.waiting == Waiting::Nothing => session.reader.inbox(),
            _ => None,
        }
    }

    /// What is to be sent on `link`. An unknown link has an empty one.
    pub fn outbox(&mut self, link: LinkId) -> Option<&mut Outbox> {
        match self.links.get_mut(&link)? {
            Link::Client(session) => Some(&mut session.outbox),
            Link::Import(importing) => Some(&mut importing.outbox),
            Link::Export => self.data.exports.outbox(link),
        }
    }

    fn opened(&mut self, now: Now, link: LinkId, origin: Origin, out: &mut Actions) {
        let id = self.next_id();
        let user = self.env.config.users.default_user().clone();
        let mut session = Box::new(Session::new(id, link, origin, user, now));
        let refusal = upkeep::refusal(&self.env.config, &origin, self.links.len());
        if let Some(error) = refusal {
            self.data.totals.rejected_connections += 1;
            session.outbox.write(error.as_bytes());
            self.links.insert(link, Link::Client(session));
            out.push(Action::Close { link, ending: Ending::Flushed });
            return;
        }
        self.data.totals.connections += 1;
        self.links.insert(link, Link::Client(session));
        self.reckon(link);
    }

    fn next_id(&mut self) -> ClientId {
        let (shards, index) = (u64::from(self.env.shards.count()), u64::from(self.env.index.0));
        let id = ClientId(self.next_client * shards + index);
        self.next_client += 1;
        id
    }

    fn filled(&mut self, now: Now, link: LinkId, bytes: &[u8], out: &mut Actions) {
        self.data.totals.bytes_in += bytes.len() as u64;
        self.data.totals.reads += 1;
        match self.links.get_mut(&link) {
            Some(Link::Client(session)) => {
                session.client.last_active = now.mono;
                session.client.bytes_in += bytes.len() as u64;
                if session.client.waiting != Waiting::Nothing {
                    session.reader.keep(bytes);
                    if session.reader.pending() > UNREAD_LIMIT && !session.client.reading_paused {
                        session.client.reading_paused = true;
                        out.push(Action::PauseReading { link });
                    }
                    self.reckon(link);
                    return;
                }
                self.serve(now, link, bytes, out);
            }
            Some(Link::Import(importing)) => {
                let env = &self.env;
                let after = importing.filled(now, bytes, &mut self.data, &env.config, out);
                self.reckon(link);
                self.after_import(link, after);
            }
            Some(Link::Export) => {
                self.with_exports(now, out, |e, s| e.tell_link(link, export::Input::Filled { bytes }, s));
            }
            None => {}
        }
    }

    /// Serves a client, and looks at what it takes after that.
    fn serve(&mut self, now: Now, link: LinkId, bytes: &[u8], out: &mut Actions) {
        self.upkeep.served(now);
        self.serve_all(now, link, bytes, out);
        self.reckon(link);
    }

    /// Serves a client until it has to wait; commands about the whole shard are run in between.
    fn serve_all(&mut self, now: Now, link: LinkId, bytes: &[u8], out: &mut Actions) {
        let mut bytes = bytes;
        loop {
            let Some(Link::Client(session)) = self.links.get_mut(&link) else { return };
            self.rooms.lend(&mut session.outbox);
            session.client.alarm = limits::alarm(session, &self.env.config, &self.data.footprint);
            let unsent = session.outbox.len();
            let served = session.serve(now, bytes, &mut self.data, &self.env);
            bytes = &[];
            self.data.totals.bytes_out += session.outbox.len().saturating_sub(unsent) as u64;
            session.client.bytes_out += session.outbox.len().saturating_sub(unsent) as u64;
            let flush = !session.outbox.is_empty();
            let executing = session.client.transaction.is_running();
            match served {
                Served::Idle => {
                    if flush {
                        out.push(Action::Flush { link });
                    } else {
                        self.rooms.take_back(&mut session.outbox);
                    }
                    return;
                }
                Served::Held => {
                    if flush {
                        out.push(Action::Flush { link });
                    }
                    self.data.holds.wait(link);
                    return;
                }
                Served::Ask(asked) => {
                    if flush {
                        out.push(Action::Flush { link });
                    }
                    if executing && self.exec_hold.is_none() {
                        let id = self.data.holds.begin(Scope::All, Class::All, Reason::Exec(link), None);
                        self.exec_hold = Some((link, id));
                    }
                    out.report(Fact::Asked(asked));
                    return;
                }
                Served::Whole(command, words) => match self.run_for(now, link, command, &words, out) {
                    whole::Caller::Stays => {}
                    whole::Caller::Waits => {
                        if flush {
                            out.push(Action::Flush { link });
                        }
                        return;
                    }
                    whole::Caller::Killed => {
                        self.finish(now, link, Ending::Flushed, out);
                        return;
                    }
                },
                Served::Crowded => self.uncrowd(now, link, out),
                Served::Close(ending) => {
                    self.finish(now, link, ending, out);
                    return;
                }
            }
        }
    }

    /// Runs a command about the whole shard for a client; the reply goes to its outbox.
    fn run_for(
        &mut self,
        now: Now,
        link: LinkId,
        command: &'static Command,
        words: &ArgvBuf,
        out: &mut Actions,
    ) -> whole::Caller {
        let Some(Link::Client(session)) = self.links.get(&link) else { return whole::Caller::Stays };
        let (db, proto) = (session.client.db, session.client.proto);
        self.data.scrutiny.laps.start();
        let request = whole::Request { link, db, argv: words.argv() };
        let mut scratch = Outbox::default();
        let caller = self.run_whole(now, command, &request, &mut Reply::new(&mut scratch, proto), out);
        if caller == whole::Caller::Waits {
            self.begin_wait(link, command, words);
            return caller;
        }
        if let Some(Link::Client(session)) = self.links.get_mut(&link) {
            session.client.commands += 1;
            if serve::reply(&session.client, &mut session.outbox).is_muted() {
                scratch.clear();
            }
            let begun = scratch.end() - scratch.len() as u64;
            self.data.ran(now, command, words.argv(), &mut session.client, &mut scratch, begun);
            if !scratch.is_empty() {
                self.data.totals.bytes_out += scratch.len() as u64;
                session.client.bytes_out += scratch.len() as u64;
                scratch.chunks().for_each(|chunk| session.outbox.write(chunk));
            }
        }
        caller
    }

    /// Ends a client's link from our side.
    fn finish(&mut self, now: Now, link: LinkId, ending: Ending, out: &mut Actions) {
        out.push(Action::Close { link, ending });
        if ending == Ending::Abrupt {
            self.closed(now, link, out);
        } else if let Some(Link::Client(session)) = self.links.get_mut(&link) {
            // Its outbox is needed until the driver has sent it; nothing it says is heard any more.
            session.client.waiting = Waiting::Closing;
            session.client.transaction.discard(self.data.effects.watched());
        }
    }

    fn drained(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        self.data.totals.writes += 1;
        match self.links.get_mut(&link) {
            Some(Link::Client(session)) => {
                self.rooms.take_back(&mut session.outbox);
                self.reckon(link);
            }
            Some(Link::Export) => self.with_exports(now, out, |e, s| e.drained(link, s)),
            _ => {}
        }
    }

    pub(crate) fn closed(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        match self.links.remove(&link) {
            Some(Link::Client(mut session)) => {
                self.data.footprint.clients -= session.client.share.total;
                session.client.transaction.discard(self.data.effects.watched());
                self.data.holds.forget(link);
                self.waits.forget(link);
                self.forget_watcher(&mut session.client);
                self.end_exec_hold(now, link, out);
            }
            Some(Link::Import(mut importing)) => {
                self.data.footprint.leave(&mut importing.client);
                self.imports -= 1;
                let after = importing.tell(now, import::Input::Closed, &mut self.data.store, out);
                if after != After::Ended {
                    self.unlinked.insert(importing.job.name, importing);
                }
            }
            Some(Link::Export) => {
                self.with_exports(now, out, |e, s| e.closed(link, s));
            }
            None => {}
        }
    }

    /// Runs `f` on the export jobs with the parts of the shard that they need.
    pub(crate) fn with_exports(
        &mut self,
        now: Now,
        out: &mut Actions,
        f: impl FnOnce(&mut Exports, &mut Surroundings<'_>),
    ) {
        let Data { store, exports, holds, .. } = &mut self.data;
        let mut surroundings = Surroundings {
            now,
            config: &self.env.config,
            store,
            holds,
            woken: &mut self.woken,
            pauses: &mut self.pauses,
            out,
        };
        f(exports, &mut surroundings);
        for link in exports.take_gone() {
            self.links.remove(&link);
        }
    }

    /// All unfinished jobs of the shard.
    pub(crate) fn job_names(&self) -> alloc::vec::Vec<(JobName, SlotRanges)> {
        let exports = self.data.exports.iter().map(|e| &e.job);
        let imports = self.importing().map(|i| &i.job);
        exports.chain(imports).map(|job| (job.name, job.ranges.clone())).collect()
    }

    fn end_exec_hold(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        if let Some((owner, id)) = self.exec_hold
            && owner == link
        {
            self.exec_hold = None;
            self.woken |= self.data.holds.end(id);
            self.with_exports(now, out, |e, s| e.transaction_ended(s));
        }
    }

    /// Clients that waited for a hold try again, in the order in which they began to wait.
    fn wake(&mut self, now: Now, out: &mut Actions) {
        while core::mem::take(&mut self.woken) {
            for link in self.data.holds.wake() {
                if let Some(Link::Client(session)) = self.links.get_mut(&link)
                    && session.client.waiting == Waiting::Hold
                {
                    self.resume(now, link, out);
                }
            }
        }
    }

    /// A client that waited goes on.
    pub(crate) fn resume(&mut self, now: Now, link: LinkId, out: &mut Actions) {
        let Some(Link::Client(session)) = self.links.get_mut(&link) else { return };
        session.client.waiting = Waiting::Nothing;
        self.serve(now, link, &[], out);
        let Some(Link::Client(session)) = self.links.get_mut(&link) else { return };
        if !session.client.transaction.is_running() {
            if session.client.waiting == Waiting::Nothing && session.client.reading_paused {
                session.client.reading_paused = false;
                out.push(Action::ResumeReading { link });
            }
            self.end_exec_hold(now, link, out);
        }
    }

    fn progress(&self) -> Progress {
        let background = self.data.store.has_detached() || self.data.eviction.is_running();
        if background || self.data.exports.has_work() || self.upkeep.has_work() {
            Progress::More
        } else {
            Progress::Idle
        }
    }
}
