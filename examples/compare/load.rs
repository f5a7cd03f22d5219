//! A migration while its slots are written to, at a pace and as fast as two writers can.
//!
//! At a pace, the pause is prevented for a while when everything else is over (DEBUG SLOTMIGRATION PREVENT-PAUSE): in
//! that time each SET is sent on to the target, and nothing else is done but that. So it shows what a SET costs the
//! source then, compared with just before the migration. That is done a few times in a row, all but the last of these
//! migrations are cancelled: what else the machine does changes within seconds, and costs more than what is measured.

use std::thread;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::common::Trouble;
use crate::common::figures::median;
use crate::keys::Keys;
use crate::pair::{Pair, Watched};
use crate::usage;
use crate::verdict::{Goal, Line, Values};
use crate::writers::{PIPELINE, WRITERS, Writers};

const SLOTS: u16 = 64;
const KEYS: usize = 200_000;
const SIZE: usize = 512;
/// SETs per second; [`None`] for as many as they can.
const PACES: [Option<u32>; 3] = [Some(100_000), Some(200_000), None];
/// The most rounds: they take long.
const ROUNDS: usize = 3;
const WARM_UP: Duration = Duration::from_millis(500);
/// Both short: the machine does not change as much from one to the other.
const BEFORE: Duration = Duration::from_millis(400);
const FOLLOWING: Duration = Duration::from_millis(400);
/// How often what a SET costs is measured before a migration and while it follows: one time says little, see how far
/// they are apart.
const TRIALS: usize = 10;
/// How far from its pace a load may be to be at it.
const AT_PACE: f64 = 0.03;
/// After so long a migration is given up.
const LIMIT: Duration = Duration::from_secs(30);

/// The state of a job that only waits to be allowed to pause.
const FOLLOWS: &str = "waiting-to-pause";

/// One migration of one server. What was not reached is no number.
struct Round {
    server: &'static str,
    pace: Option<u32>,
    took_s: f64,
    /// SETs per second.
    before: f64,
    during: f64,
    cost: Cost,
    longest_before_ms: f64,
    longest_ms: f64,
}

impl Round {
    fn told(&self, ended: &str) -> String {
        let pace = self.pace.map_or("no pace".to_owned(), |pace| format!("{pace} SET/s"));
        let followed = match self.cost.ratio.is_nan() {
            true => String::new(),
            false => format!(
                ", {:.2} times that while followed ({} of {TRIALS} trials at pace)",
                self.cost.ratio, self.cost.kept
            ),
        };
        format!(
            "{:<9} {pace:>12}: {ended}; SET/s {:.0} before, {:.0} during; ns of CPU for each {:.0} before{followed}",
            self.server, self.before, self.during, self.cost.before_ns
        )
    }
}

/// What SETs cost before a migration, and a moment later while it followed them.
type Trial = (Stretch, Stretch);

/// CPU time of the source per SET: medians of trials.
struct Cost {
    before_ns: f64,
    /// While followed, of before.
    ratio: f64,
    /// In how many trials the pace was kept both times.
    kept: usize,
}

impl Cost {
    /// Where some trials kept the pace, the others do not count: writers that lag send more at a time, which is cheaper.
    fn of(trials: &[Trial], pace: Option<u32>) -> Self {
        let keeps = |s: &Stretch| pace.is_none_or(|pace| (s.rate() / f64::from(pace) - 1.0).abs() < AT_PACE);
        let (at_pace, others): (Vec<Trial>, _) = trials.iter().partition(|t| keeps(&t.0) && keeps(&t.1));
        let kept = at_pace.len();
        let trials = if kept > 0 { at_pace } else { others };
        let middle = |of: fn(&Trial) -> f64| match trials.is_empty() {
            true => f64::NAN,
            false => median(&trials.iter().map(of).collect::<Vec<_>>()),
        };
        Self { before_ns: middle(|t| t.0.cost_ns()), ratio: middle(|t| t.1.cost_ns() / t.0.cost_ns()), kept }
    }
}

