//! The data plane: client sessions, the keys of its slots, and the links of slot migrations.

mod about;
mod admit;
mod ahead;
mod asking;
mod branch;
mod clients;
mod commandlog;
mod connection;
mod data;
mod debug;
mod encode;
mod env;
pub(crate) mod errand;
mod eviction;
mod exporting;
mod exports;
mod feed;
mod filter;
mod flush;
mod footprint;
mod freeze;
mod gather;
mod graft;
mod histogram;
mod hold;
mod home;
mod imports;
pub mod info;
mod intake;
mod jobs;
mod kill;
mod latency;
mod lent;
mod limits;
mod links;
mod listing;
mod memory;
mod monitor;
mod notices;
mod orders;
mod parts;
mod pressure;
mod published;
mod rates;
mod receiving;
mod redact;
mod route;
mod run;
mod scrutiny;
mod sending;
mod sequencer;
mod serve;
mod session;
mod settle;
mod shares;
mod sheaf;
mod slices;
mod slot_stats;
mod tally;
mod tracking;
mod transaction;
mod upcoming;
mod upkeep;
mod usage;
mod users;
pub(crate) mod visit;
mod waits;
mod walks;
mod whereabouts;
mod whole;
mod write;

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::acl;
use crate::action::Actions;
use crate::cluster::View;
use crate::command::context::KeyStats;
use crate::command::effects::Effects;
use crate::config::Config;
use crate::ids::{HoldId, JobName, LinkId, ShardIndex, Shards};
use crate::input::{Input, Progress, Vitals};
use crate::link::{Outbox, Rooms};
use crate::mail::{Mail, Pass};
use crate::rng::Rng;
use crate::shard::data::{Data, Totals};
use crate::shard::debug::Debugging;
use crate::shard::env::Env;
use crate::shard::eviction::Eviction;
use crate::shard::exporting::Surroundings;
use crate::shard::exports::Exports;
use crate::shard::footprint::Footprint;
use crate::shard::freeze::{Freezings, Keeper};
use crate::shard::gather::Gatherings;
use crate::shard::graft::Graft;
use crate::shard::hold::Holds;
use crate::shard::imports::Importing;
use crate::shard::info::Process;
use crate::shard::lent::Buffers;
use crate::shard::limits::Largest;
pub(crate) use crate::shard::links::Link;
use crate::shard::rates::{LongTurns, Loops, Pauses, Rates};
use crate::shard::receiving::Landings;
use crate::shard::scrutiny::Scrutiny;
use crate::shard::session::Waiting;
use crate::shard::settle::Settlers;
use crate::shard::shares::Shares;
use crate::shard::tally::Tally;
use crate::shard::upkeep::Upkeep;
use crate::shard::usage::SlotUsage;
use crate::shard::users::Secret;
use crate::shard::visit::Guests;
use crate::shard::waits::Waits;
use crate::shard::whereabouts::StandIns;
use crate::stopwatch::Stopwatch;
use crate::store::{Layout, Store, StoreConfig};
use crate::time::{Mono, Now};

/// The data plane of one core: see the [module](self).
pub struct Shard {
    env: Env,
    data: Data,
    links: HashMap<LinkId, Link, foldhash::fast::FixedState>,
    /// Sessions of siblings that are served here.
    guests: Guests,
    /// Sessions of siblings that will be at home here when their sockets come.
    settlers: Settlers,
    /// Clients that were at home here.
    stand_ins: StandIns,
    /// How many configurations it was given.
    configured: u64,
    /// Imports of siblings that bring slots of this shard.
    grafts: Vec<Graft>,
    /// Memory for outboxes of clients.
    rooms: Rooms,
    /// Memory for commands that go into the stream of a migration …
    buffers: Buffers,
    /// … and for whom some of it is lent.
    lent_to: Option<LinkId>,
    /// How many of the links are imports: few, and not worth a search when there are none.
    imports: usize,
    /// Imports whose link is gone and that still clean up.
    unlinked: HashMap<JobName, Box<Importing>, foldhash::fast::FixedState>,
    /// Lanes of imports that end here.
    landings: Landings,
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
    /// Commands of clients at home here that siblings take part in.
    gatherings: Gatherings,
    /// Those that wait until all shards have stopped.
    freezings: Freezings,
    /// In the first shard: for whom all are stopped, and who is next.
    keeper: Keeper,
    /// The hold of the client for whom all shards are stopped.
    frozen: Option<(LinkId, HoldId)>,
    /// What siblings take of the limits of the process.
    shares: Shares,
    /// A hold ended: waiting clients have to be woken before the step ends.
    woken: bool,
}

impl Shard {
    /// The first or only shard of a process, without keys. `view` and `config` are what the node has published so far.
    #[must_use]
    pub fn new(config: Arc<Config>, view: Arc<View>, seed: u64, now: Now) -> Self {
        Self::nth(ShardIndex(0), config, view, seed, now)
    }

