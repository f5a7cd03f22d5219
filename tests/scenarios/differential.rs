//! The same random commands to the program and to a real Valkey: every reply has to be the same, byte for byte,
//! apart from what `surface/allow.rs` lists with its reasons.
//!
//! There are four mixes: RESP2 and RESP3, with and without cluster mode. A few seeds of each run always.
//! `WHIMBREL_SEEDS=n` runs n of them, `WHIMBREL_SECONDS=n` new ones for so long (from `WHIMBREL_FIRST=n` on, if that is
//! told), and `WHIMBREL_SEED=n` only that one. A difference is shown with its seed and the shortest sequence found that
//! has it.

use std::collections::BTreeMap;
use std::env;
use std::time::{Duration, Instant};

use crate::peer::{Server, program, tool};
use crate::surface::generate::Generator;
use crate::surface::pair::{Difference, End, Pair, Step, name};

/// Steps of a sequence.
const STEPS: usize = 300;
/// Seeds that are always run.
const SEEDS: u64 = 6;
/// The same for other drivers than the first: what is answered is not theirs.
const SEEDS_OF_OTHERS: u64 = 2;
/// Runs spent on making a sequence shorter.
const SHRINKS: usize = 400;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// Runs a sequence until its outcome is sure, a few times at most.
fn run(pair: &Pair, steps: &[Step]) -> End {
    (0..5).map(|_| pair.run(steps)).find(|end| !matches!(end, End::Unsure)).unwrap_or(End::Unsure)
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
                End::Different(difference) => {
                    steps = shorter;
                    steps.truncate(difference.at + 1);
                    found = difference;
                }
                _ => at += size,
            }
        }
        size /= 2;
    }
    (steps, found)
}

fn report(seed: u64, mix: Mix, steps: &[Step], found: &Difference) -> String {
    let lines: Vec<String> = steps.iter().map(ToString::to_string).collect();
    let at_end = if found.at >= steps.len() { "\n   what remains:" } else { "" };
    let (lines, ours, theirs) = (lines.join("\n"), &found.ours, &found.theirs);
    format!("seed {seed} ({mix}):\n{lines}{at_end}\n  ours:   {ours}\n  Valkey: {theirs}")
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

/// What a search is about.
#[derive(Clone, Copy)]
struct Mix {
    cluster: bool,
    /// The version that connections begin with.
    proto: u8,
}

impl std::fmt::Display for Mix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, RESP{}", if self.cluster { "cluster" } else { "standalone" }, self.proto)
    }
}

/// Runs seeds against a pair of servers and collects what differs.
fn search(mix: Mix, pair: &Pair) {
    let only = number("WHIMBREL_SEED");
    let end = number("WHIMBREL_SECONDS").map(|secs| Instant::now() + Duration::from_secs(secs));
    let first = number("WHIMBREL_FIRST").unwrap_or(1);
    let most = match end {
        Some(_) => u64::MAX,
        None => {
            let always = if program().ends_with("whimbrel-mio") { SEEDS } else { SEEDS_OF_OTHERS };
            first + number("WHIMBREL_SEEDS").unwrap_or(always) - 1
        }
    };
    let mut different: BTreeMap<String, String> = BTreeMap::new();
    let (mut sequences, mut unsure, mut last) = (0, 0, 0);
    for seed in only.map_or(first..=most, |seed| seed..=seed) {
        if end.is_some_and(|end| Instant::now() > end) || different.len() >= 20 {
            break;
        }
        let steps = Generator::new(seed, mix.cluster, mix.proto).sequence(STEPS);
        (sequences, last) = (sequences + 1, seed);
        let end_of_run = run(pair, &steps);
        unsure += u64::from(matches!(end_of_run, End::Unsure));
        if let End::Different(difference) = end_of_run {
            let mut steps = steps;
            let kind = kind_of(&steps, &difference);
            if different.contains_key(&kind) {
                continue;
            }
            steps.truncate(difference.at + 1);
            let (steps, difference) = shrink(pair, steps, difference);
            let text = report(seed, mix, &steps, &difference);
            if end.is_some() {
                println!("{text}\n");
            }
            different.insert(kind, text);
        }
    }
    println!("{mix}: {sequences} sequences of {STEPS} steps, {unsure} of them unsure, up to seed {last}");
    let texts: Vec<String> = different.into_values().collect();
    assert!(texts.is_empty(), "{} of them:\n{}", texts.len(), texts.join("\n\n"));
}

/// Starts a server of each kind and searches.
fn compare(mix: Mix) {
    let mut arguments = vec!["--save", "", "--databases", "16", "--enable-debug-command", "yes"];
    if mix.cluster {
        arguments.extend(["--cluster-enabled", "yes", "--cluster-databases", "4"]);
        arguments.extend(["--cluster-slot-stats-enabled", "yes"]);
    }
    let Some(valkey) = tool("valkey-server") else { return };
    let servers = [Server::start(&program(), &arguments), Server::start(&valkey, &arguments)];
    if mix.cluster {
        for server in &servers {
            assert!(server.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).is("OK"));
        }
        for server in &servers {
            while !server.ask(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok") {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    let reset = [
        "FLUSHALL",
        "DEBUG SET-ACTIVE-EXPIRE 0",
        "CONFIG SET timeout 0 hz 10 maxclients 10000",
        "CLIENT UNPAUSE",
        "CONFIG RESETSTAT",
    ];
    let [ours, theirs] = servers;
    search(mix, &Pair::new(ours, theirs, &reset, mix.cluster));
}

#[test]
fn standalone_servers_answer_alike_in_resp2() {
    compare(Mix { cluster: false, proto: 2 });
}

#[test]
fn standalone_servers_answer_alike_in_resp3() {
    compare(Mix { cluster: false, proto: 3 });
}

#[test]
fn nodes_with_all_slots_answer_alike_in_resp2() {
    compare(Mix { cluster: true, proto: 2 });
}

#[test]
fn nodes_with_all_slots_answer_alike_in_resp3() {
    compare(Mix { cluster: true, proto: 3 });
}
