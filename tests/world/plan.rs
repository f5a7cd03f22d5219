//! What a seed enables: each run has another subset of faults, features and speeds.

use std::sync::OnceLock;

use whimbrel_core::rng::Rng;
use whimbrel_core::slots::{SLOTS, Slot};

/// Databases of every node.
pub const DATABASES: u32 = 4;

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
    /// Processes crash and come back with what their disk kept.
    pub crashes: bool,
}

impl Faults {
    pub fn any(&self) -> bool {
        *self != Self::default()
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
    /// Values with a time to live.
    pub expiry: bool,
    pub transactions: bool,
    /// DEL.
    pub deletes: bool,
    /// Writes in all the commands that mean the same, in bursts and under WATCH.
    pub forms: bool,
    /// How far the wall clocks of two processes differ at most, in microseconds.
    pub skew: u64,
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
    /// How many requests to migrate.
    pub migrations: usize,
    /// Microseconds between two operations of one client, on average.
    pub think: u64,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x0057_6869_6d62_7265);
        let r = &mut rng;
        // One seed in four is without faults.
        let faulty = !seed.is_multiple_of(4);
        let mut faults = Faults {
            migration_cuts: faulty && r.one_in(2),
            resets: faulty && r.one_in(2),
            partitions: faulty && r.one_in(3),
            long_partitions: faulty && r.one_in(2),
            freezes: faulty && r.one_in(3),
            crashes: faulty && r.one_in(3),
        };
        // A node that restarts while it cannot hear the others may believe an old table (R15).
        faults.partitions &= !faults.crashes;
        faults.long_partitions &= faults.partitions;
        let bulk = r.one_in(2);
        let slow_net = r.one_in(4);
        let several_jobs = r.one_in(2);
        let large = r.one_in(4);
        let overlap = r.one_in(3);
        let slots = Self::draw_slots(r);
        Self {
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
            expiry: r.one_in(2),
            transactions: r.one_in(2),
            deletes: r.one_in(2),
            forms: r.one_in(2),
            skew: if r.one_in(4) { 400_000 } else { 0 },
            set_epochs: !r.one_in(4),
            several_jobs,
            overlap,
            both_ways: overlap && r.one_in(2),
            cancels: r.one_in(4),
            flushes: r.one_in(6),
            migrations: 2 + r.index(4),
            think: 20_000 + r.below(60_000),
        }
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
            bulk: false,
            large: None,
            flood: false,
            skew: 0,
            set_epochs: true,
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
        self.faults.any() || self.cancels || self.flushes
    }

    /// The configuration of a process.
    pub fn config(&self, ip: &str) -> String {
        format!(
            "port 6379\nprotected-mode no\ncluster-enabled yes\ncluster-databases {DATABASES}\n\
             cluster-announce-ip {ip}\ncluster-node-timeout {}\nrepl-timeout 6\n",
            self.node_timeout_ms
        )
    }
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
