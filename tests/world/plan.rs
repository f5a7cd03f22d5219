//! What a seed enables: each run has another subset of faults, features and speeds.

use std::sync::OnceLock;

use whimbrel_core::rng::Rng;
use whimbrel_core::slots::{SLOTS, Slot};

/// Databases of every node.
pub const DATABASES: u32 = 4;

/// Of so many seeds one has clients that say much at once.
const BATCHING: u64 = 8;

/// Kinds of faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Migration links break.
    pub migration_cuts: bool,
    /// Connections of any kind are reset.
    pub resets: bool,
    /// Two processes cannot hear each other, or one of them cannot, for less time than a pause lasts.
    pub partitions: bool,
    /// Partitions also last longer than a pause.
    pub long_partitions: bool,
    /// A process stands still for a moment; its timers fire together afterwards.
    pub freezes: bool,
    /// It also stands still for longer than a pause lasts.
    pub long_freezes: bool,
    /// Processes crash and come back with what their disk kept.
    pub crashes: bool,
    /// Some of them come back with a nodes.conf that is older than what their disk kept.
    pub old_conf: bool,
    /// One end of a connection is gone, or one of its directions, and the other end does not hear of it.
    pub half_open: bool,
    /// An end of a connection does not read for a while.
    pub stalls: bool,
    /// One kind of connection is slow on one way for a while.
    pub lags: bool,
    /// Clients do not reach a process for a while.
    pub client_cuts: bool,
    /// Some writes of a disk take about as long as a pause.
    pub disk_stalls: bool,
    /// Wall clocks jump.
    pub jumps: bool,
}

