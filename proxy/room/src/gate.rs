//! What to do with one request to a gated path: facts and tokens in, a verdict out.

use crate::ids::TicketId;
use crate::rules::{Method, Phase, Rules};
use crate::time::Micros;
use crate::token::{Pass, Ticket};

/// What an edge knows of a room without asking the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    pub phase: Phase,
    /// The operator closed the room.
    pub closed: bool,
    /// Somebody waits, nobody is let in, or the store is away: newcomers need not ask it.
    pub queueing: bool,
}

/// The tokens that came with a request, verified, of this room.
#[derive(Debug, Clone, Default)]
pub struct Held {
    pub pass: Option<Pass>,
    pub ticket: Option<Ticket>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The room stands aside: forward without a pass.
    Aside,
    /// Forward with the pass; `renew` it first when an eighth of it is used.
    Forward { pass: Pass, renew: bool },
    /// Ask the store: let in at once, claim the turn, or take the place.
    Present(Ticket),
    /// A newcomer while nobody waits: let in at once, or go on as [`Verdict::Wait`].
    Knock,
    /// A newcomer while others wait: a stamped ticket and the waiting page, and nothing is stored.
    Wait,
    /// A page is loaded in advance: it is shown, and takes no place.
    Glance,
    /// Nobody is taken.
    Closed,
}

/// Decides. `is_revoked` tells whether the session that a ticket bought was ended before its time.
pub fn decide(
    rules: &Rules,
    door: Door,
    held: Held,
    prefetch: bool,
    is_revoked: impl FnOnce(TicketId) -> bool,
    now: Micros,
) -> Verdict {
    if rules.suspended || rules.queueing_method == Method::Passthrough {
        return Verdict::Aside;
    }
    if let Some(pass) = held.pass
        && !is_revoked(pass.ticket)
    {
        let renew = wants_renewal(rules, &pass, now);
        return Verdict::Forward { pass, renew };
    }
    if rules.queueing_method == Method::Reject || door.closed || door.phase == Phase::Closed {
        return Verdict::Closed;
    }
    match held.ticket {
        _ if prefetch => Verdict::Glance,
        Some(ticket) if ticket.stands(now) => Verdict::Present(ticket),
        _ if door.queueing => Verdict::Wait,
        _ => Verdict::Knock,
    }
}

/// Whether an eighth of the pass is used and it may still grow: a visitor may then pause for seven eighths of
/// `session_duration` at the worst, and a session in steady use costs eight trips in that time.
fn wants_renewal(rules: &Rules, pass: &Pass, now: Micros) -> bool {
    let left = Micros::from_secs(pass.expires_at_secs).since(now);
    left < rules.session_duration * 7 / 8 && pass.expires_at_secs < pass.hard_cap_secs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, VisitorId};
    use crate::rules::Draft;

    const NOW: Micros = Micros(1_767_225_600_000_000);
    const OPEN: Door = Door { phase: Phase::Open, closed: false, queueing: false };
    const BUSY: Door = Door { queueing: true, ..OPEN };

    fn pass(left_secs: u64) -> Pass {
        Pass {
            room: "e1".parse().unwrap(),
            visitor: VisitorId::from_random([1; 12]),
            ticket: TicketId::from_random([2; 12]),
            expires_at_secs: NOW.as_secs() + left_secs,
            hard_cap_secs: NOW.as_secs() + 7200,
            incarnation: Incarnation::from_random([3; 12]),
            granted_secs: None,
        }
    }

    fn ticket(confirm_by: Micros) -> Ticket {
        Ticket {
            room: "e1".parse().unwrap(),
            visitor: VisitorId::from_random([1; 12]),
            id: TicketId::from_random([2; 12]),
            stamp: NOW,
            head_start_micros: 0,
            confirmed_at: None,
            confirm_by,
            expires_at_secs: NOW.as_secs() + 60,
        }
    }

    fn verdict(draft: Draft, door: Door, held: Held) -> Verdict {
        decide(&Rules::new(draft).unwrap(), door, held, false, |_| false, NOW)
    }

    fn with_pass(left_secs: u64) -> Held {
        Held { pass: Some(pass(left_secs)), ticket: None }
    }

    #[test]
    fn a_pass_is_forwarded_whatever_the_door_and_renewed_when_an_eighth_is_used() {
        let closed = Door { closed: true, ..BUSY };
        for (left_secs, renew) in [(526, false), (524, true)] {
            let forward = Verdict::Forward { pass: pass(left_secs), renew };
            assert_eq!(verdict(Draft::default(), closed, with_pass(left_secs)), forward);
        }
        let mut at_cap = pass(10);
        at_cap.hard_cap_secs = at_cap.expires_at_secs;
        let held = Held { pass: Some(at_cap.clone()), ticket: None };
        assert_eq!(verdict(Draft::default(), OPEN, held), Verdict::Forward { pass: at_cap, renew: false });
    }

    #[test]
    fn a_revoked_pass_is_none() {
        let verdict = decide(&Rules::default(), BUSY, with_pass(500), false, |_| true, NOW);
        assert_eq!(verdict, Verdict::Wait);
    }

    #[test]
    fn a_newcomer_knocks_at_an_open_door_and_waits_without_a_trip_behind_others() {
        assert_eq!(verdict(Draft::default(), OPEN, Held::default()), Verdict::Knock);
        assert_eq!(verdict(Draft::default(), BUSY, Held::default()), Verdict::Wait);
    }

    #[test]
    fn a_ticket_is_presented_while_its_stamp_stands() {
        let good = ticket(NOW);
        let held = Held { pass: None, ticket: Some(good.clone()) };
        assert_eq!(verdict(Draft::default(), BUSY, held), Verdict::Present(good));
        let late = Held { pass: None, ticket: Some(ticket(Micros(NOW.0 - 1))) };
        assert_eq!(verdict(Draft::default(), BUSY, late), Verdict::Wait, "a fresh stamp");
    }

    #[test]
    fn a_prefetch_takes_no_place() {
        let verdict = decide(&Rules::default(), OPEN, Held::default(), true, |_| false, NOW);
        assert_eq!(verdict, Verdict::Glance);
    }

    #[test]
    fn a_room_stands_aside_rejects_or_is_closed_as_its_operator_says() {
        let method = |queueing_method| Draft { queueing_method, ..Draft::default() };
        assert_eq!(verdict(method(Method::Passthrough), BUSY, Held::default()), Verdict::Aside);
        assert_eq!(
            verdict(Draft { suspended: true, ..Draft::default() }, BUSY, Held::default()),
            Verdict::Aside
        );
        assert_eq!(verdict(method(Method::Reject), OPEN, Held::default()), Verdict::Closed);
        let before = Door { phase: Phase::Closed, ..OPEN };
        assert_eq!(verdict(Draft::default(), before, Held::default()), Verdict::Closed);
    }
}
