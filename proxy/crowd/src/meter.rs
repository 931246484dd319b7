//! What is counted while the crowd runs: cheap, shared, bounded.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::histogram::Latencies;

/// Shared by everyone in the run.
#[derive(Debug, Default)]
pub struct Meter {
    pub latencies: Latencies,
    pub limited: AtomicU64,
    pub arrived: AtomicU64,
    pub turns: AtomicU64,
    pub entries: AtomicU64,
    pub paid: AtomicU64,
    pub waiting: AtomicI64,
    pub shopping: AtomicI64,
    /// Waiting sockets that are open.
    pub sockets: AtomicI64,
    /// Requests of those who stay inside that were answered, and that failed.
    pub answered: AtomicU64,
    pub failed: AtomicU64,
    errors: Mutex<BTreeMap<Cow<'static, str>, u64>>,
}

impl Meter {
    /// One more of a kind; kinds are names in this program, so there are few.
    pub fn error(&self, kind: &'static str) {
        let mut errors = self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *errors.entry(kind.into()).or_default() += 1;
    }

    /// Takes in what another process counted.
    pub fn absorb_errors(&self, others: BTreeMap<String, u64>) {
        let mut errors = self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (kind, count) in others {
            *errors.entry(kind.into()).or_default() += count;
        }
    }

    pub fn errors(&self) -> BTreeMap<Cow<'static, str>, u64> {
        self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// How many are where, for those who look on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    pub arrived: u64,
    pub turns: u64,
    pub entries: u64,
    pub paid: u64,
    pub waiting: i64,
    pub shopping: i64,
    pub sockets: i64,
    pub limited: u64,
}

impl Meter {
    pub fn census(&self) -> Census {
        Census {
            arrived: self.arrived.load(Relaxed),
            turns: self.turns.load(Relaxed),
            entries: self.entries.load(Relaxed),
            paid: self.paid.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            shopping: self.shopping.load(Relaxed),
            sockets: self.sockets.load(Relaxed),
            limited: self.limited.load(Relaxed),
        }
    }

    /// Another process counts `now`, where it counted `before`.
    pub fn follow(&self, before: Census, now: Census) {
        self.arrived.fetch_add(now.arrived - before.arrived, Relaxed);
        self.turns.fetch_add(now.turns - before.turns, Relaxed);
        self.entries.fetch_add(now.entries - before.entries, Relaxed);
        self.paid.fetch_add(now.paid - before.paid, Relaxed);
        self.limited.fetch_add(now.limited - before.limited, Relaxed);
        self.waiting.fetch_add(now.waiting - before.waiting, Relaxed);
        self.shopping.fetch_add(now.shopping - before.shopping, Relaxed);
        self.sockets.fetch_add(now.sockets - before.sockets, Relaxed);
    }
}

/// Adds one for as long as it lives.
#[derive(Debug)]
pub struct Present<'a>(&'a AtomicI64);

impl<'a> Present<'a> {
    pub fn on(gauge: &'a AtomicI64) -> Self {
        gauge.fetch_add(1, Relaxed);
        Self(gauge)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_falls_when_its_holder_goes() {
        let meter = Meter::default();
        drop(Present::on(&meter.waiting));
        assert_eq!(meter.waiting.load(Relaxed), 0);
    }
}
