//! How often one session or one address may ask.
//!
//! A bucket is one timestamp (GCRA, as in the `governor` crate). The timestamps live in a table of fixed size: a key
//! has one cell in each of three rows, and the earliest of the three counts. Strangers who share a cell can only move
//! it forward, so sharing all three is what it takes to be limited for somebody else; nothing is ever swept, because
//! a cell whose time has passed is an empty one.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use room::time::Micros;

const ROWS: usize = 3;
const SHARDS: usize = 16;
/// IPv6 customers hold whole networks. A wider one may ask for more, but not for as much as its parts together.
const V6_NETWORKS: [(u8, u32); 3] = [(64, 1), (56, 4), (48, 16)];

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Between two requests, once the burst is used up.
    interval_micros: u64,
    burst: u32,
}

impl Quota {
    /// `count` per `period`; at most `burst` at once. Both count as at least 1.
    pub const fn new(count: u32, period: Duration, burst: u32) -> Self {
        let count = if count == 0 { 1 } else { count };
        // The longest period of any setting is a minute.
        let interval_micros = (period.as_micros() as u64).div_ceil(count as u64);
        Self {
            interval_micros: if interval_micros == 0 { 1 } else { interval_micros },
            burst: if burst == 0 { 1 } else { burst },
        }
    }

    pub const fn per_second(count: u32, burst: u32) -> Self {
        Self::new(count, Duration::from_secs(1), burst)
    }

    pub const fn per_minute(count: u32, burst: u32) -> Self {
        Self::new(count, Duration::from_secs(60), burst)
    }

    fn times(self, factor: u32) -> Self {
        Self {
            interval_micros: self.interval_micros.div_ceil(u64::from(factor)),
            burst: self.burst.saturating_mul(factor),
        }
    }

    /// The timestamp after one more request, and what is left; or how long to wait.
    fn take(self, full_at: Micros, now: Micros) -> Result<(Micros, Remaining), Wait> {
        let next = full_at.max(now) + Duration::from_micros(self.interval_micros);
        let depth = self.interval_micros.saturating_mul(u64::from(self.burst));
        let used = next.0 - now.0;
        match depth.checked_sub(used) {
            Some(left) => {
                let left = left / self.interval_micros;
                Ok((
                    next,
                    Remaining { requests: u32::try_from(left).unwrap_or(u32::MAX), reset: next.since(now) },
                ))
            }
            None => Err(Wait(Duration::from_micros(used - depth))),
        }
    }
}

/// What may still be asked, for `RateLimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    pub requests: u32,
    /// Until the whole burst is there again.
    pub reset: Duration,
}

/// How long to wait before the next request has a chance, for `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// Buckets for any number of keys in a fixed amount of memory.
pub struct Limiter {
    shards: Box<[Mutex<Table>]>,
    hasher: RandomState,
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Limiter")
    }
}

impl Default for Limiter {
    /// 2^20 cells, 8 MiB: with 10,000 clients at their limit, one stranger in some 40,000 is limited with them.
    fn default() -> Self {
        Self::new(1 << 20)
    }
}

impl Limiter {
    /// With about `cells` timestamps of 8 bytes.
    pub fn new(cells: usize) -> Self {
        let columns = (cells / SHARDS / ROWS).max(1);
        let shards = (0..SHARDS).map(|_| Mutex::new(Table::new(columns))).collect();
        Self { shards, hasher: RandomState::new() }
    }

    /// Takes one request of `key`, if there is one to take.
    pub fn check(&self, key: impl Hash, quota: Quota, now: Micros) -> Result<Remaining, Wait> {
        self.with_table(self.hasher.hash_one(key), |table, hash| {
            let (next, remaining) = quota.take(table.read(hash), now)?;
            table.write(hash, next);
            Ok(remaining)
        })
    }

    /// Takes one request of an address: an IPv4 address by itself, an IPv6 address with the networks around it.
    /// `scope` keeps counts of different things apart.
    pub fn check_address(
        &self,
        scope: impl Hash + Copy,
        address: IpAddr,
        quota: Quota,
        now: Micros,
    ) -> Result<Remaining, Wait> {
        let address = match address.to_canonical() {
            IpAddr::V4(address) => return self.check((scope, address), quota, now),
            IpAddr::V6(address) => address,
        };
        let networks =
            V6_NETWORKS.map(|(bits, factor)| ((scope, bits, network(address, bits)), quota.times(factor)));
        // All are asked before any is charged: a network at its limit must not use up those inside it.
        for (key, quota) in networks {
            self.with_table(self.hasher.hash_one(key), |table, hash| quota.take(table.read(hash), now))?;
        }
        let mut left: Option<Remaining> = None;
        for (key, quota) in networks {
            let remaining = self.check(key, quota, now)?;
            left = Some(left.filter(|left| left.requests <= remaining.requests).unwrap_or(remaining));
        }
        left.ok_or(Wait(Duration::ZERO))
    }

    fn with_table<T>(&self, hash: u64, work: impl FnOnce(&mut Table, u64) -> T) -> T {
        let shard = hash as usize % SHARDS;
        // SHARDS tables were made, and a table is whole after every write.
        let table = self.shards.get(shard).or(self.shards.first());
        match table {
            Some(table) => {
                work(&mut table.lock().unwrap_or_else(PoisonError::into_inner), hash / SHARDS as u64)
            }
            None => work(&mut Table::new(1), hash),
        }
    }
}

struct Table {
    /// `ROWS` times `columns` instants at which a bucket is full again.
    cells: Box<[Micros]>,
    columns: usize,
}

impl Table {
    fn new(columns: usize) -> Self {
        Self { cells: vec![Micros::ZERO; columns * ROWS].into(), columns }
    }

