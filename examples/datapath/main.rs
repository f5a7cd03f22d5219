//! What a command costs in the core alone, without sockets: GET and SET of random keys through `Shard::handle` and
//! the outbox, one by one and in pipelines.
//!
//! ```sh
//! cargo run --release --example datapath                     # the table
//! cargo run --release --example datapath -- get 100 16 50000 # one row, for profilers: command, pipeline, bytes, rounds
//! ```
//!
//! The commands are `get`, `set`, and `followed`: a SET that a slot migration follows.
//!
//! Instructions per command do not depend on what else the machine does: run one row under
//! `valgrind --tool=callgrind --toggle-collect='*exchange*'` and divide by the number of commands.

mod plane;

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use plane::{Plane, command};
use whimbrel_core::rng::Rng;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As many keys as do not fit into the caches next to a core.
const KEYS: usize = 100_000;
/// Pipelines made ahead, so that making them costs nothing while the clock runs.
const PIPELINES: usize = 64;
/// Rounds of one measurement; the fastest measurement counts, the others were disturbed.
const ROUNDS: usize = 200;
const MEASUREMENTS: usize = 15;

/// Which command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Get,
    Set,
    /// SET of a key whose slot moves: it goes into the stream of the migration, too.
    Followed,
}

impl Kind {
    const ALL: [(Self, &str); 3] = [(Self::Set, "set"), (Self::Get, "get"), (Self::Followed, "followed")];
}

/// What is measured.
#[derive(Clone, Copy)]
struct Load {
    kind: Kind,
    pipeline: usize,
    bytes: usize,
}

impl Load {
    fn command(self, rng: &mut Rng) -> Vec<u8> {
        let key = format!("key:{:012}", rng.index(KEYS));
        match self.kind {
            Kind::Get => command(&[b"GET", key.as_bytes()]),
            Kind::Set | Kind::Followed => command(&[b"SET", key.as_bytes(), &vec![b'x'; self.bytes]]),
        }
    }

    fn pipelines(self, rng: &mut Rng) -> Vec<Vec<u8>> {
        let one = |rng: &mut Rng| (0..self.pipeline).flat_map(|_| self.command(rng)).collect();
        (0..PIPELINES).map(|_| one(rng)).collect()
    }

    /// A node whose keys all have values of this size.
    fn plane(self) -> Plane {
        let mut plane = Plane::new();
        let value = vec![b'x'; self.bytes];
        for n in 0..KEYS {
            let key = format!("key:{n:012}");
            assert_eq!(plane.ask(&command(&[b"SET", key.as_bytes(), &value])), b"+OK\r\n");
        }
        if self.kind == Kind::Followed {
            plane.follow();
        }
        plane
    }

    /// Nanoseconds per command.
    fn measure(self, rounds: usize, measurements: usize) -> f64 {
        let (mut plane, mut rng) = (self.plane(), Rng::new(1));
        let one = || {
            let pipelines = self.pipelines(&mut rng);
            let start = Instant::now();
            let replies: usize = (0..rounds).map(|round| plane.exchange(&pipelines[round % PIPELINES])).sum();
            assert!(replies >= rounds * self.pipeline * b"+OK\r\n".len(), "every command has a reply");
            start.elapsed().as_nanos() as f64 / (rounds * self.pipeline) as f64
        };
        std::iter::repeat_with(one).take(measurements).fold(f64::INFINITY, f64::min)
    }
}

/// One row: the command, how many at a time, the bytes of a value, and, if it is said, the rounds.
fn row(words: &[String]) -> Option<(Load, usize)> {
    let (name, numbers) = words.split_first()?;
    let (kind, _) = Kind::ALL.into_iter().find(|(_, known)| known == name)?;
    let numbers: Vec<usize> = numbers.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    match numbers[..] {
        [pipeline @ 1..=usize::MAX, bytes] => Some((Load { kind, pipeline, bytes }, ROUNDS)),
        [pipeline @ 1..=usize::MAX, bytes, rounds @ 1..=usize::MAX] => {
            Some((Load { kind, pipeline, bytes }, rounds))
        }
        _ => None,
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if !words.is_empty() {
        let Some((load, rounds)) = row(&words) else {
            eprintln!("usage: datapath [get|set|followed <commands at a time> <bytes of a value> [rounds]]");
            return ExitCode::FAILURE;
        };
        println!("{:.0} ns per command", load.measure(rounds, 1));
        return ExitCode::SUCCESS;
    }
    println!("command   pipeline  bytes  ns per command");
    for (pipeline, bytes) in [(1, 16), (16, 16), (100, 16), (100, 512), (16, 4096)] {
        for (kind, name) in Kind::ALL {
            let load = Load { kind, pipeline, bytes };
            // Every measurement runs as many commands, and touches as many keys.
            let ns = load.measure(ROUNDS * 100 / pipeline, MEASUREMENTS);
            println!("{name:8}  {pipeline:8}  {bytes:5}  {ns:14.0}");
        }
    }
    ExitCode::SUCCESS
}
