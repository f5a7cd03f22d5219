//! How fast keys move while nobody else wants anything, from the command until the source says `success`.

use std::thread;
use std::time::Duration;

use crate::common::Trouble;
use crate::common::process::{Program, Runtime};
use crate::keys::Keys;
use crate::pair::Pair;
use crate::usage;
use crate::verdict::{Goal, Line, Values};
use crate::{OURS, Plan};

const SLOTS: u16 = 64;
/// What moves: how many keys of how many bytes …
const LOADS: [(usize, usize); 2] = [(500_000, 100), (200_000, 1024)];
/// … how many times as fast as with the other server …
const GOALS: [f64; 2] = [3.0, 2.0];
/// … and how many times as fast between two nodes with two shards as between two on mio, on as many cores.
const SHARDS_GOALS: [f64; 2] = [1.0, 1.0];
/// Between loading and moving.
const REST: Duration = Duration::from_millis(300);

/// One migration of one server.
struct Round {
    server: &'static str,
    size: usize,
    keys_per_s: f64,
    source_ns: f64,
    target_ns: f64,
}

/// Both servers.
pub fn measure(plan: &Plan, pairs: &mut [Pair]) -> Result<Vec<Line>, Trouble> {
    Ok(lines(&run(plan, pairs)?, pairs, GOALS))
}

/// Nodes with two shards each, which share both cores, and nodes on mio, which have one each.
pub fn measure_shards(plan: &Plan) -> Result<Vec<Line>, Trouble> {
    if plan.runtime != Runtime::Glommio {
        println!("shards-rate: only nodes on glommio have more than one shard (--runtime glommio)");
        return Ok(Vec::new());
    }
    let two = Program::Whimbrel(Runtime::Glommio, 2);
    let one = Program::Whimbrel(Runtime::Mio, 1);
    let mut pairs =
        [Pair::start("two shards", &two, &plan.shared_cores())?, Pair::start("mio", &one, &plan.cores())?];
    Ok(lines(&run(plan, &mut pairs)?, &pairs, SHARDS_GOALS))
}

/// All rounds of all servers, in turns.
fn run(plan: &Plan, pairs: &mut [Pair]) -> Result<Vec<Round>, Trouble> {
    let mut rounds: Vec<Round> = Vec::new();
    for number in 1..=plan.rounds {
        for (count, size) in LOADS {
            for pair in pairs.iter_mut() {
                let keys = Keys { slots: pair.fresh_slots(SLOTS), count: count / plan.divisor, size };
                keys.load(pair.source())?;
                thread::sleep(REST);
                let round = one(pair, &keys)?;
                pair.clear()?;
                println!(
                    "rate  round {number}  {:<10} {size:>5} B  {:>10.0} keys/s  {:>5.0} and {:>5.0} ns of CPU per key",
                    round.server, round.keys_per_s, round.source_ns, round.target_ns
                );
                rounds.push(round);
            }
        }
    }
    Ok(rounds)
}

fn one(pair: &mut Pair, keys: &Keys) -> Result<Round, Trouble> {
    let pids = [pair.source().server_pid()?, pair.target().server_pid()?];
    let cpu = || -> Result<[u64; 2], Trouble> { Ok([usage::cpu_ns(pids[0])?, usage::cpu_ns(pids[1])?]) };
    let before = cpu()?;
    let took = pair.migrate(&keys.slots)?;
    let after = cpu()?;
    let per_key = |node: usize| (after[node] - before[node]) as f64 / keys.count as f64;
    Ok(Round {
        server: pair.name,
        size: keys.size,
        keys_per_s: keys.count as f64 / took.as_secs_f64(),
        source_ns: per_key(0),
        target_ns: per_key(1),
    })
}

/// The table of two servers, ours first.
fn lines(rounds: &[Round], pairs: &[Pair], goals: [f64; 2]) -> Vec<Line> {
    let mut lines = Vec::new();
    for ((count, size), least) in LOADS.into_iter().zip(goals) {
        let mut line = |name: &str, goal, value: fn(&Round) -> f64| {
            let of = |server: &str| -> Vec<f64> {
                let server = pairs[usize::from(server != OURS)].name;
                rounds.iter().filter(|r| r.server == server && r.size == size).map(value).collect()
            };
            lines.push(Line::new(name, 0, goal, &Values(&of)));
        };
        let title = format!("{count} keys of {size} B: keys/s of a migration");
        line(&title, Goal::RatioAtLeast(least), |r| r.keys_per_s);
        line("… CPU per key at the source, without a forked child, ns", Goal::None, |r| r.source_ns);
        line("… CPU per key at the target, ns", Goal::None, |r| r.target_ns);
    }
    lines
}
