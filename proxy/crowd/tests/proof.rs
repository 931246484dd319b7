//! The proofs against thousands of virtual visitors: an honest room is never accused, whatever the network does;
//! every way to cheat is found.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // the simulated room, too, is only test code

mod sim;

use std::time::Duration;

use crowd::proof::{Findings, Promises};
use crowd::rates::Rates;
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
