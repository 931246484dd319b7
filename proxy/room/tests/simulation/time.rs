//! True time, which no clock of the simulated world shows.

/// Microseconds of true time since the world began.
pub(crate) type At = u64;

/// Where a true wall clock stands when the world begins.
pub(crate) const START: u64 = 1_767_225_600_000_000;
pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;
