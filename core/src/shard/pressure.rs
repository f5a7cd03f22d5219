//! How writers that outrun the link of a migration are slowed: for how long the next hold may last.
//!
//! Every write is held once, for as long as a hold lasts. So the writers of a slot make about one write in each hold,
//! and whether the link catches up is a matter of how long the holds are. They begin short; as long as more is written
//! from one to the next than the link takes, each is twice as long as the last, up to a limit that clients can bear.

use crate::ids::HoldId;
use crate::time::{Mono, Span};

/// The first hold. A write that meets it waits so long at most.
const SHORTEST: Span = Span::ms(10);
/// No hold lasts longer: a held command holds its connection.
pub(crate) const LONGEST: Span = Span::ms(200);
/// A link that took nothing for this long is not making progress: holding writes would not help …
const STALLED_AFTER: Span = Span::ms(50);
/// … unless it is so slow that it takes twice the time it took last, up to this.
const STALLED_AT_LAST: Span = Span::secs(1);

/// Back-pressure of one job.
#[derive(Debug)]
pub(crate) struct Pressure {
    hold: Option<Held>,
    /// How long the next hold may last.
    step: Span,
    /// What had passed when the last hold began, if that ended by its time just now.
    outlasted: Option<Passed>,
    /// When the link last took bytes.
    progress_at: Mono,
    /// How long it needed for that.
    gap: Span,
    /// Nothing waited since: how long the link needs next is not known.
    idle: bool,
}

/// A hold in force.
#[derive(Clone, Copy, Debug)]
struct Held {
    id: HoldId,
    until: Mono,
    since: Passed,
}

/// Bytes since the job began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    /// Of writes that were made here.
    pub(crate) written: u64,
    /// Of anything that the link took.
    pub(crate) sent: u64,
}

impl Pressure {
    pub(crate) fn new(now: Mono) -> Self {
        Self { hold: None, step: SHORTEST, outlasted: None, progress_at: now, gap: Span::ms(0), idle: true }
    }

    /// Whether a hold may begin, where the lag is so long that one is wanted. To be asked at the end of every step.
    pub(crate) fn is_free(&mut self, now: Mono, wanted: bool) -> bool {
        let ended = self.hold.take_if(|held| held.until <= now);
        // Where none is wanted when the last one ends, it was long enough.
        self.outlasted = ended.map(|held| held.since).filter(|_| wanted);
        wanted && self.hold.is_none()
    }

    /// A hold that would help begins now and lasts until the answer, at the latest. `None`: the link takes nothing.
    pub(crate) fn begin(&mut self, now: Mono, passed: Passed) -> Option<Mono> {
        let patience = Span((self.gap.0 * 2).clamp(STALLED_AFTER.0, STALLED_AT_LAST.0));
        if now.since(self.progress_at) >= patience {
            return None;
        }
        let outran = |before: Passed| passed.written - before.written >= passed.sent - before.sent;
        if self.outlasted.take().is_some_and(outran) {
            self.step = Span((self.step.0 * 2).min(LONGEST.0));
        }
        Some(now + self.step)
    }

    /// The hold has begun.
    pub(crate) fn begun(&mut self, id: HoldId, until: Mono, since: Passed) {
        self.hold = Some(Held { id, until, since });
    }

    /// The link took bytes.
    pub(crate) fn drained(&mut self, now: Mono, is_empty: bool) {
        if !self.idle {
            self.gap = now.since(self.progress_at);
        }
        self.progress_at = now;
        self.idle = is_empty;
    }

    /// The lag is short: the hold that is to be ended, if one is in force. The next one need not be as long.
    pub(crate) fn relieve(&mut self) -> Option<HoldId> {
        self.outlasted = None;
        let held = self.hold.take();
        self.step = Span((self.step.0 / 2).max(SHORTEST.0));
        held.map(|held| held.id)
    }

    /// The hold in force.
    pub(crate) fn hold(&self) -> Option<HoldId> {
        self.hold.map(|held| held.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(ms * 1000)
    }

    /// Begins a hold; how long it may last, in milliseconds.
    fn hold(pressure: &mut Pressure, ms: u64, written: u64, sent: u64) -> Option<u64> {
        let passed = Passed { written, sent };
        let until = pressure.is_free(at(ms), true).then(|| pressure.begin(at(ms), passed))??;
        pressure.begun(HoldId(ms), until, passed);
        Some(until.since(at(ms)).as_ms())
    }

    #[test]
    fn holds_grow_while_writers_outrun_the_link_and_shrink_when_nothing_waits() {
        let mut pressure = Pressure::new(at(0));
        let (mut ms, mut lasted) = (0, alloc::vec::Vec::new());
        for n in 0..7 {
            let step = hold(&mut pressure, ms, 5000 * n, 5000 * n).expect("a hold");
            assert_eq!(hold(&mut pressure, ms + step - 1, 9000 * n, 0), None, "one at a time");
            lasted.push(step);
            ms += step;
            pressure.drained(at(ms), false);
        }
        assert_eq!(lasted, [10, 20, 40, 80, 160, 200, 200]);
        assert_eq!(hold(&mut pressure, ms, 35_000, 35_001), Some(200), "it catches up");
        for shorter in [100, 50, 25, 12, 10, 10] {
            pressure.drained(at(ms), true);
            assert_eq!(pressure.relieve(), Some(HoldId(ms)));
            ms += 1;
            assert_eq!(hold(&mut pressure, ms, 99_000, 40_000), Some(shorter));
        }
    }

    #[test]
    fn a_link_that_takes_nothing_is_not_waited_for_but_a_slow_one_is() {
        let mut pressure = Pressure::new(at(0));
        let mut sent = 0;
        let mut begins = |pressure: &mut Pressure, ms| {
            sent += 1;
            hold(pressure, ms, 0, sent).is_some()
        };
        assert!(!begins(&mut pressure, 50), "since the beginning");
        pressure.drained(at(100), false);
        assert!(begins(&mut pressure, 149));
        pressure.drained(at(300), false);
        assert!(begins(&mut pressure, 699), "it took 200 ms the last time");
        assert!(!begins(&mut pressure, 750));
        pressure.drained(at(9000), true);
        assert!(begins(&mut pressure, 9999), "no longer than a second");
        assert!(!begins(&mut pressure, 10_300));
        pressure.drained(at(20_000), false);
        pressure.drained(at(20_001), false);
        assert!(!begins(&mut pressure, 20_052), "what passed with nothing to send does not count");
    }
}
