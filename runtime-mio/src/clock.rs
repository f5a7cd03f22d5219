//! The clocks of the machine.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use whimbrel_core::time::{Mono, Now, Wall};

/// Reads both clocks; the monotonic one begins with the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: Mono(micros(self.start.elapsed())), wall: Wall(micros(wall)) }
    }
}
