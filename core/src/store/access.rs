//! What an entry remembers of its accesses: 24 bits, which are either the second of the last access, or the minute of
//! it (16 bits) and a counter of how often there were any (8 bits). The eviction policy decides which of the two; after
//! a change of policy stamps mean little until their keys were used again, as in Valkey.

use core::cell::Cell;

use super::entry::Entry;

/// The bits of a stamp.
const MASK: u32 = 0x00ff_ffff;
/// The counter of a new entry: high enough to survive until it can be used again.
const FIRST_COUNT: u8 = 5;

/// How accesses are counted under an LFU policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counting {
    /// `lfu-log-factor`: how much harder each further step of a counter is.
    pub log_factor: u32,
    /// `lfu-decay-time`: minutes without an access after which a counter falls by one; 0: never.
    pub decay_minutes: u32,
}

/// The clock of accesses and the rule by which stamps are made.
#[derive(Debug)]
pub struct Access {
    seconds: u32,
    minutes: u16,
    counting: Option<Counting>,
    /// State of the draws that decide whether a counter grows; never 0.
    draws: Cell<u64>,
}

/// One access: turns the stamp of an entry into the next one.
#[derive(Clone, Copy, Debug)]
pub enum Touch {
    /// The access leaves no trace (CLIENT NO-TOUCH, commands that only ask about a key).
    Keep,
    /// The access is remembered by its time.
    At(u32),
    /// The access is counted.
    Count {
        /// The present minute.
        minutes: u16,
        /// The rule.
        counting: Counting,
        /// 32 random bits.
        draw: u32,
    },
}

impl Access {
    /// A clock that stands at 0, stamping times.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seconds: 0, minutes: 0, counting: None, draws: Cell::new(seed | 1) }
    }

    /// Sets the clock: milliseconds since the Unix epoch.
    pub fn set_time(&mut self, wall_ms: u64) {
        self.seconds = (wall_ms / 1000) as u32 & MASK;
        self.minutes = (wall_ms / 60_000) as u16;
    }

    /// Counts accesses by this rule from now on, or remembers their time.
    pub fn set_counting(&mut self, counting: Option<Counting>) {
        self.counting = counting;
    }

    /// The clock's second, in 24 bits.
    #[must_use]
    pub fn seconds(&self) -> u32 {
        self.seconds
    }

    /// The stamp of an entry made now.
    #[must_use]
    #[inline]
    pub fn fresh(&self) -> u32 {
        match self.counting {
            None => self.seconds,
            Some(_) => pack(self.minutes, FIRST_COUNT),
        }
    }

    /// An access now.
    #[must_use]
    #[inline]
    pub fn touch(&self) -> Touch {
        match self.counting {
            None => Touch::At(self.seconds),
            Some(counting) => Touch::Count { minutes: self.minutes, counting, draw: self.draw() },
        }
    }

    fn draw(&self) -> u32 {
        let mut x = self.draws.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.draws.set(x);
        (x >> 32) as u32
    }

    /// Seconds since the access that left this stamp, if stamps are times. They wrap after 194 days.
    #[must_use]
    pub fn idle_secs(&self, stamp: u32) -> u32 {
        self.seconds.wrapping_sub(stamp) & MASK
    }

    /// How often the entry with this stamp was used of late, on a logarithmic scale, if accesses are counted.
    #[must_use]
    pub fn frequency(&self, stamp: u32) -> Option<u8> {
        self.counting.map(|counting| decayed(stamp, self.minutes, counting))
    }

    /// How good a candidate for eviction the entry with this stamp is: the more, the better.
    #[must_use]
    pub fn idleness(&self, stamp: u32) -> u32 {
        match self.frequency(stamp) {
            Some(frequency) => u32::from(u8::MAX - frequency),
            None => self.idle_secs(stamp),
        }
    }
}

impl Touch {
    /// The stamp after the access.
    #[must_use]
    #[inline]
    pub fn apply(self, stamp: u32) -> u32 {
        match self {
            Self::Keep => stamp,
            Self::At(seconds) => seconds,
            Self::Count { minutes, counting, draw } => {
                let count = decayed(stamp, minutes, counting);
                pack(minutes, grown(count, counting.log_factor, draw))
            }
        }
    }
}

impl Entry {
    /// Notes an access.
    #[inline]
    pub fn touch(&self, touch: Touch) {
        self.set_clock(touch.apply(self.clock()));
    }
}

fn pack(minutes: u16, count: u8) -> u32 {
    u32::from(minutes) << 8 | u32::from(count)
}

/// The counter of a stamp, less one for each period without an access.
fn decayed(stamp: u32, minutes: u16, counting: Counting) -> u8 {
    let elapsed = u32::from(minutes.wrapping_sub((stamp >> 8) as u16));
    let periods = elapsed.checked_div(counting.decay_minutes).unwrap_or(0);
    (stamp as u8).saturating_sub(u8::try_from(periods).unwrap_or(u8::MAX))
}

/// The counter after one more access: it grows with a chance of one in `log_factor` times its height, plus one.
fn grown(count: u8, log_factor: u32, draw: u32) -> u8 {
    let height = u64::from(count.saturating_sub(FIRST_COUNT));
    let odds = height * u64::from(log_factor) + 1;
    let wins = (u64::from(draw) * odds) >> 32 == 0;
    count.saturating_add(u8::from(wins))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Counting = Counting { log_factor: 10, decay_minutes: 1 };

    fn counting(counting: Counting) -> Access {
        let mut access = Access::new(7);
        access.set_counting(Some(counting));
        access
    }

    #[test]
    fn times_wrap_and_counters_do_not() {
        let mut access = Access::new(7);
        access.set_time(5_000);
        assert_eq!(access.idle_secs(MASK), 6);
        assert_eq!((access.fresh(), access.frequency(access.fresh())), (5, None));
        assert_eq!(Touch::Keep.apply(3), 3);
        assert_eq!(access.touch().apply(3), 5);
        let access = counting(Counting { log_factor: 0, decay_minutes: 0 });
        let mut stamp = access.fresh();
        assert_eq!(access.frequency(stamp), Some(FIRST_COUNT));
        for _ in 0..400 {
            stamp = access.touch().apply(stamp);
        }
        assert_eq!(access.frequency(stamp), Some(255));
    }

    /// Valkey's documentation gives these orders of magnitude for the default factor.
    #[test]
    fn counters_grow_with_the_logarithm_of_the_accesses() {
        let access = counting(USUAL);
        for (accesses, low, high) in [(100, 8, 14), (1_000, 14, 24), (100_000, 100, 160)] {
            let mut stamp = access.fresh();
            for _ in 0..accesses {
                stamp = access.touch().apply(stamp);
            }
            let count = access.frequency(stamp).unwrap();
            assert!((low..=high).contains(&count), "{accesses} accesses: {count}");
        }
    }

    #[test]
    fn counters_fall_when_nobody_uses_the_key() {
        let mut access = counting(Counting { log_factor: 10, decay_minutes: 3 });
        let stamp = pack(0, 100);
        for (minutes, count) in [(0, 100), (2, 100), (3, 99), (299, 1), (65_535, 0)] {
            access.set_time(minutes * 60_000);
            assert_eq!(access.frequency(stamp), Some(count), "after {minutes} minutes");
        }
        access.set_counting(Some(Counting { log_factor: 10, decay_minutes: 0 }));
        assert_eq!(access.frequency(stamp), Some(100), "never");
    }
}
