//! Lives of a store: what one that forgot goes on from, and what simulation found there.

use std::time::Duration;

use room::queue::Arrived;
use room::rules::Draft;

use crate::bench::{Bench, START, person};

fn draft() -> Draft {
    Draft {
        new_users_per_minute: 600,
        total_active_users: 5,
        claim_window: Duration::from_secs(10),
        confirm_window: Duration::from_secs(20),
        session_duration: Duration::from_secs(60),
        session_max: Duration::from_secs(100),
        return_window: Duration::from_secs(60),
        ..Draft::default()
    }
}

/// A room in which visitors 1 to `count` stand in the line, seen by edge 1; edge 0 ticks.
fn at_another_edge(count: u32) -> Bench {
    let mut bench = Bench::new(draft());
    bench.pause(true);
    bench.node = 1;
    for id in 1..=count {
        bench.wait(Duration::from_millis(1));
        assert!(matches!(bench.arrive(id), Arrived::Waiting(_)));
    }
    bench.node = 0;
    bench
}

#[test]
fn a_place_that_is_passed_over_is_named_so_that_another_edge_can_say_it_is_seen() {
    let mut bench = at_another_edge(1);
    bench.run(11);
    bench.pause(false);
    let event = bench.tick();
    assert_eq!((event.absent, event.turns), (vec![person(1)], vec![]));
    assert!(matches!(bench.present(1, 1, START.0 + 1000), Arrived::LetIn(_)));
    bench.check();
}

#[test]
fn a_return_whose_edge_is_silent_is_passed_over_like_a_place_in_the_line() {
    let mut bench = at_another_edge(1);
    bench.pause(false);
    assert_eq!(bench.run(1), [person(1)]);
    // The turn lapses, the ticket comes back as a return at edge 1, and the edge dies.
    bench.run(10);
    bench.pause(true);
    bench.node = 1;
    assert!(matches!(bench.present(1, 1, START.0 + 1000), Arrived::Waiting(place) if place.returning));
    bench.node = 0;
    bench.run(11);
    bench.pause(false);
    let event = bench.tick();
    assert_eq!((event.absent, event.turns), (vec![person(1)], vec![]));
    bench.check();
}

#[test]
fn settling_lasts_as_much_longer_as_nobody_could_report() {
    let mut bench = at_another_edge(1);
    let told = bench.tick().head;
    bench.lose(told);
    assert!(bench.tick().settling_until.is_some());
    // The store is away for longer than it would have settled.
    bench.wait(Duration::from_secs(15));
    assert!(bench.tick().settling_until.is_some());
    bench.run(10);
    assert!(bench.tick().settling_until.is_none());
}
