//! Chance that keeps a fleet from doing things at one instant.

use std::time::Duration;

/// From 0 to 1.
pub(super) fn share() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

/// Between half and the whole of a pause.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + share() / 2.0)
}

/// One of so many; 0 of none.
pub(super) fn below(count: usize) -> usize {
    let random = getrandom::u32().unwrap_or(0) as usize;
    random.checked_rem(count).unwrap_or(0)
}
