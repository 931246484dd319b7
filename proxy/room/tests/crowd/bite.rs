//! Every proof fails on a journal that breaks what it proves.

use room::ids::TicketId;
use room::queue::Session;
use room::rules::{Draft, Rules};
use room::time::Micros;

use crate::journal::{Journal, Note, Who};
use crate::proofs;
use crate::world::SECOND;

const LIMITS: Note = Note::Limits { rate: 60, burst: 2, active: 3 };

/// One note a second.
fn told(notes: impl IntoIterator<Item = Note>) -> Journal {
    let mut journal = Journal::default();
    for (at, note) in (0..).zip(notes) {
        journal.write(at * SECOND, at * SECOND, note);
    }
    journal
}

fn session(ends: u64, cap: u64) -> Session {
    Session { ends: Micros(ends * SECOND), cap: Micros(cap * SECOND) }
}

fn entered(who: Who, session: Session) -> Note {
    Note::Entered { who, ticket: TicketId::from_random([who as u8; 12]), session, at_once: false }
}

fn in_line(who: Who) -> Note {
    let score = who as u64;
    Note::InLine { who, score }
}

#[test]
fn three_entries_at_once_break_a_burst_of_two() {
    let at_once = |count: usize| {
        let mut journal = told([LIMITS]);
        for who in 0..count {
            journal.write(SECOND, SECOND, entered(who, session(60, 60)));
        }
        journal
    };
    assert!(proofs::entries_within_rate(&at_once(2), 0).is_ok());
    assert!(proofs::entries_within_rate(&at_once(3), 0).is_err());
}

#[test]
fn a_rate_that_is_kept_but_for_one_window_in_the_middle_is_broken() {
    let mut journal = told([LIMITS]);
    let calm = (1..20).chain(40..60).map(|second| second * SECOND);
    let hasty = (20..40).map(|second| second * SECOND - second * SECOND / 8);
    let mut instants: Vec<u64> = calm.chain(hasty).collect();
    instants.sort_unstable();
    for (who, at) in instants.into_iter().enumerate() {
        journal.write(at, at, entered(who, session(600, 600)));
    }
    assert!(proofs::entries_within_rate(&journal, 0).is_err());
}

#[test]
fn a_lowered_rate_binds_from_its_instant() {
    let mut journal = told([LIMITS]);
    journal.write(SECOND, SECOND, Note::Limits { rate: 6, burst: 2, active: 3 });
    for who in 0..10 {
        let at = SECOND * (who as u64 + 1);
        journal.write(at, at, entered(who, session(600, 600)));
    }
    assert!(proofs::entries_within_rate(&journal, 0).is_err());
}

#[test]
fn a_fourth_turn_breaks_a_limit_of_three_and_a_lowered_limit_evicts_nobody() {
    let turns = |count: usize| (0..count).map(|who| Note::Turn { who });
    let lowered = Note::Limits { rate: 60, burst: 2, active: 1 };
    let start = [LIMITS];
    assert!(proofs::slots_within_limit(&told(start.iter().cloned().chain(turns(4)))).is_err());
    let after = |more: Vec<Note>| told(start.iter().cloned().chain(turns(3)).chain(more));
    let claimed = entered(0, session(60, 60));
    assert!(proofs::slots_within_limit(&after(vec![lowered.clone(), claimed])).is_ok());
    let another = vec![lowered, Note::Lapsed { who: 0 }, Note::Turn { who: 9 }];
    assert!(proofs::slots_within_limit(&after(another)).is_err());
}

#[test]
fn a_turn_past_somebody_online_is_an_inversion_and_past_somebody_offline_is_not() {
    let past = Note::Turn { who: 2 };
    assert!(proofs::by_arrival(&told([in_line(1), in_line(2), past.clone()])).is_err());
    let offline = Note::Offline { who: 1 };
    assert!(proofs::by_arrival(&told([in_line(1), in_line(2), offline, past])).is_ok());
}

#[test]
fn two_returns_in_a_row_jump_a_line_that_waits() {
    let returns = |line: Vec<Note>| {
        let back = [Note::Returning { who: 7 }, Note::Returning { who: 8 }];
        let turns = [Note::Turn { who: 7 }, Note::Turn { who: 8 }];
        told(line.into_iter().chain(back).chain(turns))
    };
    assert!(proofs::returns_take_a_quarter(&returns(vec![in_line(1)])).is_err());
    assert!(proofs::returns_take_a_quarter(&returns(vec![])).is_ok());
}

#[test]
fn an_honest_visitor_without_entry_is_lost() {
    let came = |honest| Note::Came { who: 1, honest };
    assert!(proofs::nobody_is_lost(&told([came(true)])).is_err());
    assert!(proofs::nobody_is_lost(&told([came(false)])).is_ok());
    assert!(proofs::nobody_is_lost(&told([came(true), entered(1, session(60, 60))])).is_ok());
}

#[test]
fn another_cap_for_the_same_ticket_is_a_second_session() {
    let again = |cap| {
        proofs::one_session_a_ticket(&told([entered(1, session(60, 90)), entered(1, session(60, cap))]))
    };
    assert!(again(90).is_ok());
    assert!(again(91).is_err());
}

#[test]
fn a_pass_that_lasts_too_long_is_found() {
    let rules = Rules::new(Draft::default()).unwrap();
    let lasting = |ends, cap, at_once| {
        let note = Note::Entered {
            who: 1,
            ticket: TicketId::from_random([1; 12]),
            session: session(ends, cap),
            at_once,
        };
        proofs::sessions_end_in_time(&told([note]), &rules)
    };
    assert!(lasting(600, 7200, false).is_ok());
    assert!(lasting(600, 7200, true).is_err(), "let in at once: confirm_window");
    assert!(lasting(602, 7200, false).is_err());
    assert!(lasting(600, 7202, false).is_err());
    assert!(lasting(600, 599, false).is_err());
}

#[test]
fn a_wrong_place_and_a_position_that_grows_are_found() {
    let shown = |place, position| Note::Shown { who: 2, place, position };
    let line = [in_line(1), in_line(2), Note::Measured];
    let judge = |more: Vec<Note>| proofs::positions_hold(&told(line.iter().cloned().chain(more)));
    assert!(judge(vec![shown(2, 2)]).is_ok());
    assert!(judge(vec![shown(3, 3)]).is_err());
    assert!(judge(vec![shown(2, 1), shown(2, 2)]).is_err());
    assert!(judge(vec![shown(2, 1), Note::Offline { who: 2 }, shown(2, 2)]).is_ok());
}
