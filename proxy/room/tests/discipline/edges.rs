//! Which edge looks after whom.

use std::time::Duration;

use room::ids::VisitorId;
use room::queue::{Arrived, Claimed, Leave, MUTE_NODE, Turn};
use room::rules::{Draft, Rules};
use room::time::Micros;

use crate::bench::{Bench, START, person};

const WINDOW: Duration = Duration::from_secs(8);

/// A room in which edge 0 presented visitors 1 and 2, who wait. Each minute there are this many turns.
fn bench(new_users_per_minute: u32) -> Bench {
    let draft = Draft {
        new_users_per_minute,
        burst: Some(2),
        claim_window: WINDOW,
        ..Draft::clone(&Rules::default())
    };
    let mut bench = Bench::new(draft);
    bench.pause(true);
    for id in [1, 2] {
        bench.wait(Duration::from_millis(1));
        assert!(matches!(bench.arrive(id), Arrived::Waiting(_)));
    }
    bench.pause(false);
    bench
}

/// The score of a visitor of [`bench`].
fn score(id: u32) -> u64 {
    START.0 + 1000 * u64::from(id)
}

/// Edge 1 ticks alone for so long.
fn alone(bench: &mut Bench, span: Duration) -> Vec<VisitorId> {
    bench.node = 1;
    let ticks = span.as_millis() / 100;
    (0..ticks)
        .flat_map(|_| {
            bench.wait(Duration::from_millis(100));
            bench.tick().turns
        })
        .map(|(visitor, _)| visitor)
        .collect()
}

fn deadline(arrived: Arrived) -> Micros {
    match arrived {
        Arrived::Turn(Turn { deadline }) => deadline,
        other => panic!("no turn: {other:?}"),
    }
}

#[test]
fn a_turn_that_was_given_at_an_edge_that_fell_silent_is_good_for_a_whole_window_at_the_next() {
    let mut bench = bench(60);
    let given = bench.tick().turns[0].1;
    alone(&mut bench, MUTE_NODE + Duration::from_millis(1500));
    let told = deadline(bench.present(1, 1, score(1)));
    assert_eq!(told, bench.now + WINDOW);
    alone(&mut bench, Duration::from_millis(7_800));
    assert!(bench.now > given, "by the first deadline it would be over");
    assert!(matches!(bench.claim(1, 1), Claimed::Session(_)));
    bench.check();
}

#[test]
fn an_edge_that_was_heard_five_seconds_ago_is_not_silent_yet() {
    let mut bench = bench(60);
    let given = bench.tick().turns[0].1;
    alone(&mut bench, MUTE_NODE);
    assert_eq!(deadline(bench.present(1, 1, score(1))), given);
}

#[test]
fn a_whole_window_is_a_whole_window_after_an_outage_too() {
    let mut bench = bench(60);
    bench.tick();
    bench.wait(Duration::from_secs(30));
    // The outage is nobody's silence, and extends the turn.
    alone(&mut bench, MUTE_NODE + Duration::from_secs(1));
    assert_eq!(deadline(bench.present(1, 1, score(1))), bench.now + WINDOW);
    assert_eq!(deadline(bench.present(1, 1, score(1))), bench.now + WINDOW);
    alone(&mut bench, Duration::from_millis(7_900));
    bench.wait(Duration::from_millis(100));
    assert_eq!(bench.tick().lapsed, [person(1)]);
}

#[test]
fn whoever_changes_between_edges_that_live_has_no_more_time_for_a_turn() {
    let mut bench = bench(60);
    let given = bench.tick().turns[0].1;
    for hop in 0..10 {
        // An edge that hears the ticks of others speaks each third second.
        alone(&mut bench, Duration::from_millis(500));
        bench.node = hop % 2;
        assert_eq!(deadline(bench.present(1, 1, score(1))), given);
    }
}

#[test]
fn whoever_changes_to_and_fro_has_one_more_window_for_an_edge_that_is_silent() {
    let mut bench = bench(60);
    bench.tick();
    alone(&mut bench, MUTE_NODE + Duration::from_secs(1));
    let once = deadline(bench.present(1, 1, score(1)));
    alone(&mut bench, Duration::from_secs(1));
    bench.node = 0;
    assert_eq!(deadline(bench.present(1, 1, score(1))), once);
}

#[test]
fn an_edge_that_only_remembers_somebody_takes_no_place_from_one_that_lives() {
    let mut bench = bench(60);
    bench.node = 1;
    assert!(matches!(bench.remember(1, 1, score(1)), Arrived::Waiting(place) if !place.new));
    assert_eq!(bench.leave(Leave::Absent(person(1))), None, "edge 0 looks after the place");
    assert!(matches!(bench.present(1, 1, score(1)), Arrived::Waiting(_)));
    assert_eq!(bench.leave(Leave::Absent(person(1))).unwrap().absent, [person(1)]);
}

#[test]
fn an_edge_that_only_remembers_somebody_keeps_the_place_of_one_that_fell_silent() {
    let mut bench = bench(60);
    bench.pause(true);
    alone(&mut bench, MUTE_NODE + Duration::from_secs(1));
    assert!(matches!(bench.remember(1, 1, score(1)), Arrived::Waiting(place) if !place.new));
    alone(&mut bench, Duration::from_secs(6));
    bench.pause(false);
    assert_eq!(alone(&mut bench, Duration::from_secs(2)), [person(1)], "visitor 2 was left at edge 0");
}

#[test]
fn a_place_that_no_edge_holds_is_taken_by_one_that_only_remembers_it() {
    let mut bench = bench(60);
    bench.leave(Leave::Absent(person(1)));
    bench.node = 1;
    assert!(
        matches!(bench.remember(1, 1, score(1)), Arrived::Waiting(place) if place.new && !place.returning)
    );
}
