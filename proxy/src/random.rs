//! Randomness from the operating system: the only place that asks for it.

use std::time::Duration;

/// Random bytes for identifiers and secrets.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // Without randomness identifiers would repeat and be guessed: nothing safe can be done.
        tracing::error!(%error, "the operating system gives no randomness");
        std::process::abort();
    }
    bytes
}

/// A span below `limit`, so that many who wait for the same do not come back together.
pub fn below(limit: Duration) -> Duration {
    limit.mul_f64(f64::from(u32::from_le_bytes(bytes())) / (f64::from(u32::MAX) + 1.0))
}
