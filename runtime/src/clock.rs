//! The clocks of the machine.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quanta::Clock as Counter;
use whimbrel_core::time::{Mono, Now, Wall};

/// Reads both clocks; the monotonic one begins with the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// The time begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Reads both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.mono(), wall: Wall(micros(wall)) }
    }

    /// Reads the monotonic clock alone.
    #[must_use]
    pub fn mono(&self) -> Mono {
        Mono(micros(self.start.elapsed()))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Nanoseconds since the first call, for durations that are only reported: from the time stamp counter where there is
/// a good one.
pub(crate) fn nanos() -> u64 {
    static COUNTER: LazyLock<(Counter, u64)> = LazyLock::new(|| {
        let counter = Counter::new();
        let start = counter.raw();
        (counter, start)
    });
    let (counter, start) = &*COUNTER;
    counter.delta_as_nanos(*start, counter.raw())
}