impl Faults {
    /// A subset, another for each seed: few kinds together show what many would drown.
    fn draw(r: &mut Rng) -> Self {
        let partitions = r.one_in(3);
        let freezes = r.one_in(3);
        let crashes = r.one_in(3);
        Self {
            migration_cuts: r.one_in(2),
            resets: r.one_in(2),
            partitions,
            long_partitions: partitions && r.one_in(2),
            freezes,
            long_freezes: freezes && r.one_in(3),
            crashes,
            old_conf: crashes && r.one_in(4),
            half_open: r.one_in(4),
            stalls: r.one_in(4),
            lags: r.one_in(4),
            client_cuts: r.one_in(6),
            disk_stalls: r.one_in(8),
            jumps: r.one_in(6),
        }
    }

    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// Whether a process may have to wait long for what others know.
    pub fn may_keep_news_away(&self) -> bool {
        self.partitions || self.half_open || self.stalls || self.lags || self.long_freezes || self.disk_stalls
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub processes: usize,
    pub clients: usize,
    /// Slots whose keys are used.
    pub slots: Vec<u16>,
    pub faults: Faults,
    /// Microseconds that bytes travel: at least, and how much more at most.
    pub delay: (u64, u64),
    /// Most bytes in flight of a client's or bus connection.
    pub window: usize,
    /// Most bytes in flight of a migration link.
    pub migration_window: usize,
    /// Bytes per millisecond of a migration link: more than all clients can write while each of their writes is held
    /// for as long as back-pressure may (10 ms), or a job need not end.
    pub migration_rate: u64,
    /// Bytes arrive in small pieces.
    pub fragments: bool,
    /// Microseconds that a disk takes for a write: at least, and how much more at most.
    pub disk: (u64, u64),
    pub node_timeout_ms: u64,
    /// Values of some kilobytes, so that a snapshot takes time.
    pub bulk: bool,
    /// One slot has so much that its snapshot does not fit into the buffers of a link.
    pub large: Option<u16>,
    /// A client writes to moving slots as fast as it can.
    pub flood: bool,
    /// So many clients say much at once, mostly about moving slots: enough for a source to lend memory to read it into.
    pub batchers: usize,
    /// Values with a time to live.
    pub expiry: bool,
    pub transactions: bool,
    /// DEL.
    pub deletes: bool,
    /// Writes in all the commands that mean the same, in bursts and under WATCH.
    pub forms: bool,
    /// How far the wall clocks of two processes differ at most, in microseconds.
    pub skew: u64,
    /// How much faster or slower than the world a process's monotonic clock may run, in parts of a million.
    pub drift: u64,
    /// Each node gets an epoch of its own before the nodes meet.
    pub set_epochs: bool,
    /// Several jobs in one request.
    pub several_jobs: bool,
    /// A migration begins before the one before it has ended.
    pub overlap: bool,
    /// Slots also move towards the node that gave slots away a moment ago, at the same time.
    pub both_ways: bool,
    pub cancels: bool,
    pub flushes: bool,
    /// A client walks through all keys of the cluster (INV-ONCE).
    pub scans: bool,
    /// The operator sets the configuration.
    pub settings: bool,
    /// A request to move slots that are moving already.
    pub seconds: bool,
    /// A node forgets another and meets it again.
    pub forgets: bool,
    /// Slots are taken from their owner's table and given back.
    pub slot_edits: bool,
    /// CLIENT KILL and CLIENT PAUSE.
    pub client_orders: bool,
    /// CLUSTER BUMPEPOCH.
    pub bumps: bool,
    /// How many requests to migrate.
    pub migrations: usize,
    /// Microseconds between two operations of one client, on average.
    pub think: u64,
    /// `cluster-manual-failover-timeout`: half of how long a hand-over may hold writes. A short one is over while its target
    /// still takes its time, and the source has to go on holding.
    pub patience_ms: u64,
    /// Shards of each process, or of every second one.
    pub shards: u16,
    /// Every other one has fewer, so that migrations go from more to fewer and back.
    pub mixed: bool,
    /// The longest that mail from thread to thread takes, in microseconds.
    pub lateness: u64,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x0057_6869_6d62_7265);
        let r = &mut rng;
        // One seed in four is without faults.
        let faulty = !seed.is_multiple_of(4);
        let faults = if faulty { Faults::draw(r) } else { Faults::default() };
        let bulk = r.one_in(2);
        let slow_net = r.one_in(4);
        let several_jobs = r.one_in(2);
        let large = r.one_in(4);
        let overlap = r.one_in(3);
        let slots = Self::draw_slots(r);
        let plan = Self {
            seed,
            processes: 3 + r.index(3),
            clients: 4 + r.index(5),
            large: large.then(|| slots[r.index(slots.len())]),
            slots,
            faults,
            delay: if slow_net { (2_000, 20_000) } else { (50, 50 + r.below(2_000)) },
            window: if r.one_in(3) { 8 * 1024 } else { 256 * 1024 },
            migration_window: if r.one_in(2) { 16 * 1024 } else { 512 * 1024 },
            migration_rate: [4_000, 10_000, 100_000][r.index(3)],
            fragments: r.one_in(3),
            disk: if r.one_in(4) { (5_000, 200_000) } else { (100, 3_000) },
            node_timeout_ms: [1_000, 2_000, 3_000][r.index(3)],
            bulk,
            flood: r.one_in(4),
            batchers: 0,
            expiry: r.one_in(2),
            transactions: r.one_in(2),
            deletes: r.one_in(2),
            forms: r.one_in(2),
            skew: if faults.jumps { 3_000_000 } else { [0, 0, 0, 400_000][r.index(4)] },
            drift: [0, 0, 500, 100_000][r.index(4)],
            set_epochs: !r.one_in(4),
            several_jobs,
            overlap,
            both_ways: overlap && r.one_in(2),
            cancels: r.one_in(4),
            flushes: r.one_in(6),
            scans: r.one_in(3),
            settings: r.one_in(3),
            seconds: r.one_in(3),
            // Who finds a file of when it had forgotten a node may never hear of it again.
            forgets: faulty && r.one_in(8) && !faults.old_conf,
            slot_edits: faulty && r.one_in(8),
            client_orders: faulty && r.one_in(5),
            bumps: r.one_in(6),
            migrations: 2 + r.index(4),
            think: 20_000 + r.below(60_000),
            patience_ms: if faulty && r.one_in(6) { [300, 1_000][r.index(2)] } else { 5_000 },
            shards: shards_asked_for().unwrap_or([1, 1, 1, 1, 2, 3, 8][r.index(7)]),
            lateness: [30, 300, 5_000][r.index(3)],
            mixed: r.one_in(2) && shards_asked_for().is_none(),
        };
        // Drawn last: the other seeds remain what they were.
        let batchers = if r.one_in(BATCHING) { 1 + r.index(2) } else { 0 };
        let window = if batchers > 0 { 256 * 1024 } else { plan.window };
        let cancels = plan.cancels || (batchers > 0 && r.one_in(4));
        Self { batchers, window, cancels, ..plan }
    }

    /// Whether a client says much at once.
    pub fn batches(&self, client: usize) -> bool {
        client + self.batchers >= self.clients
    }

    /// A calm cluster for a story: nothing happens but what the story does.
    pub fn calm(processes: usize) -> Self {
        Self {
            processes,
            slots: vec![100, 101, 6000, 12000],
            faults: Faults::default(),
            delay: (200, 1),
            window: 256 * 1024,
            migration_window: 256 * 1024,
            migration_rate: 100_000,
            fragments: false,
            disk: (500, 1),
            node_timeout_ms: 2_000,
            patience_ms: 5_000,
            bulk: false,
            large: None,
            flood: false,
            batchers: 0,
            skew: 0,
            drift: 0,
            set_epochs: true,
            shards: shards_asked_for().unwrap_or(1),
            mixed: false,
            lateness: 30,
            // A story may make jobs fail.
            cancels: true,
            ..Self::new(0)
        }
    }

    fn draw_slots(r: &mut Rng) -> Vec<u16> {
        let mut slots: Vec<u16> = Vec::new();
        while slots.len() < 12 {
            // Some slots are neighbours, so that one range moves several.
            let slot = match slots.last() {
                Some(&last) if r.one_in(3) => (last + 1 + r.below(3) as u16) % SLOTS as u16,
                _ => r.below(SLOTS as u64) as u16,
            };
            if !slots.contains(&slot) {
                slots.push(slot);
            }
        }
        slots.sort_unstable();
        slots
    }

    /// Whether a job may fail in this run.
    pub fn may_fail_jobs(&self) -> bool {
        !self.is_calm() || self.cancels || self.flushes
    }

    /// Whether nothing happens that a client could feel, but the moving of slots.
    pub fn is_calm(&self) -> bool {
        !(self.faults.any() || self.forgets || self.slot_edits || self.client_orders)
    }

    /// How much longer than with one thread a command may take, or the end of a hold, because mail goes from thread to
    /// thread.
    pub fn grace(&self) -> u64 {
        if self.shards > 1 { 10 * self.lateness } else { 0 }
    }

    /// How many shards a process has.
    fn shards_of(&self, index: usize) -> u16 {
        match self.shards {
            8 if self.mixed && index % 2 == 1 => 4,
            _ if self.mixed && index % 2 == 1 => 1,
            shards => shards,
        }
    }

    /// The configuration of a process.
    pub fn config(&self, index: usize, ip: &str) -> String {
        format!(
            "port 6379\nprotected-mode no\ncluster-enabled yes\ncluster-databases {DATABASES}\n\
             cluster-announce-ip {ip}\ncluster-node-timeout {}\nrepl-timeout 6\ncluster-blacklist-ttl 1\n\
             enable-debug-command yes\n\
             cluster-manual-failover-timeout {}\nshards {}\n",
            self.node_timeout_ms,
            self.patience_ms,
            self.shards_of(index)
        )
    }
}

/// `WHIMBREL_SHARDS`: every process of every run is to have so many.
fn shards_asked_for() -> Option<u16> {
    let asked = std::env::var("WHIMBREL_SHARDS").ok();
    asked.map(|shards| shards.parse().expect("WHIMBREL_SHARDS is a number"))
}

/// A hash tag of a slot.
pub fn tag(slot: u16) -> &'static str {
    static TAGS: OnceLock<Vec<String>> = OnceLock::new();
    let tags = TAGS.get_or_init(|| {
        let mut tags = vec![String::new(); SLOTS];
        let mut missing = SLOTS;
        for n in 0u32.. {
            let text = n.to_string();
            let tag = &mut tags[Slot::of(text.as_bytes()).index()];
            if tag.is_empty() {
                *tag = text;
                missing -= 1;
                if missing == 0 {
                    break;
                }
            }
        }
        tags
    });
    &tags[usize::from(slot)]
}