    fn read(&self, hash: u64) -> Micros {
        self.places(hash).filter_map(|place| self.cells.get(place)).min().copied().unwrap_or_default()
    }

    fn write(&mut self, hash: u64, full_at: Micros) {
        for place in self.places(hash) {
            if let Some(cell) = self.cells.get_mut(place) {
                *cell = full_at.max(*cell);
            }
        }
    }

    /// Three cells out of one hash (Kirsch and Mitzenmacher).
    fn places(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let columns = self.columns;
        let (first, step) = (hash as u32 as usize, (hash >> 32) as usize | 1);
        (0..ROWS).map(move |row| row * columns + first.wrapping_add(row.wrapping_mul(step)) % columns)
    }
}

fn network(address: Ipv6Addr, bits: u8) -> u128 {
    address.to_bits() >> (128 - u32::from(bits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Micros = Micros(1_700_000_000_000_000);

    fn after(millis: u64) -> Micros {
        START + Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (limiter, quota) = (Limiter::new(1 << 12), Quota::per_second(10, 3));
        let left: Vec<_> =
            (0..3).map(|_| limiter.check("a", quota, START).map(|left| left.requests)).collect();
        assert_eq!(left, [Ok(2), Ok(1), Ok(0)]);
        assert_eq!(limiter.check("a", quota, START), Err(Wait(Duration::from_millis(100))));
        assert_eq!(limiter.check("a", quota, after(60)), Err(Wait(Duration::from_millis(40))));
        assert!(limiter.check("a", quota, after(100)).is_ok());
        assert!(limiter.check("a", quota, after(100)).is_err());
        assert!(limiter.check("b", quota, after(100)).is_ok(), "another key has a bucket of its own");
    }

    #[test]
    fn a_refusal_costs_nothing() {
        let (limiter, quota) = (Limiter::new(1 << 12), Quota::per_second(1, 1));
        assert!(limiter.check("a", quota, START).is_ok());
        for millis in 0..1000 {
            assert!(limiter.check("a", quota, after(millis)).is_err(), "{millis}");
        }
        assert!(limiter.check("a", quota, after(1000)).is_ok());
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_away() {
        let (limiter, quota) = (Limiter::new(1 << 12), Quota::per_second(1, 1));
        assert!(limiter.check("a", quota, after(5000)).is_ok());
        assert!(limiter.check("a", quota, START).is_err());
    }

    #[test]
    fn an_ipv6_network_has_more_than_an_address_and_less_than_all_of_them() {
        let (limiter, quota) = (Limiter::new(1 << 16), Quota::per_minute(1, 2));
        let ask = |text: &str| limiter.check_address("join", text.parse().unwrap(), quota, START).is_ok();
        assert!(ask("2001:db8:0:100::1") && ask("2001:db8:0:100::2"));
        assert!(!ask("2001:db8:0:100::3"), "the /64 is used up");
        let in_the_56 = (1..=9).filter(|net| ask(&format!("2001:db8:0:10{net}::1"))).count();
        assert_eq!(in_the_56, 6, "the /56 has four times as much, two of it used");
        let in_the_48 = (2..=99).filter(|net| ask(&format!("2001:db8:0:{net:02x}00::1"))).count();
        assert_eq!(in_the_48, 24, "the /48 has sixteen times as much, eight of it used");
        assert!(ask("2001:db8:1::1"), "other networks are not concerned");
    }

    #[test]
    fn an_ipv4_address_stands_for_itself_in_both_notations() {
        let (limiter, quota) = (Limiter::new(1 << 12), Quota::per_minute(1, 1));
        let ask = |text: &str| limiter.check_address((), text.parse().unwrap(), quota, START).is_ok();
        assert!(ask("192.0.2.1"));
        assert!(!ask("::ffff:192.0.2.1"));
        assert!(ask("192.0.2.2"));
    }

    #[test]
    fn hardly_anybody_is_limited_for_others() {
        let (limiter, quota) = (Limiter::default(), Quota::per_minute(1, 1));
        let refused =
            |keys: std::ops::Range<u32>| keys.filter(|key| limiter.check(key, quota, START).is_err()).count();
        refused(0..10_000);
        let strangers = refused(10_000..20_000);
        assert!(strangers < 20, "{strangers} of 10,000");
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_rate_and_burst(
            gaps in proptest::collection::vec(0_u64..400, 1..200), rate in 1_u32..50, burst in 1_u32..20,
        ) {
            let (limiter, quota) = (Limiter::new(1 << 12), Quota::per_second(rate, burst));
            let mut now = START;
            let mut passed = Vec::new();
            for gap in gaps {
                now = now + Duration::from_millis(gap);
                if limiter.check("a", quota, now).is_ok() {
                    passed.push(now);
                }
            }
            for (index, first) in passed.iter().enumerate() {
                for (count, last) in passed[index..].iter().enumerate() {
                    let allowed = last.since(*first).as_micros() * u128::from(rate) / 1_000_000 + u128::from(burst);
                    prop_assert!((count as u128) < allowed, "{} in {:?}", count + 1, last.since(*first));
                }
            }
        }

        #[test]
        fn the_wait_is_exact(asks in 1_usize..40, rate in 1_u32..100, burst in 1_u32..20) {
            let (limiter, quota) = (Limiter::new(1 << 12), Quota::per_second(rate, burst));
            for _ in 0..asks {
                if let Err(Wait(wait)) = limiter.check("a", quota, START) {
                    prop_assert!(limiter.check("a", quota, START + wait - Duration::from_micros(1)).is_err());
                    prop_assert!(limiter.check("a", quota, START + wait).is_ok());
                    break;
                }
            }
        }
    }
}
