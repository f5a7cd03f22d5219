//! The same random commands to the program and to a real Valkey: every reply has to be the same, byte for byte,
//! apart from what `surface/allow.rs` lists with its reasons.
//!
//! A few seeds run always. `WHIMBREL_SEEDS=n` runs n of them, `WHIMBREL_SECONDS=n` new ones for so long, and
//! `WHIMBREL_SEED=n` only that one. A difference is shown with its seed and the shortest sequence found that has it.

mod peer;
mod surface;

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use peer::{Server, tool};
use surface::generate::Generator;
use surface::pair::{Difference, End, Pair, Step, name};

/// Steps of a sequence.
const STEPS: usize = 300;
/// Seeds that are always run.
const SEEDS: u64 = 12;
/// Runs spent on making a sequence shorter.
const SHRINKS: usize = 400;

fn program() -> PathBuf {
    env::var_os("WHIMBREL_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_whimbrel-mio").into(), PathBuf::from)
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// Runs a sequence until its outcome is sure.
fn run(pair: &Pair, steps: &[Step]) -> Option<Difference> {
    for _ in 0..5 {
        match pair.run(steps) {
            End::Same => return None,
            End::Different(difference) => return Some(difference),
            End::Unsure => {}
        }
    }
    None
}

/// Leaves out steps as long as a difference remains.
fn shrink(pair: &Pair, mut steps: Vec<Step>, mut found: Difference) -> (Vec<Step>, Difference) {
    let mut runs = SHRINKS;
    let mut size = steps.len();
    while size > 0 && runs > 0 {
        let mut at = 0;
        while at < steps.len() && runs > 0 {
            let shorter = [&steps[..at], &steps[(at + size).min(steps.len())..]].concat();
            runs -= 1;
            match run(pair, &shorter) {
                Some(difference) => {
                    steps = shorter;
                    steps.truncate(difference.at + 1);
                    found = difference;
                }
                None => at += size,
            }
        }
        size /= 2;
    }
    (steps, found)
}

fn report(seed: u64, mode: &str, steps: &[Step], found: &Difference) -> String {
    let lines: Vec<String> = steps.iter().map(ToString::to_string).collect();
    let at_end = if found.at >= steps.len() { "\n   what remains:" } else { "" };
    let (lines, ours, theirs) = (lines.join("\n"), &found.ours, &found.theirs);
    format!("seed {seed} ({mode}):\n{lines}{at_end}\n  ours:   {ours}\n  Valkey: {theirs}")
}

/// What two differences of the same cause have in common: the command and how the replies begin.
fn kind_of(steps: &[Step], found: &Difference) -> String {
    let name = match steps.get(found.at) {
        Some(Step::Ask(_, words) | Step::Walk(_, _, words)) => name(words),
        Some(_) => "bytes".to_owned(),
        None => "remains".to_owned(),
    };
    let begin = |reply: &str| reply.chars().filter(|c| c.is_ascii_alphabetic()).take(30).collect::<String>();
    format!("{name} {} {}", begin(&found.ours), begin(&found.theirs))
}

/// Runs seeds against a pair of servers and collects what differs.
fn search(mode: &str, pair: &Pair) {
    let only = number("WHIMBREL_SEED");
    let end = number("WHIMBREL_SECONDS").map(|secs| Instant::now() + Duration::from_secs(secs));
    let most = match end {
        Some(_) => u64::MAX,
        None => number("WHIMBREL_SEEDS").unwrap_or(SEEDS),
    };
    let mut different: BTreeMap<String, String> = BTreeMap::new();
    let mut run_so_far = 0;
    for seed in only.map_or(1..=most, |seed| seed..=seed) {
        if end.is_some_and(|end| Instant::now() > end) || different.len() >= 20 {
            break;
        }
        let steps = Generator::new(seed, mode == "cluster").sequence(STEPS);
        run_so_far = seed;
        if let Some(difference) = run(pair, &steps) {
            let mut steps = steps;
            let kind = kind_of(&steps, &difference);
            if different.contains_key(&kind) {
                continue;
            }
            steps.truncate(difference.at + 1);
            let (steps, difference) = shrink(pair, steps, difference);
            let text = report(seed, mode, &steps, &difference);
            if end.is_some() {
                println!("{text}\n");
            }
            different.insert(kind, text);
        }
    }
    println!("{mode}: seeds up to {run_so_far}");
    let texts: Vec<String> = different.into_values().collect();
    assert!(texts.is_empty(), "{} of them:\n{}", texts.len(), texts.join("\n\n"));
}

#[test]
fn standalone_servers_answer_alike() {
    let arguments = ["--save", "", "--databases", "16", "--enable-debug-command", "yes"];
    let Some(valkey) = tool("valkey-server") else { return };
    let (ours, theirs) = (Server::start(&program(), &arguments), Server::start(&valkey, &arguments));
    let reset = ["FLUSHALL", "DEBUG SET-ACTIVE-EXPIRE 0", "CONFIG SET timeout 0 hz 10", "CONFIG RESETSTAT"];
    search("standalone", &Pair::new(ours, theirs, &reset));
}

#[test]
fn nodes_with_all_slots_answer_alike() {
    let arguments = [
        "--save",
        "",
        "--cluster-enabled",
        "yes",
        "--cluster-databases",
        "4",
        "--enable-debug-command",
        "yes",
    ];
    let Some(valkey) = tool("valkey-server") else { return };
    let (ours, theirs) = (Server::start(&program(), &arguments), Server::start(&valkey, &arguments));
    for server in [&ours, &theirs] {
        assert!(server.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).is("OK"));
    }
    for server in [&ours, &theirs] {
        while !server.ask(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok") {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let reset = ["FLUSHALL", "DEBUG SET-ACTIVE-EXPIRE 0", "CONFIG SET timeout 0 hz 10", "CONFIG RESETSTAT"];
    search("cluster", &Pair::new(ours, theirs, &reset));
}
