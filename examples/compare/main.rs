//! Whimbrel beside Valkey on this machine, in one run: the same loads, in turns, each server on the same cores.
//!
//! `cargo run --release --example compare -- --peer /path/to/valkey-server`; what the numbers mean and how they are
//! taken is told in `docs/performance.md`. One file per measurement, of a [`Pair`](pair::Pair) of nodes or of a
//! [`Single`](single::Single) one.

#![allow(unreachable_pub)] // a program: nothing is reached from outside

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod fill;
mod gap;
mod keys;
mod lean;
mod load;
mod machine;
mod memory;
mod pair;
mod probe;
mod rate;
mod shards;
mod single;
mod turns;
mod usage;
mod verdict;
mod writers;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::process::{Program, Runtime, installed_peer, serve_if_started_as_node};
use common::words::{Words, refuse};
use common::{Trouble, cores, give_up};
use pair::Pair;
use verdict::Line;

const USAGE: &str = "\
Whimbrel beside Valkey: the same loads in turns, each server on the same cores, and whether we reach our goals.

Usage: cargo run --release --example compare -- [--peer PROGRAM] [--runtime NAME] [--rounds N] [--quick]
       [--only PARTS]

  --peer PROGRAM  the other server (default: .peers/bin/valkey-server, which .ci/peers installs)
  --runtime NAME  what our nodes run on: mio (default), or glommio, which is Linux with io_uring
  --rounds N      rounds of each measurement, of which the median is shown, 1 to 20 (default 5)
  --quick         two rounds with a tenth of the keys or less: to see that it works, not to be quoted
  --only PARTS    only these, parted by commas:
                    gap       how long a writer waits at worst while its slots move
                    rate      how fast keys move when nothing else goes on
                    load      migrations while their slots are written to, at a pace and without end
                    commands  what GET and SET cost
                    memory    what a key costs
                    shards    what a second shard costs, and commands that are for the other one; with --runtime glommio
                    shards-rate
                              how fast keys move between nodes with two shards, beside nodes on mio; with --runtime glommio
                    turns     the longest turns with ten million keys; takes 3 GB of memory and some minutes

The nodes keep nodes.conf in a folder for temporary files (TMPDIR). A hand-over waits for one durable write of it.
";

/// Whimbrel's nodes serve from this program; theirs is the allocator of our programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How we are called in what is printed.
pub const OURS: &str = "Whimbrel";
/// How the other server is called.
pub const PEER: &str = "peer";

/// The core of a server that is alone, and of the node that slots move away from.
const SERVER_CORE: usize = 0;
/// The core of the node that slots move to, and of all clients.
const CLIENT_CORE: usize = 1;

const PARTS: [&str; 8] = ["gap", "rate", "load", "commands", "memory", "shards", "shards-rate", "turns"];

/// What is to be measured.
pub struct Plan {
    peer: PathBuf,
    runtime: Runtime,
    rounds: usize,
    /// All numbers of keys are divided by this.
    divisor: usize,
    only: Vec<String>,
    /// Of the machine, before we chose one.
    cores: usize,
    pinned: bool,
}

impl Plan {
    fn read() -> Self {
        let words = Words::read(USAGE, &["peer", "runtime", "rounds", "only"], &["quick"]);
        let quick = words.has("quick");
        let Some(peer) = words.value("peer").map(PathBuf::from).or_else(installed_peer) else {
            refuse(
                "there is no server to compare with: give one with --peer, or let .ci/peers install Valkey",
            );
        };
        let only: Vec<String> = words
            .value("only")
            .unwrap_or_default()
            .split(',')
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect();
        if let Some(unknown) = only.iter().find(|part| !PARTS.contains(&part.as_str())) {
            refuse(&format!("--only knows {}, and not {unknown}", PARTS.join(", ")));
        }
        let cores = cores::available();
        Self {
            peer,
            runtime: Runtime::named(words.value("runtime")),
            rounds: words.number("rounds", if quick { 2 } else { 5 }, 1..=20),
            divisor: if quick { 10 } else { 1 },
            only,
            // The client's threads inherit it; so do nodes, which then choose their own.
            cores,
            pinned: cores > CLIENT_CORE && cores::pin(&[CLIENT_CORE]),
        }
    }

    fn measures(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }

    /// Both servers.
    fn programs(&self) -> [(&'static str, Program); 2] {
        [(OURS, Program::Whimbrel(self.runtime, 1)), (PEER, Program::Foreign(self.peer.clone()))]
    }

    /// Where the two nodes of a pair run, and where one that is alone does: as the first.
    fn cores(&self) -> [Vec<usize>; 2] {
        if self.pinned { [vec![SERVER_CORE], vec![CLIENT_CORE]] } else { [vec![], vec![]] }
    }

    /// Where two nodes with a shard for each of these cores run.
    fn shared_cores(&self) -> [Vec<usize>; 2] {
        self.cores().map(|own| if own.is_empty() { own } else { vec![SERVER_CORE, CLIENT_CORE] })
    }

    /// Times to wait and to measure, shorter when only to see that it works.
    fn window(&self, wait: Duration, measure: Duration) -> (Duration, Duration) {
        let divisor = if self.divisor == 1 { 1 } else { 5 };
        (wait / divisor, measure / divisor)
    }
}

fn main() {
    serve_if_started_as_node();
    if let Err(trouble) = measure(&Plan::read()) {
        give_up(&trouble);
    }
}

fn measure(plan: &Plan) -> Result<(), Trouble> {
    if cfg!(debug_assertions) {
        println!("This is a debug build: its numbers say nothing. Use cargo run --release …\n");
    }
    machine::tell(plan)?;
    let begun = Instant::now();
    let mut all: Vec<(&str, Vec<Line>)> = Vec::new();
    if ["gap", "rate", "load"].iter().any(|part| plan.measures(part)) {
        let pairs = plan.programs().map(|(name, program)| Pair::start(name, &program, &plan.cores()));
        let mut pairs = pairs.into_iter().collect::<Result<Vec<_>, _>>()?;
        if plan.measures("gap") {
            all.push(("A writer of moving slots", gap::measure(plan, &mut pairs)?));
        }
        if plan.measures("rate") {
            all.push(("Migration while nothing else goes on", rate::measure(plan, &mut pairs)?));
        }
        if plan.measures("load") {
            all.push(("Migration of slots that are written to", load::measure(plan, &mut pairs)?));
        }
    }
    if plan.measures("commands") {
        all.push(("Commands, one server core, 50 clients", commands::measure(plan)?));
    }
    if plan.measures("memory") {
        all.push(("Memory", memory::measure(plan)?));
    }
    let shards = if plan.measures("shards") { shards::measure(plan)? } else { Vec::new() };
    let moving = if plan.measures("shards-rate") { rate::measure_shards(plan)? } else { Vec::new() };
    if plan.measures("turns") {
        all.push(("Longest turns and waits", turns::measure(plan)?));
    }
    all.iter().for_each(|(title, lines)| verdict::print(title, [OURS, PEER], lines));
    verdict::print("Shards of one node, all on one core, 50 clients", ["two shards", "one shard"], &shards);
    verdict::print(
        "Migration, two shards in each node, on the same two cores",
        ["two shards", "mio"],
        &moving,
    );
    let all = all.into_iter().flat_map(|(_, lines)| lines).chain(shards).chain(moving);
    verdict::sum_up(&all.collect::<Vec<_>>());
    println!("\nIt took {} s.", begun.elapsed().as_secs());
    Ok(())
}
