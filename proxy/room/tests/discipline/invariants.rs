//! Any order of calls, by few visitors with few tickets, so that they meet in every state.

use std::time::Duration;

use proptest::prelude::*;
use room::queue::{Arrived, Change, Claimed, Leave, Renewed, Session};
use room::rules::{Draft, TICKET_LIFE};

use crate::bench::{Bench, START, paper, person};

const PEOPLE: u32 = 8;

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Tick,
    Arrive { who: u32, other_ticket: bool },
    Claim { who: u32, other_ticket: bool },
    Absent(u32),
    End { who: u32, other_ticket: bool },
    Renew(u32),
    Tune { rate: u32, active: u32 },
    Pause(bool),
    Node(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..PEOPLE;
    let step = prop_oneof![
        3 => prop_oneof![0_u64..200_000, 0_u64..8_000_000, 0_u64..100_000_000].prop_map(Step::Wait),
        4 => Just(Step::Tick),
        6 => (who.clone(), any::<bool>()).prop_map(|(who, other_ticket)| Step::Arrive { who, other_ticket }),
        4 => (who.clone(), any::<bool>()).prop_map(|(who, other_ticket)| Step::Claim { who, other_ticket }),
        1 => who.clone().prop_map(Step::Absent),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, other_ticket)| Step::End { who, other_ticket }),
        2 => who.prop_map(Step::Renew),
        1 => (1_u32..6000, 0_u32..6).prop_map(|(rate, active)| Step::Tune { rate, active }),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => (0_u8..3).prop_map(Step::Node),
    ];
    prop::collection::vec(step, 1..150)
}

/// The bench and what its visitors hold.
struct Play {
    bench: Bench,
    stamps: [Option<u64>; PEOPLE as usize],
    tickets: [u32; PEOPLE as usize],
    sessions: [Option<Session>; PEOPLE as usize],
}

impl Play {
    fn new() -> Self {
        let draft = Draft {
            new_users_per_minute: 120,
            total_active_users: 4,
            claim_window: Duration::from_secs(3),
            confirm_window: Duration::from_secs(5),
            session_duration: Duration::from_secs(10),
            session_max: Duration::from_secs(30),
            return_window: Duration::from_secs(20),
            max_waiting: 6,
            missed_turns: 1,
            ..Draft::default()
        };
        Self {
            bench: Bench::new(draft),
            stamps: [None; PEOPLE as usize],
            tickets: std::array::from_fn(|who| who as u32),
            sessions: [None; PEOPLE as usize],
        }
    }

    fn ticket(&mut self, who: u32, other: bool) -> u32 {
        if other {
            self.tickets[who as usize] += PEOPLE;
        }
        self.tickets[who as usize]
    }

    fn act(&mut self, step: &Step) {
        match *step {
            Step::Wait(micros) => self.bench.wait(Duration::from_micros(micros)),
            Step::Tick => {
                self.bench.tick();
            }
            Step::Arrive { who, other_ticket } => {
                let stamp = *self.stamps[who as usize].get_or_insert(self.bench.now.0);
                let ticket = self.ticket(who, other_ticket);
                if let Arrived::Session(session) | Arrived::LetIn(session) =
                    self.bench.present(who, ticket, stamp)
                {
                    self.sessions[who as usize] = Some(session);
                }
            }
            Step::Claim { who, other_ticket } => {
                let ticket = self.ticket(who, other_ticket);
                if let Claimed::Session(session) = self.bench.claim(who, ticket) {
                    self.sessions[who as usize] = Some(session);
                }
            }
            Step::Absent(who) => drop(self.bench.leave(Leave::Absent(person(who)))),
            Step::End { who, other_ticket } => {
                let ticket = paper(self.ticket(who, other_ticket));
                self.bench.leave(Leave::Ended(person(who), Some(ticket)));
            }
            Step::Renew(who) => self.renew(who),
            Step::Tune { rate, active } => self.bench.tune(&Change {
                new_users_per_minute: Some(rate),
                total_active_users: Some(active),
                ..Change::default()
            }),
            Step::Pause(paused) => self.bench.pause(paused),
            Step::Node(node) => self.bench.node = node,
        }
    }

    fn renew(&mut self, who: u32) {
        let Some(session) = self.sessions[who as usize] else {
            return;
        };
        if let Renewed::Session(renewed) = self.bench.renew(who, session) {
            assert!(renewed.ends <= renewed.cap && renewed.cap == session.cap);
            self.sessions[who as usize] = Some(renewed);
        }
    }
}

proptest! {
    #[test]
    fn nobody_is_in_two_sets_and_nothing_is_left_behind(steps in steps()) {
        let mut play = Play::new();
        for step in &steps {
            play.act(step);
            prop_assert_eq!(play.bench.queue.check(), Ok(()), "after {:?}", step);
            let counts = play.bench.queue.counts();
            prop_assert!(counts.waiting + counts.returning <= 6);
        }
    }

    #[test]
    fn an_abandoned_room_forgets_everything(steps in steps()) {
        let mut play = Play::new();
        for step in &steps {
            play.act(step);
        }
        play.bench.pause(true);
        for who in 0..PEOPLE {
            for node in 0..3 {
                play.bench.node = node;
                play.bench.leave(Leave::Absent(person(who)));
            }
        }
        // Longer than everything in the draft; no silence that counts as an outage.
        for _ in 0..120 {
            play.bench.wait(Duration::from_secs(1));
            play.bench.tick();
        }
        play.bench.wait(TICKET_LIFE);
        play.bench.tick();
        let counts = play.bench.queue.counts();
        prop_assert_eq!((counts.waiting, counts.returning, counts.turns, counts.active), (0, 0, 0, 0));
        prop_assert_eq!(play.bench.queue.kept(), 0);
        prop_assert!(play.bench.now > START);
    }
}
