//! What INFO, MEMORY and LATENCY HISTOGRAM count: of this shard, and of all shards of the process when siblings have said
//! theirs.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::command::context::KeyStats;
use crate::shard::Shard;
use crate::shard::data::Totals;
use crate::shard::gather::Part;
use crate::shard::hold::Paused;
use crate::shard::info::clients::sessions;
use crate::shard::memory::Figures;
use crate::shard::rates::{LongTurns, METRICS, Metric, Pauses};
use crate::shard::session::Waiting;
use crate::shard::tally::Tally;
use crate::time::{Now, Span};

/// One database.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Database {
    pub(crate) keys: u64,
    pub(crate) expires: u64,
    /// Memory of its tables.
    pub(crate) tables: u64,
}

/// Links, and what clients wait for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clients {
    pub(crate) links: usize,
    /// Those that are clients.
    pub(crate) sessions: usize,
    pub(crate) blocked: usize,
    pub(crate) watching: usize,
    pub(crate) tracking: usize,
    pub(crate) with_deadline: usize,
    pub(crate) watched_keys: usize,
    /// The largest input and output buffer.
    pub(crate) largest: (u64, u64),
}

/// Slot migrations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Migrations {
    pub(crate) exports: usize,
    pub(crate) imports: usize,
    pub(crate) export_bytes: u64,
    pub(crate) pauses: Pauses,
}

/// All that can be added up.
#[derive(Clone, Debug)]
pub(crate) struct Sums<'a> {
    pub(crate) totals: Totals,
    pub(crate) keys: KeyStats,
    pub(crate) tally: Cow<'a, Tally>,
    pub(crate) figures: Figures,
    pub(crate) databases: Vec<Database>,
    pub(crate) clients: Clients,
    pub(crate) migrations: Migrations,
    pub(crate) long_turns: LongTurns,
    pub(crate) paused: Option<Paused>,
    /// Growth per second, by [`Metric`].
    rates: [u64; METRICS],
    pub(crate) changes: u64,
    pub(crate) expire_nanos: u64,
    pub(crate) busy_nanos: u64,
    pub(crate) evicted: u64,
    /// For how long more memory was in use than there should be: now, and all in all.
    pub(crate) exceeded: (Span, Span),
    /// Keys that are tracked, how often, and prefixes.
    pub(crate) tracked: [usize; 3],
    /// Failed logins, and refused commands, keys and databases.
    pub(crate) refused: [u64; 4],
    pub(crate) detached: u64,
    pub(crate) freed: u64,
}

impl<'a> Sums<'a> {
    /// Of one shard.
    pub(crate) fn of(now: Now, shard: &'a Shard) -> Self {
        let (data, store) = (&shard.data, &shard.data.store);
        let database = |db| Database {
            keys: store.len(db),
            expires: store.expires(db),
            tables: store.tables_memory(db),
        };
        let metrics =
            [Metric::Commands, Metric::BytesIn, Metric::BytesOut, Metric::ImportBytes, Metric::ExportBytes];
        Self {
            totals: data.totals,
            keys: data.stats,
            tally: Cow::Borrowed(&data.tally),
            figures: Figures::of(shard),
            databases: (0..store.databases()).map(database).collect(),
            clients: Clients::of(shard),
            migrations: Migrations {
                exports: data.exports.iter().count(),
                imports: shard.importing().count(),
                export_bytes: shard.data.exports.bytes_out(),
                pauses: shard.pauses,
            },
            long_turns: shard.long_turns,
            paused: data.holds.paused(),
            rates: metrics.map(|metric| shard.rates.per_second(metric)),
            changes: data.effects.total(),
            expire_nanos: data.scrutiny.expire_nanos,
            busy_nanos: data.scrutiny.busy_nanos,
            evicted: data.eviction.evicted(),
            exceeded: data.eviction.exceeded(now.mono),
            tracked: data.scrutiny.tracking.totals(),
            refused: [
                data.refusals.auth,
                data.refusals.commands,
                data.refusals.keys,
                data.refusals.databases,
            ],
            detached: store.detached(),
            freed: shard.upkeep.freed() + data.eviction.freed(),
        }
    }

