//! What it costs to have two shards: CPU time per GET of a node with two of them beside a node with one, when every command
//! is for a key of the shard that its connection came to, and when clients take what connection they get. All shards of a
//! node share its core, so that nothing but their work is compared.

use std::rc::Rc;
use std::time::{Duration, Instant};

use whimbrel_core::rng::Rng;
use whimbrel_core::slots::Slot;
use whimbrel_core::wire::resp::encode_command;

use crate::common::Trouble;
use crate::common::figures::median;
use crate::common::process::{Program, Runtime};
use crate::fill::Fill;
use crate::lean::{Batches, Lean, Ring};
use crate::single::Single;
use crate::verdict::{Goal, Line, Values};
use crate::{OURS, PEER, Plan};

/// What the node beside which the other is measured has, and what that one has.
const SHARDS: [u16; 2] = [1, 2];
const CLIENTS: usize = 50;
const KEYS: u64 = 100_000;
const SIZE: usize = 16;
/// Commands that are made before.
const COMMANDS: usize = 20_000;
const PIPELINES: [usize; 3] = [1, 16, 100];
/// Of each node and case in a round, short and in turns: the machine changes its pace in a second more than the nodes differ.
const TRIALS: usize = 4;
/// What a command may cost that needs no other shard, of what it costs a node with one shard.
const GOAL: f64 = 1.25;

/// Whose keys a connection asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// Those of the shard that it came to.
    Own,
    /// Any, as clients do that know nodes and no shards.
    Any,
}

/// One measurement.
struct Trial {
    shards: u16,
    keys: Keys,
    pipeline: usize,
    cpu_ns: f64,
}

/// Batches of commands, by the shard that each connection came to.
struct Dealt {
    rings: Vec<Ring>,
    /// By connection.
    shards: Vec<usize>,
}

impl Batches for Dealt {
    fn next(&mut self, link: usize) -> Option<Rc<Vec<u8>>> {
        self.rings[self.shards[link]].next(link)
    }

    fn replies(&self) -> (usize, u8) {
        self.rings[0].replies
    }
}

fn all_keys() -> Fill {
    Fill { prefix: "shards:".to_owned(), numbers: 0..KEYS, key_len: SIZE, value_len: SIZE, until_ms: None }
}

/// Batches of GETs, of keys of one shard of so many or of any.
fn ring(pipeline: usize, only: Option<(u16, u16)>) -> Ring {
    let (keys, mut rng) = (all_keys(), Rng::new(7));
    let mut key = || loop {
        let key = keys.key(rng.below(KEYS));
        if only.is_none_or(|(shard, of)| Slot::of(key.as_bytes()).number() % of == shard) {
            return key;
        }
    };
    let batch = || {
        let mut batch = Vec::new();
        (0..pipeline).for_each(|_| encode_command(&mut batch, &[b"GET", key().as_bytes()]));
        Rc::new(batch)
    };
    let batches = std::iter::repeat_with(batch).take(COMMANDS / pipeline).collect();
    Ring { batches, replies: ((format!("${SIZE}\r\n\r\n").len() + SIZE) * pipeline, b'$'), at: 0 }
}

/// Measures all cases of both nodes, in turns.
pub fn measure(plan: &Plan) -> Result<Vec<Line>, Trouble> {
    if plan.runtime != Runtime::Glommio {
        println!("shards: only nodes on glommio have more than one (--runtime glommio)");
        return Ok(Vec::new());
    }
    let start = |shards: u16| Single::start(plan, OURS, &Program::Whimbrel(Runtime::Glommio, shards));
    let mut nodes = SHARDS.map(start).into_iter().collect::<Result<Vec<_>, _>>()?;
    for node in &mut nodes {
        all_keys().run(node.node().port(), 1)?;
    }
    let mut trials = Vec::new();
    for number in 1..=plan.rounds {
        for pipeline in PIPELINES {
            for keys in [Keys::Own, Keys::Any] {
                let begun = trials.len();
                for _ in 0..TRIALS {
                    for (node, shards) in nodes.iter_mut().zip(SHARDS) {
                        trials.push(one(plan, node, shards, keys, pipeline)?);
                    }
                }
                let [one, two] =
                    SHARDS.map(|shards| median(&costs(&trials[begun..], pipeline, keys, shards)));
                println!(
                    "shards round {number}  {pipeline:>3} at a time, {} keys: {one:.0} and {two:.0} ns of CPU",
                    if keys == Keys::Own { "own" } else { "any" }
                );
            }
        }
    }
    Ok(lines(&trials))
}

/// What a command cost in all trials of a case.
fn costs(trials: &[Trial], pipeline: usize, keys: Keys, shards: u16) -> Vec<f64> {
    let of = trials.iter().filter(|t| (t.pipeline, t.keys, t.shards) == (pipeline, keys, shards));
    of.map(|t| t.cpu_ns).collect()
}

fn one(plan: &Plan, node: &mut Single, shards: u16, keys: Keys, pipeline: usize) -> Result<Trial, Trouble> {
    let (warm_up, length) = plan.window(Duration::from_millis(60), Duration::from_millis(150));
    let (mut lean, came_to) = Lean::open_at_shards(node.node().port(), CLIENTS, shards)?;
    let only = |shard| (keys == Keys::Own).then_some((shard, shards));
    let mut batches =
        Dealt { rings: (0..shards).map(|shard| ring(pipeline, only(shard))).collect(), shards: came_to };
    let begun = Instant::now();
    let mut from: Option<(Instant, u64)> = None;
    let (mut cpu, mut done) = (0, 0);
    lean.run(&mut batches, &mut |score| {
        match from {
            None if begun.elapsed() >= warm_up => {
                (score.batches, from) = (0, Some((Instant::now(), node.cpu_ns()?)));
            }
            Some((at, before)) if at.elapsed() >= length => {
                (cpu, done) = (node.cpu_ns()? - before, score.batches);
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    })?;
    Ok(Trial { shards, keys, pipeline, cpu_ns: cpu as f64 / (done * pipeline as u64) as f64 })
}

fn lines(trials: &[Trial]) -> Vec<Line> {
    let mut lines = Vec::new();
    for pipeline in PIPELINES {
        let of = |keys: Keys, shards: u16| costs(trials, pipeline, keys, shards);
        // A node with one shard is the other server here.
        let shards = |server: &str| SHARDS[usize::from(server == OURS)];
        let mut line = |name: &str, goal, value: &dyn Fn(&str) -> Vec<f64>| {
            lines.push(Line::new(name, 0, goal, &Values(value)));
        };
        line(
            &format!("GET 16 B, {pipeline} at a time: CPU per command on its own shard, ns"),
            Goal::RatioAtMost(GOAL),
            &|server| of(Keys::Own, shards(server)),
        );
        line("… with any keys, half of them of the other shard, ns", Goal::None, &|server| {
            of(Keys::Any, shards(server))
        });
        line("… what a command of the other shard costs more, ns", Goal::None, &|server| match server {
            PEER => Vec::new(),
            _ => {
                let (own, any) = (of(Keys::Own, 2), of(Keys::Any, 2));
                own.iter().zip(any).map(|(own, any)| (any - own) * 2.0).collect()
            }
        });
    }
    lines
}
