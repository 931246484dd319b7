//! The rules, one sentence each.

use std::time::Duration;

use room::queue::{Arrived, Caller, Change, Claimed, Leave, MAX_SET_ASIDE, Mode, Now, Renewed};
use room::rules::Draft;
use room::time::Micros;

use crate::bench::{Bench, START, caller, paper, person};

fn draft() -> Draft {
    Draft {
        new_users_per_minute: 600,
        total_active_users: 5,
        claim_window: Duration::from_secs(10),
        confirm_window: Duration::from_secs(20),
        session_duration: Duration::from_secs(60),
        session_max: Duration::from_secs(100),
        return_window: Duration::from_secs(60),
        max_waiting: 30,
        ..Draft::default()
    }
}

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
fn a_claim_again_gives_the_same_session() {
    let mut bench = with_line(draft(), 1);
    bench.tick();
    let first = bench.claim(1, 1);
    assert!(matches!(first, Claimed::Session(_)));
    bench.wait(Duration::from_secs(5));
    assert_eq!(bench.claim(1, 1), first);
    assert_eq!(bench.queue.counts().entered, 1);
}

#[test]
fn who_waits_is_told_to_ask_again_and_a_stranger_that_nothing_is_there() {
    let mut bench = with_line(draft(), 1);
    assert!(matches!(bench.claim(1, 1), Claimed::NotYet { .. }));
    assert_eq!(bench.claim(2, 2), Claimed::Gone);
}

#[test]
fn who_leaves_a_session_frees_its_slot_after_a_second_and_the_event_names_the_ticket() {
    let mut bench = Bench::new(Draft { total_active_users: 1, ..draft() });
    let Arrived::LetIn(session) = bench.arrive(1) else {
        panic!("an empty room lets in");
    };
    assert!(matches!(bench.arrive(2), Arrived::Waiting(_)));
    let event = bench.leave(Leave::Ended(person(1), None)).unwrap();
    assert_eq!(event.revoked, [(paper(1), session.cap)]);
    assert!(!event.is_tick(), "it must not put off the next tick");
    assert!(bench.tick().is_tick());
    bench.wait(Duration::from_millis(900));
    assert!(bench.tick().turns.is_empty(), "an edge may not have heard of it yet");
    bench.wait(Duration::from_millis(100));
    assert_eq!(bench.tick().turns.len(), 1);
    assert_eq!(bench.renew(1, session), Renewed::Ended);
    assert_eq!(bench.present(1, 1, START.0), Arrived::Spent);
}

#[test]
fn who_is_let_in_at_once_has_the_confirm_window_until_the_pass_is_used() {
    let mut bench = Bench::new(draft());
    let Arrived::LetIn(session) = bench.arrive(1) else {
        panic!("an empty room lets in");
    };
    assert_eq!(session.ends, START + Duration::from_secs(20));
    bench.wait(Duration::from_secs(10));
    let Renewed::Session(longer) = bench.renew(1, session) else {
        panic!("a session in use is renewed");
    };
    assert_eq!(longer.ends, START + Duration::from_secs(70));
    bench.wait(Duration::from_secs(55));
    let Renewed::Session(last) = bench.renew(1, longer) else {
        panic!("a session in use is renewed");
    };
    assert_eq!((last.ends, last.cap), (session.cap, START + Duration::from_secs(100)));
}

#[test]
fn a_slot_stays_taken_two_seconds_beyond_its_pass() {
    let mut bench = Bench::new(Draft { total_active_users: 1, ..draft() });
    bench.arrive(1);
    bench.arrive(2);
    assert!(bench.run(21).is_empty());
    assert_eq!(bench.run(1), [person(2)]);
}

#[test]
fn an_edge_takes_only_its_own_absent_visitors_out_of_the_line() {
    let mut bench = with_line(draft(), 1);
    bench.node = 1;
    bench.leave(Leave::Absent(person(1)));
    assert_eq!(bench.queue.counts().waiting, 1);
    bench.present(1, 1, START.0);
    bench.node = 0;
    bench.leave(Leave::Absent(person(1)));
    assert_eq!(bench.queue.counts().waiting, 1, "moved on to another edge");
    bench.node = 1;
    let event = bench.leave(Leave::Absent(person(1))).unwrap();
    assert_eq!(event.absent, [person(1)], "an edge that still sees them can say so");
    assert_eq!(bench.queue.counts().waiting, 0);
    assert!(matches!(bench.present(1, 1, START.0), Arrived::LetIn(_)), "the ticket is still good");
}

#[test]
fn a_full_line_takes_nobody_and_keeps_whoever_stands_in_it() {
    let mut bench = with_line(draft(), 30);
    bench.pause(true);
    assert_eq!(bench.arrive(31), Arrived::Full);
    assert!(matches!(bench.arrive(1), Arrived::Waiting(place) if !place.new));
}

#[test]
fn a_place_in_the_line_is_kept_whatever_stamp_the_ticket_says() {
    let mut bench = with_line(draft(), 3);
    let Arrived::Waiting(place) = bench.present(2, 2, 7) else {
        panic!("stands in the line");
    };
    assert_eq!(place.score, START.0 + 2000);
}

