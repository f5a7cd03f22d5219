//! How long a client that writes to moving slots has to wait, at worst.
//!
//! One writer, one write at a time, to random keys of 64 slots, following redirects. Its longest time between two
//! acknowledged writes while the slots move is compared with its longest in a time of the same length just before:
//! what the machine does to it without any migration.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use whimbrel_core::rng::Rng;
use whimbrel_core::wire::resp::Value;

use crate::common::Trouble;
use crate::common::client::Router;
use crate::common::figures::{median, us};
use crate::keys::Keys;
use crate::pair::Pair;
use crate::{Plan, report};

const SLOTS: u16 = 64;
const KEYS: usize = 500_000;
const SIZE: usize = 100;
/// How long the writer writes before the migration: at least as long as one takes.
const LEAD_IN: Duration = Duration::from_millis(2500);
/// The writer's first writes make connections and do not count.
const WARM_UP: Duration = Duration::from_millis(200);

/// One round of one server.
pub struct Round {
    server: &'static str,
    gap_ms: f64,
    control_ms: f64,
    pause_ms: Option<f64>,
    writes_per_s: f64,
    calm_writes_per_s: f64,
    keys_per_s: f64,
}

/// All rounds of all servers, in turns.
pub fn measure(plan: &Plan, pairs: &mut [Pair]) -> Result<Vec<Round>, Trouble> {
    let mut rounds = Vec::new();
    for number in 1..=plan.rounds {
        for pair in pairs.iter_mut() {
            let round = one(plan, pair)?;
            println!(
                "gap   round {number}  {:<9} longest gap {:>8.2} ms   without migration {:>6.2} ms   pause_ms {}",
                round.server,
                round.gap_ms,
                round.control_ms,
                round.pause_ms.map_or("-".to_owned(), |ms| format!("{ms:.2}")),
            );
            rounds.push(round);
        }
    }
    Ok(rounds)
}

fn one(plan: &Plan, pair: &mut Pair) -> Result<Round, Trouble> {
    let keys = Keys { slots: pair.fresh_slots(SLOTS), count: KEYS / plan.divisor, size: SIZE };
    keys.load(pair.source())?;
    let writer = Writer::start(keys.clone(), pair.source().port());
    thread::sleep(LEAD_IN);
    let begun = us(writer.begun.elapsed());
    let took = pair.migrate(&keys.slots)?;
    let ended = us(writer.begun.elapsed());
    // Until the writer has found the new owner.
    thread::sleep(Duration::from_millis(300));
    let acks = writer.stop()?;
    let before = begun.saturating_sub(us(took)).max(us(WARM_UP))..begun;
    let during = begun..ended;
    let pause_ms = pair.source().last_pause_ms()?;
    pair.clear()?;
    Ok(Round {
        server: pair.name,
        gap_ms: longest_ms(&acks, &during),
        control_ms: longest_ms(&acks, &before),
        pause_ms,
        writes_per_s: rate(&acks, &during),
        calm_writes_per_s: rate(&acks, &before),
        keys_per_s: keys.count as f64 / took.as_secs_f64(),
    })
}

/// The longest time between two acknowledgements that began in a time.
fn longest_ms(acks: &[u32], time: &Range<u32>) -> f64 {
    let gaps = acks.windows(2).filter(|pair| time.contains(&pair[0])).map(|pair| pair[1] - pair[0]);
    f64::from(gaps.max().unwrap_or_default()) / 1000.0
}

fn rate(acks: &[u32], time: &Range<u32>) -> f64 {
    let count = acks.iter().filter(|at| time.contains(at)).count();
    count as f64 * 1e6 / f64::from(time.end.saturating_sub(time.start).max(1))
}

/// A writer in a thread of its own.
struct Writer {
    begun: Instant,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<u32>, Trouble>>,
}

impl Writer {
    fn start(keys: Keys, entry: u16) -> Self {
        let (begun, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let (mut router, mut rng) = (Router::new(entry), Rng::new(1));
            let mut acks = Vec::with_capacity(1 << 20);
            let value = keys.value();
            while !stopped.load(Ordering::Relaxed) {
                let (slot, key) = keys.key(rng.index(keys.count));
                match router.ask(slot, &[&b"SET"[..], &key, &value]) {
                    Ok(Value::Simple(_)) => acks.push(us(begun.elapsed())),
                    other => return Err(format!("the writer's SET was answered {other:?}")),
                }
            }
            Ok(acks)
        });
        Self { begun, stop, thread }
    }

    /// Ends it; when each of its writes was acknowledged, in microseconds.
    fn stop(self) -> Result<Vec<u32>, Trouble> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the writer panicked".to_owned())?
    }
}

/// Prints the medians.
pub fn report(rounds: &[Round]) {
    if rounds.is_empty() {
        return;
    }
    println!(
        "\nLongest gap between acknowledged writes while {SLOTS} slots with {KEYS} keys of {SIZE} B move\n"
    );
    let of = |server: &str, value: fn(&Round) -> f64| {
        let values: Vec<f64> = rounds.iter().filter(|r| r.server == server).map(value).collect();
        median(&values)
    };
    let row =
        |name: &str, value: fn(&Round) -> f64, digits| report::row(name, &|server| of(server, value), digits);
    report::table(vec![
        row("longest gap, ms", |r| r.gap_ms, 2),
        row("the same without migration, ms", |r| r.control_ms, 2),
        row("pause_ms as reported", |r| r.pause_ms.unwrap_or(f64::NAN), 2),
        row("writes/s during the migration", |r| r.writes_per_s, 0),
        row("writes/s before", |r| r.calm_writes_per_s, 0),
        row("keys/s of the migration", |r| r.keys_per_s, 0),
    ]);
}
