//! The proofs against thousands of virtual visitors: an honest room is never accused, whatever the network does;
//! every way to cheat is found.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // the simulated room, too, is only test code

mod sim;

use std::time::Duration;

use crowd::cadence::Cadence;
use crowd::proof::{Findings, Promises};
use crowd::rates::Rates;
use crowd::record::Record;
use crowd::story::{Loss, Story};
use proptest::prelude::*;
use sim::{BURST, CLAIM_WINDOW, Cheat, PER_MINUTE, crowd};

fn promises() -> Promises {
    Promises {
        rates: Rates::constant(PER_MINUTE),
        burst: Some(BURST),
        claim_window: Some(CLAIM_WINDOW),
        ..Promises::default()
    }
}

fn prove(stories: &[Story], promises: &Promises) -> Findings {
    Findings::prove(&stories.iter().collect::<Vec<_>>(), promises)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_room_is_never_accused(seed: u64, visitors in 10_u64..400, slowest_ms in 2_u64..800) {
        let found = prove(&crowd(seed, visitors, slowest_ms, Cheat::None), &promises());
        prop_assert!(found.hold(), "{:#?}", found);
        prop_assert_eq!(found.over_limit_windows, Some(0));
    }

    #[test]
    fn the_claim_window_need_not_be_told(seed: u64) {
        let found = prove(&crowd(seed, 200, 50, Cheat::None), &Promises { claim_window: None, ..promises() });
        prop_assert!(found.hold(), "{:#?}", found);
    }

    #[test]
    fn a_visitor_kept_back_is_found(seed: u64) {
        let found = prove(&crowd(seed, 300, 50, Cheat::KeepsOneBack), &promises());
        prop_assert!(found.order_inversions >= 1);
    }

    #[test]
    fn a_visitor_forgotten_is_found(seed: u64) {
        let found = prove(&crowd(seed, 300, 50, Cheat::ForgetsOne), &promises());
        prop_assert!(found.order_inversions >= 1 && found.lost_places >= 1, "{:#?}", found);
    }

    #[test]
    fn entries_beyond_the_limit_are_found(seed: u64) {
        let found = prove(&crowd(seed, 300, 20, Cheat::EntersTooFast), &promises());
        prop_assert!(found.over_limit_windows >= Some(1));
    }

    #[test]
    fn positions_beyond_the_promise_are_found(seed: u64) {
        let found = prove(&crowd(seed, 300, 20, Cheat::InflatesPositions), &promises());
        prop_assert!(found.positions.wrong >= 1 && !found.hold());
    }
}

#[test]
fn each_broken_promise_alone_makes_the_run_fail() {
    let spoil: [fn(&mut Story); 4] = [
        |story| story.lose(Loss::ToldExpired),
        |story| story.ungated("/api/events"),
        |story| story.position_grew = 1,
        |story| story.purchases[0].orders.extend(["a".into(), "b".into()]),
    ];
    for spoil in spoil {
        let mut stories = crowd(1, 50, 20, Cheat::None);
        let buyer = stories.iter_mut().find(|story| story.joined.is_some() && !story.purchases.is_empty());
        spoil(buyer.unwrap());
        assert!(!prove(&stories, &promises()).hold());
    }
}

#[test]
fn too_many_at_once_are_found() {
    let stories = crowd(1, 300, 20, Cheat::None);
    let most = prove(&stories, &promises()).most_active;
    let limited = |limit| prove(&stories, &Promises { active_limit: Some(limit), ..promises() }).hold();
    assert!(most > 1 && limited(most) && !limited(most - 1));
}

#[test]
fn thousands_of_visitors_are_proved_within_seconds() {
    let stories = crowd(1, 4000, 100, Cheat::None);
    let started = std::time::Instant::now();
    assert!(prove(&stories, &promises()).hold());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn a_place_told_too_late_fails_the_run_where_a_cadence_is_to_be_proved() {
    let mut stories = crowd(1, 50, 20, Cheat::None);
    stories[7].cadence = Cadence { updates: 3, worst_late: Duration::from_millis(2500) };
    let with = |cadence| prove(&stories, &Promises { cadence, ..promises() });
    let (not_proved, allowed) = (with(None), with(Some(Duration::from_secs(3))));
    assert!(not_proved.hold() && not_proved.off_cadence.is_none());
    assert!(allowed.hold() && allowed.off_cadence == Some(0) && allowed.cadence_compared == 1);
    let late = with(Some(Duration::from_secs(2)));
    assert!(!late.hold() && late.off_cadence == Some(1), "{late:#?}");
    assert!(late.examples.iter().any(|example| example.contains("2.5 s later")), "{late:#?}");
}

#[test]
fn parts_of_a_crowd_are_judged_together_as_they_are_as_a_whole() {
    let whole = crowd(5, 300, 50, Cheat::KeepsOneBack);
    let parts: Vec<Vec<Story>> =
        (0..3).map(|part| whole.iter().filter(|story| story.id % 3 == part).cloned().collect()).collect();
    let mut stream = Vec::new();
    for story in parts.iter().flatten() {
        Record::Story(Box::new(story.clone())).write(&mut stream).unwrap();
    }
    let mut rest = stream.as_slice();
    let mut merged = Vec::new();
    while !rest.is_empty() {
        let Record::Story(story) = Record::read(&mut rest).unwrap() else {
            panic!("only stories were written")
        };
        merged.push(*story);
    }
    let (together, as_one) = (prove(&merged, &promises()), prove(&whole, &promises()));
    assert_eq!(together.order_inversions, as_one.order_inversions);
    assert_eq!(together.positions.compared, as_one.positions.compared);
    assert!(together.order_inversions >= 1);
    assert_eq!(merged.len(), whole.len());
}
