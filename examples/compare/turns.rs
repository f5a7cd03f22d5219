//! How long everybody has to wait while a server does something large: its longest turn, with ten million keys.
//!
//! A turn is one round of the event loop. Whimbrel measures its own, by the wall and in CPU time of its thread; of
//! any server the longest wait of a client is told, which knows of what the machine did as well.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{ops::Range, thread};

use crate::Plan;
use crate::common::Trouble;
use crate::common::cluster::Node;
use crate::common::process::Program;
use crate::fill::Fill;
use crate::keys;
use crate::pair::{LOOK, Pair, Watched};
use crate::probe::Probe;
use crate::single::Single;
use crate::verdict::{Goal, Line, Values};

const KEYS: u64 = 10_000_000;
const KEY: usize = 20;
const VALUE: usize = 16;
/// The longest turn that there may be, in milliseconds of CPU time.
const MOST_MS: f64 = 2.0;
/// How long expiry is watched.
const EXPIRY: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(180);

const PHASES: [&str; 6] = [
    "one slot grows to 10 million keys",
    "all slots grow to 10 million keys",
    "10 million keys expire at once",
    "snapshot of a slot of 10 million keys, at its source",
    "the same, at its target",
    "cleanup of the slot at the source",
];

/// What one server did in one phase. What it does not tell is no number.
struct Phase {
    server: &'static str,
    /// Which of [`PHASES`].
    phase: usize,
    cpu_ms: f64,
    wall_ms: f64,
    wait_ms: f64,
    took_s: f64,
    /// Keys that expired per second, in the phase that is about it.
    keys_per_s: f64,
}

/// Longest turns of a node since its statistics were reset, in milliseconds: CPU time and wall.
fn longest_turns(node: &mut Node) -> Result<(f64, f64), Trouble> {
    let mut ms = |field| -> Result<f64, Trouble> {
        let us = node.info("stats", field)?.and_then(|us| us.parse::<f64>().ok());
        Ok(us.map_or(f64::NAN, |us| us / 1000.0))
    };
    Ok((ms("eventloop_max_cpu_usec")?, ms("eventloop_max_usec")?))
}

fn reset(node: &mut Node) -> Result<(), Trouble> {
    node.ask("CONFIG RESETSTAT").map(drop)
}

fn phase(
    server: &'static str,
    phase: usize,
    node: &mut Node,
    wait_us: u32,
    took: Duration,
) -> Result<Phase, Trouble> {
    let (cpu_ms, wall_ms) = longest_turns(node)?;
    let wait_ms = f64::from(wait_us) / 1000.0;
    let took_s = took.as_secs_f64();
    let turns = match cpu_ms.is_nan() {
        true => String::new(),
        false => format!(", longest turn {cpu_ms:.2} ms of CPU, {wall_ms:.2} by the wall"),
    };
    println!(
        "turns  {server:<9} {:<52} {took_s:>6.1} s, longest wait {wait_ms:>6.2} ms{turns}",
        PHASES[phase]
    );
    Ok(Phase { server, phase, cpu_ms, wall_ms, wait_ms, took_s, keys_per_s: f64::NAN })
}

/// Lets one server after the other do it all.
pub fn measure(plan: &Plan) -> Result<Vec<Line>, Trouble> {
    let mut phases = Vec::new();
    for (name, program) in plan.programs() {
        spread(plan, name, &program, &mut phases)?;
        one_slot(plan, name, &program, &mut phases)?;
    }
    Ok(lines(&phases))
}

fn count(plan: &Plan) -> u64 {
    // Quick means seconds, and this is by far the most keys.
    let divisor = plan.divisor as u64;
    KEYS / (divisor * divisor)
}

fn fill(node: &Node, prefix: String, numbers: Range<u64>, until_ms: Option<u64>) -> Result<u32, Trouble> {
    Fill { prefix, numbers, key_len: KEY, value_len: VALUE, until_ms }.run(node.port(), 2)
}

