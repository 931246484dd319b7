//! Clocks that leap, and stores that cannot be reached.

use crate::journal::Note;
use crate::limits::{draft, mixed_crowd};
use crate::person::Temper;
use crate::proofs;
use crate::seeds::in_worlds;
use crate::world::{Deed, MS, SECOND, World};

const HOUR: i64 = 3_600_000_000;

#[test]
fn a_wall_clock_that_leaps_back_and_forth_makes_no_burst_and_ends_no_session() {
    in_worlds(100, |seed| {
        let mut world = World::new(seed, draft(), 3);
        world.crowd(200, 0, 10 * SECOND, Temper::PATIENT);
        let mut leaps = 0;
        for leap in [-HOUR, HOUR, -60 * HOUR, HOUR] {
            let at = world.dice.between(12_000, 40_000) * MS;
            world.plan(at, Deed::Leap(leap));
            leaps += 1;
        }
        world.run_until(150 * SECOND);
        // Each leap may pass for as long as a caller was silent (an edge speaks each five seconds) and a second.
        proofs::entries_within_rate(&world.journal, leaps * 6 * SECOND)?;
        proofs::slots_within_limit(&world.journal)?;
        proofs::by_arrival(&world.journal)?;
        proofs::nobody_is_lost(&world.journal)?;
        proofs::sessions_end_in_time(&world.journal, &world.rules)
    });
}

#[test]
fn an_outage_of_the_store_extends_the_open_turns() {
    in_worlds(100, |seed| {
        let mut world = World::new(seed, draft(), 2);
        // Slow to claim: many a turn is open at any time.
        let slow = Temper { claims_within: Some(15_000), ..Temper::PATIENT };
        world.crowd(150, 0, 5 * SECOND, slow);
        let at = world.dice.between(5_000, 20_000) * MS;
        world.plan(at, Deed::Outage(60 * SECOND));
        world.run_until(200 * SECOND);
        let lapsed = world.journal.count(|note| matches!(note, Note::Lapsed { .. }));
        if lapsed > 0 {
            return Err(format!("{lapsed} turns were lost to the outage"));
        }
        proofs::nobody_is_lost(&world.journal)?;
        proofs::all(&world.journal, &world.rules)
    });
}

#[test]
fn a_mixed_crowd_survives_leaps_and_outages_together() {
    in_worlds(100, |seed| {
        let mut world = World::new(seed, draft(), 3);
        mixed_crowd(&mut world, 150);
        world.plan(10 * SECOND, Deed::Leap(-HOUR));
        world.plan(20 * SECOND, Deed::Outage(15 * SECOND));
        world.plan(45 * SECOND, Deed::Leap(HOUR));
        world.run_until(300 * SECOND);
        proofs::entries_within_rate(&world.journal, 22 * SECOND)?;
        proofs::nobody_is_lost(&world.journal)?;
        proofs::one_session_a_ticket(&world.journal)
    });
}
