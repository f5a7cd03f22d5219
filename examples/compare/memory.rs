//! What a key costs in memory: how much a server grows by a million of them.

use std::thread;
use std::time::Duration;

use crate::Plan;
use crate::common::Trouble;
use crate::fill::Fill;
use crate::single::Single;
use crate::usage;
use crate::verdict::{Goal, Line, Values};

const KEYS: u64 = 1_000_000;
const KEY: usize = 16;
/// Sizes of values, and how much of the other server's memory a key may take.
const SIZES: [(usize, f64); 3] = [(16, 1.0), (100, 0.90), (512, 0.85)];
/// Until what is freed has gone back to the system.
const REST: Duration = Duration::from_millis(1500);

/// Starts a server anew for each size, fills it, and looks at its memory.
pub fn measure(plan: &Plan) -> Result<Vec<Line>, Trouble> {
    let mut lines = Vec::new();
    let rest = plan.window(REST, REST).0;
    for (size, most) in SIZES {
        let mut found: Vec<(&'static str, f64)> = Vec::new();
        for (name, program) in plan.programs() {
            let mut server = Single::start(plan, name, &program)?;
            thread::sleep(rest);
            let before = usage::rss(server.pid)?;
            let count = KEYS / plan.divisor as u64;
            let prefix = "key:".to_owned();
            let keys = Fill { prefix, numbers: 0..count, key_len: KEY, value_len: size, until_ms: None };
            keys.run(server.node().port(), 2)?;
            thread::sleep(rest);
            let grown = usage::rss(server.pid)?.saturating_sub(before);
            let per_key = grown as f64 / server.node().keys()? as f64;
            println!("memory  {name:<9} {size:>4} B  {per_key:>7.1} bytes per key");
            found.push((name, per_key));
        }
        let of = |server: &str| -> Vec<f64> {
            found.iter().filter(|(name, _)| *name == server).map(|(_, bytes)| *bytes).collect()
        };
        let name = format!("{KEYS} keys of {KEY} B with {size} B: bytes of memory per key");
        lines.push(Line::new(&name, 1, Goal::RatioAtMost(most), &Values(&of)));
    }
    Ok(lines)
}
