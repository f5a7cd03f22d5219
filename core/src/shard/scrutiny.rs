//! What is written down about every command that ran, for operators and for clients that watch: counts, durations,
//! log entries, the lines of MONITOR, the keys of CLIENT TRACKING.

use alloc::vec::Vec;

use crate::command::table::{Command, Id, find, flags, keys_of};
use crate::config::Config;
use crate::ids::LinkId;
use crate::link::Outbox;
use crate::shard::commandlog::{CommandLogs, Kind};
use crate::shard::data::Data;
use crate::shard::debug;
use crate::shard::latency::{self, Latency};
use crate::shard::monitor;
use crate::shard::session::{Client, Unanswered};
use crate::shard::tracking::Tracking;
use crate::stopwatch::{Laps, Stopwatch};
use crate::time::Now;
use crate::wire::resp::{Argv, Reply, Span};

/// Room that the lengths in front of words take on the wire, at most, per word.
const LENGTHS: u64 = 32;

/// The eyes on commands, apart from the counts of each.
#[derive(Debug, Default)]
pub(crate) struct Scrutiny {
    /// Runs while commands run.
    pub(crate) laps: Laps,
    pub(crate) logs: CommandLogs,
    pub(crate) latency: Latency,
    pub(crate) tracking: Tracking,
    /// Most keys that tracking remembers, 0 being no limit.
    tracking_max_keys: u64,
    /// Clients that watch all commands.
    monitors: Vec<LinkId>,
    /// Clients of ours that watch no longer, of which siblings have not been told.
    forgotten: Vec<LinkId>,
    /// Lines that they have not got.
    pub(crate) lines: Vec<u8>,
    /// Time spent in commands, in nanoseconds; those of a transaction are not counted twice.
    pub(crate) busy_nanos: u64,
    /// Time spent in deleting what is past its time.
    pub(crate) expire_nanos: u64,
    /// Whether the time of each call is kept.
    tracked: bool,
    notable: Notable,
}

/// From where on a command has to be looked at closely.
#[derive(Clone, Copy, Debug, Default)]
struct Notable {
    nanos: u64,
    request: u64,
    reply: u64,
}

impl Scrutiny {
    /// Measures with this clock from now on.
    pub(crate) fn lend(&mut self, stopwatch: Stopwatch) {
        self.laps = Laps::new(stopwatch);
    }

    /// Takes over the settings.
    pub(crate) fn configure(&mut self, config: &Config) {
        self.logs.configure(config);
        self.latency.configure(config);
        self.tracked = config.latency_tracking;
        self.tracking_max_keys = config.tracking_table_max_keys;
        self.focus();
    }

    /// Finds out anew which commands are notable: all of them while a client watches.
    pub(crate) fn focus(&mut self) {
        let from = |kind| self.logs.threshold(kind).unwrap_or(u64::MAX);
        let slow = from(Kind::Slow).saturating_mul(1000);
        let watched = !self.monitors.is_empty() || self.tracking.clients() > 0;
        self.notable = Notable {
            nanos: if watched { 0 } else { slow.min(self.latency.threshold_nanos().unwrap_or(u64::MAX)) },
            request: from(Kind::LargeRequest),
            reply: from(Kind::LargeReply),
        };
    }

    /// Begins to show all commands to a client.
    pub(crate) fn watch(&mut self, link: LinkId) {
        if !self.monitors.contains(&link) {
            self.monitors.push(link);
        }
        self.focus();
    }

    /// A client watches no longer: it is gone or wants to be as at the start.
    pub(crate) fn forget(&mut self, client: &mut Client) {
        if client.monitors || client.tracker.is_some() {
            self.forgotten.push(client.link);
        }
        if core::mem::take(&mut client.monitors) {
            self.monitors.retain(|link| *link != client.link);
        }
        self.tracking.forget(client.link, &mut client.tracker);
        self.focus();
    }

    /// A client is gone before it could watch, and siblings show it their commands already.
    pub(crate) fn never_watched(&mut self, link: LinkId) {
        self.forgotten.push(link);
    }

    /// A client of a sibling watches no longer.
    pub(crate) fn forget_guest(&mut self, link: LinkId) {
        self.monitors.retain(|watching| *watching != link);
        self.focus();
    }

    /// Clients that watch no longer, to tell siblings.
    pub(crate) fn take_forgotten(&mut self) -> Vec<LinkId> {
        core::mem::take(&mut self.forgotten)
    }

    /// Clients that watch all commands.
    pub(crate) fn monitors(&self) -> &[LinkId] {
        &self.monitors
    }
}

/// What came of a command.
#[derive(Clone, Copy)]
struct Outcome {
    nanos: u64,
    reply_len: u64,
}

