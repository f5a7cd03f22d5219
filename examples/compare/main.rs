//! Whimbrel beside Valkey on this machine, in one run: the same loads, in turns, each server on the same cores.
//!
//! `cargo run --release --example compare -- --peer /path/to/valkey-server`; what the numbers mean and how they are
//! taken is told in `docs/performance.md`. One file per measurement; all of them get a [`Pair`](pair::Pair) of nodes.

#![allow(unreachable_pub)] // a program: nothing is reached from outside

#[path = "../common/mod.rs"]
mod common;
mod gap;
mod keys;
mod pair;
mod rate;
mod report;

use std::path::PathBuf;

use common::process::{Program, installed_peer, serve_if_started_as_node};
use common::words::Words;
use common::{Trouble, cores, give_up};
use pair::Pair;

const USAGE: &str = "\
Whimbrel beside Valkey: the same loads in turns, each server on the same two cores.

Usage: cargo run --release --example compare -- [--peer PROGRAM] [--rounds N] [--quick] [--only gap|rate]

  --peer PROGRAM  the other server (default: .peers/bin/valkey-server, which .ci/peers installs)
  --rounds N      rounds of each measurement, of which the median is shown, 1 to 20 (default 5)
  --quick         two rounds with a tenth of the keys: to see that it works, not to be quoted
  --only NAME     only one of the measurements

The nodes keep nodes.conf in a folder for temporary files (TMPDIR). A hand-over waits for one durable write of it.
";

/// Whimbrel's nodes serve from this program; theirs is the allocator of `whimbrel-mio`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The core of the node that slots move away from.
const SOURCE_CORE: usize = 0;
/// The core of the node that they move to, and of the client.
const TARGET_CORE: usize = 1;

/// What is to be measured.
pub struct Plan {
    peer: PathBuf,
    rounds: usize,
    /// All numbers of keys are divided by this.
    divisor: usize,
    only: Option<String>,
}

impl Plan {
    fn measures(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }
}

fn main() {
    serve_if_started_as_node();
    let words = Words::read(USAGE, &["peer", "rounds", "only"], &["quick"]);
    let quick = words.has("quick");
    let Some(peer) = words.value("peer").map(PathBuf::from).or_else(installed_peer) else {
        give_up("there is no server to compare with: give one with --peer, or let .ci/peers install Valkey");
    };
    let plan = Plan {
        peer,
        rounds: words.number("rounds", if quick { 2 } else { 5 }, 1..=20),
        divisor: if quick { 10 } else { 1 },
        only: words.value("only").map(str::to_owned),
    };
    if let Err(trouble) = measure(&plan) {
        give_up(&trouble);
    }
}

fn measure(plan: &Plan) -> Result<(), Trouble> {
    if cfg!(debug_assertions) {
        println!("This is a debug build: its numbers say nothing. Use cargo run --release …\n");
    }
    report::machine()?;
    // The client's threads inherit it; so do nodes, which then choose their own.
    let pinned = cores::available() > TARGET_CORE && cores::pin(TARGET_CORE);
    let cores = if pinned { [Some(SOURCE_CORE), Some(TARGET_CORE)] } else { [None; 2] };
    let mut pairs = [
        Pair::start("Whimbrel", &Program::Whimbrel, cores)?,
        Pair::start("peer", &Program::Foreign(plan.peer.clone()), cores)?,
    ];
    report::servers(&mut pairs, pinned)?;
    let gaps = if plan.measures("gap") { gap::measure(plan, &mut pairs)? } else { Vec::new() };
    let rates = if plan.measures("rate") { rate::measure(plan, &mut pairs)? } else { Vec::new() };
    gap::report(&gaps);
    rate::report(&rates);
    Ok(())
}