#[test]
fn a_stamp_is_void_when_front_and_confirmation_are_both_long_past() {
    let mut bench = with_line(draft(), 1);
    bench.tick();
    let old = START.0 - 3_600_000_000;
    bench.wait(Duration::from_secs(30));
    assert!(matches!(bench.present(9, 9, old), Arrived::Void));
}

#[test]
fn no_turns_are_given_while_paused_drained_closed_or_held() {
    for mode in [Mode::Drain, Mode::Closed] {
        let mut bench = with_line(draft(), 3);
        bench.tune(&Change { mode: Some(mode), ..Change::default() });
        assert!(bench.run(2).is_empty(), "{mode:?}");
        bench.check();
    }
    let mut bench = with_line(draft(), 3);
    bench.pause(true);
    assert!(bench.run(2).is_empty(), "paused");
    bench.pause(false);
    let hold = Caller { hold: true, ..caller(0) };
    let event = bench.queue.admit(&bench.rules, Now::at(bench.now), &hold);
    assert!(event.turns.is_empty(), "held by the schedule");
    assert_eq!(bench.tick().turns.len(), 3);
}

#[test]
fn a_claim_beyond_the_entry_budget_keeps_its_turn_and_is_told_when() {
    let mut bench = with_line(Draft { new_users_per_minute: 6, burst: Some(2), ..draft() }, 3);
    // Two turns lapse and are made up for, so three people hold a turn when two may enter.
    bench.run(9);
    bench.tune(&Change { new_users_per_minute: Some(60), ..Change::default() });
    assert!(matches!(bench.claim(1, 1), Claimed::Session(_)));
    bench.tune(&Change { new_users_per_minute: Some(1), ..Change::default() });
    let mut answer = bench.claim(2, 2);
    if let Claimed::NotYet { retry_at } = answer {
        while bench.now < retry_at {
            bench.wait(Duration::from_millis(100));
            bench.tick();
        }
        answer = bench.claim(2, 2);
    }
    assert!(matches!(answer, Claimed::Session(_)), "{answer:?}");
}

#[test]
fn places_of_a_silent_edge_are_passed_over_a_bounded_number_a_tick_and_come_back_with_their_tickets() {
    let mut bench = with_line(Draft { max_waiting: 1000, ..draft() }, 300);
    bench.pause(true);
    bench.node = 1;
    bench.wait(Duration::from_millis(1));
    bench.arrive(1000);
    // The other edge speaks for ten seconds and a tick, the first is silent.
    bench.run(11);
    bench.pause(false);
    bench.tick();
    assert_eq!(bench.queue.counts().set_aside, MAX_SET_ASIDE as u64);
    bench.tick();
    assert_eq!(bench.queue.counts().waiting, 0, "the one who is present has a turn");
    bench.pause(true);
    let back = bench.present(250, 250, START.0 + 250_000);
    assert!(matches!(back, Arrived::Waiting(place) if place.returning), "{back:?}");
    bench.check();
}

#[test]
fn a_turn_goes_only_to_who_is_present_when_the_front_is_silent() {
    let mut bench = with_line(Draft { max_waiting: 1000, ..draft() }, 300);
    bench.pause(true);
    bench.node = 1;
    bench.run(11);
    bench.pause(false);
    assert_eq!(bench.tick().turns, []);
    assert_eq!(bench.tick().turns, []);
    assert_eq!(bench.queue.counts().waiting, 0);
}

#[test]
fn a_wall_clock_ahead_moves_the_queue_by_no_more_than_its_caller_lived() {
    let mut bench = Bench::new(draft());
    let leap = Now { time: START + Duration::from_secs(3600), at_most: Duration::from_millis(1100) };
    bench.queue.survey(&bench.rules, leap, &caller(0), false);
    assert_eq!(bench.queue.head().clock, START + Duration::from_millis(1100));
    let back = Now::at(START);
    bench.queue.survey(&bench.rules, back, &caller(0), false);
    assert_eq!(bench.queue.head().clock, START + Duration::from_millis(1100));
    bench.queue.survey(&bench.rules, Now::at(START + Duration::from_secs(1)), &caller(0), false);
    assert_eq!(bench.queue.head().clock, START + Duration::from_millis(2100));
}

#[test]
fn the_line_is_measured_once_a_second_and_not_when_it_is_empty() {
    let mut bench = with_line(draft(), 10);
    bench.pause(true);
    let rulers = (0..30)
        .filter(|_| {
            bench.wait(Duration::from_millis(100));
            bench.tick().ruler.is_some()
        })
        .count();
    assert_eq!(rulers, 3);
    assert!(Bench::new(draft()).tick().ruler.is_none());
}

#[test]
fn a_survey_names_every_ticket_whose_pass_could_still_be_shown() {
    let mut bench = Bench::new(draft());
    bench.arrive(1);
    bench.leave(Leave::Ended(person(1), None));
    let named =
        |bench: &mut Bench| bench.queue.survey(&bench.rules, Now::at(bench.now), &caller(0), true).revoked;
    assert_eq!(named(&mut bench), [(paper(1), START + Duration::from_secs(100))]);
    for _ in 0..101 {
        bench.wait(Duration::from_secs(1));
        bench.tick();
    }
    assert_eq!(named(&mut bench), []);
    assert_ne!(bench.now, Micros::ZERO);
}
