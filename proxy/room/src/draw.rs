//! Where a ticket stands: by arrival, or by lot for those who came before the opening.
//!
//! The lot is `SHA-256(seed ‖ visitor)`. The seed is secret until the opening, so nobody can choose among many
//! tickets the one that drew well: only tickets *confirmed* before the opening take part, and by the time a draw can
//! be computed no further ticket can be confirmed into it.

use sha2::{Digest as _, Sha256};

use crate::ids::VisitorId;
use crate::rules::{Method, Rules};
use crate::time::Micros;
use crate::token::Ticket;

/// The secret of one opening; publish its [`commitment`](Seed::commitment) before, the seed after.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(hidden)")
    }
}

/// Drawn scores lie in a band of this width before the opening (19 hours): ahead of every later arrival.
const BAND_MICROS: u64 = 1 << 36;

impl Seed {
    /// What may be published before the draw.
    pub fn commitment(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// The drawn score of a visitor: uniform in the band that ends at `opens_at`.
    pub fn score(&self, visitor: VisitorId, opens_at: Micros) -> u64 {
        let digest = Sha256::new().chain_update(self.0).chain_update(visitor.to_string()).finalize();
        let lot = digest.iter().take(8).fold(0_u64, |lot, byte| lot << 8 | u64::from(*byte));
        opens_at.0.saturating_sub(1 + lot % BAND_MICROS)
    }
}

/// The score of a confirmed ticket: one number, one order, every method. Lower is earlier.
pub fn score(ticket: &Ticket, rules: &Rules, seed: Option<&Seed>) -> u64 {
    let by_arrival = ticket.stamp.0.saturating_sub(ticket.head_start_micros);
    let (Method::Random, Some(opens_at), Some(seed)) = (rules.queueing_method, rules.schedule.opens_at, seed)
    else {
        return by_arrival;
    };
    if ticket.confirmed_at.is_some_and(|at| at < opens_at) {
        // A head start is a band of its own before the others.
        return seed.score(ticket.visitor, opens_at).saturating_sub(ticket.head_start_micros);
    }
    by_arrival.max(opens_at.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TicketId;
    use crate::rules::{Draft, Schedule};

    const OPENING: Micros = Micros(1_767_225_600_000_000);

    fn rules() -> Rules {
        let schedule = Schedule { opens_at: Some(OPENING), ..Schedule::default() };
        Rules::new(Draft { queueing_method: Method::Random, schedule, ..Draft::default() }).unwrap()
    }

    fn ticket(number: u32, stamp: u64, confirmed_at: Option<u64>) -> Ticket {
        let mut id = [0; 12];
        id[..4].copy_from_slice(&number.to_be_bytes());
        Ticket {
            room: "e1".parse().unwrap(),
            visitor: VisitorId::from_random(id),
            id: TicketId::from_random(id),
            stamp: Micros(stamp),
            head_start_micros: 0,
            confirmed_at: confirmed_at.map(Micros),
            confirm_by: Micros(stamp),
            expires_at_secs: 0,
        }
    }

    #[test]
    fn the_lot_and_not_the_arrival_orders_those_who_came_before_the_opening() {
        let seed = Seed([7; 32]);
        let before = OPENING.0 - 1000;
        let scores: Vec<u64> = (0..2000)
            .map(|n| score(&ticket(n, before + u64::from(n) / 2, Some(before)), &rules(), Some(&seed)))
            .collect();
        assert!(scores.iter().all(|&score| score < OPENING.0), "ahead of every later arrival");
        let early_in_front =
            scores[..1000].iter().filter(|&&score| score < OPENING.0 - BAND_MICROS / 2).count();
        assert!(
            (400..600).contains(&early_in_front),
            "{early_in_front} of the first thousand in the better half"
        );
    }

    #[test]
    fn a_ticket_mined_for_a_good_lot_but_confirmed_after_the_opening_stands_by_arrival() {
        let seed = Seed([7; 32]);
        let before = OPENING.0 - 1000;
        let lucky = (0..10_000)
            .map(|n| ticket(n, before, None))
            .min_by_key(|ticket| seed.score(ticket.visitor, OPENING))
            .unwrap();
        let mined = lucky.confirmed(OPENING);
        assert_eq!(
            score(&mined, &rules(), Some(&seed)),
            OPENING.0,
            "no better than whoever came at the opening"
        );
    }

    #[test]
    fn without_a_draw_the_stamp_is_the_score_less_the_head_start() {
        let mut priority = ticket(1, 5_000_000, Some(6_000_000));
        assert_eq!(score(&priority, &Rules::default(), None), 5_000_000);
        priority.head_start_micros = 2_000_000;
        assert_eq!(score(&priority, &Rules::default(), None), 3_000_000);
    }
}
