//! How long turns of the event loop take, by the wall and in CPU time of this thread.
//!
//! A turn is what clients wait for: while it lasts nobody else is served. Its wall time includes what the machine did
//! meanwhile instead of us; its CPU time is ours alone. Asking for CPU time is a call into the kernel, where a look at
//! the wall is not. So it is read before a turn at most once per [`RESOLUTION_US`], and after a turn only when that
//! was long: what is told as the CPU time of a turn may contain as much of the turns before it.

use nix::time::{ClockId, clock_gettime};
use whimbrel_core::time::{Mono, Span};

/// How old a reading of the CPU clock may be when a turn begins.
const RESOLUTION_US: u64 = 100;
/// Turns that took as long by the wall are told.
const LONG_US: u64 = 250;

/// A turn that took long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LongTurn {
    /// By the wall.
    pub(crate) took: Span,
    /// CPU time of the thread.
    pub(crate) cpu: Span,
}

/// Measures turns; belongs to the thread that turns.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Turns so far.
    pub(crate) turns: u64,
    /// Microseconds spent in them.
    pub(crate) turns_us: u64,
    begun: Mono,
    /// When the CPU clock was last read, and what it said in microseconds.
    read: Option<(Mono, u64)>,
    cpu_clock: fn() -> u64,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { turns: 0, turns_us: 0, begun: Mono(0), read: None, cpu_clock: thread_cpu_us }
    }

    /// A turn begins: waiting is over.
    #[inline]
    pub(crate) fn begin(&mut self, now: Mono) {
        self.begun = now;
        if self.read.is_none_or(|(at, _)| now.since(at).0 >= RESOLUTION_US) {
            self.read = Some((now, (self.cpu_clock)()));
        }
    }

    /// The most CPU time that anything since the turn began may have taken; reads the clock.
    pub(crate) fn spent(&self, now: Mono) -> Span {
        let before = self.read.map_or(0, |(_, before)| before);
        Span((self.cpu_clock)().saturating_sub(before).min(now.since(self.begun).0))
    }

    /// The turn is over; what it took if that was long.
    #[inline]
    pub(crate) fn end(&mut self, now: Mono) -> Option<LongTurn> {
        let took = now.since(self.begun);
        self.turns += 1;
        self.turns_us += took.0;
        (took.0 >= LONG_US).then(|| {
            let cpu = (self.cpu_clock)();
            let before = self.read.replace((now, cpu)).map_or(cpu, |(_, before)| before);
            LongTurn { took, cpu: Span(cpu.saturating_sub(before).min(took.0)) }
        })
    }
}

/// CPU time of this thread in user space and in the kernel; 0 where the system does not tell.
pub(crate) fn thread_cpu_us() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map_or(0, |time| (time.tv_sec() as u64) * 1_000_000 + (time.tv_nsec() as u64) / 1000)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static CPU_US: Cell<u64> = const { Cell::new(0) };
        static READINGS: Cell<u32> = const { Cell::new(0) };
    }

    fn meter() -> Meter {
        let cpu_clock = || {
            READINGS.set(READINGS.get() + 1);
            CPU_US.get()
        };
        Meter { cpu_clock, ..Meter::new() }
    }

    /// One turn from a time on that takes so long and so much CPU.
    fn turn(meter: &mut Meter, at: u64, took: u64, cpu: u64) -> Option<LongTurn> {
        meter.begin(Mono(at));
        CPU_US.set(CPU_US.get() + cpu);
        meter.end(Mono(at + took))
    }

    #[test]
    fn long_turns_are_told_with_their_cpu_time() {
        let mut meter = meter();
        assert_eq!(turn(&mut meter, 1000, 249, 249), None);
        for (at, took, cpu) in [(2000, 250, 40), (3000, 9000, 8999), (20_000, 700, 700)] {
            let expected = LongTurn { took: Span(took), cpu: Span(cpu) };
            assert_eq!(turn(&mut meter, at, took, cpu), Some(expected), "turn at {at}");
        }
        assert_eq!((meter.turns, meter.turns_us), (4, 249 + 250 + 9000 + 700));
    }

    #[test]
    fn short_turns_share_a_reading_of_the_cpu_clock() {
        let mut meter = meter();
        for at in 0..1000 {
            assert_eq!(turn(&mut meter, at * 10, 5, 5), None);
        }
        assert_eq!(READINGS.get(), 100);
        // The long turn is blamed for the short ones since the last reading, but never for more than its wall time.
        assert_eq!(turn(&mut meter, 10_000, 20, 20), None);
        let told = turn(&mut meter, 10_030, 300, 290).unwrap();
        assert_eq!(told.cpu, Span(300));
        let told = turn(&mut meter, 10_340, 300, 200).unwrap();
        assert_eq!(told.cpu, Span(200), "it begins with the reading at the end of the one before");
    }

    #[test]
    fn what_was_spent_so_far_is_no_more_than_the_wall_says() {
        let mut meter = meter();
        meter.begin(Mono(1000));
        CPU_US.set(CPU_US.get() + 40);
        assert_eq!(meter.spent(Mono(9000)), Span(40));
        assert_eq!(meter.spent(Mono(1030)), Span(30));
    }

    #[test]
    fn the_systems_clock_counts_work_and_not_sleep() {
        let before = thread_cpu_us();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let slept = thread_cpu_us();
        while thread_cpu_us() < slept + 2000 {}
        assert!(slept >= before && thread_cpu_us() >= before + 2000);
    }
}
