//! The sections that count what happened, and those about persistence and replication, which is little so far.

use alloc::format;
use alloc::string::String;
use core::fmt::Write as _;

use crate::shard::Shard;
use crate::shard::info::server::run_id;
use crate::shard::info::sums::Sums;
use crate::shard::info::text::{Text, share};
use crate::shard::rates::Metric;
use crate::shard::tally::Tally;

pub(super) fn persistence(text: &mut Text, shard: &Shard, sums: &Sums<'_>) {
    text.all(
        &["loading", "async_loading", "current_cow_peak", "current_cow_size", "current_cow_size_age"],
        0,
    );
    text.ratio("current_fork_perc", 0.0);
    text.all(&["current_save_keys_processed", "current_save_keys_total"], 0);
    text.field("rdb_changes_since_last_save", sums.changes);
    text.field("rdb_bgsave_in_progress", 0);
    text.field("rdb_last_save_time", shard.env.started.wall.as_secs());
    text.field("rdb_last_bgsave_status", "ok");
    text.all(&["rdb_last_bgsave_time_sec", "rdb_current_bgsave_time_sec"], -1);
    text.all(
        &["rdb_saves", "rdb_last_cow_size", "rdb_last_load_keys_expired", "rdb_last_load_keys_loaded"],
        0,
    );
    text.all(&["aof_enabled", "aof_rewrite_in_progress", "aof_rewrite_scheduled"], 0);
    text.all(&["aof_last_rewrite_time_sec", "aof_current_rewrite_time_sec"], -1);
    text.field("aof_last_bgrewrite_status", "ok");
    text.all(&["aof_rewrites", "aof_rewrites_consecutive_failures"], 0);
    text.field("aof_last_write_status", "ok");
    text.all(&["aof_last_cow_size", "module_fork_in_progress", "module_fork_last_cow_size"], 0);
    text.field("slot_migration_fork_in_progress", 0);
}

pub(super) fn stats(text: &mut Text, shard: &Shard, sums: &Sums<'_>) {
    let (totals, keys) = (&sums.totals, &sums.keys);
    let export_bytes = sums.migrations.export_bytes;
    text.field("total_connections_received", totals.connections);
    text.field("total_commands_processed", totals.commands);
    text.field("instantaneous_ops_per_sec", sums.per_second(Metric::Commands));
    text.field("total_net_input_bytes", totals.bytes_in);
    text.field("total_net_output_bytes", totals.bytes_out + export_bytes);
    text.all(&["total_net_repl_input_bytes", "total_net_repl_output_bytes"], 0);
    text.field("total_net_cluster_slot_import_bytes", totals.import_bytes);
    text.field("total_net_cluster_slot_export_bytes", export_bytes);
    text.ratio("instantaneous_input_kbps", sums.kib_per_second(Metric::BytesIn));
    text.ratio("instantaneous_output_kbps", sums.kib_per_second(Metric::BytesOut));
    text.ratio("instantaneous_input_repl_kbps", 0.0);
    text.ratio("instantaneous_output_repl_kbps", 0.0);
    text.field("rejected_connections", totals.rejected_connections);
    text.all(&["sync_full", "sync_partial_ok", "sync_partial_err"], 0);
    text.field("expired_keys", keys.expired);
    text.field("expired_fields", 0);
    text.ratio("expired_stale_perc", 0.0);
    text.ratio("expired_keys_with_volatile_items_stale_perc", 0.0);
    text.field("expired_time_cap_reached_count", totals.expire_limits);
    text.field("expire_cycle_cpu_milliseconds", sums.expire_nanos / 1_000_000);
    let (exceeded, ever_exceeded) = sums.exceeded;
    text.field("evicted_keys", sums.evicted);
    text.field("evicted_clients", totals.evicted_clients);
    text.field("evicted_scripts", 0);
    text.field("total_eviction_exceeded_time", ever_exceeded.as_ms());
    text.field("current_eviction_exceeded_time", exceeded.as_ms());
    text.field("keyspace_hits", keys.hits);
    text.field("keyspace_misses", keys.misses);
    text.all(&["pubsub_channels", "pubsub_patterns", "pubsubshard_channels"], 0);
    text.all(&["latest_fork_usec", "total_forks", "migrate_cached_sockets", "slave_expires_tracked_keys"], 0);
    text.all(&["active_defrag_hits", "active_defrag_misses", "active_defrag_key_hits"], 0);
    text.all(&["active_defrag_key_misses", "total_active_defrag_time", "current_active_defrag_time"], 0);
    let [keys_tracked, items, prefixes] = sums.tracked;
    text.field("tracking_total_keys", keys_tracked);
    text.field("tracking_total_items", items);
    text.field("tracking_total_prefixes", prefixes);
    text.field("unexpected_error_replies", 0);
    text.field("total_error_replies", sums.tally.total_errors());
    text.field("dump_payload_sanitizations", 0);
    text.field("total_reads_processed", totals.reads);
    text.field("total_writes_processed", totals.writes);
    text.all(
        &["io_threaded_reads_processed", "io_threaded_writes_processed", "io_threaded_freed_objects"],
        0,
    );
    text.all(&["io_threaded_accept_processed", "io_threaded_poll_processed"], 0);
    text.all(&["io_threaded_total_prefetch_batches", "io_threaded_total_prefetch_entries"], 0);
    text.field("client_query_buffer_limit_disconnections", totals.query_limit_disconnections);
    text.field("client_output_buffer_limit_disconnections", totals.output_limit_disconnections);
    text.all(&["reply_buffer_shrinks", "reply_buffer_expands"], 0);
    let (turns, turns_us) = shard.loops.totals(&shard.vitals);
    text.field("eventloop_cycles", turns);
    text.field("eventloop_duration_sum", turns_us);
    text.field("eventloop_duration_cmd_sum", sums.busy_nanos / 1000);
    text.field("instantaneous_eventloop_cycles_per_sec", shard.loops.per_second);
    text.field("instantaneous_eventloop_duration_usec", shard.loops.usec_each);
    let [logins, commands, refused_keys, databases] = sums.refused;
    text.field("acl_access_denied_auth", logins);
    text.field("acl_access_denied_cmd", commands);
    text.field("acl_access_denied_key", refused_keys);
    text.all(&["acl_access_denied_channel", "acl_access_denied_tls_cert"], 0);
    text.field("acl_access_denied_db", databases);
    migrations(text, sums);
    long_turns(text, sums);
}

