//! What the shard has asked for, by what it is for; MEMORY STATS and MEMORY DOCTOR.

use alloc::format;
use alloc::string::String;

use crate::link::{Outbox, Rooms};
use crate::shard::footprint::STARTUP;
use crate::shard::info::sums::Sums;
use crate::shard::{Link, Shard};
use crate::wire::resp::Reply;

/// Memory in bytes, of a shard or of all of them. Constant time, but for links of slot migrations and of the bus.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// All that is in use.
    pub(crate) used: u64,
    /// The most that ever was in use.
    pub(crate) peak: u64,
    /// In use before the first client and key.
    pub(crate) startup: u64,
    /// Clients: what is not read of theirs, what they have not been sent, their transactions.
    pub(crate) clients: u64,
    /// Streams to targets of slot migrations.
    pub(crate) exports: u64,
    /// Streams from sources of slot migrations.
    pub(crate) imports: u64,
    /// What other nodes have not been sent.
    pub(crate) bus: u64,
    /// Tables in which keys lie.
    tables: u64,
    keys: u64,
    /// What shards have asked the allocator for, as far as they know.
    asked: u64,
    /// What the allocator was asked for, the store's room for more keys included.
    pub(crate) allocated: u64,
    /// Of the process in memory, what is no file's.
    pub(crate) resident: u64,
    /// Of the process in memory.
    pub(crate) rss: u64,
}

impl Figures {
    pub(crate) fn of(shard: &Shard) -> Self {
        let (store, vitals, footprint) = (&shard.data.store, &shard.vitals, &shard.data.footprint);
        let exports = shard.data.exports.streams().map(|outbox| outbox.memory() as u64).sum();
        let bus = shard.env.view.links.iter().map(|link| link.outbox as u64).sum();
        let stored = store.allocated();
        let links = footprint.clients + footprint.imports + exports + bus;
        let used = STARTUP + links + stored.used();
        // The store allocates for itself, from what it asked for.
        let allocated = vitals.allocated.max(used + stored.slack);
        Self {
            used,
            peak: shard.peak_memory.max(used),
            startup: STARTUP,
            clients: footprint.clients,
            exports,
            imports: footprint.imports,
            bus,
            tables: stored.overhead,
            keys: (0..store.databases()).map(|db| store.len(db)).sum(),
            asked: used + stored.slack,
            allocated,
            resident: if vitals.resident == 0 { vitals.rss.max(allocated) } else { vitals.resident },
            rss: vitals.rss,
        }
    }

    /// Adds those of a sibling. What is known of the whole process stays as it is.
    pub(crate) fn add(&mut self, other: &Self) {
        self.used += other.used - other.bus;
        self.peak += other.peak - other.bus;
        self.startup += other.startup;
        self.clients += other.clients;
        self.exports += other.exports;
        self.imports += other.imports;
        self.tables += other.tables;
        self.keys += other.keys;
        self.asked += other.asked - other.bus;
        self.allocated = self.allocated.max(self.asked);
        self.resident = self.resident.max(other.resident);
    }

    /// Everything but keys and values.
    pub(crate) fn overhead(&self) -> u64 {
        self.startup + self.clients + self.exports + self.imports + self.bus + self.tables
    }

    /// Keys and values.
    pub(crate) fn dataset(&self) -> u64 {
        self.used - self.overhead()
    }

    /// In use, and no reason to evict a key.
    pub(crate) fn not_counted(&self) -> u64 {
        self.exports + self.bus
    }
}

