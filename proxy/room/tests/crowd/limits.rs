//! The two hard limits, and that they are used.

use std::time::Duration;

use room::queue::Change;
use room::rules::Draft;

use crate::person::Temper;
use crate::proofs;
use crate::seeds::in_worlds;
use crate::world::{Deed, MS, SECOND, World};

/// A room of everybody: short spans, so that a minute shows all there is.
pub(crate) fn draft() -> Draft {
    Draft {
        new_users_per_minute: 300,
        total_active_users: 200,
        claim_window: Duration::from_secs(20),
        confirm_window: Duration::from_secs(10),
        session_duration: Duration::from_secs(30),
        session_max: Duration::from_secs(60),
        return_window: Duration::from_secs(600),
        ..Draft::default()
    }
}

/// People of all tempers who come within half a minute.
pub(crate) fn mixed_crowd(world: &mut World, count: usize) {
    let tempers = [
        Temper::PATIENT,
        Temper::PATIENT,
        Temper::NO_SHOW,
        Temper::BOT,
        Temper::LEAVER,
        Temper::DOUBLER,
        Temper::REPLAYER,
        Temper::COOKIE_DROPPER,
        Temper::away(3_000, 12_000),
        Temper::away(2_000, 40_000),
    ];
    for _ in 0..count {
        let at = world.dice.between(0, 30_000) * MS;
        let temper = tempers[world.dice.between(0, tempers.len() as u64 - 1) as usize];
        world.add(at, temper);
    }
}

#[test]
fn in_a_world_of_all_tempers_every_promise_holds_and_nobody_is_lost() {
    in_worlds(200, |seed| {
        let mut world = World::new(seed, draft(), 1 + seed as usize % 3);
        world.shows_positions = true;
        mixed_crowd(&mut world, 120);
        world.run_until(240 * SECOND);
        proofs::nobody_is_lost(&world.journal)?;
        proofs::all(&world.journal, &world.rules)
    });
}

#[test]
fn no_window_is_over_the_limit_while_the_rate_goes_up_and_down() {
    in_worlds(200, |seed| {
        let mut world = World::new(seed, draft(), 2);
        mixed_crowd(&mut world, 150);
        for _ in 0..20 {
            let at = world.dice.between(0, 100_000) * MS;
            let rate = [1, 30, 300, 1200, 6000][world.dice.between(0, 4) as usize];
            let change = Change { new_users_per_minute: Some(rate), ..Change::default() };
            world.plan(at, Deed::Tune(change));
        }
        world.run_until(120 * SECOND);
        proofs::all(&world.journal, &world.rules)
    });
}

#[test]
fn turns_and_sessions_stay_within_the_limit_while_it_goes_up_and_down() {
    in_worlds(200, |seed| {
        let draft = Draft { new_users_per_minute: 3000, total_active_users: 10, ..draft() };
        let mut world = World::new(seed, draft, 2);
        mixed_crowd(&mut world, 100);
        for _ in 0..15 {
            let at = world.dice.between(0, 100_000) * MS;
            let change =
                Change { total_active_users: Some(world.dice.between(0, 25) as u32), ..Change::default() };
            world.plan(at, Deed::Tune(change));
        }
        world.run_until(120 * SECOND);
        proofs::all(&world.journal, &world.rules)
    });
}

#[test]
fn the_limit_is_used_to_99_percent_with_a_fifth_of_no_shows() {
    in_worlds(10, |seed| {
        let rate = 1200;
        let draft = Draft {
            new_users_per_minute: rate,
            total_active_users: 10_000,
            claim_window: Duration::from_secs(20),
            ..draft()
        };
        let mut world = World::new(seed, draft, 3);
        for _ in 0..9_000 {
            let temper = if world.dice.percent(20) {
                Temper::NO_SHOW
            } else {
                Temper { stays: Some(1_000), ..Temper::PATIENT }
            };
            let at = world.dice.between(0, 10_000) * MS;
            world.add(at, temper);
        }
        world.run_until(300 * SECOND);
        let share = proofs::utilisation(&world.journal, rate, 40 * SECOND, 300 * SECOND);
        if share < 0.99 {
            return Err(format!("only {share:.4} of the limit was used"));
        }
        proofs::by_arrival(&world.journal)
    });
}

#[test]
fn sessions_that_must_not_be_renewed_end_at_their_first_span() {
    in_worlds(50, |seed| {
        let draft = Draft { disable_session_renewal: true, ..draft() };
        let mut world = World::new(seed, draft, 2);
        let long = Temper { stays: Some(200_000), ..Temper::PATIENT };
        world.crowd(60, 0, 10 * SECOND, long);
        world.run_until(120 * SECOND);
        proofs::sessions_end_in_time(&world.journal, &world.rules)
    });
}
