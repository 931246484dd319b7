//! One forwarded request on its way: what the gate decided, carried along to where headers are written.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Shared;
use super::hops::Hops;
use crate::metrics::{self, Verdict};
use crate::request::Forward;
use crate::trace::Trace;

pub(super) struct Trip {
    pub(super) forward: Forward,
    pub(super) hops: Hops,
    pub(super) trace: Trace,
    /// Whether the client asked for an event stream.
    pub(super) streams: bool,
    pub(super) shared: Arc<Shared>,
    /// By which an endless answer that Pingora carries is ended.
    pub(super) cut: Option<Arc<Cut>>,
    /// When the head was whole.
    pub(super) began: Instant,
}

impl Trip {
    /// The request is over: counted and told.
    pub(super) fn ended(&self, verdict: Verdict) {
        metrics::edge().request_took(verdict, self.began.elapsed());
        self.trace.ended(verdict);
    }

    /// When the session of this request ends; `None` without a session.
    pub(super) fn until(&self) -> Option<Instant> {
        let pass = self.forward.pass.as_ref()?;
        Some(Instant::now() + pass.until.since(self.shared.decide.now()))
    }
}

/// The instant at which an endless answer is ended. Set while the answer begins, awaited by the connection.
#[derive(Debug, Default)]
pub(super) struct Cut {
    at: OnceLock<Instant>,
    set: Notify,
}

impl Cut {
    pub(super) fn set(&self, at: Instant) {
        if self.at.set(at).is_ok() {
            self.set.notify_one();
        }
    }

    /// Waits until the instant; for ever while there is none.
    pub(super) async fn reached(&self) {
        while self.at.get().is_none() {
            self.set.notified().await;
        }
        if let Some(at) = self.at.get() {
            tokio::time::sleep_until(*at).await;
        }
    }
}