/// `part / whole`, 0 when there is no whole.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// MEMORY STATS: a map in the order and the words of Valkey.
pub(crate) fn stats(sums: &Sums<'_>, reply: &mut Reply<'_>) {
    let figures = &sums.figures;
    let filled = || sums.databases.iter().enumerate().filter(|(db, database)| *db == 0 || database.keys > 0);
    let difference = |a: u64, b: u64| a as i64 - b as i64;
    reply.map(34 + filled().count());
    let mut int = |name: &str, value: i64| {
        reply.bulk(name.as_bytes());
        reply.int(value);
    };
    int("peak.allocated", figures.peak as i64);
    int("total.allocated", figures.used as i64);
    int("startup.allocated", figures.startup as i64);
    int("replication.backlog", 0);
    int("replicas.repl.buffer", 0);
    int("clients.slaves", 0);
    int("clients.normal", figures.clients as i64);
    int("cluster.links", figures.bus as i64);
    int("cluster.slot_import", figures.imports as i64);
    int("cluster.slot_export", figures.exports as i64);
    int("aof.buffer", 0);
    int("lua.caches", 0);
    int("functions.caches", 0);
    for (db, database) in filled() {
        reply.bulk(format!("db.{db}").as_bytes());
        reply.map(2);
        reply.bulk(b"overhead.hashtable.main");
        reply.int(database.tables as i64);
        reply.bulk(b"overhead.hashtable.expires");
        reply.int(0);
    }
    let mut int = |name: &str, value: i64| {
        reply.bulk(name.as_bytes());
        reply.int(value);
    };
    int("overhead.db.hashtable.lut", figures.tables as i64);
    int("overhead.db.hashtable.rehashing", 0);
    int("overhead.total", figures.overhead() as i64);
    int("db.dict.rehashing.count", 0);
    int("keys.count", figures.keys as i64);
    int("keys.bytes-per-key", figures.dataset().checked_div(figures.keys).unwrap_or(0) as i64);
    int("dataset.bytes", figures.dataset() as i64);
    let mut double = |name: &str, value: f64| {
        reply.bulk(name.as_bytes());
        reply.double(value);
    };
    double("dataset.percentage", 100.0 * ratio(figures.dataset(), figures.used - figures.startup));
    double("peak.percentage", 100.0 * ratio(figures.used, figures.peak));
    let mut int = |name: &str, value: i64| {
        reply.bulk(name.as_bytes());
        reply.int(value);
    };
    int("allocator.allocated", figures.allocated as i64);
    int("allocator.active", figures.resident as i64);
    int("allocator.resident", figures.resident as i64);
    int("allocator.muzzy", 0);
    let mut both = |name: [&str; 2], part: u64, whole: u64| {
        reply.bulk(name[0].as_bytes());
        reply.double(ratio(part, whole));
        reply.bulk(name[1].as_bytes());
        reply.int(difference(part, whole));
    };
    let Figures { resident, allocated, rss, used, .. } = *figures;
    both(["allocator-fragmentation.ratio", "allocator-fragmentation.bytes"], resident, allocated);
    both(["allocator-rss.ratio", "allocator-rss.bytes"], resident, resident);
    both(["rss-overhead.ratio", "rss-overhead.bytes"], rss, resident);
    both(["fragmentation", "fragmentation.bytes"], rss, used);
}

/// With less in use nothing can be said: what the process takes by itself weighs more.
const LITTLE: u64 = 5 * 1024 * 1024;
/// Memory that is not worth a word, in bytes.
const NEGLIGIBLE: u64 = 10 * 1024 * 1024;
/// Clients that take more than this on average are large.
const LARGE_CLIENT: u64 = 200 * 1024;

/// MEMORY DOCTOR: what is odd, by the thresholds of Valkey.
pub(crate) fn doctor(sums: &Sums<'_>) -> String {
    let figures = &sums.figures;
    if figures.used < LITTLE {
        return "There is too little in memory to say anything about it.\n".into();
    }
    let exceeds = |part: u64, whole: u64, percent: u64| {
        part > whole.saturating_add(NEGLIGIBLE)
            && u128::from(part) * 100 > u128::from(whole) * u128::from(percent)
    };
    let clients = sums.clients.sessions.max(1) as u64;
    let findings: [(bool, &str); 5] = [
        (
            u128::from(figures.peak) * 2 > u128::from(figures.used) * 3,
            "Peak: at some time more than 150% of the present memory was in use. Its pages may not all have gone back \
             to the system, which shows as fragmentation and does no harm: new keys will use them.",
        ),
        (
            exceeds(figures.rss, figures.used, 140),
            "Resident memory: the process takes more than 140% of what it asked for. Usually that is left over from a \
             peak, or from keys of very different sizes that came and went.",
        ),
        (
            exceeds(figures.resident, figures.allocated, 110),
            "Allocator: it holds more than 110% of what is in use. MEMORY PURGE may give some of it back.",
        ),
        (
            exceeds(figures.rss, figures.resident, 110),
            "Process: more than 110% of what the allocator holds is resident; the rest belongs to files.",
        ),
        (
            figures.clients / clients > LARGE_CLIENT,
            "Clients: they take more than 200 KB on average. Some do not read what they asked for, or send very long \
             commands; CLIENT LIST shows which (tot-mem).",
        ),
    ];
    let mut report = String::new();
    for (_, text) in findings.iter().filter(|(found, _)| *found) {
        report.push_str(&format!("* {text}\n"));
    }
    if report.is_empty() { "Nothing is odd about the memory of this node.\n".into() } else { report }
}

impl Shard {
    /// MEMORY PURGE: gives back what is kept only to be faster next time.
    pub(crate) fn purge(&mut self) {
        for link in self.links.values_mut() {
            match link {
                Link::Client(session) => session.outbox.shrink(),
                Link::Import(importing) => importing.outbox.shrink(),
                Link::Lane | Link::Export => {}
            }
        }
        self.landings.iter_mut().for_each(|lane| lane.outbox.shrink());
        self.data.exports.outboxes().for_each(Outbox::shrink);
        self.rooms = Rooms::default();
        self.data.store.give_back_all();
    }
}
