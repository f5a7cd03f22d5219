//! The sections about clients, and about the keys of each database.

use crate::shard::info::sums::{Database, Sums};
use crate::shard::info::text::Text;
use crate::shard::session::Session;
use crate::shard::{Link, Shard};
use crate::time::Now;

/// The clients of the shard.
pub(super) fn sessions(shard: &Shard) -> impl Iterator<Item = &Session> {
    shard.links.values().filter_map(|link| match link {
        Link::Client(session) => Some(&**session),
        _ => None,
    })
}

pub(super) fn clients(text: &mut Text, now: Now, shard: &Shard, sums: &Sums<'_>) {
    let clients = &sums.clients;
    let (reason, actions, timeout_ms) =
        sums.paused.map_or(("none", "none", 0), |paused| paused.words(now.mono));
    text.field("connected_clients", clients.links);
    text.field("cluster_connections", shard.env.view.links.len());
    text.field("maxclients", shard.env.config.maxclients);
    let (input, output) = clients.largest;
    text.field("client_recent_max_input_buffer", input);
    text.field("client_recent_max_output_buffer", output);
    text.field("blocked_clients", clients.blocked);
    text.field("tracking_clients", clients.tracking);
    text.field("pubsub_clients", 0);
    text.field("watching_clients", clients.watching);
    text.field("clients_in_timeout_table", clients.with_deadline);
    text.field("total_watched_keys", clients.watched_keys);
    text.all(&["total_blocking_keys", "total_blocking_keys_on_nokey"], 0);
    text.field("paused_reason", reason);
    text.field("paused_actions", actions);
    text.field("paused_timeout_milliseconds", timeout_ms);
}

/// Databases without keys are not shown, nor are the keys of slots that are being imported.
pub(super) fn keyspace(text: &mut Text, sums: &Sums<'_>) {
    for (db, Database { keys, expires, .. }) in sums.databases.iter().enumerate() {
        if *keys > 0 {
            let values = format_args!("keys={keys},expires={expires},avg_ttl=0,keys_with_volatile_items=0");
            text.field(&alloc::format!("db{db}"), values);
        }
    }
}
