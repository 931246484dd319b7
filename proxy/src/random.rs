//! Randomness from the operating system: the only place that asks for it.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Asked for at a time: one call of the system serves many requests.
const POOL_BYTES: usize = 512;

thread_local! {
    /// Bytes that nobody has got yet stand in front of the mark.
    static POOL: RefCell<([u8; POOL_BYTES], usize)> = const { RefCell::new(([0; POOL_BYTES], 0)) };
}

/// Random bytes for identifiers and secrets. Each is given once, and no trace of it stays behind.
pub fn bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= POOL_BYTES) };
    POOL.with_borrow_mut(|(pool, left)| {
        if *left < N {
            (*pool, *left) = (from_system(), POOL_BYTES);
        }
        let mut drawn = [0; N];
        *left -= N;
        if let Some(fresh) = pool.get_mut(*left..*left + N) {
            drawn.copy_from_slice(fresh);
            fresh.fill(0);
        }
        drawn
    })
}

fn from_system<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // Without randomness identifiers would repeat and be guessed: nothing safe can be done.
        tracing::error!(%error, "the operating system gives no randomness");
        std::process::abort();
    }
    bytes
}

thread_local! {
    /// Where the series of this thread stands. Keys of threads differ.
    static SERIES: Cell<u64> = Cell::new(RandomState::new().hash_one(0));
}

/// Numbers that come once, for identifiers that need not be hard to guess: they cost a hundredth of [`bytes`]. The
/// steps are those of `SplitMix64`, which meets every number of 64 bits before it meets one again.
pub fn serials<const N: usize>() -> [u64; N] {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let first = SERIES.get();
    SERIES.set(first.wrapping_add(STEP.wrapping_mul(N as u64)));
    std::array::from_fn(|step| mixed(first.wrapping_add(STEP.wrapping_mul(step as u64))))
}

/// Each bit of the outcome depends on all of `number`, and no two numbers have the same outcome.
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A span below `limit`, so that many who wait for the same do not come back together.
pub fn below(limit: Duration) -> Duration {
    limit.mul_f64(f64::from(u32::from_le_bytes(bytes())) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_serial_number_comes_once_whichever_thread_asks() {
        let some = || (0..2500).flat_map(|_| serials::<2>()).collect::<Vec<_>>();
        let threads = [std::thread::spawn(some), std::thread::spawn(some)];
        let all: HashSet<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.len(), 10_000);
    }

    #[test]
    fn what_is_drawn_never_comes_again_however_much_is_asked_for() {
        let odd: HashSet<[u8; 13]> = (0..5000).map(|_| bytes()).collect();
        let all: HashSet<[u8; POOL_BYTES]> = (0..50).map(|_| bytes()).collect();
        assert_eq!((odd.len(), all.len()), (5000, 50));
        assert!(
            !odd.iter().any(|drawn| drawn.ends_with(&[0; 7])),
            "the pool is used up before it is drawn from"
        );
    }
}
