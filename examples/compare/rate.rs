//! How fast keys move while nobody else wants anything, from the command until the source says `success`.

use std::thread;
use std::time::Duration;

use crate::Plan;
use crate::common::Trouble;
use crate::keys::Keys;
use crate::pair::Pair;
use crate::usage;
use crate::verdict::{Goal, Line, Values};

const SLOTS: u16 = 64;
/// What moves: how many keys of how many bytes, and how many times as fast as with the other server.
const LOADS: [(usize, usize, f64); 2] = [(500_000, 100, 3.0), (200_000, 1024, 2.0)];
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

/// All rounds of all servers, in turns.
pub fn measure(plan: &Plan, pairs: &mut [Pair]) -> Result<Vec<Line>, Trouble> {
    let mut rounds: Vec<Round> = Vec::new();
    for number in 1..=plan.rounds {
        for (count, size, _) in LOADS {
            for pair in pairs.iter_mut() {
                let keys = Keys { slots: pair.fresh_slots(SLOTS), count: count / plan.divisor, size };
                keys.load(pair.source())?;
                thread::sleep(REST);
                let round = one(pair, &keys)?;
                pair.clear()?;
                println!(
                    "rate  round {number}  {:<9} {size:>5} B  {:>10.0} keys/s  {:>5.0} and {:>5.0} ns of CPU per key",
                    round.server, round.keys_per_s, round.source_ns, round.target_ns
                );
                rounds.push(round);
            }
        }
    }
    Ok(lines(&rounds))
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

fn lines(rounds: &[Round]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (count, size, least) in LOADS {
        let mut line = |name: &str, goal, value: fn(&Round) -> f64| {
            let of = |server: &str| -> Vec<f64> {
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