impl Data {
    /// Writes down that a command of `client` ran until now and replied into `outbox` from position `begun` on; how many
    /// nanoseconds it took.
    #[inline]
    pub(crate) fn ran(
        &mut self,
        now: Now,
        command: &'static Command,
        argv: Argv<'_>,
        client: &mut Client,
        outbox: &mut Outbox,
        begun: u64,
    ) -> u64 {
        let nanos = self.scrutiny.laps.lap();
        self.took(now, command, argv, client, outbox, begun, nanos);
        nanos
    }

    /// Writes down that an EXEC of `client` is done, with all its commands.
    pub(crate) fn executed(&mut self, now: Now, client: &mut Client, outbox: &mut Outbox) {
        let Some(command) = find(b"exec") else { return };
        let (mark, begun) = client.exec_begun;
        let argv = Argv::new(b"EXEC", &[Span { start: 0, end: 4 }]);
        let nanos = self.scrutiny.laps.since(mark);
        self.usage.ran(client.exec_slot, nanos, 0);
        self.took(now, command, argv, client, outbox, begun, nanos);
    }

    /// Writes down that a command of `client` which had to wait for something is answered.
    pub(crate) fn answered(
        &mut self,
        now: Now,
        unanswered: &Unanswered,
        client: &mut Client,
        outbox: &mut Outbox,
        begun: u64,
    ) {
        self.scrutiny.laps.lap();
        let nanos = self.scrutiny.laps.since(unanswered.mark);
        self.took(now, unanswered.command, unanswered.words.argv(), client, outbox, begun, nanos);
    }

    #[inline]
    fn took(
        &mut self,
        now: Now,
        command: &'static Command,
        argv: Argv<'_>,
        client: &mut Client,
        outbox: &mut Outbox,
        begun: u64,
        nanos: u64,
    ) {
        self.totals.commands += 1;
        let Scrutiny { tracked, notable, .. } = self.scrutiny;
        // DEBUG ERROR is no failure.
        let wanted = command.id == Id::Debug && debug::is_error(argv);
        self.tally.ran(command, nanos, tracked, if wanted { &[] } else { outbox.own_since(begun) });
        if !client.transaction.is_running() {
            self.scrutiny.busy_nanos += nanos;
        }
        let reply_len = outbox.end() - begun;
        let longest_request = argv.extent() as u64 + LENGTHS * (argv.len() as u64 + 1);
        if nanos >= notable.nanos || reply_len >= notable.reply || longest_request >= notable.request {
            self.look_closely(now, command, argv, client, outbox, Outcome { nanos, reply_len });
        }
    }

    #[cold]
    fn look_closely(
        &mut self,
        now: Now,
        command: &'static Command,
        argv: Argv<'_>,
        client: &mut Client,
        outbox: &mut Outbox,
        outcome: Outcome,
    ) {
        let scrutiny = &mut self.scrutiny;
        let Outcome { nanos, reply_len } = outcome;
        scrutiny.latency.took(now, latency::event_of(command), nanos);
        let values = [nanos / 1000, argv.wire_len() as u64, reply_len];
        scrutiny.logs.look(now, command, argv, client, values);
        if !scrutiny.monitors.is_empty() && monitor::is_shown(command) {
            monitor::describe(now, command, argv, client, &mut scrutiny.lines);
        }
        if scrutiny.tracking.clients() > 0 {
            self.track(command, argv, client, outbox);
        }
    }

    /// Follows what a command changed and what it read.
    fn track(&mut self, command: &'static Command, argv: Argv<'_>, client: &mut Client, outbox: &mut Outbox) {
        self.note_changes(Some(client.link));
        let tracking = &mut self.scrutiny.tracking;
        let between = client.transaction.is_open() || client.transaction.is_running();
        let Some(tracker) = &mut client.tracker else { return };
        if command.is(flags::READONLY) {
            let keys = keys_of(command, argv).map(|at| argv.get(at));
            tracking.read(client.link, tracker, keys);
            tracking.limit(self.scrutiny.tracking_max_keys, &mut self.rng);
        }
        if !between && !command.name.starts_with("client|") {
            tracker.forget_exception();
        }
        if client.transaction.is_running() || tracker.redirect.is_some() {
            return;
        }
        // What is about the client itself comes right behind the reply to its command.
        for notice in tracking.take_own(client.link) {
            if !(tracker.noloop && notice.by == Some(client.link)) {
                notice.what.tell_to(&mut Reply::new(outbox, client.proto));
            }
        }
    }

    /// Hands over which keys were changed since the last time.
    pub(crate) fn note_changes(&mut self, by: Option<LinkId>) {
        self.effects.watched().drain_noted(|key| self.scrutiny.tracking.changed(key, by));
    }
}
