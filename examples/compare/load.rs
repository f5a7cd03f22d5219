//! A migration while its slots are written to, at a pace and as fast as two writers can.
//!
//! At a pace, the pause is prevented for a second when everything else is over (DEBUG SLOTMIGRATION PREVENT-PAUSE): in
//! that time each SET is sent on to the target, and nothing else is done but that. So it shows what a SET costs the
//! source then, compared with just before the migration.

use std::thread;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::common::Trouble;
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
const BEFORE: Duration = Duration::from_millis(1500);
const FOLLOWING: Duration = Duration::from_millis(1000);
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
    /// CPU time of the source per SET.
    before_ns: f64,
    following_ns: f64,
    longest_before_ms: f64,
    longest_ms: f64,
}

impl Round {
    fn told(&self, ended: &str) -> String {
        let pace = self.pace.map_or("no pace".to_owned(), |pace| format!("{pace} SET/s"));
        let followed = match self.following_ns.is_nan() {
            true => String::new(),
            false => format!(", {:.0} while followed", self.following_ns),
        };
        format!(
            "{:<9} {pace:>12}: {ended}; SET/s {:.0} before, {:.0} during; ns of CPU for each {:.0} before{followed}",
            self.server, self.before, self.during, self.before_ns
        )
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
    writers.longest_ms();
    let first = Moment::now(pid, &writers)?;
    thread::sleep(before);
    let longest_before_ms = writers.longest_ms();
    let begun = Moment::now(pid, &writers)?;
    let before = first.until(&begun);
    let (mut stretches, mut following_ns) = (Vec::new(), f64::NAN);
    if pace.is_some() {
        pair.source().ask("DEBUG SLOTMIGRATION PREVENT-PAUSE 1")?;
    }
    pair.begin(&keys.slots)?;
    let mut from = begun;
    let mut watched = Watched::Reached;
    if pace.is_some() {
        watched = pair.watch(FOLLOWS, LIMIT)?;
        let follows = Moment::now(pid, &writers)?;
        stretches.push(from.until(&follows));
        thread::sleep(plan.window(FOLLOWING, FOLLOWING).0);
        from = Moment::now(pid, &writers)?;
        let following = follows.until(&from);
        following_ns = following.cpu_ns / following.sets;
        pair.source().ask("DEBUG SLOTMIGRATION PREVENT-PAUSE 0")?;
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
        before: before.sets / before.seconds,
        during: sum(|s| s.sets) / sum(|s| s.seconds),
        before_ns: before.cpu_ns / before.sets,
        following_ns: reached(following_ns),
        longest_before_ms,
        longest_ms,
    };
    Ok((round, ended))
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
                r.following_ns / r.before_ns
            });
            line("… CPU per SET at the source before, ns", 0, Goal::None, |r| r.before_ns);
        } else {
            line("… SET/s before", 0, Goal::None, |r| r.before);
            line("… SET/s meanwhile", 0, Goal::None, |r| r.during);
        }
        line("… longest wait of a batch before, ms", 1, Goal::None, |r| r.longest_before_ms);
        line("… longest wait of a batch meanwhile, ms", 1, Goal::None, |r| r.longest_ms);
    }
    lines
}
