//! Random histories of a room, and how they are played on two stores at once.

use std::collections::HashMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use room::ids::{RoomName, TicketId, VisitorId};
use room::queue::{
    Arrival, Caller, Change, Claim, FileValues, Head, Leave, Mode, PauseRequest, Renewal, Session, Witness,
};
use room::rules::{Draft, Rules};
use room::time::Micros;
use store::{Call, Store};

use super::world::{START, TestClock, caller, incarnation, ticket, visitor, witness};

const VISITORS: u32 = 7;
const NODES: u32 = 3;

/// What happens in a room.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) rules: Rules,
    /// What the first caller remembers of an earlier life.
    pub(crate) memory: Option<Witness>,
    pub(crate) moments: Vec<Moment>,
}

#[derive(Debug, Clone)]
pub(crate) struct Moment {
    /// How far the wall clock moves before, perhaps backwards; microseconds.
    pub(crate) moved: i64,
    pub(crate) at_most: Option<Duration>,
    pub(crate) node: u32,
    pub(crate) hold: bool,
    pub(crate) step: Step,
}

/// Instants are relative to the clock, in microseconds.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Arrive(Vec<Arrival>),
    Admit,
    Claim(Vec<Claim>),
    /// Claims of those who got the newest turns, at most so many.
    ClaimGiven(usize),
    /// They end it instead.
    EndGiven(usize),
    /// They present their tickets again.
    ArriveGiven(usize),
    Leave(Vec<Leave>),
    Renew(Vec<(u32, u32, i64, u32, u32)>),
    Tune(Change),
}

