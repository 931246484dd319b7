//! How soon turns are given again.

use room::rules::{Draft, Rules};

use crate::fault::Fault;
use crate::person::Temper;
use crate::plan::Plan;
use crate::time::{At, MS, SECOND};
use crate::world::World;

/// A long line and slots for everybody: nothing but the store holds the turns.
fn plan(seed: u64, fault: Fault) -> Plan {
    let draft = Draft { new_users_per_minute: 120, ..Draft::default() };
    let people = (0..150).map(|nth| (nth * 60 * MS, Temper::PATIENT)).collect();
    let rules = Rules::new(draft).unwrap();
    Plan { seed, rules, edges: 3, delay: (100, 800), people, faults: vec![(15 * SECOND, fault)] }
}

/// The longest time from the store's first answer to the first turn, over many worlds.
fn slowest(fault: impl Fn(u64) -> Fault) -> At {
    let recovery = |seed| {
        let mut world = World::new(&plan(seed, fault(seed)), None);
        // Nobody is through by then: only breaches end it.
        if let Err(breach) = world.run_for(50 * SECOND) {
            panic!("{}", world.explain(&breach));
        }
        let (back, turn) = (world.judge.back.unwrap(), world.judge.first_turn.unwrap());
        turn - back
    };
    (0..100).map(recovery).max().unwrap()
}

#[test]
fn an_intact_store_gives_turns_within_two_seconds_of_its_first_answer() {
    let slowest = slowest(|seed| Fault::CutAll((4 + seed % 10) * SECOND));
    assert!(slowest <= 2 * SECOND, "{slowest} µs");
}

#[test]
fn an_empty_store_gives_turns_within_ten_seconds_of_its_first_answer() {
    let slowest = slowest(|seed| Fault::Empty((4 + seed % 10) * SECOND));
    assert!(slowest <= 10 * SECOND + 200 * MS, "{slowest} µs");
}

#[test]
fn an_older_copy_gives_turns_within_ten_seconds_of_its_first_answer() {
    let slowest = slowest(|seed| Fault::FailOver { lag: 2 * SECOND, away: (4 + seed % 10) * SECOND });
    assert!(slowest <= 10 * SECOND + 200 * MS, "{slowest} µs");
}
