//! What ticks count, end and name.

use std::time::Duration;

use room::ids::VisitorId;
use room::queue::{Arrival, Arrived, Event, Leave, Now, RETURNS_SHARE};
use room::rules::Draft;
use room::time::Micros;

use crate::bench::{Bench, START, caller, paper, person};
use crate::lives::at_another_edge;

fn draft() -> Draft {
    Draft {
        new_users_per_minute: 60,
        total_active_users: 100,
        burst: Some(2),
        claim_window: Duration::from_secs(5),
        confirm_window: Duration::from_secs(5),
        session_duration: Duration::from_secs(60),
        session_max: Duration::from_secs(600),
        return_window: Duration::from_secs(600),
        ..Draft::default()
    }
}

/// Presents a visitor's own ticket, which was stamped `id` milliseconds after the beginning.
fn show(bench: &mut Bench, id: u32) -> Arrived {
    bench.present(id, id, START.0 + 1000 * u64::from(id))
}

/// A paused room in which visitors 1 to `count` stand in the line.
fn line(draft: Draft, count: u32) -> Bench {
    let mut bench = Bench::new(draft);
    bench.pause(true);
    for id in 1..=count {
        assert!(matches!(show(&mut bench, id), Arrived::Waiting(_)));
    }
    bench
}

/// Ticks until one does this.
fn until(bench: &mut Bench, done: impl Fn(&Event) -> bool) -> Event {
    for _ in 0..1000 {
        bench.wait(Duration::from_millis(100));
        let event = bench.tick();
        if done(&event) {
            return event;
        }
    }
    panic!("no such tick in a hundred seconds")
}

#[test]
fn a_tick_names_the_edges_that_live_once_a_second() {
    let mut bench = at_another_edge(1);
    let named = (0..20)
        .map(|_| {
            bench.wait(Duration::from_millis(100));
            bench.tick().nodes
        })
        .filter(|nodes| !nodes.is_empty());
    assert_eq!(named.collect::<Vec<_>>(), vec![vec![caller(0).node, caller(1).node]; 2]);
    assert_eq!(until(&mut bench, |event| event.nodes.len() == 1).nodes, [caller(0).node]);
}

#[test]
fn no_edge_was_silent_for_as_long_as_none_could_speak() {
    let mut bench = at_another_edge(1);
    bench.tick();
    bench.wait(Duration::from_secs(60));
    bench.pause(false);
    let event = until(&mut bench, |event| !event.turns.is_empty() || !event.absent.is_empty());
    assert_eq!((event.turns[0].0, event.absent), (person(1), vec![]));
}

#[test]
fn a_ticket_comes_back_as_often_as_turns_may_be_missed_and_no_more() {
    for missed_turns in [0, 1, 2] {
        let mut bench = line(Draft { missed_turns, ..draft() }, 1);
        bench.pause(false);
        for nth in 1..=missed_turns + 1 {
            let lapsed = until(&mut bench, |event| !event.lapsed.is_empty()).lapsed;
            assert_eq!((lapsed, bench.queue.counts().lapsed), (vec![person(1)], u64::from(nth)));
            // Others may come and go in between.
            bench.run(2);
            bench.pause(true);
            let back = show(&mut bench, 1);
            bench.pause(false);
            match back {
                Arrived::Waiting(place) => assert!(place.returning && nth <= missed_turns),
                other => assert!(matches!(other, Arrived::Spent) && nth > missed_turns, "{other:?}"),
            }
            bench.check();
        }
    }
}

#[test]
fn every_turn_and_every_session_that_ends_is_counted() {
    let mut bench = line(draft(), 3);
    bench.pause(false);
    bench.run(4);
    assert_eq!(bench.queue.counts().admitted, 3);
    for id in [2, 3] {
        bench.claim(id, id);
        bench.leave(Leave::Ended(person(id), None));
    }
    assert_eq!((bench.queue.counts().entered, bench.queue.counts().ended), (2, 0));
    bench.run(2);
    assert_eq!((bench.queue.counts().ended, bench.queue.counts().active), (2, 0));
}

#[test]
fn nobody_is_let_in_at_once_while_turns_use_the_budget_or_claims_have_used_it() {
    let mut bench = line(draft(), 2);
    bench.pause(false);
    assert_eq!(bench.tick().turns.len(), 2);
    // Two may enter, but the turns of both are others'.
    assert!(matches!(show(&mut bench, 3), Arrived::Waiting(_)));
    bench.leave(Leave::Absent(person(3)));
    bench.wait(Duration::from_secs(2));
    bench.tick();
    for id in [1, 2] {
        bench.claim(id, id);
    }
    // Two more turns could be given, but nobody may enter by them yet.
    assert!(matches!(show(&mut bench, 4), Arrived::Waiting(_)));
    bench.leave(Leave::Absent(person(4)));
    bench.wait(Duration::from_secs(1));
    assert!(matches!(show(&mut bench, 5), Arrived::LetIn(_)));
    assert_eq!((bench.queue.counts().admitted, bench.queue.counts().entered), (3, 3));
}

#[test]
fn a_ticket_is_void_when_its_stamp_and_its_confirmation_are_both_longer_past_than_a_return_may_take() {
    let mut bench = line(draft(), 1);
    bench.pause(false);
    bench.wait(Duration::from_secs(1));
    bench.tick();
    let (front, now, window) = (Micros(bench.queue.head().front), bench.now, bench.rules.return_window);
    let (longer, barely) = (Duration::from_micros(1), Duration::ZERO);
    let is_void = |passed: Duration, confirmed: Duration| {
        let arrival = Arrival {
            visitor: person(9),
            ticket: paper(9),
            score: (front - window - passed).0,
            confirmed_at: now - window - confirmed,
            may_enter: false,
            may_wait: true,
            here: true,
        };
        let mut queue = bench.queue.clone();
        matches!(queue.arrive(&bench.rules, Now::at(now), &caller(0), &[arrival])[..], [Arrived::Void])
    };
    assert!(is_void(longer, longer));
    assert!(!is_void(barely, longer) && !is_void(longer, barely));
}

#[test]
fn each_fourth_turn_goes_to_a_return_and_all_do_when_nobody_else_waits() {
    let mut bench = line(draft(), 12);
    // The front passes visitors 1 to 4 while they are away.
    for id in 1..=4 {
        bench.leave(Leave::Absent(person(id)));
    }
    bench.pause(false);
    assert_eq!(until(&mut bench, |event| !event.turns.is_empty()).turns[0].0, person(5));
    bench.pause(true);
    let returning = |arrived| matches!(arrived, Arrived::Waiting(place) if place.returning);
    assert!((1..=4).all(|id| returning(show(&mut bench, id))));
    let admitted = bench.queue.counts().admitted;
    bench.pause(false);
    let given = bench.run(20);
    let is_return = |visitor: &VisitorId| (1..=4).any(|id| *visitor == person(id));
    for (nth, visitor) in given.iter().enumerate().take(8) {
        let turn = admitted + nth as u64;
        assert_eq!(is_return(visitor), turn % RETURNS_SHARE == RETURNS_SHARE - 1, "turn {turn}");
    }
    assert_eq!(given.iter().filter(|visitor| is_return(visitor)).count(), 4);
}