pub(crate) fn histories(length: usize) -> impl Strategy<Value = History> {
    (rules(), option::of(memory()), vec(moment(), 1..length)).prop_map(|(rules, memory, moments)| History {
        rules,
        memory,
        moments,
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let limits = (
        select(vec![1, 7, 60, 60, 120, 600, 6000, 1_000_000]),
        select(vec![1, 2, 4, 1000, 1000]),
        option::of(select(vec![1, 3, 50])),
        select(vec![1, 4, 1000]),
    );
    let spans =
        (1_u64..12, 0_u64..60, any::<bool>(), 5_u64..30, select(vec![1, 2, 5, 8, 30]), 0_u64..40, 0_u8..3);
    (limits, spans).prop_map(|((rate, active, burst, max_waiting), spans)| {
        let (duration, longer, disable, confirm, claim, back, missed_turns) = spans;
        Rules::new(Draft {
            new_users_per_minute: rate,
            total_active_users: active,
            burst,
            max_waiting,
            session_duration: Duration::from_secs(duration),
            session_max: Duration::from_secs(duration + longer),
            disable_session_renewal: disable,
            confirm_window: Duration::from_secs(confirm),
            claim_window: Duration::from_secs(claim),
            return_window: Duration::from_secs(back),
            missed_turns,
            ..Draft::default()
        })
        .expect("valid rules")
    })
}

fn memory() -> impl Strategy<Value = Witness> {
    (0_u64..5000, -20_000_000_i64..20_000_000, 0_u64..30_000_000).prop_map(|(seq, clock, front)| Witness {
        incarnation: incarnation(99),
        seq,
        clock: Micros(START.0.saturating_add_signed(clock)),
        front: START.0 + front,
    })
}

fn moment() -> impl Strategy<Value = Moment> {
    let moved = prop_oneof![
        6 => 0_i64..300_000,
        3 => 0_i64..4_000_000,
        1 => 4_000_000_i64..60_000_000,
        1 => -5_000_000_i64..0,
    ];
    let at_most = option::weighted(0.2, (0_u64..3_000_000).prop_map(Duration::from_micros));
    (moved, at_most, 0..NODES, prop::bool::weighted(0.05), step())
        .prop_map(|(moved, at_most, node, hold, step)| Moment { moved, at_most, node, hold, step })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => vec(arrival(), 0..6).prop_map(Step::Arrive),
        8 => Just(Step::Admit),
        4 => vec(person().prop_map(|(visitor, ticket)| Claim { visitor, ticket }), 0..5).prop_map(Step::Claim),
        4 => (1_usize..6).prop_map(Step::ClaimGiven),
        1 => (1_usize..3).prop_map(Step::EndGiven),
        3 => (1_usize..4).prop_map(Step::ArriveGiven),
        2 => vec(leave(), 0..4).prop_map(Step::Leave),
        3 => vec((0..VISITORS, 0_u32..3, -3_i64..40, 0_u32..100, 0..NODES), 0..4).prop_map(Step::Renew),
        2 => change().prop_map(Step::Tune),
    ]
}

/// A visitor with one of a few tickets; now and then with somebody else's.
fn person() -> impl Strategy<Value = (VisitorId, TicketId)> {
    let own = (0..VISITORS, 0_u32..2).prop_map(|(who, which)| (visitor(who), ticket(who * 10 + which)));
    let others = (0..VISITORS, 0..VISITORS).prop_map(|(who, whose)| (visitor(who), ticket(whose * 10)));
    prop_oneof![9 => own, 1 => others]
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let span = 60_000_000_u64;
    (person(), 0..span, 0..span, any::<bool>(), prop::bool::weighted(0.9)).prop_map(
        |((visitor, ticket), score, confirmed, may_enter, may_wait)| Arrival {
            visitor,
            ticket,
            score: START.0 + score,
            confirmed_at: Micros(START.0 + confirmed),
            may_enter,
            may_wait,
        },
    )
}

fn leave() -> impl Strategy<Value = Leave> {
    prop_oneof![
        person().prop_map(|(visitor, _)| Leave::Absent(visitor)),
        (person(), any::<bool>())
            .prop_map(|((who, ticket), known)| Leave::Ended(who, known.then_some(ticket))),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let text =
        || option::of(select(vec!["back at 10:00", "“ünïcode” \"quoted\"\n", ""]).prop_map(String::from));
    let rate = || select(vec![1_u32, 30, 600, 90_000]);
    let file = (rate(), select(vec![1_u32, 5]))
        .prop_map(|(rate, limit)| FileValues { new_users_per_minute: rate, total_active_users: limit });
    (
        option::of(rate()),
        option::of(select(vec![1_u32, 3, 20])),
        option::of(option::of(text().prop_map(|reason| PauseRequest { reason }))),
        option::of(text()),
        option::weighted(0.3, select(vec![Mode::Open, Mode::Open, Mode::Drain, Mode::Closed])),
        option::weighted(0.3, 1_u64..5),
        option::weighted(0.3, file),
    )
        .prop_map(|(rate, limit, paused, message, mode, if_version, file)| Change {
            new_users_per_minute: rate,
            total_active_users: limit,
            paused,
            message,
            mode,
            if_version,
            file,
        })
}

/// Plays a history on both stores; after every step all answers, events and numbers must be equal.
pub(crate) async fn play(
    room: &RoomName,
    history: &History,
    clock: &TestClock,
    one: &dyn Store,
    other: &dyn Store,
) -> Result<(), TestCaseError> {
    let mut known: Option<Head> = None;
    let mut guests = Guests::default();
    let tick = Moment { moved: 900_001, at_most: None, node: 0, hold: false, step: Step::Admit };
    // What the steps left behind shows in the ticks after them.
    let ending = std::iter::repeat_n(&tick, 20);
    for moment in history.moments.iter().chain(ending) {
        clock.step(moment.moved);
        let remembers = known.map(witness).or(history.memory);
        let call = Call {
            room,
            rules: &history.rules,
            caller: Caller { hold: moment.hold, ..caller(moment.node, remembers) },
            at_most: moment.at_most.unwrap_or(Duration::MAX),
        };
        let seen = known.map_or(0, |head| head.seq);
        let step = guests.names(&moment.step);
        prop_assert_eq!(act(one, call, &step, clock).await, act(other, call, &step, clock).await);
        // Where do they stand now?
        let look = guests.look();
        prop_assert_eq!(act(one, call, &look, clock).await, act(other, call, &look, clock).await);
        let (left, right) = (one.survey(call).await.unwrap(), other.survey(call).await.unwrap());
        prop_assert_eq!(&left, &right);
        let events = one.missed(room, seen).await.unwrap();
        prop_assert_eq!(&events, &other.missed(room, seen).await.unwrap());
        let turns = events.into_iter().flatten().flat_map(|event| event.turns);
        guests.given.extend(turns.map(|(visitor, _)| visitor));
        known = Some(left.head);
    }
    Ok(())
}

/// Who got turns, the newest last, and the arrivals by which people last presented themselves.
#[derive(Default)]
struct Guests {
    given: Vec<VisitorId>,
    arrivals: HashMap<VisitorId, Arrival>,
}

impl Guests {
    /// The step with names for those it only counts.
    fn names(&mut self, step: &Step) -> Step {
        match step {
            Step::ClaimGiven(most) => {
                let claim = |arrival: Arrival| Claim { visitor: arrival.visitor, ticket: arrival.ticket };
                Step::Claim(self.newest(*most).map(claim).collect())
            }
            Step::EndGiven(most) => {
                let end = |arrival: Arrival| Leave::Ended(arrival.visitor, None);
                Step::Leave(self.newest(*most).map(end).collect())
            }
            Step::ArriveGiven(most) => Step::Arrive(self.newest(*most).collect()),
            Step::Arrive(arrivals) => {
                self.arrivals.extend(arrivals.iter().map(|arrival| (arrival.visitor, *arrival)));
                step.clone()
            }
            _ => step.clone(),
        }
    }

    /// Asks about some without changing anything for them.
    fn look(&self) -> Step {
        let only_asks = |arrival| Arrival { may_enter: false, may_wait: false, ..arrival };
        Step::Arrive(self.newest(3).map(only_asks).collect())
    }

    fn newest(&self, most: usize) -> impl Iterator<Item = Arrival> {
        let known = self.given.iter().rev().filter_map(|visitor| self.arrivals.get(visitor));
        known.take(most).copied()
    }
}

/// One step on one store, and all of its answer as text.
async fn act(store: &dyn Store, call: Call<'_>, step: &Step, clock: &TestClock) -> String {
    match step {
        Step::Arrive(arrivals) => format!("{:?}", store.arrive(call, arrivals).await.unwrap()),
        Step::Admit => format!("{:?}", store.admit(call).await.unwrap()),
        Step::Claim(claims) => format!("{:?}", store.claim(call, claims).await.unwrap()),
        Step::Leave(leaves) => format!("{:?}", store.leave(call, leaves).await.unwrap()),
        Step::Renew(renewals) => {
            let renewals: Vec<Renewal> = renewals.iter().map(|renewal| renew(*renewal, clock)).collect();
            format!("{:?}", store.renew(call, &renewals).await.unwrap())
        }
        Step::ClaimGiven(_) | Step::EndGiven(_) | Step::ArriveGiven(_) => "nobody was given a turn".into(),
        Step::Tune(change) => {
            format!("{:?}", store.tune(call, change).await.map_err(|error| error.to_string()))
        }
    }
}

fn renew((who, which, ends, longer, life): (u32, u32, i64, u32, u32), clock: &TestClock) -> Renewal {
    let ends = clock.now().as_secs().saturating_add_signed(ends);
    Renewal {
        visitor: visitor(who),
        ticket: ticket(who * 10 + which),
        session: Session { ends: Micros::from_secs(ends), cap: Micros::from_secs(ends + u64::from(longer)) },
        incarnation: incarnation(life),
    }
}
