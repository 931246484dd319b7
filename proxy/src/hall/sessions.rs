//! Sessions as their passes show them to this edge.

use std::collections::HashSet;
use std::sync::PoisonError;

use room::ids::{Incarnation, TicketId};
use room::queue::Session;
use room::time::Micros;
use room::token::Pass;

use crate::passes::session_of;

use super::{Hall, Reach};

/// Passes of an earlier life, or extended by an edge alone, that were registered in this life already.
#[derive(Debug, Default)]
pub(super) struct Introduced {
    life: Option<Incarnation>,
    /// By ticket and expiry in seconds: one that was extended once more is another.
    passes: HashSet<(TicketId, u64)>,
}

/// Passes remembered as introduced; beyond, they are introduced once more.
const MAX_INTRODUCED: usize = 100_000;

impl Hall {
    pub fn is_revoked(&self, ticket: TicketId) -> bool {
        self.link.ask(|node| node.is_revoked(ticket))
    }

    /// Remembers the session of a pass that comes by here for the first time.
    pub fn saw(&self, pass: &Pass) {
        let session = session_of(pass);
        self.link.note(|node| match pass.granted_secs {
            Some(_) => node.lent(pass.visitor, pass.ticket, session),
            None => node.entered(pass.visitor, pass.ticket, session),
        });
    }

    /// Whether the store may not know the session of this pass: another life of it granted the session, or an edge
    /// extended it alone. Said once of each pass in each life.
    pub fn is_strange(&self, pass: &Pass) -> bool {
        let Some(life) = self.known.load().as_ref().map(|known| known.head.incarnation) else { return false };
        if (pass.incarnation == life && pass.granted_secs.is_none()) || self.reach() == Reach::Away {
            return false;
        }
        let mut introduced = self.introduced.lock().unwrap_or_else(PoisonError::into_inner);
        if introduced.life != Some(life) || introduced.passes.len() >= MAX_INTRODUCED {
            *introduced = Introduced { life: Some(life), passes: HashSet::new() };
        }
        introduced.passes.insert((pass.ticket, pass.expires_at_secs))
    }

    /// The store did not answer for this session: its pass is introduced once more.
    pub(super) fn stays_strange(&self, ticket: TicketId, session: Session) {
        let mut introduced = self.introduced.lock().unwrap_or_else(PoisonError::into_inner);
        introduced.passes.remove(&(ticket, session.ends.as_secs()));
    }

    /// Extends a session while the store is away, as far as an edge may.
    pub fn extend_alone(&self, pass: &Pass) -> Option<Session> {
        let (settings, now) = (self.settings(), self.now());
        let session = session_of(pass);
        if session.ends.since(now) * 2 >= settings.rules.session_duration {
            return None;
        }
        let granted = Micros::from_secs(pass.granted_secs.unwrap_or(pass.expires_at_secs));
        let extended = session.extended_alone(granted, &settings.rules, now)?;
        self.link.note(|node| node.lent(pass.visitor, pass.ticket, extended));
        self.healing.ask_for_lent();
        self.metrics.lent.increment(1);
        Some(extended)
    }
}