    /// Of a shard and its siblings. The times of single calls are those of all if they are asked for.
    pub(crate) fn of_all(now: Now, shard: &'a Shard, others: &[Part], times: bool) -> Self {
        let mut sums = Self::of(now, shard);
        if !times && !others.is_empty() {
            sums.tally = Cow::Owned(sums.tally.without_times());
        }
        for part in others {
            if let Part::Sums(other) = part {
                sums.add(other);
            }
        }
        sums
    }

    /// To be sent to a sibling, with the times of single calls or without.
    pub(crate) fn into_owned(self, times: bool) -> Sums<'static> {
        let tally = if times { self.tally.into_owned() } else { self.tally.without_times() };
        Sums { tally: Cow::Owned(tally), ..self }
    }

    /// Growth per second.
    pub(crate) fn per_second(&self, metric: Metric) -> u64 {
        self.rates[metric as usize]
    }

    /// Growth in KiB per second, of a counter of bytes.
    pub(crate) fn kib_per_second(&self, metric: Metric) -> f64 {
        self.per_second(metric) as f64 / 1024.0
    }

    fn add(&mut self, other: &Sums<'_>) {
        self.totals.add(&other.totals);
        self.keys.hits += other.keys.hits;
        self.keys.misses += other.keys.misses;
        self.keys.expired += other.keys.expired;
        self.tally.to_mut().add(&other.tally);
        self.figures.add(&other.figures);
        for (mine, theirs) in self.databases.iter_mut().zip(&other.databases) {
            mine.keys += theirs.keys;
            mine.expires += theirs.expires;
            mine.tables += theirs.tables;
        }
        self.clients.add(&other.clients);
        let (mine, theirs) = (&mut self.migrations, &other.migrations);
        mine.exports += theirs.exports;
        mine.imports += theirs.imports;
        mine.export_bytes += theirs.export_bytes;
        mine.pauses.add(&theirs.pauses);
        self.long_turns.add(&other.long_turns);
        self.paused = self.paused.max(other.paused);
        add_each(&mut self.rates, &other.rates);
        add_each(&mut self.refused, &other.refused);
        self.changes += other.changes;
        self.expire_nanos += other.expire_nanos;
        self.busy_nanos += other.busy_nanos;
        self.evicted += other.evicted;
        let (now, ever) = other.exceeded;
        self.exceeded = (self.exceeded.0.max(now), self.exceeded.1.max(ever));
        self.tracked[0] += other.tracked[0];
        self.tracked[1] += other.tracked[1];
        // Every shard knows all prefixes.
        self.tracked[2] = self.tracked[2].max(other.tracked[2]);
        self.detached += other.detached;
        self.freed += other.freed;
    }
}

fn add_each(mine: &mut [u64], theirs: &[u64]) {
    mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
}

impl Clients {
    fn of(shard: &Shard) -> Self {
        let mut clients = Self {
            links: shard.let_in(),
            sessions: sessions(shard).filter(|session| !session.client.waiting.is_moving()).count(),
            with_deadline: shard.waits.with_deadline(),
            watched_keys: shard.data.effects.watched_keys(),
            largest: shard.largest.recent(),
            ..Self::default()
        };
        let guests = shard.guests.values().map(|visit| &visit.session);
        for client in sessions(shard).chain(guests).map(|session| &session.client) {
            clients.blocked += usize::from(matches!(client.waiting, Waiting::Hold | Waiting::Replicas));
            clients.watching += usize::from(client.transaction.watching() > 0);
        }
        clients.tracking = sessions(shard).filter(|session| session.client.tracker.is_some()).count();
        clients
    }

    fn add(&mut self, other: &Self) {
        self.links += other.links;
        self.sessions += other.sessions;
        self.blocked += other.blocked;
        self.watching += other.watching;
        self.tracking += other.tracking;
        self.with_deadline += other.with_deadline;
        self.watched_keys += other.watched_keys;
        self.largest = (self.largest.0.max(other.largest.0), self.largest.1.max(other.largest.1));
    }
}
