//! What GET and SET cost: CPU time per command of a server on one core, with 50 clients on the other.

use std::rc::Rc;
use std::time::{Duration, Instant};

use whimbrel_core::rng::Rng;
use whimbrel_core::wire::resp::encode_command;

use crate::common::Trouble;
use crate::common::figures::{median, quantile};
use crate::common::process::Runtime;
use crate::fill::Fill;
use crate::lean::{Lean, Ring};
use crate::single::Single;
use crate::verdict::{Goal, Line, Values};
use crate::{OURS, PEER, Plan};

const CLIENTS: usize = 50;
const KEY: usize = 16;
/// Of each server and case in a round, short and in turns: the machine changes its pace in a second.
const TRIALS: usize = 4;

/// Commands of one kind.
struct Case {
    word: &'static str,
    size: usize,
    pipeline: usize,
    /// How many times as many commands per CPU second as the other server are to be served, on mio and on glommio.
    goals: [f64; 2],
}

const fn case(word: &'static str, size: usize, pipeline: usize, goals: [f64; 2]) -> Case {
    Case { word, size, pipeline, goals }
}

const CASES: [Case; 8] = [
    case("GET", 16, 1, [1.0, 0.95]),
    case("SET", 16, 1, [1.0, 0.95]),
    case("GET", 16, 16, [1.8, 1.5]),
    case("SET", 16, 16, [1.8, 1.5]),
    case("GET", 16, 100, [2.5, 2.2]),
    case("SET", 16, 100, [2.5, 2.2]),
    case("GET", 4096, 16, [1.3, 1.1]),
    case("SET", 4096, 16, [1.3, 1.1]),
];

/// One case of one server, measured once.
struct Trial {
    server: &'static str,
    case: usize,
    cpu_ns: f64,
    per_s: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Case {
    fn name(&self) -> String {
        let size =
            if self.size < 1024 { format!("{} B", self.size) } else { format!("{} KiB", self.size / 1024) };
        format!("{} {size}, {} at a time", self.word, self.pipeline)
    }

    /// All keys with values of its size.
    fn keys(&self) -> Fill {
        let count = if self.size < 1024 { 100_000 } else { 10_000 };
        Fill {
            prefix: format!("{}:", self.size),
            numbers: 0..count,
            key_len: KEY,
            value_len: self.size,
            until_ms: None,
        }
    }

    /// Batches of commands with random keys.
    fn batches(&self) -> Ring {
        let keys = self.keys();
        let commands = if self.size < 1024 { 20_000 } else { 1600 };
        let (mut rng, value) = (Rng::new(7), vec![b'w'; self.size]);
        let batch = || {
            let mut batch = Vec::new();
            for _ in 0..self.pipeline {
                let key = keys.key(rng.below(keys.numbers.end));
                match self.word {
                    "GET" => encode_command(&mut batch, &[b"GET", key.as_bytes()]),
                    _ => encode_command(&mut batch, &[b"SET", key.as_bytes(), &value]),
                }
            }
            Rc::new(batch)
        };
        let batches = std::iter::repeat_with(batch).take(commands / self.pipeline).collect();
        let (reply, first) = match self.word {
            "GET" => (format!("${}\r\n\r\n", self.size).len() + self.size, b'$'),
            _ => (b"+OK\r\n".len(), b'+'),
        };
        Ring { batches, replies: (reply * self.pipeline, first), at: 0 }
    }
}

/// Measures all cases of both servers, in turns.
pub fn measure(plan: &Plan) -> Result<Vec<Line>, Trouble> {
    let mut servers = Single::both(plan)?;
    for server in &mut servers {
        for case in [&CASES[0], &CASES[6]] {
            case.keys().run(server.node().port(), 1)?;
        }
    }
    let mut trials: Vec<Trial> = Vec::new();
    for number in 1..=plan.rounds {
        for (index, case) in CASES.iter().enumerate() {
            let begun = trials.len();
            for _ in 0..TRIALS {
                for server in &mut servers {
                    trials.push(one(plan, server, index)?);
                }
            }
            let middle = |server: &str, value| median(&values_of(&trials[begun..], index, value)(server));
            println!(
                "commands round {number}  {:<24} {:>7.0} and {:>7.0} ns of CPU, {:>9.0} and {:>9.0} per second",
                case.name(),
                middle(OURS, |t| t.cpu_ns),
                middle(PEER, |t| t.cpu_ns),
                middle(OURS, |t| t.per_s),
                middle(PEER, |t| t.per_s)
            );
        }
    }
    Ok(lines(plan, &trials))
}

/// What all trials of a case came to, by the server.
fn values_of(trials: &[Trial], case: usize, value: fn(&Trial) -> f64) -> impl Fn(&str) -> Vec<f64> {
    move |server| {
        let of = trials.iter().filter(|t| t.server == server && t.case == case);
        of.map(value).collect()
    }
}

fn one(plan: &Plan, server: &mut Single, index: usize) -> Result<Trial, Trouble> {
    let case = &CASES[index];
    let (warm_up, length) = plan.window(Duration::from_millis(60), Duration::from_millis(150));
    let mut lean = Lean::open(server.node().port(), CLIENTS)?;
    let begun = Instant::now();
    let mut from: Option<(Instant, u64)> = None;
    let (mut took, mut cpu, mut batches) = (Duration::ZERO, 0, 0);
    lean.run(&mut case.batches(), &mut |score| {
        match from {
            None if begun.elapsed() >= warm_up => {
                (score.batches, from) = (0, Some((Instant::now(), server.cpu_ns()?)));
                score.waits.clear();
            }
            Some((at, before)) if at.elapsed() >= length => {
                (took, cpu, batches) = (at.elapsed(), server.cpu_ns()? - before, score.batches);
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    })?;
    lean.score.waits.sort_unstable();
    let commands = (batches * case.pipeline as u64) as f64;
    Ok(Trial {
        server: server.name,
        case: index,
        cpu_ns: cpu as f64 / commands,
        per_s: commands / took.as_secs_f64(),
        p50_us: f64::from(quantile(&lean.score.waits, 0.5)),
        p99_us: f64::from(quantile(&lean.score.waits, 0.99)),
    })
}

fn lines(plan: &Plan, trials: &[Trial]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (index, case) in CASES.iter().enumerate() {
        let mut line = |name: &str, goal, value| {
            lines.push(Line::new(name, 0, goal, &Values(&values_of(trials, index, value))));
        };
        let goal = Goal::RatioAtLeast(case.goals[usize::from(plan.runtime == Runtime::Glommio)]);
        line(&format!("{}: commands per CPU second", case.name()), goal, |r| 1e9 / r.cpu_ns);
        line("… CPU per command, ns", Goal::None, |r| r.cpu_ns);
        line("… commands per second", Goal::None, |r| r.per_s);
        line("… half of the batches wait at most, µs", Goal::None, |r| r.p50_us);
        line("… 99 of 100 batches wait at most, µs", Goal::None, |r| r.p99_us);
    }
    lines
}
