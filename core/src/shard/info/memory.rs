//! The section about memory.

use crate::shard::Shard;
use crate::shard::info::sums::Sums;
use crate::shard::info::text::{Text, share};

pub(super) fn memory(text: &mut Text, shard: &Shard, sums: &Sums<'_>) {
    let figures = &sums.figures;
    let config = &shard.env.config;
    text.size("used_memory", figures.used);
    text.size("used_memory_rss", figures.rss);
    text.size("used_memory_peak", figures.peak);
    text.percent("used_memory_peak_perc", share(figures.used, figures.peak));
    text.field("used_memory_overhead", figures.overhead());
    text.field("used_memory_startup", figures.startup);
    text.field("used_memory_dataset", figures.dataset());
    text.percent("used_memory_dataset_perc", share(figures.dataset(), figures.used - figures.startup));
    text.field("allocator_allocated", figures.allocated);
    text.all(&["allocator_active", "allocator_resident"], figures.resident);
    text.field("allocator_muzzy", 0);
    text.size("total_system_memory", shard.vitals.total_system_memory);
    scripts(text);
    text.size("maxmemory", config.maxmemory);
    text.field("maxmemory_policy", config.get("maxmemory-policy").unwrap_or_default());
    text.ratio("allocator_frag_ratio", share(figures.resident, figures.allocated));
    text.field("allocator_frag_bytes", figures.resident as i64 - figures.allocated as i64);
    text.ratio("allocator_rss_ratio", 1.0);
    text.field("allocator_rss_bytes", 0);
    text.ratio("rss_overhead_ratio", share(figures.rss, figures.resident));
    text.field("rss_overhead_bytes", figures.rss as i64 - figures.resident as i64);
    text.ratio("mem_fragmentation_ratio", share(figures.rss, figures.used));
    text.field("mem_fragmentation_bytes", figures.rss as i64 - figures.used as i64);
    text.field("mem_not_counted_for_evict", figures.not_counted());
    text.all(
        &[
            "mem_replication_backlog",
            "mem_total_replication_buffers",
            "mem_replicas_repl_buffer",
            "mem_clients_slaves",
        ],
        0,
    );
    text.field("mem_clients_normal", figures.clients);
    text.field("mem_cluster_links", figures.bus);
    text.field("mem_cluster_slot_import", figures.imports);
    text.field("mem_cluster_slot_export", figures.exports);
    text.field("mem_aof_buffer", 0);
    text.field("mem_allocator", &shard.process.allocator);
    text.all(&["mem_overhead_db_hashtable_rehashing", "active_defrag_running"], 0);
    text.field("lazyfree_pending_objects", sums.detached);
    text.field("lazyfreed_objects", sums.freed);
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
