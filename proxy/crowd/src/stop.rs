//! How a run ends: perhaps the line is emptied, then nobody new comes and those who wait go home, then everything is cut.

use std::sync::Arc;

use tokio::sync::watch;

/// Phases only move forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Open,
    /// The line is emptied to see that everybody gets a turn: it is all they came for, nobody enters any more.
    Emptying,
    /// Visitors in the line go home, those in the shop finish.
    Closing,
    /// Whatever still runs is dropped where it stands.
    Over,
}

/// Seen by everyone, moved by the one who runs the crowd.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<Phase>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Open)))
    }
}

impl Stop {
    /// Moves on to `phase`; going back is ignored.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let moves = phase > *now;
            *now = phase.max(*now);
            moves
        });
    }

    pub fn is(&self, phase: Phase) -> bool {
        *self.0.borrow() >= phase
    }

    /// Resolves once `phase` (or a later one) has come.
    pub async fn reached(&self, phase: Phase) {
        let mut seen = self.0.subscribe();
        // The sender lives in `self`: waiting cannot fail.
        let _ = seen.wait_for(|now| *now >= phase).await;
    }
}
