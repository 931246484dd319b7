//! Attacks that shaped the design.

use std::time::Duration;

use room::rules::Draft;

use crate::journal::{Note, Who};
use crate::limits::draft;
use crate::person::Temper;
use crate::proofs;
use crate::seeds::in_worlds;
use crate::world::{MS, SECOND, World};

#[test]
fn bots_that_never_claim_cannot_starve_the_honest() {
    in_worlds(50, |seed| {
        let mut world = World::new(seed, draft(), 2);
        world.crowd(400, 0, 10 * SECOND, Temper::BOT);
        world.crowd(100, 0, 10 * SECOND, Temper::PATIENT);
        world.run_until(240 * SECOND);
        let most = 300 / 60 * 20;
        let open = most_open_turns(&world);
        if open > most {
            return Err(format!("{open} turns were open, {most} may be"));
        }
        proofs::nobody_is_lost(&world.journal)?;
        proofs::all(&world.journal, &world.rules)
    });
}

fn most_open_turns(world: &World) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for seen in &world.journal.notes {
        match seen.note {
            Note::Turn { .. } => open += 1,
            Note::Lapsed { .. } | Note::Entered { at_once: false, .. } => open -= 1,
            _ => {}
        }
        most = most.max(open);
    }
    most
}

#[test]
fn hoarded_tickets_that_return_at_once_get_a_quarter_of_the_turns() {
    in_worlds(50, |seed| {
        let mut world = World::new(seed, draft(), 3);
        // They confirm, go away, and all come back when the front has long passed them.
        let hoarder = |spread: u64| Temper { stays: Some(2_000), ..Temper::away(2_000, 60_000 - spread) };
        for n in 0..150 {
            world.add(n * 20 * MS, hoarder(n * 20));
        }
        world.crowd(600, 4 * SECOND, 100 * SECOND, Temper::PATIENT);
        world.run_until(300 * SECOND);
        let back = world.journal.count(|note| matches!(note, Note::Returning { .. }));
        if back < 50 {
            return Err(format!("only {back} returned: no attack"));
        }
        proofs::nobody_is_lost(&world.journal)?;
        proofs::all(&world.journal, &world.rules)
    });
}

#[test]
fn a_ticket_that_is_replayed_shared_or_hoarded_buys_one_session() {
    in_worlds(50, |seed| {
        let mut world = World::new(seed, draft(), 3);
        let sharer = Temper { doubles: true, ..Temper::REPLAYER };
        world.crowd(60, 0, 20 * SECOND, sharer);
        world.crowd(60, 0, 20 * SECOND, Temper::REPLAYER);
        world.run_until(400 * SECOND);
        let refused = world.journal.count(|note| matches!(note, Note::Refused { .. }));
        if refused < 120 {
            return Err(format!("only {refused} of 120 were told that their ticket is spent"));
        }
        proofs::all(&world.journal, &world.rules)
    });
}

#[test]
fn a_ticket_lapses_as_often_as_the_rules_say_and_is_spent_then() {
    in_worlds(50, |seed| {
        let mut world = World::new(seed, draft(), 2);
        world.crowd(200, 0, 5 * SECOND, Temper::PATIENT);
        let bots: Vec<Who> = (0..10).map(|n| world.add(n * SECOND, Temper::BOT)).collect();
        world.run_until(240 * SECOND);
        for bot in bots {
            let lapses = world.journal.count(|note| *note == Note::Lapsed { who: bot });
            let refusals = world.journal.count(|note| *note == Note::Refused { who: bot });
            let entered = world.journal.entries().any(|(_, who)| who == bot);
            if !entered && (lapses, refusals) != (3, 1) {
                return Err(format!("bot {bot}: {lapses} lapses, {refusals} refusals"));
            }
        }
        Ok(())
    });
}

#[test]
fn people_who_drop_their_cookies_hold_slots_for_the_confirm_window_only() {
    in_worlds(50, |seed| {
        let draft = Draft {
            total_active_users: 20,
            session_duration: Duration::from_secs(600),
            session_max: Duration::from_secs(3600),
            ..draft()
        };
        let mut world = World::new(seed, draft, 1);
        for n in 0..20 {
            world.add(n * SECOND, Temper::COOKIE_DROPPER);
        }
        world.run_until(22 * SECOND);
        let honest = world.add(40 * SECOND, Temper::PATIENT);
        world.run_until(45 * SECOND);
        if !world.journal.entries().any(|(_, who)| who == honest) {
            return Err("the slots are still held".into());
        }
        proofs::all(&world.journal, &world.rules)
    });
}