/// A moment of a round.
struct Moment {
    at: Instant,
    acked: u64,
    cpu_ns: u64,
}

/// Time, SETs and CPU time between moments.
#[derive(Clone, Copy)]
struct Stretch {
    seconds: f64,
    sets: f64,
    cpu_ns: f64,
}

impl Stretch {
    /// CPU time per SET.
    fn cost_ns(&self) -> f64 {
        self.cpu_ns / self.sets
    }

    /// SETs per second.
    fn rate(&self) -> f64 {
        self.sets / self.seconds
    }
}

impl Moment {
    fn now(pid: u32, writers: &Writers) -> Result<Self, Trouble> {
        Ok(Self { at: Instant::now(), acked: writers.acked(), cpu_ns: usage::cpu_ns(pid)? })
    }

    fn until(&self, end: &Self) -> Stretch {
        Stretch {
            seconds: (end.at - self.at).as_secs_f64(),
            sets: (end.acked - self.acked) as f64,
            cpu_ns: (end.cpu_ns - self.cpu_ns) as f64,
        }
    }
}

/// Measures all paces of both servers, in turns.
pub fn measure(plan: &Plan, pairs: &mut [Pair]) -> Result<Vec<Line>, Trouble> {
    let mut rounds = Vec::new();
    for number in 1..=plan.rounds.min(ROUNDS) {
        for pace in PACES {
            for pair in pairs.iter_mut() {
                let (round, ended) = one(plan, pair, pace)?;
                println!("load  round {number}  {}", round.told(&ended));
                rounds.push(round);
            }
        }
    }
    Ok(lines(&rounds))
}

fn one(plan: &Plan, pair: &mut Pair, pace: Option<u32>) -> Result<(Round, String), Trouble> {
    let keys = Keys { slots: pair.fresh_slots(SLOTS), count: KEYS / plan.divisor, size: SIZE };
    keys.load(pair.source())?;
    let pid = pair.source().server_pid()?;
    let writers = Writers::start(&keys, [pair.source().port(), pair.target().port()], pace);
    let (warm_up, before) = plan.window(WARM_UP, BEFORE);
    thread::sleep(warm_up);
    let mut trials = Vec::new();
    if pace.is_some() {
        pair.source().ask("DEBUG SLOTMIGRATION PREVENT-PAUSE 1")?;
        trials = rehearse(plan, pair, &keys, &writers)?;
    }
    writers.longest_ms();
    let first = Moment::now(pid, &writers)?;
    thread::sleep(before);
    let longest_before_ms = writers.longest_ms();
    let begun = Moment::now(pid, &writers)?;
    let before = first.until(&begun);
    pair.begin(&keys.slots)?;
    let (mut stretches, mut from) = (Vec::new(), begun);
    let mut watched = Watched::Reached;
    if pace.is_some() {
        watched = pair.watch(FOLLOWS, LIMIT)?;
        let (follows, end, following) = follow(plan, pid, &writers)?;
        stretches.push(from.until(&follows));
        if watched.is_reached() {
            trials.push((before, following));
        }
        from = end;
        pair.source().ask("DEBUG SLOTMIGRATION PREVENT-PAUSE 0")?;
    } else {
        let none = Stretch { sets: f64::NAN, ..before };
        trials.push((before, none));
    }
    if watched.is_reached() {
        watched = pair.watch("success", LIMIT)?;
        stretches.push(from.until(&Moment::now(pid, &writers)?));
    }
    let longest_ms = writers.longest_ms();
    thread::sleep(plan.window(Duration::from_millis(300), Duration::ZERO).0);
    writers.stop()?;
    let ended = watched.told();
    if !watched.is_reached() {
        pair.source().ask("CLUSTER CANCELSLOTMIGRATIONS").ok();
    }
    pair.clear()?;
    let sum = |of: fn(&Stretch) -> f64| stretches.iter().map(of).sum::<f64>();
    let reached = |value: f64| if watched.is_reached() { value } else { f64::NAN };
    let round = Round {
        server: pair.name,
        pace,
        took_s: reached(sum(|s| s.seconds)),
        before: before.rate(),
        during: sum(|s| s.sets) / sum(|s| s.seconds),
        cost: Cost::of(&trials, pace),
        longest_before_ms,
        longest_ms,
    };
    Ok((round, ended))
}

