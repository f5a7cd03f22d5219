//! Time as an argument: the core never asks a clock.

use core::ops::{Add, Sub};

/// A point on the monotonic clock, in microseconds since some start of the driver's choosing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Mono(pub u64);

/// A point on the wall clock, in microseconds since the Unix epoch. It may jump either way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Wall(pub u64);

/// Both clocks, read once by the driver and fixed for a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For everything that must not jump: timeouts, holds, budgets.
    pub mono: Mono,
    /// For everything that people and files see: expiry of keys, `TIME`, times in nodes.conf.
    pub wall: Wall,
}

/// A span of time in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span(pub u64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `n` milliseconds.
    #[must_use]
    pub const fn ms(n: u64) -> Self {
        Self(n.saturating_mul(1000))
    }

    /// `n` seconds.
    #[must_use]
    pub const fn secs(n: u64) -> Self {
        Self(n.saturating_mul(1_000_000))
    }

    /// Whole milliseconds in this span.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0 / 1000
    }
}

impl Mono {
    /// The time that has passed since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Wall {
    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0 / 1000
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl Add<Span> for Mono {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Mono {
    type Output = Self;

    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Now {
    /// The wall clock in milliseconds, the unit of key expiry.
    #[must_use]
    pub const fn wall_ms(self) -> u64 {
        self.wall.as_ms()
    }
}
