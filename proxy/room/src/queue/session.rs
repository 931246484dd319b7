use crate::ids::{TicketId, VisitorId};
use crate::rules::Rules;
use crate::time::Micros;

use super::state::{Record, to_whole_second};
use super::{Caller, Now, Queue, Session};

/// A visitor who takes the turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub visitor: VisitorId,
    pub ticket: TicketId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The session; the same again when it is claimed again.
    Session(Session),
    /// Not this visitor's turn yet, no entry is free this very moment, or the store settles: ask again then.
    NotYet { retry_at: Micros },
    /// No place, no turn, no session.
    Gone,
}

/// A session in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    pub visitor: VisitorId,
    pub ticket: TicketId,
    /// As the pass has it.
    pub session: Session,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    Session(Session),
    /// The session is over, or was ended.
    Ended,
}

/// How much longer a turn lives when its claim has to wait.
const CLAIM_GRACE_MICROS: u64 = 5_000_000;
/// When to ask again for somebody who is still in the line, or while the store settles.
const ASK_AGAIN_MICROS: u64 = 1_000_000;

impl Queue {
    /// Turns into sessions, each charged to the entry budget: the one hard limit on entries.
    pub fn claim(&mut self, rules: &Rules, now: Now, caller: &Caller, claims: &[Claim]) -> Vec<Claimed> {
        self.hear(rules, now, caller);
        claims.iter().map(|claim| self.claim_one(rules, caller, claim)).collect()
    }

    fn claim_one(&mut self, rules: &Rules, caller: &Caller, claim: &Claim) -> Claimed {
        let (visitor, clock, rate) = (claim.visitor, self.clock(), self.rate());
        if let Some(session) = self.session_of(&visitor) {
            return Claimed::Session(session);
        }
        let Some(deadline) = self.turn_of(&visitor) else {
            let waits = self.line.contains(&visitor) || self.returns.contains(&visitor);
            let retry_at = Micros(clock.0 + ASK_AGAIN_MICROS);
            return if waits { Claimed::NotYet { retry_at } } else { Claimed::Gone };
        };
        if let Some(retry_at) = self.entry_waits_until(rules) {
            let kept_until = deadline.0.max(retry_at.0 + CLAIM_GRACE_MICROS);
            self.turns.insert(visitor, kept_until - self.turn_shift);
            return Claimed::NotYet { retry_at };
        }
        self.head.entry.take(1, clock, rate);
        self.totals.entered += 1;
        self.turns.remove(&visitor);
        // The ticket that stood in the line bought the session, even if the visitor shows another.
        let stood = self.records.get(&visitor).map(|record| record.ticket);
        for ticket in stood.into_iter().chain([claim.ticket]) {
            self.spend(ticket);
        }
        let cap = self.cap_from(rules);
        let ends = to_whole_second(clock + rules.session_duration).min(cap);
        self.sessions.insert(visitor, ends.0);
        self.records.insert(visitor, Record { node: caller.node, ticket: claim.ticket, cap });
        Claimed::Session(Session { ends, cap })
    }

    /// When to ask again, if nobody can enter by a turn right now: no entry is free, or the store settles, and an edge
    /// has still to tell that this very turn has bought its session already.
    fn entry_waits_until(&self, rules: &Rules) -> Option<Micros> {
        let (clock, rate) = (self.clock(), self.rate());
        if self.settling().is_some() {
            return Some(Micros(clock.0 + ASK_AGAIN_MICROS));
        }
        let burst = rules.burst_at(rate);
        let none_free = self.head.entry.tokens(clock, rate, burst) == 0;
        none_free.then(|| self.head.entry.next_at(clock, rate, burst))
    }

    /// Extends sessions in use up to their hard cap. A pass whose session is not known here, because it was made in
    /// another life of the store or extended by an edge while the store was away, registers it.
    pub fn renew(&mut self, rules: &Rules, now: Now, caller: &Caller, renewals: &[Renewal]) -> Vec<Renewed> {
        self.hear(rules, now, caller);
        renewals.iter().map(|renewal| self.renew_one(rules, caller, renewal)).collect()
    }

    fn renew_one(&mut self, rules: &Rules, caller: &Caller, renewal: &Renewal) -> Renewed {
        let Renewal { visitor, ticket, session: Session { ends, cap } } = *renewal;
        if self.is_over(ticket, ends) {
            return Renewed::Ended;
        }
        let ends_by_now = self.session_of(&visitor).map_or(ends, |known| known.ends);
        let ends = to_whole_second(self.clock() + rules.session_duration).min(cap).max(ends_by_now);
        self.register(caller, visitor, ticket, Session { ends, cap });
        Renewed::Session(Session { ends, cap })
    }

    /// Nothing is left of this session to be extended or registered.
    pub(super) fn is_over(&self, ticket: TicketId, ends: Micros) -> bool {
        self.revoked.contains(&ticket) || ends <= self.clock()
    }

    /// Notes a session that is known from its pass. One that was not known takes its slot, its ticket is spent, and
    /// its visitor waits no longer.
    pub(super) fn register(
        &mut self,
        caller: &Caller,
        visitor: VisitorId,
        ticket: TicketId,
        session: Session,
    ) {
        if self.session_of(&visitor).is_none() {
            if !self.turns.contains(&visitor) && !self.sessions.contains(&visitor) {
                self.life.found();
            }
            self.spend(ticket);
            self.withdraw(visitor);
        }
        self.sessions.insert(visitor, session.ends.0);
        self.records.insert(visitor, Record { node: caller.node, ticket, cap: session.cap });
    }

    /// A session whose pass is still good.
    pub(super) fn session_of(&self, visitor: &VisitorId) -> Option<Session> {
        let ends = self.sessions.score(visitor).map(Micros).filter(|&ends| ends > self.clock())?;
        let cap = self.records.get(visitor).map_or(ends, |record| record.cap);
        Some(Session { ends, cap })
    }

    /// The deadline of an open turn. A turn is open until a tick ends it: so its visitor is never in two places,
    /// and nobody loses a turn to an outage that no tick has made up for yet.
    pub(super) fn turn_of(&self, visitor: &VisitorId) -> Option<Micros> {
        self.turns.score(visitor).map(|deadline| Micros(deadline.saturating_add(self.turn_shift)))
    }

    pub(super) fn cap_from(&self, rules: &Rules) -> Micros {
        let longest = if rules.disable_session_renewal { rules.session_duration } else { rules.session_max };
        to_whole_second(self.clock() + longest)
    }
}
