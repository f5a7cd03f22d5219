//! Figures that only mean something over time: what happens per second, how long hand-overs held writes, and how long
//! turns of the event loop take.

use crate::input::Vitals;
use crate::time::{Mono, Span};

/// Samples that a rate is averaged over: 1.6 s when one is taken each 100 ms, as in Valkey.
const SAMPLES: usize = 16;

/// A counter whose growth per second is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Metric {
    /// Commands run.
    Commands,
    /// Bytes that came on any link.
    BytesIn,
    /// Bytes that went to any link.
    BytesOut,
    /// Bytes that came from sources of slot migrations.
    ImportBytes,
    /// Bytes that went to targets of slot migrations.
    ExportBytes,
}

/// How many there are.
pub(crate) const METRICS: usize = 5;

/// The counters at one moment, by [`Metric`].
pub(crate) type Counters = [u64; METRICS];

/// The growth of counters per second, averaged over the last samples.
#[derive(Clone, Debug)]
pub(crate) struct Rates {
    at: Mono,
    seen: Counters,
    samples: [Counters; SAMPLES],
    next: usize,
}

impl Rates {
    /// Rates of counters that stand at zero now.
    pub(crate) fn new(now: Mono) -> Self {
        Self { at: now, seen: [0; METRICS], samples: [[0; METRICS]; SAMPLES], next: 0 }
    }

    /// Takes a sample. A counter that fell was set back (CONFIG RESETSTAT): its growth counts from zero.
    pub(crate) fn sample(&mut self, now: Mono, counters: Counters) {
        let micros = now.since(self.at).0;
        if micros == 0 {
            return;
        }
        let sample = &mut self.samples[self.next];
        for ((rate, seen), counter) in sample.iter_mut().zip(self.seen).zip(counters) {
            let grown = counter.checked_sub(seen).unwrap_or(counter);
            *rate = (u128::from(grown) * 1_000_000 / u128::from(micros)) as u64;
        }
        self.next = (self.next + 1) % SAMPLES;
        self.at = now;
        self.seen = counters;
    }

    /// Growth per second.
    pub(crate) fn per_second(&self, metric: Metric) -> u64 {
        let sum: u128 = self.samples.iter().map(|sample| u128::from(sample[metric as usize])).sum();
        (sum / SAMPLES as u128) as u64
    }
}

/// Turns of the driver's event loop, as far as they count: since the start or CONFIG RESETSTAT.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Loops {
    at: Mono,
    /// What stood there when counts were set back.
    base: (u64, u64),
    /// Turns per second lately.
    pub(crate) per_second: u64,
    /// How long one took lately, in microseconds.
    pub(crate) usec_each: u64,
}

impl Loops {
    /// The driver looked at itself: what happened since it did so before.
    pub(crate) fn observe(&mut self, now: Mono, before: &Vitals, vitals: &Vitals) {
        let micros = now.since(self.at).0;
        let turns = vitals.turns.saturating_sub(before.turns);
        if micros > 0 {
            self.per_second = (u128::from(turns) * 1_000_000 / u128::from(micros)) as u64;
            self.usec_each = vitals.turns_us.saturating_sub(before.turns_us) / turns.max(1);
        }
        self.at = now;
    }

    /// Turns, and microseconds spent in them.
    pub(crate) fn totals(&self, vitals: &Vitals) -> (u64, u64) {
        (vitals.turns.saturating_sub(self.base.0), vitals.turns_us.saturating_sub(self.base.1))
    }

    /// Counts from here.
    pub(crate) fn reset(&mut self, vitals: &Vitals) {
        *self = Self { at: self.at, base: (vitals.turns, vitals.turns_us), ..Self::default() };
    }
}

/// How long the hand-overs of slot migrations held writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pauses {
    /// In the last job that paused, and when that ended.
    last: Option<(Mono, Span)>,
    /// In the job that paused longest.
    pub(crate) max: Span,
}

impl Pauses {
    /// A job that had paused for `span` ended.
    pub(crate) fn ended(&mut self, now: Mono, span: Span) {
        self.last = Some((now, span));
        self.max = self.max.max(span);
    }

    /// In the last job that paused.
    pub(crate) fn last(&self) -> Span {
        self.last.map_or(Span::ZERO, |(_, span)| span)
    }

    /// Adds those of a sibling.
    pub(crate) fn add(&mut self, other: &Self) {
        self.last = self.last.max(other.last);
        self.max = self.max.max(other.max);
    }
}

/// Turns of the driver's event loop that took long: while one lasts, nobody else is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct LongTurns {
    /// The longest by the wall.
    pub(crate) max: Span,
    /// The longest by the CPU time of its thread, which need not be the same turn.
    pub(crate) max_cpu: Span,
    /// Turns that took more CPU time than any should.
    pub(crate) over_limit: u64,
}

