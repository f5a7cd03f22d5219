//! How long a client that writes to moving slots has to wait, at worst.
//!
//! One writer, one write at a time, to random keys of 64 slots, following redirects. Its longest time between two
//! acknowledged writes while the slots move has two controls: while as many keys of other slots move, so that both
//! servers are as busy and nothing is held; and a time without any migration.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use whimbrel_core::rng::Rng;
use whimbrel_core::wire::resp::Value;

use crate::Plan;
use crate::common::Trouble;
use crate::common::client::Router;
use crate::common::figures::us;
use crate::keys::Keys;
use crate::pair::Pair;
use crate::verdict::{Goal, Line, Values};

const SLOTS: u16 = 64;
const KEYS: usize = 500_000;
const SIZE: usize = 100;
/// How long the writer writes before a migration.
const LEAD_IN: Duration = Duration::from_millis(2000);
/// What the machine has to do after a migration is over then.
const REST: Duration = Duration::from_millis(500);
/// The longest gap that there may be, in milliseconds.
const MOST_MS: f64 = 5.0;
/// The longest that the source may say it held writes, in milliseconds.
const MOST_PAUSE_MS: f64 = 2.0;
/// The writer's first writes make connections and do not count.
const WARM_UP: Duration = Duration::from_millis(200);

/// One round of one server.
struct Round {
    server: &'static str,
    gap_ms: f64,
    busy_ms: f64,
    calm_ms: f64,
    pause_ms: Option<f64>,
    writes_per_s: f64,
    calm_writes_per_s: f64,
    keys_per_s: f64,
}

/// All rounds of all servers, in turns.
pub fn measure(plan: &Plan, pairs: &mut [Pair]) -> Result<Vec<Line>, Trouble> {
    let mut rounds: Vec<Round> = Vec::new();
    for number in 1..=plan.rounds {
        for pair in pairs.iter_mut() {
            let round = one(plan, pair)?;
            println!(
                "gap   round {number}  {:<9} longest gap {:>7.2} ms   while others move {:>7.2}   calm {:>6.2}   pause_ms {}",
                round.server,
                round.gap_ms,
                round.busy_ms,
                round.calm_ms,
                round.pause_ms.map_or("-".to_owned(), |ms| format!("{ms:.2}")),
            );
            rounds.push(round);
        }
    }
    Ok(lines(&rounds))
}

fn one(plan: &Plan, pair: &mut Pair) -> Result<Round, Trouble> {
    let mut load = || {
        let keys = Keys { slots: pair.fresh_slots(SLOTS), count: KEYS / plan.divisor, size: SIZE };
        keys.load(pair.source()).map(|()| keys)
    };
    let (keys, others) = (load()?, load()?);
    let writer = Writer::start(keys.clone(), pair.source().port());
    thread::sleep(LEAD_IN);
    let now = || us(writer.begun.elapsed());
    let calm = us(WARM_UP)..now();
    let begun = now();
    pair.migrate(&others.slots)?;
    let busy = begun..now();
    thread::sleep(REST);
    let begun = now();
    let took = pair.migrate(&keys.slots)?;
    let during = begun..now();
    // Until the writer has found the new owner.
    thread::sleep(REST);
    let acks = writer.stop()?;
    let pause_ms = pair.source().last_pause_ms()?;
    pair.clear()?;
    Ok(Round {
        server: pair.name,
        gap_ms: longest_ms(&acks, &during),
        busy_ms: longest_ms(&acks, &busy),
        calm_ms: longest_ms(&acks, &calm),
        pause_ms,
        writes_per_s: rate(&acks, &during),
        calm_writes_per_s: rate(&acks, &calm),
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

fn lines(rounds: &[Round]) -> Vec<Line> {
    let line = |name: &str, digits, goal, value: fn(&Round) -> f64| {
        let of =
            |server: &str| -> Vec<f64> { rounds.iter().filter(|r| r.server == server).map(value).collect() };
        Line::new(name, digits, goal, &Values(&of))
    };
    let title = format!("{KEYS} keys of {SIZE} B in {SLOTS} slots move: longest gap, ms");
    vec![
        line(&title, 2, Goal::AtMost(MOST_MS), |r| r.gap_ms),
        line("… while as many others move, ms", 2, Goal::None, |r| r.busy_ms),
        line("… without any migration, ms", 2, Goal::None, |r| r.calm_ms),
        line("… pause_ms as reported", 2, Goal::AtMost(MOST_PAUSE_MS), |r| r.pause_ms.unwrap_or(f64::NAN)),
        line("… writes/s during the migration", 0, Goal::None, |r| r.writes_per_s),
        line("… writes/s without", 0, Goal::None, |r| r.calm_writes_per_s),
        line("… keys/s of the migration", 0, Goal::None, |r| r.keys_per_s),
    ]
}
