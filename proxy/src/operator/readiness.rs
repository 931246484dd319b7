//! Ready means: nobody holds a latch.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What `/readyz` says. Parts of the edge that are not ready yet, or no longer, hold a [`Latch`].
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    next: u64,
    reasons: BTreeMap<u64, &'static str>,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Readiness(held: {:?})", self.reasons())
    }
}

/// Not ready while this lives.
#[derive(Debug)]
#[must_use = "readiness returns when the latch is dropped"]
pub struct Latch {
    readiness: Readiness,
    id: u64,
}

impl Readiness {
    /// Not ready, for this reason, until the latch is dropped.
    pub fn hold(&self, reason: &'static str) -> Latch {
        let mut held = self.held();
        let id = held.next;
        held.next += 1;
        held.reasons.insert(id, reason);
        Latch { readiness: self.clone(), id }
    }

    /// Why the edge is not ready; empty when it is.
    pub fn reasons(&self) -> Vec<&'static str> {
        self.held().reasons.values().copied().collect()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        self.readiness.held().reasons.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_the_last_latch_is_dropped() {
        let readiness = Readiness::default();
        let starting = readiness.hold("starting");
        let stopping = readiness.hold("stopping");
        drop(starting);
        assert_eq!(readiness.reasons(), ["stopping"]);
        drop(stopping);
        assert!(readiness.reasons().is_empty());
    }
}