/// Calls by command.
pub(super) fn commands(text: &mut Text, tally: &Tally) {
    for (name, calls) in tally.commands().filter(|(_, calls)| calls.is_used()) {
        let (run, rejected, failed, usec) = (calls.run, calls.rejected, calls.failed, calls.usec());
        let each = share(usec, run);
        let values = format_args!(
            "calls={run},usec={usec},usec_per_call={each:.2},rejected_calls={rejected},failed_calls={failed}"
        );
        text.field(&format!("cmdstat_{name}"), values);
    }
}

/// How long calls took, by command.
pub(super) fn latencies(text: &mut Text, shard: &Shard, tally: &Tally) {
    if !shard.env.config.latency_tracking {
        return;
    }
    for (name, calls) in tally.commands() {
        let Some(histogram) = &calls.histogram else { continue };
        let mut values = String::new();
        for percentage in &shard.env.config.latency_tracking_info_percentiles {
            let nanos = percentage.parse().map_or(0, |p| histogram.percentile(p));
            let comma = if values.is_empty() { "" } else { "," };
            let micros = nanos as f64 / 1000.0;
            // Writing to a String does not fail.
            let _ = write!(values, "{comma}p{percentage}={micros:.3}");
        }
        text.field(&format!("latency_percentiles_usec_{name}"), values);
    }
}

/// Error replies by their code.
pub(super) fn errors(text: &mut Text, tally: &Tally) {
    for (code, count) in tally.errors() {
        text.field(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

/// Fields of our own about slot migrations: jobs that run, the rate of their streams, and how long the hand-over
/// held writes to the moving slots.
fn migrations(text: &mut Text, sums: &Sums<'_>) {
    let migrations = &sums.migrations;
    text.field("slot_migration_exports", migrations.exports);
    text.field("slot_migration_imports", migrations.imports);
    text.ratio("instantaneous_slot_import_kbps", sums.kib_per_second(Metric::ImportBytes));
    text.ratio("instantaneous_slot_export_kbps", sums.kib_per_second(Metric::ExportBytes));
    text.millis("slot_migration_last_pause_ms", migrations.pauses.last());
    text.millis("slot_migration_max_pause_ms", migrations.pauses.max);
}

/// Fields of our own about turns of the event loop that the driver found long, since the start or CONFIG RESETSTAT.
fn long_turns(text: &mut Text, sums: &Sums<'_>) {
    text.field("eventloop_max_usec", sums.long_turns.max.0);
    text.field("eventloop_max_cpu_usec", sums.long_turns.max_cpu.0);
    text.field("eventloop_cpu_over_2ms", sums.long_turns.over_limit);
}

/// A primary without replicas. Its history of writes has the name of the run: it is as new and as unique, until
/// DEBUG CHANGE-REPL-ID.
pub(super) fn replication(text: &mut Text, shard: &Shard) {
    text.field("role", "master");
    text.all(&["connected_slaves", "replicas_waiting_psync"], 0);
    text.field("master_failover_state", "no-failover");
    let changed = shard.debugging.replication_id.as_ref().and_then(|id| core::str::from_utf8(id).ok());
    text.field("master_replid", changed.unwrap_or_else(|| run_id(shard)));
    text.field("master_replid2", "0000000000000000000000000000000000000000");
    text.field("master_repl_offset", 0);
    text.field("second_repl_offset", -1);
    text.field("repl_backlog_active", 0);
    text.field("repl_backlog_size", shard.env.config.repl_backlog_size);
    text.all(&["repl_backlog_first_byte_offset", "repl_backlog_histlen"], 0);
}