impl LongTurns {
    /// The CPU time that no turn should take more of.
    pub(crate) const LIMIT: Span = Span::ms(2);

    /// Adds those of a sibling.
    pub(crate) fn add(&mut self, other: &Self) {
        self.max = self.max.max(other.max);
        self.max_cpu = self.max_cpu.max(other.max_cpu);
        self.over_limit += other.over_limit;
    }

    /// Notes one.
    pub(crate) fn note(&mut self, took: Span, cpu: Span) {
        self.max = self.max.max(took);
        self.max_cpu = self.max_cpu.max(cpu);
        self.over_limit += u64::from(cpu > Self::LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Mono = Mono(5_000_000);

    /// Counters that grow by `step` in each of `samples` rounds of 100 ms.
    fn steady(samples: u64, step: Counters) -> Rates {
        let mut rates = Rates::new(START);
        for n in 1..=samples {
            rates.sample(START + Span::ms(100 * n), step.map(|s| s * n));
        }
        rates
    }

    #[test]
    fn a_steady_counter_has_its_rate_once_the_samples_are_full() {
        let rates = steady(16, [100, 2048, 0, 1, 3]);
        assert_eq!(rates.per_second(Metric::Commands), 1000);
        assert_eq!(rates.per_second(Metric::BytesIn), 20480);
        assert_eq!(rates.per_second(Metric::BytesOut), 0);
        assert_eq!(rates.per_second(Metric::ImportBytes), 10);
        assert_eq!(rates.per_second(Metric::ExportBytes), 30);
        assert_eq!(steady(8, [100; 5]).per_second(Metric::Commands), 500, "eight samples of silence before");
        assert_eq!(steady(100, [100; 5]).per_second(Metric::Commands), 1000);
    }

    #[test]
    fn what_was_before_the_samples_is_forgotten() {
        let mut rates = steady(16, [100; 5]);
        for n in 17..=32 {
            assert_ne!(rates.per_second(Metric::Commands), 0);
            rates.sample(START + Span::ms(100 * n), [1600; 5]);
        }
        assert_eq!(rates.per_second(Metric::Commands), 0);
    }

    #[test]
    fn samples_count_by_the_time_that_passed() {
        let mut rates = Rates::new(START);
        for n in 1..=16 {
            rates.sample(START + Span::ms(250 * n), [100 * n; 5]);
        }
        assert_eq!(rates.per_second(Metric::Commands), 400);
        // A second sample at the same time has nothing to say.
        let before = rates.clone();
        rates.sample(START + Span::ms(4000), [9999; 5]);
        assert_eq!(rates.per_second(Metric::Commands), before.per_second(Metric::Commands));
    }

    #[test]
    fn a_counter_that_was_set_back_counts_from_zero() {
        let mut rates = steady(16, [100; 5]);
        rates.sample(START + Span::ms(1700), [100; 5]);
        assert_eq!(rates.per_second(Metric::Commands), 1000);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut rates = Rates::new(Mono(0));
        rates.sample(Mono(1_000_000), [u64::MAX; 5]);
        assert_eq!(rates.per_second(Metric::BytesIn), u64::MAX / 16);
    }

    #[test]
    fn turns_are_counted_from_the_last_reset() {
        let vitals = |turns, turns_us| Vitals { turns, turns_us, ..Vitals::default() };
        let mut loops = Loops { at: START, ..Loops::default() };
        let (first, second) = (vitals(300, 6_000), vitals(400, 9_000));
        loops.observe(START + Span::ms(1500), &Vitals::default(), &first);
        assert_eq!((loops.per_second, loops.usec_each, loops.totals(&first)), (200, 20, (300, 6_000)));
        loops.reset(&first);
        assert_eq!((loops.per_second, loops.usec_each, loops.totals(&first)), (0, 0, (0, 0)));
        loops.observe(START + Span::ms(2500), &first, &second);
        assert_eq!((loops.per_second, loops.usec_each, loops.totals(&second)), (100, 30, (100, 3_000)));
        loops.observe(START + Span::ms(2500), &second, &second);
        assert_eq!(loops.per_second, 100, "no time, nothing new");
    }

    #[test]
    fn pauses_keep_the_last_and_the_longest() {
        let mut pauses = Pauses::default();
        let mut sibling = pauses;
        assert_eq!((pauses.last(), pauses.max), (Span::ZERO, Span::ZERO));
        for (at, span, max) in [(1, 3, 3), (5, 9, 9), (9, 4, 9)] {
            pauses.ended(Mono(at), Span::ms(span));
            assert_eq!((pauses.last(), pauses.max), (Span::ms(span), Span::ms(max)));
        }
        sibling.ended(Mono(6), Span::ms(10));
        pauses.add(&sibling);
        assert_eq!(
            (pauses.last(), pauses.max),
            (Span::ms(4), Span::ms(10)),
            "the last one is not the longest"
        );
    }
}
