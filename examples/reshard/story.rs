//! The acts of the show, one after another, and the table at its end.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use whimbrel_core::slots::{SLOTS, SlotRange};

use crate::common::cluster::{Cluster, Job};
use crate::common::figures::{megabytes, ms, print_table, quantile, thousands};
use crate::common::process::Program;
use crate::common::{Trouble, disk};
use crate::display::Progress;
use crate::keys::Keys;
use crate::writers::{Ack, Place, Record, Writers};

/// How long the clients write before the migration, and after it.
const CALM: Duration = Duration::from_secs(3);
/// What the first writes do not count for: connections are made, owners learned.
const WARM_UP_US: u32 = 300_000;
/// How often the migration is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Slots whose keys are counted to see how far the migration is: enough for one percent.
const PROBES: usize = 128;
/// Writers to slots that move, and as many to slots that stay.
const WRITERS: usize = 2;
/// How many lost keys are named.
const NAMED: usize = 10;

/// What is to be shown.
pub struct Plan {
    /// Which server.
    pub program: Program,
    /// Which keys.
    pub keys: Keys,
    /// Nodes at the end.
    pub nodes: usize,
}

/// How it went.
pub enum Verdict {
    /// Every acknowledged write was read back.
    NothingLost,
    /// Some were not; they have been named.
    Lost,
}

/// Which slots go where.
struct Move {
    /// Slots of each node at first; the last has none.
    before: Vec<Vec<SlotRange>>,
    /// What each of the others gives to the last.
    given: Vec<Vec<SlotRange>>,
}

/// The migration as it was seen.
struct Migration {
    begun_us: u32,
    ended_us: u32,
    keys: u64,
    bytes: u64,
    pauses: Vec<Option<f64>>,
}

/// Plays the show.
pub fn play(plan: &Plan) -> Result<Verdict, Trouble> {
    if cfg!(debug_assertions) && matches!(plan.program, Program::Whimbrel(..)) {
        eprintln!(
            "This is a debug build: everything takes several times longer. Better: cargo run --release …\n"
        );
    }
    eprintln!("{}", disk::told(disk::durable_write()?));
    let moved = Move::plan(plan.nodes);
    eprintln!("starting {} nodes, which agree after some seconds …", plan.nodes);
    let mut cluster = Cluster::start(&plan.program, &moved.before, &[])?;
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port()).collect();
    eprintln!("{} nodes at ports {ports:?}; the last one has no slots yet", plan.nodes);

    let mut owners = [0; SLOTS];
    moved.fill(&mut owners, &moved.before, |node| ports[node]);
    plan.keys.load(&owners)?;

    let lists = moved.lists(&plan.keys);
    let moving: Vec<u32> =
        lists.iter().filter(|(place, _)| *place == Place::Moving).flat_map(|l| l.1.clone()).collect();
    let mut writers = Writers::start(plan.keys, ports[0], lists);
    calm("writing, before", &mut writers)?;
    let migration = migrate(plan, &moved, &moving, &mut cluster, &mut writers)?;
    calm("writing, after", &mut writers)?;
    let end_us = writers.now_us();
    let records = writers.stop()?;

    cluster.await_agreement()?;
    moved.fill(&mut owners, &moved.given, |_| ports[plan.nodes - 1]);
    let mut versions = vec![0; plan.keys.count as usize];
    for (number, version) in records.iter().flat_map(|record| &record.versions) {
        versions[*number as usize] = *version;
    }
    let lost = plan.keys.read_back(&owners, &versions)?;
    report(plan, &migration, &records, end_us, &lost);
    Ok(if lost.is_empty() { Verdict::NothingLost } else { Verdict::Lost })
}

impl Move {
    /// All nodes but the last share the slots, and give the last of each share away so that all have the same.
    fn plan(nodes: usize) -> Self {
        let holders = nodes - 1;
        let bound = |node: usize| (SLOTS * node / holders) as u16;
        let range = |first, last| SlotRange::new(first, last).into_iter().collect::<Vec<_>>();
        let mut before: Vec<_> = (0..holders).map(|node| range(bound(node), bound(node + 1) - 1)).collect();
        before.push(Vec::new());
        let given = (0..holders).map(|node| {
            let (first, end) = (bound(node), bound(node + 1));
            range(end - (end - first) / nodes as u16, end - 1)
        });
        Self { given: given.collect(), before }
    }

