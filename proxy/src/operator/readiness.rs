//! Ready means: nobody holds a latch. A store that is away is told, but takes no readiness: it would be off at every
//! edge at once, and admitted visitors are served without the store.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use room::time::Micros;
use serde::Serialize;

use super::OperatorApp;

/// What `/readyz` says. Parts of the edge that are not ready yet, or no longer, hold a [`Latch`].
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    next: u64,
    reasons: BTreeMap<u64, &'static str>,
    store: Option<SilentSince>,
}

/// Since when the store has been silent; `None` while it answers.
type SilentSince = Arc<dyn Fn() -> Option<Micros> + Send + Sync>;

/// The body of `/readyz`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Report {
    ready: bool,
    /// `here`, or `away since` an instant.
    store: String,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<&'static str>,
}

/// `GET /readyz`: asks nobody.
pub(super) async fn ready(State(app): State<OperatorApp>) -> Response {
    let report = app.readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
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

    /// Tells of the store too, by this.
    pub fn watch_store(&self, silent_since: impl Fn() -> Option<Micros> + Send + Sync + 'static) {
        self.held().store = Some(Arc::new(silent_since));
    }

    fn report(&self) -> Report {
        let reasons = self.reasons();
        let silent_since = self.held().store.clone();
        let store = match silent_since.and_then(|silent_since| silent_since()) {
            None => "here".to_owned(),
            Some(since) => format!("away since {}", since.to_rfc3339()),
        };
        Report { ready: reasons.is_empty(), store, reasons }
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

    #[test]
    fn a_store_that_is_away_is_told_and_takes_no_readiness() {
        let readiness = Readiness::default();
        readiness.watch_store(|| Some(Micros::from_secs(1_767_225_600)));
        let report = readiness.report();
        assert_eq!((report.ready, report.store.as_str()), (true, "away since 2026-01-01T00:00:00.000Z"));
        readiness.watch_store(|| None);
        assert_eq!(readiness.report().store, "here");
    }
}
