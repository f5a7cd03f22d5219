//! What is written down about every command that ran, for operators: counts, durations, log entries.

use crate::command::table::{Command, find};
use crate::config::Config;
use crate::link::Outbox;
use crate::shard::commandlog::{CommandLogs, Kind};
use crate::shard::data::Data;
use crate::shard::latency::{self, Latency};
use crate::shard::session::{Asked, Client};
use crate::stopwatch::{Laps, Stopwatch};
use crate::time::Now;
use crate::wire::resp::{Argv, Span};

/// Room that the lengths in front of words take on the wire, at most, per word.
const LENGTHS: u64 = 32;

/// The eyes on commands, apart from the counts of each.
#[derive(Debug, Default)]
pub(crate) struct Scrutiny {
    /// Runs while commands run.
    pub(crate) laps: Laps,
    pub(crate) logs: CommandLogs,
    pub(crate) latency: Latency,
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
        let from = |kind| self.logs.threshold(kind).unwrap_or(u64::MAX);
        self.notable = Notable {
            nanos: from(Kind::Slow)
                .saturating_mul(1000)
                .min(self.latency.threshold_nanos().unwrap_or(u64::MAX)),
            request: from(Kind::LargeRequest),
            reply: from(Kind::LargeReply),
        };
    }
}

/// A command that ran, and what came of it.
pub(crate) struct Ran<'a> {
    pub(crate) command: &'static Command,
    pub(crate) argv: Argv<'a>,
    /// How long it took.
    pub(crate) nanos: u64,
    /// The beginning of its reply, as far as that is there.
    pub(crate) reply: &'a [u8],
    /// The length of its reply.
    pub(crate) reply_len: u64,
}

impl<'a> Ran<'a> {
    /// It replied into `outbox` from position `begun` on, and took as long as the lap that is ended here.
    #[inline]
    pub(crate) fn now(
        command: &'static Command,
        argv: Argv<'a>,
        outbox: &'a Outbox,
        begun: u64,
        laps: &mut Laps,
    ) -> Self {
        let reply_len = outbox.end() - begun;
        Self { command, argv, nanos: laps.lap(), reply: outbox.own_since(begun), reply_len }
    }
}

impl Data {
    /// Writes down that a command of `client` ran.
    #[inline]
    pub(crate) fn ran(&mut self, now: Now, ran: &Ran<'_>, client: &Client) {
        self.totals.commands += 1;
        let Scrutiny { tracked, notable, .. } = self.scrutiny;
        self.tally.ran(ran.command, ran.nanos, tracked, ran.reply);
        if !client.transaction.is_running() {
            self.scrutiny.busy_nanos += ran.nanos;
        }
        let longest_request = ran.argv.extent() as u64 + LENGTHS * (ran.argv.len() as u64 + 1);
        if ran.nanos >= notable.nanos || ran.reply_len >= notable.reply || longest_request >= notable.request
        {
            self.look_closely(now, ran, client);
        }
    }

    /// Writes down that an EXEC of `client` is done, with all its commands.
    pub(crate) fn executed(&mut self, now: Now, client: &Client, outbox: &Outbox) {
        let Some(command) = find(b"exec") else { return };
        let (mark, begun) = client.exec_begun;
        let argv = Argv::new(b"exec", &[Span { start: 0, end: 4 }]);
        let nanos = self.scrutiny.laps.since(mark);
        let reply_len = outbox.end() - begun;
        let ran = Ran { command, argv, nanos, reply: outbox.own_since(begun), reply_len };
        self.ran(now, &ran, client);
    }

    /// Writes down that the node answered a command of `client`.
    pub(crate) fn answered(&mut self, now: Now, asked: &Asked, reply: &[u8], client: &Client) {
        let laps = &mut self.scrutiny.laps;
        laps.lap();
        let nanos = laps.since(asked.mark);
        let (command, argv) = (asked.command, asked.words.argv());
        self.ran(now, &Ran { command, argv, nanos, reply, reply_len: reply.len() as u64 }, client);
    }

    #[cold]
    fn look_closely(&mut self, now: Now, ran: &Ran<'_>, client: &Client) {
        self.scrutiny.latency.took(now, latency::event_of(ran.command), ran.nanos);
        let values = [ran.nanos / 1000, ran.argv.wire_len() as u64, ran.reply_len];
        self.scrutiny.logs.look(now, ran.command, ran.argv, client, values);
    }
}
