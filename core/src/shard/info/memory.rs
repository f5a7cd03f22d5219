//! The section about memory, and the count of what is in use.

use core::mem::size_of;

use crate::shard::Link;
use crate::shard::Shard;
use crate::shard::info::clients::sessions;
use crate::shard::info::text::{Text, share};
use crate::shard::session::Session;

/// Where the memory of a shard is, in bytes.
struct Usage {
    /// Keys, values and the tables they lie in, also those that wait to be freed.
    data: u64,
    /// Clients: what they have not been sent, what is not read of theirs, their transactions.
    clients: u64,
    /// Streams to targets of slot migrations.
    exports: u64,
    /// Streams from sources of slot migrations.
    imports: u64,
}

/// What a shard takes before the first client and key.
const STARTUP: u64 = size_of::<Shard>() as u64;

impl Usage {
    fn of(shard: &Shard) -> Self {
        let imports = shard.links.values().filter_map(|link| match link {
            Link::Import(importing) => Some(importing.outbox.len() as u64),
            _ => None,
        });
        Self {
            data: shard.data.store.allocated().used(),
            clients: sessions(shard).map(of_session).sum(),
            exports: shard.data.exports.iter().map(|e| e.remaining()).sum(),
            imports: imports.sum(),
        }
    }

    fn overhead(&self) -> u64 {
        STARTUP + self.clients + self.exports + self.imports
    }

    fn total(&self) -> u64 {
        self.data + self.overhead()
    }
}

fn of_session(session: &Session) -> u64 {
    let client = &session.client;
    let words: usize = client.backlog.iter().map(|queued| queued.words.memory()).sum();
    let buffers = session.outbox.len() + session.reader.memory() + client.transaction.bytes() + words;
    (size_of::<Session>() + buffers) as u64
}

/// Bytes that the shard has asked for.
pub(super) fn used(shard: &Shard) -> u64 {
    Usage::of(shard).total()
}

pub(super) fn memory(text: &mut Text, shard: &Shard) {
    let (vitals, config) = (&shard.vitals, &shard.env.config);
    let usage = Usage::of(shard);
    let used = usage.total();
    let peak = shard.peak_memory.max(used);
    text.size("used_memory", used);
    text.size("used_memory_rss", vitals.rss);
    text.size("used_memory_peak", peak);
    text.percent("used_memory_peak_perc", share(used, peak));
    text.field("used_memory_overhead", usage.overhead());
    text.field("used_memory_startup", STARTUP);
    text.field("used_memory_dataset", usage.data);
    text.percent("used_memory_dataset_perc", share(usage.data, used - STARTUP));
    // An allocator that does not say what it holds for us holds at least what we asked for.
    let allocated = if vitals.allocated == 0 { used } else { vitals.allocated };
    let resident = vitals.rss.max(allocated);
    text.field("allocator_allocated", allocated);
    text.all(&["allocator_active", "allocator_resident"], resident);
    text.field("allocator_muzzy", 0);
    text.size("total_system_memory", vitals.total_system_memory);
    scripts(text);
    let unsent_on_bus: usize = shard.env.view.links.iter().map(|link| link.outbox).sum();
    let word = |name: &str| config.get(name).unwrap_or_default();
    let limit: u64 = word("maxmemory").parse().unwrap_or_default();
    text.size("maxmemory", limit);
    text.field("maxmemory_policy", word("maxmemory-policy"));
    text.ratio("allocator_frag_ratio", share(resident, allocated));
    text.field("allocator_frag_bytes", resident - allocated);
    text.ratio("allocator_rss_ratio", 1.0);
    text.field("allocator_rss_bytes", 0);
    text.ratio("rss_overhead_ratio", share(vitals.rss, resident));
    text.field("rss_overhead_bytes", vitals.rss as i64 - resident as i64);
    text.ratio("mem_fragmentation_ratio", share(vitals.rss, used));
    text.field("mem_fragmentation_bytes", vitals.rss as i64 - used as i64);
    text.all(
        &[
            "mem_not_counted_for_evict",
            "mem_replication_backlog",
            "mem_total_replication_buffers",
            "mem_replicas_repl_buffer",
            "mem_clients_slaves",
        ],
        0,
    );
    text.field("mem_clients_normal", usage.clients);
    text.field("mem_cluster_links", unsent_on_bus);
    text.field("mem_cluster_slot_import", usage.imports);
    text.field("mem_cluster_slot_export", usage.exports);
    text.field("mem_aof_buffer", 0);
    text.field("mem_allocator", &shard.process.allocator);
    text.all(&["mem_overhead_db_hashtable_rehashing", "active_defrag_running"], 0);
    text.field("lazyfree_pending_objects", shard.data.store.detached());
    text.field("lazyfreed_objects", shard.upkeep.freed());
}

/// Memory of scripting engines, of which there is none.
fn scripts(text: &mut Text) {
    text.all(&["used_memory_lua", "used_memory_vm_eval"], 0);
    text.human("used_memory_lua", 0);
    text.all(
        &[
            "used_memory_scripts_eval",
            "number_of_cached_scripts",
            "number_of_functions",
            "number_of_libraries",
            "used_memory_vm_functions",
        ],
        0,
    );
    text.size("used_memory_vm_total", 0);
    text.field("used_memory_functions", 0);
    text.size("used_memory_scripts", 0);
}
