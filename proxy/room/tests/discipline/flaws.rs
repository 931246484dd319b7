//! Holes that a rule has closed: each was open once.

use std::time::Duration;

use room::queue::{Arrived, Change, Claimed, Leave, Now, Renewed, Session};
use room::rules::{Draft, TICKET_LIFE};
use room::time::Micros;

use crate::bench::{Bench, START, caller, paper, person};

fn draft() -> Draft {
    Draft {
        new_users_per_minute: 60,
        total_active_users: 10,
        burst: Some(2),
        claim_window: Duration::from_secs(5),
        confirm_window: Duration::from_secs(5),
        session_duration: Duration::from_secs(60),
        session_max: Duration::from_secs(600),
        return_window: Duration::from_secs(60),
        ..Draft::default()
    }
}

/// A room in which visitors 1 to `count` stand in the line.
fn with_line(draft: Draft, count: u32) -> Bench {
    let mut bench = Bench::new(draft);
    bench.pause(true);
    for id in 1..=count {
        bench.wait(Duration::from_millis(1));
        assert!(matches!(bench.arrive(id), Arrived::Waiting(_)));
    }
    bench.pause(false);
    bench
}

#[test]
fn a_turn_lives_until_a_tick_ends_it_so_nobody_stands_in_two_places() {
    let mut bench = with_line(draft(), 1);
    assert_eq!(bench.run(4), [person(1)]);
    bench.wait(Duration::from_millis(600));
    bench.tick();
    bench.wait(Duration::from_millis(600));
    let answer = bench.present(1, 1, START.0 + 1000);
    bench.check();
    assert!(matches!(answer, Arrived::Turn(_)), "{answer:?}");
    bench.tick();
    bench.check();
    assert!(matches!(bench.present(1, 1, START.0 + 1000), Arrived::LetIn(_)));
}

#[test]
fn a_claim_that_comes_before_the_first_tick_after_an_outage_is_good() {
    let mut bench = with_line(draft(), 1);
    bench.tick();
    bench.wait(Duration::from_secs(120));
    assert!(matches!(bench.claim(1, 1), Claimed::Session(_)));
    bench.check();
}

#[test]
fn a_pass_of_another_life_takes_its_visitor_out_of_the_line() {
    let mut bench = with_line(draft(), 2);
    let session = Session { ends: START + Duration::from_secs(50), cap: START + Duration::from_secs(500) };
    for id in [1, 2] {
        assert!(matches!(bench.renew(id, session), Renewed::Session(_)));
        bench.check();
    }
    assert!(bench.run(20).is_empty(), "nobody is left to be given a turn");
    let event = bench.leave(Leave::Ended(person(1), None)).unwrap();
    assert_eq!(event.revoked, [(paper(1), session.cap)]);
}

#[test]
fn a_turn_that_is_given_back_is_given_to_the_next_at_once() {
    let mut bench = with_line(draft(), 20);
    assert_eq!(bench.tick().turns.len(), 2);
    for id in [1, 2] {
        bench.leave(Leave::Ended(person(id), Some(paper(id))));
    }
    assert_eq!(bench.tick().turns.len(), 2);
}

#[test]
fn ending_a_session_revokes_the_pass_that_was_shown_and_the_one_that_was_bought() {
    let mut bench = Bench::new(draft());
    assert!(matches!(bench.arrive(1), Arrived::LetIn(_)));
    assert!(matches!(bench.present(1, 2, START.0), Arrived::Session(_)));
    let event = bench.leave(Leave::Ended(person(1), Some(paper(2)))).unwrap();
    let mut revoked: Vec<_> = event.revoked.iter().map(|(ticket, _)| *ticket).collect();
    revoked.sort();
    assert_eq!(revoked, [paper(1), paper(2)]);
}

#[test]
fn a_claim_spends_the_ticket_that_stood_in_the_line_whichever_ticket_is_shown() {
    let mut bench = with_line(draft(), 1);
    bench.tick();
    assert!(matches!(bench.claim(1, 77), Claimed::Session(_)));
    bench.leave(Leave::Ended(person(1), None));
    bench.wait(Duration::from_secs(3));
    bench.tick();
    for ticket in [1, 77] {
        assert_eq!(bench.present(1, ticket, START.0 + 1000), Arrived::Spent);
    }
}

#[test]
fn a_ticket_that_bought_its_session_stays_spent_for_as_long_as_it_can_be_shown() {
    let mut bench = Bench::new(draft());
    assert!(matches!(bench.arrive(1), Arrived::LetIn(_)));
    while bench.now < START + TICKET_LIFE {
        assert!(matches!(bench.present(1, 1, START.0), Arrived::Session(_) | Arrived::Spent));
        bench.wait(Duration::from_secs(600));
        bench.tick();
    }
    bench.check();
}

#[test]
fn a_room_that_never_fills_needs_no_ticks_to_free_its_slots() {
    let mut bench = Bench::new(draft());
    for id in 0..500 {
        // Every edge looks at an idle room once in a while.
        for _ in 0..30 {
            bench.wait(Duration::from_secs(2));
            bench.queue.survey(&bench.rules, Now::at(bench.now), &caller(0), false);
        }
        assert!(matches!(bench.arrive(id), Arrived::LetIn(_)), "visitor {id}");
    }
    bench.check();
    assert!(bench.queue.counts().active <= 1);
}

#[test]
fn a_rate_of_nothing_is_the_lowest_rate() {
    let mut bench = with_line(draft(), 3);
    bench.tick();
    bench.tune(&Change { new_users_per_minute: Some(0), ..Change::default() });
    assert_eq!(bench.queue.control().new_users_per_minute, 1);
    bench.wait(Duration::from_secs(1));
    bench.tick();
    assert_ne!(bench.queue.head().clock, Micros::ZERO);
}
