//! What one edge remembers of sessions and tickets.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::ids::{TicketId, VisitorId};
use crate::queue::{Restore, Session};
use crate::sorted::SortedSet;
use crate::time::Micros;

/// Sessions that one edge remembers of one room.
pub const MAX_SESSIONS: usize = 100_000;
/// Spent tickets of one generation; two generations are remembered.
pub const MAX_SPENT: usize = 100_000;
/// Sessions that were ended before their time.
pub const MAX_REVOKED: usize = 100_000;
/// Sessions that began or were extended so lately that a fail-over may have forgotten them with nobody noticing.
pub const MAX_RECENT: usize = 10_000;
/// How far back these go, by the store's clock: longer than a replica lags behind.
const RECENT: Duration = Duration::from_secs(10);
/// As many bygone revocations are dropped with each new one: twice as fast as they come.
const DROPPED_AT_ONCE: usize = 2;

/// Bounded: the oldest tickets are forgotten first, and the sessions
/// and revocations that end first. Whatever is added costs a logarithm at most: the gate waits for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    sessions: HashMap<VisitorId, (TicketId, Session)>,
    /// The same visitors by the end of the session.
    ends: SortedSet<VisitorId>,
    lent: HashSet<VisitorId>,
    /// Those that began or changed lately, by the store's clock as it was last heard.
    recent: VecDeque<(Micros, VisitorId)>,
    spent: HashMap<TicketId, VisitorId>,
    spent_before: HashMap<TicketId, VisitorId>,
    /// By the end of the last pass.
    revoked: SortedSet<TicketId>,
}

impl Ledger {
    /// Says whether this is news.
    pub(super) fn keep(&mut self, visitor: VisitorId, ticket: TicketId, session: Session) -> bool {
        let known = self.sessions.get(&visitor);
        // As it is, or another tab shows the pass from before the extension.
        if known.is_some_and(|&(kept, known)| kept == ticket && known.ends >= session.ends) {
            return false;
        }
        if known.is_none()
            && self.sessions.len() >= MAX_SESSIONS
            && let Some((_, first)) = self.ends.first()
        {
            self.drop_session(first);
        }
        self.sessions.insert(visitor, (ticket, session));
        self.ends.insert(visitor, session.ends.0);
        true
    }

    pub(super) fn note_recent(&mut self, visitor: VisitorId, heard: Micros) {
        self.recent.push_back((heard, visitor));
        while let Some(&(first, _)) = self.recent.front()
            && (heard.since(first) > RECENT || self.recent.len() > MAX_RECENT)
        {
            self.recent.pop_front();
        }
    }

    fn drop_session(&mut self, visitor: VisitorId) {
        self.sessions.remove(&visitor);
        self.ends.remove(&visitor);
        self.lent.remove(&visitor);
    }

    pub(super) fn revoke(&mut self, ticket: TicketId, until: Micros, now: Micros) {
        self.revoked.drain_to(now.0, DROPPED_AT_ONCE);
        if until > now {
            self.revoked.insert(ticket, until.0);
        }
        if self.revoked.len() > MAX_REVOKED as u64
            && let Some((_, first)) = self.revoked.first()
        {
            self.revoked.remove(&first);
        }
    }

    pub(super) fn spend(&mut self, ticket: TicketId, visitor: VisitorId) {
        if self.spent.len() >= MAX_SPENT {
            self.spent_before = std::mem::take(&mut self.spent);
        }
        self.spent.insert(ticket, visitor);
    }

    pub(super) fn lend(&mut self, visitor: VisitorId) {
        self.lent.insert(visitor);
    }

    pub(super) fn take_lent(&mut self, now: Micros) -> Vec<Restore> {
        let mut lent = std::mem::take(&mut self.lent);
        lent.extend(self.recent.drain(..).map(|(_, visitor)| visitor));
        lent.iter().filter_map(|visitor| self.session(*visitor, now)).collect()
    }

    /// The session that this ticket bought is over.
    pub(super) fn end(&mut self, visitor: VisitorId, ticket: TicketId) {
        if self.sessions.get(&visitor).is_some_and(|(kept, _)| *kept == ticket) {
            self.drop_session(visitor);
        }
    }

    pub(super) fn is_revoked(&self, ticket: TicketId) -> bool {
        self.revoked.contains(&ticket)
    }

    fn session(&self, visitor: VisitorId, now: Micros) -> Option<Restore> {
        let &(ticket, session) = self.sessions.get(&visitor)?;
        (session.ends > now).then_some(Restore::Session { visitor, ticket, session })
    }

    /// Ended sessions and spent tickets first: what follows can then not bring them back.
    pub(super) fn report(&self, now: Micros) -> Vec<Restore> {
        let revoked = self.revoked.iter().filter(|(until, _)| *until > now.0);
        let revoked = revoked.map(|(until, ticket)| Restore::Revoked { ticket, until: Micros(until) });
        let spent = self.spent.iter().chain(&self.spent_before);
        let spent = spent.map(|(&ticket, &visitor)| Restore::Spent { visitor, ticket });
        let sessions = self.sessions.keys().filter_map(|&visitor| self.session(visitor, now));
        revoked.chain(spent).chain(sessions).collect()
    }
}
