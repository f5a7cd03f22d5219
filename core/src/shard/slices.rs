//! How much of a snapshot is made in one turn: little and seldom while clients are served, much when they are not.
//!
//! A client that waits for each answer asks again some microseconds after it; who takes the shard as idle in between makes
//! it wait for a large slice every time. So it takes a while without a client before slices become large.
//!
//! What a slice costs depends on what is in it and where that lies: keys that are in no cache take ten times as long. So
//! slices grow only as long as their turns are short, and shrink when one was long.

use crate::time::{Mono, Span};

/// Bytes of a slice while clients are served: about 20 µs of their time.
const BUSY: usize = 16 * 1024;
/// Time from one of these slices to the next: clients have most of it, and the target, which may share a core with
/// them, has to take in no more than 200 MB a second.
const SPACING: Span = Span(80);
/// Without a client for so long, slices are larger …
const LULL: Span = Span(150);
const LULL_BUDGET: usize = 64 * 1024;
/// … and for so long, as large as they get: nobody else wants the shard.
const QUIET: Span = Span(500);
const QUIET_BUDGET: usize = 256 * 1024;
/// After a turn that took longer than this, in CPU time, slices are half as large …
const LONG: Span = Span(700);
/// … and after one that took less than this they may be twice as large again.
const SHORT: Span = Span(350);

/// When slices were made and clients served.
#[derive(Debug)]
pub(crate) struct Slices {
    served_at: Option<Mono>,
    made_at: Mono,
    asked_at: Option<Mono>,
    /// The most that the next one may have.
    most: usize,
    /// How large the last one was, if its turn is not known to have been long.
    last: Option<usize>,
}

impl Slices {
    pub(crate) fn new(now: Mono) -> Self {
        Self { served_at: None, made_at: now, asked_at: None, most: LULL_BUDGET, last: None }
    }

    /// A client was served.
    #[inline]
    pub(crate) fn served(&mut self, now: Mono) {
        self.served_at = Some(now);
    }

    /// A turn took so much CPU time. Of short turns nobody has to tell.
    pub(crate) fn turned(&mut self, cpu: Span) {
        if cpu < SHORT {
            return;
        }
        if let Some(last) = self.last.take()
            && cpu > LONG
        {
            self.most = (last / 2).max(BUSY);
        }
    }

    /// About how many bytes to make now; `None`: it is too early for the next slice. To be asked every turn while
    /// there is a snapshot to make.
    pub(crate) fn next(&mut self, now: Mono) -> Option<usize> {
        let lull = self.served_at.map(|at| now.since(at));
        // A clock that stands still would let the next slice never come.
        let stands = self.asked_at.replace(now) == Some(now);
        let budget = match lull {
            Some(lull) if lull < LULL => BUSY,
            Some(lull) if lull < QUIET => LULL_BUDGET,
            _ => QUIET_BUDGET,
        };
        if budget == BUSY && now.since(self.made_at) < SPACING && !stands {
            return None;
        }
        if self.last == Some(self.most) {
            self.most = (2 * self.most).min(QUIET_BUDGET);
        }
        let budget = budget.min(self.most);
        self.last = Some(budget);
        self.made_at = now;
        Some(budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_small_and_seldom_while_clients_come() {
        let mut slices = Slices::new(Mono(0));
        let (mut made, mut largest) = (0, 0);
        // A client that asks every 20 µs, for a second, and a turn every 10 µs.
        for turn in 0..100_000u64 {
            let now = Mono(1000 + 10 * turn);
            if turn % 2 == 0 {
                slices.served(now);
            }
            let slice = slices.next(now).unwrap_or(0);
            (made, largest) = (made + slice, largest.max(slice));
        }
        assert_eq!(largest, BUSY);
        assert_eq!(made, BUSY * 1_000_000 / 80);
    }

    #[test]
    fn they_grow_when_clients_stay_away() {
        let mut slices = Slices::new(Mono(0));
        for grown in [LULL_BUDGET, 2 * LULL_BUDGET, QUIET_BUDGET, QUIET_BUDGET] {
            assert_eq!(slices.next(Mono(1)), Some(grown), "nobody ever came");
        }
        slices.served(Mono(1000));
        let at = |slices: &mut Slices, us: u64| slices.next(Mono(1000 + us));
        assert_eq!(at(&mut slices, 0), Some(BUSY));
        assert_eq!(at(&mut slices, 79), None);
        assert_eq!(at(&mut slices, 80), Some(BUSY));
        assert_eq!(at(&mut slices, 149), None);
        assert_eq!(at(&mut slices, 150), Some(LULL_BUDGET));
        assert_eq!(at(&mut slices, 499), Some(LULL_BUDGET));
        assert_eq!(at(&mut slices, 500), Some(QUIET_BUDGET));
    }

    #[test]
    fn they_shrink_while_their_turns_are_long_and_grow_again_when_they_are_not() {
        let (mut slices, mut now, mut made) = (Slices::new(Mono(0)), 0, alloc::vec::Vec::new());
        for us_per_kb in [0, 10, 10, 10, 10, 1, 1, 3, 3, 3, 90, 90, 90, 90, 0, 0] {
            now += 1000;
            let slice = slices.next(Mono(now)).expect("a slice") / 1024;
            let cpu = slice as u64 * us_per_kb;
            if cpu >= 250 {
                slices.turned(Span(cpu));
            }
            made.push(slice);
        }
        assert_eq!(made, [64, 128, 64, 64, 64, 64, 128, 256, 128, 128, 128, 64, 32, 16, 16, 32]);
        // Another turn, in which none was made.
        slices.turned(Span(5000));
        slices.turned(Span(5000));
        assert_eq!(slices.next(Mono(now + 1)), Some(16 * 1024));
    }

    #[test]
    fn a_clock_that_stands_still_does_not_stop_a_snapshot() {
        let mut slices = Slices::new(Mono(0));
        slices.served(Mono(10));
        let made = (0..10).filter(|_| slices.next(Mono(10)).is_some()).count();
        assert!(made >= 9);
    }
}
