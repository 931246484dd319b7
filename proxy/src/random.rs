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
    /// A key of this thread, and how often it was used.
    static SERIES: (RandomState, Cell<u64>) = (RandomState::new(), Cell::new(0));
}

/// A number that comes once, for identifiers that need not be hard to guess: it costs a hundredth of [`bytes`].
pub fn serial() -> u64 {
    SERIES.with(|(key, count)| {
        count.set(count.get().wrapping_add(1));
        key.hash_one(count.get())
    })
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
        let some = || (0..5000).map(|_| serial()).collect::<Vec<_>>();
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