/// Migrations that are cancelled once they follow.
fn rehearse(plan: &Plan, pair: &mut Pair, keys: &Keys, writers: &Writers) -> Result<Vec<Trial>, Trouble> {
    let pid = pair.source().server_pid()?;
    let (rest, before) = plan.window(WARM_UP, BEFORE);
    let mut trials = Vec::new();
    for _ in 1..TRIALS {
        let first = Moment::now(pid, writers)?;
        thread::sleep(before);
        let before = first.until(&Moment::now(pid, writers)?);
        pair.begin(&keys.slots)?;
        if !pair.watch(FOLLOWS, LIMIT)?.is_reached() {
            break;
        }
        let (.., following) = follow(plan, pid, writers)?;
        trials.push((before, following));
        pair.source().ask("CLUSTER CANCELSLOTMIGRATIONS")?;
        pair.watch("cancelled", LIMIT)?;
        // The target deletes what came.
        thread::sleep(rest);
    }
    Ok(trials)
}

/// Lets SETs be followed for a while; when that began and ended, and what was between.
fn follow(plan: &Plan, pid: u32, writers: &Writers) -> Result<(Moment, Moment, Stretch), Trouble> {
    let begun = Moment::now(pid, writers)?;
    thread::sleep(plan.window(FOLLOWING, FOLLOWING).0);
    let ended = Moment::now(pid, writers)?;
    let between = begun.until(&ended);
    Ok((begun, ended, between))
}

fn lines(rounds: &[Round]) -> Vec<Line> {
    let mut lines = Vec::new();
    for pace in PACES {
        let name = match pace {
            Some(pace) => format!("{} 000 SET/s of {SIZE} B", pace / 1000),
            None => format!("{WRITERS} writers, {PIPELINE} SETs of {SIZE} B at a time"),
        };
        let finished = |server: &str| {
            let all: Vec<bool> = rounds
                .iter()
                .filter(|r| r.server == server && r.pace == pace)
                .map(|r| !r.took_s.is_nan())
                .collect();
            vec![all.iter().filter(|&&finished| finished).count() as f64 / all.len() as f64 * 100.0]
        };
        lines.push(Line::new(
            &format!("{name}: finishes, % of rounds"),
            0,
            Goal::AtLeast(100.0),
            &Values(&finished),
        ));
        let mut line = |name: &str, digits, goal, value: fn(&Round) -> f64| {
            let of = |server: &str| -> Vec<f64> {
                rounds.iter().filter(|r| r.server == server && r.pace == pace).map(value).collect()
            };
            lines.push(Line::new(name, digits, goal, &Values(&of)));
        };
        line("… seconds that the migration takes", 2, Goal::None, |r| r.took_s);
        if pace.is_some() {
            line("… kept of the pace meanwhile, %", 1, Goal::AtLeast(97.0), |r| {
                r.during / f64::from(r.pace.unwrap_or_default()) * 100.0
            });
            line("… CPU per SET at the source while followed, of before", 2, Goal::AtMost(1.15), |r| {
                r.cost.ratio
            });
            line("… CPU per SET at the source before, ns", 0, Goal::None, |r| r.cost.before_ns);
        } else {
            line("… SET/s before", 0, Goal::None, |r| r.before);
            line("… SET/s meanwhile", 0, Goal::None, |r| r.during);
        }
        line("… longest wait of a batch before, ms", 1, Goal::None, |r| r.longest_before_ms);
        line("… longest wait of a batch meanwhile, ms", 1, Goal::None, |r| r.longest_ms);
    }
    lines
}