/// All slots grow; then all keys expire.
fn spread(
    plan: &Plan,
    name: &'static str,
    program: &Program,
    phases: &mut Vec<Phase>,
) -> Result<(), Trouble> {
    let mut server = Single::start(plan, name, program)?;
    let node = server.node();
    // What a tenth takes says when all will be there: no key may expire before.
    let (count, begun) = (count(plan), Instant::now());
    fill(node, "warm:".into(), 0..count / 10, None)?;
    node.ask("FLUSHALL SYNC")?;
    let lead = begun.elapsed() * 15 + Duration::from_secs(2);
    let end = SystemTime::now() + lead;
    let until_ms = end.duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?.as_millis() as u64;
    reset(node)?;
    let begun = Instant::now();
    let wait = fill(node, String::new(), 0..count, Some(until_ms))?;
    phases.push(phase(name, 1, node, wait, begun.elapsed())?);
    if SystemTime::now() > end {
        println!("turns  {name:<9} the machine was too slow: keys expired before all were there");
    }
    thread::sleep(end.duration_since(SystemTime::now()).unwrap_or_default());
    let left = node.keys()?;
    reset(node)?;
    let (begun, probe) = (Instant::now(), Probe::start(node.port())?);
    while begun.elapsed() < EXPIRY && node.keys()? > 0 {
        thread::sleep(LOOK);
    }
    let took = begun.elapsed();
    let wait = probe.stop()?;
    let expired = left - node.keys()?;
    let expiry = phase(name, 2, node, wait, took)?;
    phases.push(Phase { keys_per_s: expired as f64 / took.as_secs_f64(), ..expiry });
    Ok(())
}

/// One slot grows, moves away, and is cleaned up where it was.
fn one_slot(
    plan: &Plan,
    name: &'static str,
    program: &Program,
    phases: &mut Vec<Phase>,
) -> Result<(), Trouble> {
    let mut pair = Pair::start(name, program, &plan.cores())?;
    let slots = pair.fresh_slots(1);
    let prefix = format!("{{{}}}", keys::tag(slots.start));
    reset(pair.source())?;
    let begun = Instant::now();
    let wait = fill(pair.source(), prefix, 0..count(plan), None)?;
    phases.push(phase(name, 0, pair.source(), wait, begun.elapsed())?);
    thread::sleep(plan.window(Duration::from_millis(500), Duration::ZERO).0);

    reset(pair.source())?;
    reset(pair.target())?;
    let probes = [Probe::start(pair.source().port())?, Probe::start(pair.target().port())?];
    let begun = Instant::now();
    pair.begin(&slots)?;
    let ended = pair.watch("success", LIMIT)?;
    let took = begun.elapsed();
    let [at_source, at_target] = probes;
    phases.push(phase(name, 3, pair.source(), at_source.stop()?, took)?);
    reset(pair.source())?;
    let begun = Instant::now();
    let probe = Probe::start(pair.source().port())?;
    phases.push(phase(name, 4, pair.target(), at_target.stop()?, took)?);
    if let Watched::Failed(reason) = ended {
        println!("turns  {name:<9} the slot did not move: {reason}");
        probe.stop()?;
        return Ok(());
    }
    while begun.elapsed() < LIMIT
        && (pair.source().keys()? > 0
            || pair.source().info("memory", "lazyfree_pending_objects")?.is_some_and(|left| left != "0"))
    {
        thread::sleep(LOOK);
    }
    let took = begun.elapsed();
    phases.push(phase(name, 5, pair.source(), probe.stop()?, took)?);
    Ok(())
}

fn lines(phases: &[Phase]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (index, title) in PHASES.iter().enumerate() {
        let mut line = |name: &str, digits, goal, value: fn(&Phase) -> f64| {
            let of = |server: &str| -> Vec<f64> {
                phases.iter().filter(|p| p.server == server && p.phase == index).map(value).collect()
            };
            lines.push(Line::new(name, digits, goal, &Values(&of)));
        };
        line(&format!("{title}: longest turn, ms of CPU"), 2, Goal::AtMost(MOST_MS), |p| p.cpu_ms);
        line("… longest turn by the wall, ms", 2, Goal::None, |p| p.wall_ms);
        line("… longest wait of a client, ms", 2, Goal::None, |p| p.wait_ms);
        line("… seconds", 1, Goal::None, |p| p.took_s);
        if index == 2 {
            line("… keys per second", 0, Goal::None, |p| p.keys_per_s);
        }
    }
    lines
}
