//! How fast keys move while nobody else wants anything, from the command until the source says `success`.

use std::thread;
use std::time::Duration;

use crate::Plan;
use crate::common::Trouble;
use crate::keys::Keys;
use crate::pair::Pair;
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
                let took = pair.migrate(&keys.slots)?;
                pair.clear()?;
                let keys_per_s = keys.count as f64 / took.as_secs_f64();
                println!("rate  round {number}  {:<9} {size:>5} B  {keys_per_s:>10.0} keys/s", pair.name);
                rounds.push(Round { server: pair.name, size, keys_per_s });
            }
        }
    }
    Ok(lines(&rounds))
}

fn lines(rounds: &[Round]) -> Vec<Line> {
    let line = |(count, size, least): (usize, usize, f64)| {
        let of = |server: &str| -> Vec<f64> {
            rounds.iter().filter(|r| r.server == server && r.size == size).map(|r| r.keys_per_s).collect()
        };
        Line::new(
            &format!("{count} keys of {size} B: keys/s of a migration"),
            0,
            Goal::RatioAtLeast(least),
            &Values(&of),
        )
    };
    LOADS.map(line).to_vec()
}