    fn fill(&self, owners: &mut [u16; SLOTS], shares: &[Vec<SlotRange>], port: impl Fn(usize) -> u16) {
        for (node, share) in shares.iter().enumerate() {
            share.iter().flat_map(SlotRange::iter).for_each(|slot| owners[slot.index()] = port(node));
        }
    }

    /// The keys of each writer: no key has two.
    fn lists(&self, keys: &Keys) -> Vec<(Place, Vec<u32>)> {
        let mut moves = [0; SLOTS];
        self.fill(&mut moves, &self.given, |_| 1);
        let places = [Place::Moving, Place::Staying];
        let mut lists: Vec<_> = places.iter().flat_map(|place| vec![(*place, Vec::new()); WRITERS]).collect();
        for number in 0..keys.count {
            let side = if moves[Keys::slot(number).index()] == 1 { 0 } else { WRITERS };
            lists[side + number as usize % WRITERS].1.push(number);
        }
        lists
    }
}

/// A time without anything but writes.
fn calm(title: &'static str, writers: &mut Writers) -> Result<(), Trouble> {
    let mut progress = Progress::begin(title, CALM.as_millis() as u64);
    let (begun, first) = (Instant::now(), writers.live.writes.load(Ordering::Relaxed));
    let rate = |writers: &Writers, elapsed: Duration| {
        let writes = writers.live.writes.load(Ordering::Relaxed) - first;
        format!("{} writes/s", thousands((writes as f64 / elapsed.as_secs_f64()) as u64))
    };
    while begun.elapsed() < CALM {
        thread::sleep(LOOK);
        writers.check()?;
        progress.at(begun.elapsed().as_millis() as u64, rate(writers, begun.elapsed()));
    }
    progress.end(rate(writers, begun.elapsed()));
    Ok(())
}

/// Moves the slots, and watches.
fn migrate(
    plan: &Plan,
    moved: &Move,
    moving: &[u32],
    cluster: &mut Cluster,
    writers: &mut Writers,
) -> Result<Migration, Trouble> {
    let total = moving.len() as u64;
    let bytes = moving.iter().map(|&n| (Keys::name(n).len() + plan.keys.value(n, 0).len()) as u64).sum();
    let probes = Probes::choose(moved, moving);
    let holders = plan.nodes - 1;
    let (sources, target) = cluster.nodes.split_at_mut(holders);
    let target = &mut target[0];
    let mut progress = Progress::begin("migrating", total);
    writers.live.longest_us.store(0, Ordering::Relaxed);
    let begun = Instant::now();
    let begun_us = writers.now_us();
    for (source, given) in sources.iter_mut().zip(&moved.given) {
        source.migrate(given, &target.id)?;
    }
    loop {
        thread::sleep(LOOK);
        writers.check()?;
        let mut jobs: Vec<Job> = Vec::new();
        for source in sources.iter_mut() {
            jobs.extend(source.jobs(1)?);
        }
        if let Some(failed) = jobs.iter().find(|job| job.is_over() && job.state != "success") {
            return Err(format!("a migration ended as {}: {}", failed.state, failed.message));
        }
        if jobs.len() == holders && jobs.iter().all(Job::is_over) {
            break;
        }
        let here = (total as f64 * probes.part(&target.ask_all(&probes.questions)?)) as u64;
        let rate = (here as f64 / begun.elapsed().as_secs_f64()) as u64;
        let states: Vec<&str> = jobs.iter().map(|job| job.state.as_str()).collect();
        progress.at(
            here,
            format!(
                "{} keys, {} keys/s, longest gap {} ms  {}",
                thousands(here),
                thousands(rate),
                ms(writers.live.longest_us.load(Ordering::Relaxed)),
                states.join(" ")
            ),
        );
    }
    let seconds = begun.elapsed().as_secs_f64();
    progress.end(format!("{} keys/s", thousands((total as f64 / seconds) as u64)));
    let ended_us = writers.now_us();
    let pauses = sources.iter_mut().map(|source| source.last_pause_ms()).collect::<Result<_, _>>()?;
    Ok(Migration { begun_us, ended_us, keys: total, bytes, pauses })
}

/// Some of the moving slots, whose keys are counted at the target.
struct Probes {
    questions: Vec<String>,
    keys: u64,
}

