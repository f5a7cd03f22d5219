//! What commands work on, apart from the client that gave them.

use crate::acl;
use crate::command::context::KeyStats;
use crate::command::effects::Effects;
use crate::config::Config;
use crate::rng::Rng;
use crate::shard::eviction::Eviction;
use crate::shard::exports::Exports;
use crate::shard::footprint::Footprint;
use crate::shard::hold::Holds;
use crate::shard::scrutiny::Scrutiny;
use crate::shard::tally::Tally;
use crate::shard::usage::SlotUsage;
use crate::shard::users::Secret;
use crate::store::{Counting, Store};

/// The data of a shard: keys, what follows their changes, and what holds them.
pub(crate) struct Data {
    pub(crate) store: Store,
    pub(crate) effects: Effects,
    pub(crate) stats: KeyStats,
    pub(crate) rng: Rng,
    pub(crate) exports: Exports,
    pub(crate) holds: Holds,
    pub(crate) totals: Totals,
    pub(crate) tally: Tally,
    pub(crate) scrutiny: Scrutiny,
    /// ACL LOG.
    pub(crate) refusals: acl::Log,
    pub(crate) secret: Secret,
    pub(crate) eviction: Eviction,
    pub(crate) footprint: Footprint,
    pub(crate) usage: SlotUsage,
}

impl Data {
    /// Other settings from now on.
    pub(crate) fn configure(&mut self, config: &Config) {
        self.usage.set_on(config.cluster_slot_stats_enabled && config.cluster_enabled);
        let counting = Counting { log_factor: config.lfu_log_factor, decay_minutes: config.lfu_decay_time };
        let counts = config.maxmemory_policy.counts_accesses();
        self.store.access_mut().set_counting(counts.then_some(counting));
        self.eviction.configure(config);
        self.scrutiny.configure(config);
    }
}

/// Counters since start, for INFO.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) connections: u64,
    pub(crate) rejected_connections: u64,
    pub(crate) commands: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) import_bytes: u64,
    /// Rounds of expiry that ended before all keys whose time is over were found.
    pub(crate) expire_limits: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) output_limit_disconnections: u64,
    pub(crate) query_limit_disconnections: u64,
    pub(crate) evicted_clients: u64,
}

impl Totals {
    /// Adds those of a sibling.
    pub(crate) fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.rejected_connections += other.rejected_connections;
        self.commands += other.commands;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.import_bytes += other.import_bytes;
        self.expire_limits += other.expire_limits;
        self.reads += other.reads;
        self.writes += other.writes;
        self.output_limit_disconnections += other.output_limit_disconnections;
        self.query_limit_disconnections += other.query_limit_disconnections;
        self.evicted_clients += other.evicted_clients;
    }
}
