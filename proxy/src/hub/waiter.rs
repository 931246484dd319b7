//! One who waits, and what their screens are told.

use std::sync::Arc;
use std::time::Duration;

use room::estimate::EXACT_PLACES;
use room::queue::Arrival;
use room::time::Micros;
use room::wire::{ServerMessage, Standing};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::mailbox::Mailbox;
use crate::metrics::WsType;
use crate::standing::{Shown, Who};

use super::View;

#[derive(Debug)]
pub(super) struct Waiter {
    /// What is presented again when the store forgot.
    pub(super) arrival: Arrival,
    pub(super) stamp: Micros,
    pub(super) who: Who,
    shown: Shown,
    /// When to tell the place again.
    due: Micros,
    /// When the visitor last asked, or closed a socket.
    pub(super) seen: Micros,
    /// When the visitor's ticket was last presented by this edge.
    pub(super) presented: Micros,
    pub(super) next_update: Duration,
    /// The first wait that was shown, and when.
    promised: Option<(Micros, Duration)>,
    pub(super) screens: Vec<Arc<Mailbox>>,
}

impl Waiter {
    pub(super) fn new(arrival: Arrival, stamp: Micros, who: Who, now: Micros) -> Self {
        Self {
            arrival,
            stamp,
            who,
            shown: Shown::default(),
            due: now,
            seen: now,
            presented: now,
            next_update: Duration::ZERO,
            promised: None,
            screens: Vec::new(),
        }
    }

    /// Whether a new ruler is to be told: it is time, or the waiter is one of the first and moved.
    pub(super) fn is_due(&self, view: View<'_>) -> bool {
        let Who::InLine { score, .. } = self.who else { return false };
        let moved = || {
            let ruler = view.known.and_then(|known| known.ruler.as_ref());
            self.shown.least.is_some_and(|least| {
                least <= EXACT_PLACES && ruler.is_some_and(|ruler| ruler.place(score) < least)
            })
        };
        !self.screens.is_empty() && (view.now >= self.due || moved())
    }

    pub(super) fn standing(&mut self, view: View<'_>) -> Standing {
        let standing = view.tell(self.who, &mut self.shown);
        self.next_update = Duration::from_secs(standing.next_update_seconds.into());
        self.due = view.now + self.next_update;
        if let (None, Some(estimate)) = (self.promised, standing.estimate) {
            self.promised = Some((view.now, Duration::from_secs(estimate.p50_seconds)));
        }
        standing
    }

    pub(super) fn estimate_error(&self, now: Micros) -> Option<f64> {
        let (told_at, wait) = self.promised?;
        (!wait.is_zero()).then(|| now.since(told_at).as_secs_f64() / wait.as_secs_f64())
    }

    pub(super) fn message(&mut self, view: View<'_>) -> Told {
        let standing = self.standing(view);
        if matches!(self.who, Who::Turn { .. }) { Told::turn(standing) } else { Told::update(standing) }
    }

    pub(super) fn post(&mut self, view: View<'_>) {
        let message = self.message(view);
        for screen in &self.screens {
            message.post(screen);
        }
    }
}

/// A message, encoded once for all screens of a visitor.
pub(super) struct Told {
    is_turn: bool,
    text: Utf8Bytes,
}

impl Told {
    pub(super) fn update(standing: Standing) -> Self {
        Self { is_turn: false, text: encode(&ServerMessage::Update(Box::new(standing))) }
    }

    pub(super) fn turn(standing: Standing) -> Self {
        Self { is_turn: true, text: encode(&ServerMessage::Turn(Box::new(standing))) }
    }

    pub(super) fn post(&self, screen: &Mailbox) {
        if self.is_turn {
            screen.urgent(WsType::Turn, self.text.clone());
        } else {
            screen.update(self.text.clone());
        }
    }
}

pub(super) fn encode(message: &ServerMessage) -> Utf8Bytes {
    // Our own plain data: serialising it cannot fail. An empty frame would be ignored by every client.
    serde_json::to_string(message).unwrap_or_default().into()
}