    /// The shard with this index, of as many as `config` says; all of them are given the same seed.
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
        // What goes before is the same for all shards of a process, what follows is not.
        let rng = Rng::new(rng.bits() ^ u64::from(index.0).wrapping_mul(0x9e37_79b9_7f4a_7c15));
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
        data.effects.watched().belong_to(index);
        data.configure(&config);
        if config.shards > 1 {
            data.scrutiny.logs.share_ids(now.wall, index, Shards::new(config.shards));
        }
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
            guests: Guests::default(),
            settlers: Settlers::default(),
            stand_ins: StandIns::default(),
            configured: 0,
            grafts: Vec::new(),
            rooms: Rooms::default(),
            buffers: Buffers::default(),
            lent_to: None,
            imports: 0,
            unlinked: HashMap::default(),
            landings: Landings::default(),
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
            gatherings: Gatherings::default(),
            freezings: Freezings::default(),
            keeper: Keeper::default(),
            frozen: None,
            shares: Shares::default(),
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
            Input::InboxFilled { link, len } => self.inbox_filled(now, link, len, out),
            Input::Opened { link, origin } => self.opened(now, link, origin, out),
            Input::Moved { link, from } => self.moved(now, link, from, out),
            Input::Drained { link } => self.drained(now, link, out),
            Input::Closed { link } => self.closed(now, link, out),
            Input::Connected { link, .. } => self.with_exports(now, out, |e, s| e.connected(link, s)),
            Input::ConnectFailed { link, reason } => {
                self.links.remove(&link);
                self.with_exports(now, out, |e, s| e.connect_failed(link, reason, s));
            }
            Input::Mailed(Mail::Order(order)) => self.obey(now, order, out),
            Input::Mailed(Mail::Pass(Pass(errand))) => self.run_errand(now, errand, out),
            Input::Observed(vitals) => {
                self.loops.observe(now.mono, &self.vitals, &vitals);
                self.vitals = vitals;
            }
            Input::Turned { took, cpu } => {
                self.long_turns.note(took, cpu);
                self.upkeep.turned(cpu);
            }
            Input::Introduced(process) => self.process = process,
            Input::Ticked => self.ticked(now, out),
            Input::Terminated { .. }
            | Input::Done { .. }
            | Input::Read { .. }
            | Input::Mailed(Mail::Fact(_)) => {}
        }
        if !self.stand_ins.is_empty() {
            self.drop_stand_ins(out);
        }
        self.evict_clients(now, out);
        self.wake(now, out);
        self.tell_watchers(out);
        self.release_watched(out);
        self.tell_forgotten(out);
        self.with_exports(now, out, Exports::flush);
        self.debugging.hold_back(out);
        self.progress()
    }

    /// When to call with [`Input::Ticked`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        let holds = [self.data.holds.deadline(), self.waits.deadline()].into_iter().flatten().min();
        let migrations = [self.data.exports.deadline(), self.imports_deadline(), self.landings.deadline()];
        let timers = [holds, migrations.into_iter().flatten().min()];
        timers.into_iter().flatten().chain([self.upkeep.deadline()]).min()
    }

    /// Memory to read into while a large value is incomplete, or while nearly everything that comes has to be sent on;
    /// otherwise read into a buffer of your own.
    pub fn inbox(&mut self, link: LinkId) -> Option<&mut [u8]> {
        self.lent_to = None;
        let is_one_stream = self.data.exports.is_one_stream();
        if !is_one_stream {
            self.buffers.free();
        }
        match self.links.get_mut(&link)? {
            Link::Client(session) if session.client.waiting == Waiting::Nothing => {
                if is_one_stream && session.client.feeds_stream && !session.reader.has_inbox() {
                    self.lent_to = Some(link);
                    return self.buffers.lend();
                }
                session.reader.inbox()
            }
            _ => None,
        }
    }

    /// The peer has closed its side of the link: whether that is to be told later, because answers to what it said are on
    /// their way from another machine of the process. Reading is paused then, until
    /// [`Action::ResumeReading`](crate::action::Action::ResumeReading).
    pub fn put_off_end(&mut self, link: LinkId) -> bool {
        let Some(Link::Client(session)) = self.links.get_mut(&link) else { return false };
        let elsewhere =
            matches!(session.client.waiting, Waiting::Answer | Waiting::Away(_) | Waiting::Siblings);
        session.client.reading_paused |= elsewhere;
        elsewhere
    }

    /// What is to be sent on `link`. An unknown link has an empty one.
    pub fn outbox(&mut self, link: LinkId) -> Option<&mut Outbox> {
        match self.links.get_mut(&link)? {
            Link::Client(session) => Some(&mut session.outbox),
            Link::Import(importing) => Some(&mut importing.outbox),
            Link::Lane => self.landings.outbox(link),
            Link::Export => self.data.exports.outbox(link),
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
            index: self.env.index,
            shards: self.env.shards,
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

    fn progress(&self) -> Progress {
        let background = self.data.store.has_detached() || self.data.eviction.is_running();
        if background || self.data.exports.has_work() || self.upkeep.has_work() {
            Progress::More
        } else {
            Progress::Idle
        }
    }
}
