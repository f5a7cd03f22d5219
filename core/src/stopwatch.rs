//! Durations that are only reported: how long commands took, for SLOWLOG, LATENCY and INFO.
//!
//! What is decided is decided by [`Now`](crate::time::Now), which stands still during a step. What is only shown may
//! be measured within a step, with a clock that the driver lends. Nothing else in the core may look at it.

/// The driver's clock for durations.
///
/// ```
/// use whimbrel_core::stopwatch::{Laps, Stopwatch};
/// let mut laps = Laps::new(Stopwatch::Fixed(250));
/// laps.start();
/// assert_eq!((laps.lap(), laps.lap()), (250, 250));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub enum Stopwatch {
    /// Everything takes no time: where time is an argument, a step has none.
    #[default]
    Still,
    /// Everything takes so many nanoseconds: a run of which the reports shall be foreseeable.
    Fixed(u64),
    /// A clock that says nanoseconds since whatever moment. It must not go backwards and has to be cheap: it is
    /// read once per command.
    Lent(fn() -> u64),
}

/// A stopwatch that was started. The end of one lap is the beginning of the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Laps {
    stopwatch: Stopwatch,
    /// What was read last.
    last: u64,
}

impl Laps {
    /// With this clock.
    #[must_use]
    pub fn new(stopwatch: Stopwatch) -> Self {
        Self { stopwatch, last: 0 }
    }

    /// Begins a lap now, whatever was before.
    #[inline]
    pub fn start(&mut self) {
        if let Stopwatch::Lent(read) = self.stopwatch {
            self.last = read();
        }
    }

    /// Ends a lap: its nanoseconds.
    #[inline]
    pub fn lap(&mut self) -> u64 {
        match self.stopwatch {
            Stopwatch::Still => 0,
            Stopwatch::Fixed(nanos) => {
                self.last += nanos;
                nanos
            }
            Stopwatch::Lent(read) => {
                let now = read();
                let nanos = now.saturating_sub(self.last);
                self.last = now;
                nanos
            }
        }
    }

    /// The beginning of the lap that runs, for [`since`](Self::since).
    #[inline]
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.last
    }

    /// Nanoseconds from a mark to the beginning of the lap that runs: laps that belong together.
    #[must_use]
    pub fn since(&self, mark: u64) -> u64 {
        self.last.saturating_sub(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn laps_are_chained() {
        static CLOCK: AtomicU64 = AtomicU64::new(1_000);
        let mut laps = Laps::new(Stopwatch::Lent(|| CLOCK.load(Ordering::Relaxed)));
        laps.start();
        let mark = laps.mark();
        for (at, lap) in [(1_300, 300), (1_300, 0), (2_000, 700), (1_900, 0), (1_950, 50)] {
            CLOCK.store(at, Ordering::Relaxed);
            assert_eq!(laps.lap(), lap, "at {at}");
        }
        assert_eq!(laps.since(mark), 950);
        CLOCK.store(9_000, Ordering::Relaxed);
        laps.start();
        assert_eq!(laps.lap(), 0);
    }

    #[test]
    fn without_a_clock_everything_takes_what_was_said() {
        let mut still = Laps::default();
        still.start();
        assert_eq!((still.lap(), still.since(still.mark())), (0, 0));
        let mut fixed = Laps::new(Stopwatch::Fixed(7));
        fixed.start();
        let mark = fixed.mark();
        assert_eq!((fixed.lap(), fixed.lap(), fixed.since(mark)), (7, 7, 14));
    }
}
