//! Nobody loses a place: edges die, visitors drop off, the store forgets.

use room::rules::Draft;

use crate::journal::Note;
use crate::limits::{draft, mixed_crowd};
use crate::person::Temper;
use crate::proofs;
use crate::seeds::in_worlds;
use crate::world::{Deed, MS, SECOND, World};

#[test]
fn an_edge_that_dies_takes_no_place_with_it_and_stops_nobody() {
    in_worlds(100, |seed| {
        let mut world = World::new(seed, draft(), 3);
        world.crowd(150, 0, 5 * SECOND, Temper::PATIENT);
        let at = world.dice.between(1_000, 20_000) * MS;
        world.plan(at, Deed::Die(0));
        world.run_until(120 * SECOND);
        proofs::nobody_is_lost(&world.journal)?;
        proofs::entries_within_rate(&world.journal, 0)?;
        proofs::slots_within_limit(&world.journal)?;
        proofs::by_arrival(&world.journal)?;
        proofs::one_session_a_ticket(&world.journal)
    });
}

#[test]
fn who_drops_off_and_comes_back_with_the_old_ticket_stands_where_they_stood() {
    in_worlds(100, |seed| {
        let draft = Draft { new_users_per_minute: 60, ..draft() };
        let mut world = World::new(seed, draft, 3);
        world.shows_positions = true;
        world.crowd(60, 0, 5 * SECOND, Temper::PATIENT);
        // Away long enough for the place to be taken out, back before the front is there.
        let back = world.add(8 * SECOND, Temper::away(1_000, 17_000));
        world.crowd(40, 9 * SECOND, 5 * SECOND, Temper::PATIENT);
        world.run_until(200 * SECOND);
        let places = world.journal.notes.iter().filter_map(|seen| match seen.note {
            Note::InLine { who, score } if who == back => Some(score),
            _ => None,
        });
        let mut places: Vec<u64> = places.collect();
        if places.len() != 2 {
            return Err(format!("stood in the line {} times", places.len()));
        }
        places.dedup();
        if places.len() != 1 {
            return Err("the place is another".into());
        }
        proofs::nobody_is_lost(&world.journal)?;
        proofs::all(&world.journal, &world.rules)
    });
}

#[test]
fn a_store_that_starts_empty_gets_the_order_back_from_the_tickets() {
    in_worlds(200, |seed| {
        let mut world = World::new(seed, draft(), 3);
        world.crowd(150, 0, 8 * SECOND, Temper::PATIENT);
        world.crowd(20, 0, 8 * SECOND, Temper::NO_SHOW);
        let at = world.dice.between(5_000, 25_000) * MS;
        world.plan(at, Deed::Lose);
        world.run_until(150 * SECOND);
        proofs::nobody_is_lost(&world.journal)?;
        proofs::entries_within_rate(&world.journal, 0)?;
        proofs::by_arrival(&world.journal)?;
        proofs::one_session_a_ticket(&world.journal)
    });
}

#[test]
fn positions_never_grow_in_a_long_line_that_people_leave_anywhere() {
    in_worlds(5, |seed| {
        let draft = Draft { new_users_per_minute: 1200, total_active_users: 10_000, ..draft() };
        let mut world = World::new(seed, draft, 3);
        world.shows_positions = true;
        mixed_crowd(&mut world, 2_000);
        world.run_until(60 * SECOND);
        let shown = world.journal.count(|note| matches!(note, Note::Shown { place: 101.., .. }));
        if shown < 1_000 {
            return Err(format!("only {shown} positions beyond the hundredth"));
        }
        proofs::all(&world.journal, &world.rules)
    });
}
