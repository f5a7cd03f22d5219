//! How long the calls of one command took: a log-linear histogram with the resolution of Valkey's, so that
//! percentiles and ranges are cut at the same values.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// Each power of two is cut into so many buckets: two decimal digits are right.
const HALF: u64 = 128;
/// Longer than this counts as this: one second, in nanoseconds.
const LONGEST: u64 = 1_000_000_000;
const BUCKETS: usize = bucket(LONGEST.next_power_of_two() - 1) + 1;
/// The first border of the ranges of LATENCY HISTOGRAM, in nanoseconds; each next one is the double.
const FIRST_BORDER: u64 = 1024;

/// The bucket that a duration falls into.
#[inline]
const fn bucket(nanos: u64) -> usize {
    let shift = (u64::BITS - (nanos | HALF).leading_zeros()).saturating_sub(HALF.trailing_zeros() + 1);
    (shift as u64 * HALF + (nanos >> shift)) as usize
}

/// The longest duration that falls into a bucket.
const fn longest_in(bucket: usize) -> u64 {
    let (octave, part) = (bucket as u64 / HALF, bucket as u64 % HALF);
    if octave == 0 { part } else { ((part + HALF + 1) << (octave - 1)) - 1 }
}

/// Counts of durations, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
}

impl Histogram {
    /// Without any.
    pub(crate) fn new() -> Box<Self> {
        let counts: Box<[u64]> = alloc::vec![0; BUCKETS].into();
        Box::new(Self { counts: counts.try_into().expect("so many were made"), total: 0 })
    }

    /// Counts a call.
    #[inline]
    pub(crate) fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos.clamp(1, LONGEST))] += 1;
        self.total += 1;
    }

    /// Counts the calls of another one too.
    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts.iter()).for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
    }

    /// Calls counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The nanoseconds that this percentage of calls did not exceed.
    pub(crate) fn percentile(&self, percentage: f64) -> u64 {
        let wanted = ((percentage.min(100.0) / 100.0 * self.total as f64 + 0.5) as u64).max(1);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                // The shortest is the lowest of its bucket, all others are the highest of theirs.
                return match at {
                    _ if percentage > 0.0 => longest_in(at),
                    0 => 0,
                    _ => longest_in(at - 1) + 1,
                };
            }
        }
        0
    }

    /// How many calls did not take longer than 1, 2, 4 … microseconds, where that is more than the range before.
    pub(crate) fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let (mut seen, mut shown) = (0, 0);
        let mut border = FIRST_BORDER;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            let longest = longest_in(at);
            if longest < border && at + 1 < BUCKETS {
                continue;
            }
            border *= 2;
            if seen > shown {
                ranges.push((longest / 1000, seen));
                shown = seen;
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn of(durations: &[u64]) -> Box<Histogram> {
        let mut histogram = Histogram::new();
        durations.iter().for_each(|nanos| histogram.record(*nanos));
        histogram
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        assert_eq!(BUCKETS, 3072);
        let mut next = 0;
        for at in 0..BUCKETS {
            let longest = longest_in(at);
            for nanos in [next, longest] {
                assert_eq!(bucket(nanos), at, "{nanos}");
            }
            assert!(longest - next <= longest / HALF, "{longest}: not two digits");
            next = longest + 1;
        }
        assert_eq!(next, LONGEST.next_power_of_two());
    }

    /// What a Valkey 9.1 shows for these microseconds.
    #[test]
    fn percentiles_are_cut_where_valkey_cuts_them() {
        for (micros, shown) in [(10, 10_047), (13, 13_055), (175, 175_103), (1, 1_003), (1000, 1_003_519)] {
            assert_eq!(of(&[micros * 1000]).percentile(50.0), shown, "{micros}");
        }
        let calls: Vec<u64> = (1..=1000).map(|n| n * 1000).collect();
        let histogram = of(&calls);
        for (percentage, shown) in [
            (0.0, 1000),
            (50.0, 501_759),
            (99.0, 991_231),
            (99.9, 999_423),
            (100.0, 1_003_519),
            (150.0, 1_003_519),
        ] {
            assert_eq!(histogram.percentile(percentage), shown, "{percentage}");
        }
        assert_eq!(of(&[]).percentile(50.0), 0);
        assert_eq!(of(&[0]).percentile(50.0), 1, "no time at all counts as a nanosecond");
        assert_eq!(of(&[u64::MAX]).percentile(50.0), 1_002_438_655, "a second and what is longer");
    }

    #[test]
    fn ranges_double_and_are_shown_where_something_is_added() {
        assert_eq!(of(&[0, 500, 1000]).ranges(), [(1, 3)]);
        let calls: Vec<u64> = (0..11).map(|power| 1500 << power).collect();
        let borders = [2, 4, 8, 16, 33, 66, 132, 264, 528, 1056, 2113];
        let expected: Vec<(u64, u64)> = borders.into_iter().zip(1..).collect();
        assert_eq!(of(&calls).ranges(), expected);
        assert_eq!(of(&[30_000, 900_000_000]).ranges(), [(33, 1), (1_073_741, 2)]);
        assert_eq!(of(&[]).ranges(), vec![]);
    }
}
