//! What a store holds back after nobody could reach it, and how it is found out that it lost something.

use std::time::Duration;

use room::queue::{Arrived, Caller, Leave, Now, Queue, REPORT_WITHIN, Restore, SETTLE_BLANK, Session};
use room::rules::{Draft, Rules};

use crate::bench::{Bench, START, incarnation, paper, person, shared};
use crate::lives::{at_another_edge, draft, in_its_second_life, knowing, session_until, told, witness};

#[test]
fn a_session_that_ended_in_an_outage_keeps_its_slot_two_seconds_for_the_edge_that_extended_it() {
    let mut bench = Bench::new(draft());
    for id in [1, 2] {
        assert!(matches!(bench.arrive(id), Arrived::LetIn(_)));
    }
    bench.tick();
    bench.wait(Duration::from_secs(40));
    bench.tick();
    // And again, before anybody has reported.
    bench.wait(Duration::from_secs(3));
    bench.tick();
    bench.run(1);
    assert_eq!(bench.queue.counts().active, 2);
    let session = session_until(&bench, 30);
    bench.report(&[Restore::Session { visitor: person(1), ticket: paper(1), session }], None);
    bench.run(1);
    assert_eq!((bench.queue.counts().active, bench.queue.head().taken), (1, 1));
}

#[test]
fn a_turn_lasts_as_much_longer_as_no_tick_came_for_more_than_a_second() {
    let lapses_after = |gap: u64| {
        let mut bench = Bench::new(Draft { total_active_users: 1, ..draft() });
        bench.pause(true);
        assert!(matches!(bench.arrive(1), Arrived::Waiting(_)));
        bench.pause(false);
        let given = bench.tick().turns[0].1;
        bench.wait(Duration::from_millis(gap));
        while bench.tick().lapsed.is_empty() {
            bench.wait(Duration::from_millis(100));
        }
        bench.now.since(given)
    };
    assert_eq!(lapses_after(1000), Duration::ZERO);
    assert_eq!(lapses_after(1100), Duration::from_millis(1100));
}

#[test]
fn an_edge_alone_extends_a_session_by_no_more_than_one_duration_after_what_was_granted_nor_beyond_its_cap() {
    let rules = Rules::new(draft()).unwrap();
    let at = |secs| START + Duration::from_secs(secs);
    let session = |ends, cap| Session { ends: at(ends), cap: at(cap) };
    let extended = |held: Session, granted, now| held.extended_alone(at(granted), &rules, at(now));
    assert_eq!(extended(session(50, 500), 50, 20), Some(session(80, 500)));
    assert_eq!(
        extended(session(100, 500), 50, 90),
        Some(session(110, 500)),
        "60 s after the grant, and no more"
    );
    assert_eq!(extended(session(110, 500), 50, 105), None);
    assert_eq!(extended(session(50, 70), 50, 40), Some(session(70, 70)));
    assert_eq!(extended(session(50, 500), 50, 0), Some(session(60, 500)));
    let fixed = Rules::new(Draft { disable_session_renewal: true, ..draft() }).unwrap();
    assert_eq!(session(50, 500).extended_alone(at(50), &fixed, at(20)), None);
}

#[test]
fn a_new_room_of_a_shared_store_settles_two_seconds_and_one_of_a_single_edge_does_not() {
    let mut bench = Bench::new(draft());
    assert!(matches!(bench.arrive(1), Arrived::LetIn(_)));
    bench.queue = Queue::open(&bench.rules, Now::at(bench.now), &shared(0));
    assert_eq!(bench.tick().settling_until, Some(START + SETTLE_BLANK));
    assert!(matches!(bench.arrive(1), Arrived::Waiting(_)));
    bench.run(2);
    assert_eq!(bench.tick().settling_until, None);
    assert_eq!(bench.queue.counts().turns, 1);
}

#[test]
fn a_shared_store_that_was_away_waits_two_seconds_when_who_speaks_first_knows_nothing() {
    let mut bench = Bench::new(draft());
    bench.run(1);
    let head = bench.tick().head;
    let first = |caller: &Caller, away: u64| {
        let mut queue = bench.queue.clone();
        let now = bench.now + Duration::from_millis(away);
        queue.survey(&bench.rules, Now::at(now), caller, false).settling_until.map(|until| until.since(now))
    };
    assert_eq!(first(&shared(9), 2501), Some(SETTLE_BLANK));
    assert_eq!(first(&shared(9), 2500), None, "others were just heard");
    assert_eq!(first(&knowing(0, witness(head)), 2501), None, "it would know of a loss");
    assert_eq!(first(&Caller { alone: true, ..shared(9) }, 2501), None, "nobody else could know more");
}

#[test]
fn a_shared_store_that_was_away_waits_two_seconds_when_who_speaks_first_knows_only_a_life_before() {
    let mut bench = in_its_second_life();
    bench.run(11);
    bench.wait(Duration::from_secs(3));
    let survey = bench.look_as(&knowing(1, witness(told())));
    assert_eq!(survey.head.incarnation, incarnation(2));
    assert_eq!(survey.settling_until, Some(survey.head.clock + SETTLE_BLANK));
}

#[test]
fn an_older_copy_that_still_settles_is_not_settled_by_the_last_report_before_every_edge_has_spoken() {
    let mut bench = in_its_second_life();
    let this = Some(incarnation(2));
    bench.report(&[], this);
    // Edge 0, which this copy has heard already, may know more by now.
    bench.wait(Duration::from_secs(3));
    bench.node = 1;
    bench.report(&[], this);
    assert_eq!(bench.tick().settling_until, Some(bench.now + REPORT_WITHIN));
    bench.run(2);
    assert_eq!(bench.tick().settling_until, None);
}

#[test]
fn an_older_copy_that_others_have_used_is_found_out_by_its_front() {
    let mut bench = at_another_edge(1);
    let copy = bench.queue.clone();
    bench.pause(false);
    let lost = bench.tick();
    assert_eq!(lost.turns.len(), 1);
    bench.queue = copy;
    // An edge that knows nothing brings step and number further than they were.
    bench.run(1);
    assert!(bench.queue.head().step > lost.head.step && bench.queue.head().seq > lost.head.seq);
    let survey = bench.look_as(&knowing(1, witness(lost.head)));
    assert_eq!(survey.head.incarnation, incarnation(2));
    assert_eq!((survey.counts.waiting, survey.counts.returning), (0, 1));
    bench.leave(Leave::Ended(person(1), None));
    bench.check();
}

#[test]
fn a_caller_who_knows_less_than_the_store_finds_nothing_lost_and_one_who_was_told_a_later_step_does() {
    let mut bench = at_another_edge(1);
    let copy = bench.queue.clone();
    let older = bench.tick().head;
    bench.run(1);
    let survey = bench.look_as(&knowing(1, witness(older)));
    assert_eq!((survey.head.incarnation, survey.settling_until), (incarnation(1), None));
    bench.queue = copy;
    let later = room::queue::Head { step: older.step + 1, seq: 0, ..older };
    assert_eq!(bench.look_as(&knowing(1, witness(later))).head.incarnation, incarnation(2));
}
