//! How fast keys move while nobody else wants anything, from the command until the source says `success`.

use std::thread;
use std::time::Duration;

use crate::common::Trouble;
use crate::common::figures::median;
use crate::keys::Keys;
use crate::pair::Pair;
use crate::{Plan, report};

const SLOTS: u16 = 64;
/// What moves: how many keys of how many bytes.
const LOADS: [(usize, usize); 2] = [(500_000, 100), (200_000, 1024)];
/// Between loading and moving.
const REST: Duration = Duration::from_millis(300);

/// One migration of one server.
pub struct Round {
    server: &'static str,
    size: usize,
    keys_per_s: f64,
}

/// All rounds of all servers, in turns.
pub fn measure(plan: &Plan, pairs: &mut [Pair]) -> Result<Vec<Round>, Trouble> {
    let mut rounds = Vec::new();
    for number in 1..=plan.rounds {
        for (count, size) in LOADS {
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
    Ok(rounds)
}

/// Prints the medians.
pub fn report(rounds: &[Round]) {
    if rounds.is_empty() {
        return;
    }
    println!("\nKeys per second of a migration, nothing else going on\n");
    let row = |(count, size): (usize, usize)| {
        let of = |server: &str| {
            let of = rounds.iter().filter(|r| r.server == server && r.size == size);
            median(&of.map(|r| r.keys_per_s).collect::<Vec<_>>())
        };
        report::row(&format!("{count} keys of {size} B, keys/s"), &of, 0)
    };
    report::table(LOADS.map(row).to_vec());
}