impl Probes {
    fn choose(moved: &Move, moving: &[u32]) -> Self {
        let slots: Vec<_> = moved.given.iter().flatten().flat_map(SlotRange::iter).collect();
        let chosen: Vec<_> = slots.iter().step_by(slots.len().div_ceil(PROBES)).copied().collect();
        let is_chosen = |number: &&u32| chosen.contains(&Keys::slot(**number));
        Self {
            questions: chosen.iter().map(|slot| format!("CLUSTER COUNTKEYSINSLOT {slot}")).collect(),
            keys: moving.iter().filter(is_chosen).count() as u64,
        }
    }

    /// Which part of the keys has arrived.
    fn part(&self, answers: &[whimbrel_core::wire::resp::Value]) -> f64 {
        let here: i64 = answers.iter().filter_map(|answer| answer.as_int()).sum();
        here as f64 / self.keys.max(1) as f64
    }
}

/// Acknowledged writes of one part of the show and one kind of keys.
#[derive(Default)]
struct Phase {
    took_us: Vec<u32>,
    longest_us: u32,
    length_us: u32,
}

impl Phase {
    /// Writes acknowledged from `from` to `to`, and the longest time of any writer without one.
    fn of(records: &[Record], place: Place, from: u32, to: u32) -> Self {
        let mut phase = Self { length_us: to - from, ..Self::default() };
        for record in records.iter().filter(|record| record.place == place) {
            let within = |ack: &&Ack| (from..=to).contains(&ack.at_us);
            phase.took_us.extend(record.acks.iter().filter(within).map(|ack| ack.took_us));
            // A gap belongs to the part in which it began.
            let gaps = record.acks.windows(2).filter(|pair| (from..to).contains(&pair[0].at_us));
            let longest = gaps.map(|pair| pair[1].at_us - pair[0].at_us).max();
            phase.longest_us = phase.longest_us.max(longest.unwrap_or_default());
        }
        phase.took_us.sort_unstable();
        phase
    }

    fn cells(&self) -> [String; 4] {
        let seconds = f64::from(self.length_us.max(1)) / 1e6;
        [
            thousands((self.took_us.len() as f64 / seconds) as u64),
            ms(quantile(&self.took_us, 0.5)),
            ms(quantile(&self.took_us, 0.99)),
            ms(self.longest_us),
        ]
    }
}

fn report(plan: &Plan, migration: &Migration, records: &[Record], end_us: u32, lost: &[(u32, String)]) {
    let seconds = f64::from(migration.ended_us - migration.begun_us) / 1e6;
    println!();
    println!(
        "Moved {} keys, {}, in {seconds:.2} s: {} keys/s, {}/s, under load.",
        thousands(migration.keys),
        megabytes(migration.bytes),
        thousands((migration.keys as f64 / seconds) as u64),
        megabytes((migration.bytes as f64 / seconds) as u64),
    );
    let pauses: Vec<String> =
        migration.pauses.iter().map(|ms| ms.map_or("not told".to_owned(), |ms| format!("{ms:.2}"))).collect();
    println!("Writes to the moving slots were held for (pause_ms, one per job): {}.\n", pauses.join(", "));

    let heading = ["clients write to", "when", "writes/s", "p50 ms", "p99 ms", "longest gap ms"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let parts = [
        ("before", WARM_UP_US, migration.begun_us),
        ("during", migration.begun_us, migration.ended_us),
        ("after", migration.ended_us, end_us),
    ];
    for (place, name) in [(Place::Moving, "moving slots"), (Place::Staying, "other slots")] {
        for (when, from, to) in parts {
            let mut row = vec![name.to_owned(), when.to_owned()];
            row.extend(Phase::of(records, place, from, to).cells());
            rows.push(row);
        }
    }
    print_table(&rows);
    println!(
        "\n  {} clients, one write at a time each; a gap is the time between two acknowledged writes of one client.",
        records.len()
    );
    println!("  With few cores most gaps are the scheduler's: compare during with before.\n");

    let writes: usize = records.iter().map(|record| record.acks.len()).sum();
    let redirects: u64 = records.iter().map(|record| record.redirects).sum();
    println!(
        "Acknowledged writes: {} by the clients ({redirects} redirects followed) and {} while loading.",
        thousands(writes as u64),
        thousands(u64::from(plan.keys.count))
    );
    println!("Acknowledged writes lost: {} (every key was read back).", lost.len());
    for (number, found) in lost.iter().take(NAMED) {
        println!("  key:{number} holds: {found}");
    }
    if lost.len() > NAMED {
        println!("  … and {} more", lost.len() - NAMED);
    }
}
