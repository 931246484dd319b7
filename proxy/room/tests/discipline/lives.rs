//! Lives of a store: what one that forgot goes on from, and what simulation found there.

use std::sync::Arc;
use std::time::Duration;

use room::budget::Budget;
use room::queue::{
    Arrived, Caller, Claimed, Control, Head, Now, Queue, Renewed, Restore, SETTLE, Session, Witness,
};
use room::rules::{Draft, Rules};
use room::time::Micros;

use crate::bench::{Bench, START, incarnation, nodes, paper, person, shared};

pub(crate) fn draft() -> Draft {
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
pub(crate) fn at_another_edge(count: u32) -> Bench {
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

/// Where a room stood, in life 1, a hundred seconds after it began.
pub(crate) fn told() -> Head {
    let clock = START + Duration::from_secs(100);
    Head {
        incarnation: incarnation(1),
        seq: 40,
        step: 90,
        clock,
        front: START.0 + 7,
        taken: 3,
        entry: Budget::default(),
        offer: Budget::default(),
    }
}

pub(crate) fn witness(head: Head) -> Witness {
    let control =
        Control { version: 5, message: Some("soon".into()), ..Bench::new(draft()).queue.control().clone() };
    Witness { head, nodes: nodes(), control }
}

/// A room that has just forgotten everything, and was told by edge 0 where it stood; edge 1 has not spoken.
pub(crate) fn in_its_second_life() -> Bench {
    let mut bench = Bench::new(draft());
    bench.now = told().clock;
    bench.begin_anew(witness(told()));
    bench
}

pub(crate) fn knowing(node: u8, witness: Witness) -> Caller {
    Caller { witness: Some(Arc::new(witness)), ..shared(node) }
}

pub(crate) fn session_until(bench: &Bench, secs: u64) -> Session {
    Session { ends: bench.now + Duration::from_secs(secs), cap: bench.now + Duration::from_secs(90) }
}

#[test]
fn a_life_that_begins_empty_goes_on_from_what_its_first_caller_knows_and_with_empty_budgets() {
    let bench = in_its_second_life();
    let head = bench.queue.head();
    assert_eq!(head.incarnation, incarnation(2));
    assert_eq!((head.clock, head.front, head.seq), (told().clock, told().front, told().seq));
    assert_eq!((head.step, head.taken), (told().step + 1, told().taken));
    assert_eq!(*bench.queue.control(), witness(told()).control);
    let burst = bench.rules.burst_at(600);
    for budget in [head.entry, head.offer] {
        assert_eq!(budget.tokens(head.clock, 600, burst), 0);
        assert_eq!(budget.tokens(head.clock + Duration::from_millis(100), 600, burst), 1);
    }
}

#[test]
fn a_life_that_begins_empty_on_a_server_whose_clock_is_wrong_goes_on_from_the_clock_that_was_told() {
    let began = |leap: i64, lived: Duration| {
        let rules = Rules::new(draft()).unwrap();
        let now = Now { time: Micros(told().clock.0.saturating_add_signed(leap)), at_most: lived };
        let caller = knowing(0, witness(told()));
        let mut queue = Queue::open(&rules, now, &caller);
        queue.survey(&rules, now, &caller, false).head.clock
    };
    let (lived, hour) = (Duration::from_secs(3), 3_600_000_000);
    assert_eq!(began(2_000_000, lived), told().clock + Duration::from_secs(2));
    assert_eq!(began(hour, lived), told().clock + lived);
    assert_eq!(began(-hour, lived), told().clock);
}

#[test]
fn of_a_second_witness_every_number_counts_that_is_higher() {
    let mut bench = in_its_second_life();
    let old = bench.queue.head();
    let later = told().clock + Duration::from_secs(1);
    let full = Budget::empty(later, 600, 100);
    let more = Head {
        seq: 50,
        step: 200,
        clock: later,
        front: START.0 + 9,
        taken: 4,
        entry: full,
        offer: full,
        ..told()
    };
    let newer = Control { version: 6, message: None, ..witness(told()).control };
    bench.look_as(&knowing(1, Witness { control: newer.clone(), ..witness(more) }));
    let head = bench.queue.head();
    assert_eq!(head, Head { incarnation: old.incarnation, step: more.step + 1, ..more });
    assert_eq!(*bench.queue.control(), newer);
    // What knows less takes nothing back.
    bench.look_as(&knowing(1, witness(told())));
    assert_eq!(bench.queue.head(), Head { step: head.step + 1, ..head });
    assert_eq!(*bench.queue.control(), newer);
}

#[test]
fn who_stands_in_front_of_the_front_that_a_witness_tells_is_a_return() {
    let mut bench = in_its_second_life();
    assert!(matches!(bench.present(1, 1, START.0 + 8), Arrived::Waiting(place) if !place.returning));
    assert!(matches!(bench.present(2, 2, START.0 + 9), Arrived::Waiting(place) if !place.returning));
    bench.look_as(&knowing(1, witness(Head { front: START.0 + 8, ..told() })));
    let counts = bench.queue.counts();
    assert_eq!((counts.waiting, counts.returning), (1, 1));
    bench.check();
}

#[test]
fn a_life_is_settled_as_soon_as_every_edge_of_the_one_before_has_told_it_everything() {
    let mut bench = in_its_second_life();
    let this = Some(incarnation(2));
    bench.report(&[], this);
    assert!(bench.tick().settling_until.is_some(), "edge 1 has not spoken");
    bench.node = 1;
    bench.report(&[], None);
    bench.report(&[], Some(incarnation(1)));
    assert!(bench.tick().settling_until.is_some(), "that was not for this life");
    bench.node = 7;
    bench.report(&[], this);
    assert!(bench.tick().settling_until.is_some(), "nobody waits for this one");
    bench.node = 1;
    bench.report(&[], this);
    assert_eq!(bench.tick().settling_until, None);
}

#[test]
fn a_life_waits_ten_seconds_for_an_edge_that_does_not_report() {
    let mut bench = in_its_second_life();
    assert_eq!(bench.tick().settling_until, Some(told().clock + SETTLE));
    bench.run(9);
    assert!(bench.tick().settling_until.is_some());
    bench.run(1);
    assert_eq!(bench.tick().settling_until, None);
}

#[test]
fn an_edge_that_is_still_waited_for_is_named_so_that_the_life_after_a_second_loss_waits_for_it() {
    let mut bench = in_its_second_life();
    let known = bench.look_as(&shared(0));
    assert_eq!(known.nodes, nodes(), "edge 1 has never spoken to this life");
    bench.begin_anew(Witness { nodes: known.nodes, ..witness(known.head) });
    bench.report(&[], Some(incarnation(2)));
    assert!(bench.tick().settling_until.is_some());
    bench.node = 1;
    bench.report(&[], Some(incarnation(2)));
    assert_eq!(bench.tick().settling_until, None);
    bench.run(10);
    bench.node = 0;
    bench.run(12);
    assert_eq!(
        bench.look_as(&shared(0)).nodes,
        nodes()[..1],
        "once it is settled, who is silent is not named"
    );
}

#[test]
fn slots_of_the_life_before_are_accounted_for_by_sessions_and_turns_and_free_when_every_pass_is_over() {
    let mut bench = in_its_second_life();
    let (visitor, ticket) = (person(1), paper(1));
    let session = session_until(&bench, 50);
    bench.report(&[Restore::Session { visitor, ticket, session }], None);
    assert_eq!((bench.queue.counts().active, bench.queue.head().taken), (1, 3));
    bench.report(&[Restore::Turn { visitor: person(2), ticket: paper(2) }], None);
    assert_eq!((bench.queue.counts().turns, bench.queue.head().taken), (1, 3));
    // The turn was over: whose slot it was is not known.
    bench.report(&[Restore::Spent { visitor: person(2), ticket: paper(2) }], None);
    assert_eq!((bench.queue.counts().turns, bench.queue.head().taken), (0, 3));
    // Told again, the session is no other.
    bench.report(&[Restore::Session { visitor, ticket, session }], None);
    assert_eq!(bench.queue.head().taken, 3);
    bench.run(61);
    assert_eq!((bench.queue.counts().active, bench.queue.head().taken), (0, 2));
    bench.run(1);
    assert_eq!(bench.queue.head().taken, 0);
}

#[test]
fn a_turn_that_was_told_comes_back_with_a_whole_claim_window_while_the_store_settles() {
    let mut bench = in_its_second_life();
    bench.run(5);
    bench.present(1, 1, START.0 + 8);
    let turn = |id| Restore::Turn { visitor: person(id), ticket: paper(id) };
    bench.report(&[turn(1)], None);
    let deadline = bench.now + Duration::from_secs(10);
    assert!(matches!(bench.present(1, 1, START.0 + 8), Arrived::Turn(turn) if turn.deadline == deadline));
    bench.check();
    // One that is there already is as it was: it stands still with the store.
    bench.run(1);
    let deadline = deadline + Duration::from_secs(1);
    bench.report(&[turn(1)], None);
    assert!(matches!(bench.present(1, 1, START.0 + 8), Arrived::Turn(turn) if turn.deadline == deadline));
    bench.run(4);
    bench.report(&[turn(2)], None);
    assert_eq!(bench.queue.counts().turns, 1, "settled: nobody is given a turn by hearsay");
}

#[test]
fn nobody_enters_by_a_turn_while_the_store_settles_for_an_edge_may_tell_that_it_was_claimed() {
    let mut bench = in_its_second_life();
    let turn = |id| Restore::Turn { visitor: person(id), ticket: paper(id) };
    bench.report(&[turn(1), turn(2)], None);
    bench.run(5);
    let retry_at = bench.now + Duration::from_secs(1);
    for id in [1, 2] {
        assert_eq!(bench.claim(id, id), Claimed::NotYet { retry_at });
    }
    // The claim of one was answered by the life before, and another edge knows.
    let (visitor, ticket, session) = (person(1), paper(1), session_until(&bench, 50));
    bench.report(&[Restore::Session { visitor, ticket, session }], None);
    assert_eq!(bench.claim(1, 1), Claimed::Session(session));
    bench.run(6);
    assert!(matches!(bench.claim(2, 2), Claimed::Session(_)));
    bench.check();
}

#[test]
fn no_part_of_a_turn_goes_by_while_the_store_settles() {
    let mut bench = in_its_second_life();
    bench.report(&[Restore::Turn { visitor: person(1), ticket: paper(1) }], None);
    // Ten seconds in which nobody can claim, and ten of the turn.
    bench.run(19);
    assert_eq!((bench.queue.counts().turns, bench.queue.counts().lapsed), (1, 0));
    bench.run(2);
    assert_eq!((bench.queue.counts().turns, bench.queue.counts().lapsed), (0, 1));
}

#[test]
fn a_turn_does_not_come_back_to_who_has_a_session_or_a_spent_ticket() {
    let mut bench = in_its_second_life();
    let session = session_until(&bench, 50);
    let (spent, inside) = ((person(1), paper(1)), (person(2), paper(2)));
    bench.report(
        &[
            Restore::Spent { visitor: spent.0, ticket: spent.1 },
            Restore::Turn { visitor: spent.0, ticket: spent.1 },
            Restore::Session { visitor: inside.0, ticket: inside.1, session },
            Restore::Turn { visitor: inside.0, ticket: paper(3) },
        ],
        None,
    );
    assert_eq!((bench.queue.counts().turns, bench.queue.counts().active), (0, 1));
    bench.check();
}

#[test]
fn a_spent_ticket_takes_back_the_place_it_has_and_no_other() {
    let mut bench = in_its_second_life();
    bench.present(1, 1, START.0 + 8);
    bench.present(2, 2, START.0 + 9);
    bench.report(
        &[
            Restore::Spent { visitor: person(1), ticket: paper(1) },
            Restore::Spent { visitor: person(2), ticket: paper(77) },
        ],
        None,
    );
    assert_eq!(bench.queue.counts().waiting, 1);
    assert_eq!(bench.present(1, 1, START.0 + 8), Arrived::Spent);
    assert!(matches!(bench.present(2, 2, START.0 + 9), Arrived::Waiting(_)));
    bench.check();
}

#[test]
fn a_session_is_as_long_as_the_longest_that_anybody_tells_and_one_that_is_over_is_none() {
    let mut bench = in_its_second_life();
    let told = |bench: &mut Bench, who, secs| {
        let session = session_until(bench, secs);
        bench.report(&[Restore::Session { visitor: person(who), ticket: paper(who), session }], None);
        session
    };
    let longest = told(&mut bench, 1, 50);
    told(&mut bench, 1, 30);
    assert_eq!(bench.present(1, 1, START.0), Arrived::Session(longest));
    told(&mut bench, 2, 0);
    assert_eq!(bench.queue.counts().active, 1);
}

#[test]
fn what_was_revoked_stays_revoked_in_the_next_life() {
    let mut bench = in_its_second_life();
    let session = session_until(&bench, 50);
    bench.report(&[Restore::Revoked { ticket: paper(1), until: session.cap }], None);
    bench.report(&[Restore::Session { visitor: person(1), ticket: paper(1), session }], None);
    assert_eq!(bench.queue.counts().active, 0);
    assert_eq!(bench.renew(1, session), Renewed::Ended);
}
