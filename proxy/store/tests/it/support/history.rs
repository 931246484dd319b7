//! Random histories of a room.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use room::ids::{TicketId, VisitorId};
use room::queue::{
    Arrival, Change, Claim, Control, FileValues, Head, Leave, Mode, Pause, PauseRequest, Witness,
};
use room::rules::{Draft, Rules};
use room::time::Micros;

use super::world::{START, incarnation, node, ticket, visitor};

pub(crate) const VISITORS: u32 = 7;
const NODES: u32 = 3;

/// What happens in a room.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) rules: Rules,
    pub(crate) moments: Vec<Moment>,
}

#[derive(Debug, Clone)]
pub(crate) struct Moment {
    /// How far the wall clock moves before, perhaps backwards; microseconds.
    pub(crate) moved: i64,
    pub(crate) at_most: Option<Duration>,
    pub(crate) node: u32,
    /// Names the life that this call may begin.
    pub(crate) fresh: u32,
    pub(crate) hold: bool,
    pub(crate) alone: bool,
    pub(crate) whole: bool,
    pub(crate) knows: Knows,
    pub(crate) step: Step,
}

/// What the caller knows of the room.
#[derive(Debug, Clone)]
pub(crate) enum Knows {
    Nothing,
    /// Where the room stands.
    Newest,
    /// Where it stood once.
    Older(Index),
    /// More than the store does: it has lost the newest.
    Ahead(Box<Ahead>),
    /// Another life, that no other caller knows.
    Other(Box<Witness>),
}

/// What is added to the newest knowledge.
#[derive(Debug, Clone)]
pub(crate) struct Ahead {
    pub(crate) seq: u64,
    pub(crate) step: u64,
    /// Microseconds.
    pub(crate) clock: u64,
    pub(crate) front: u64,
    pub(crate) budgets: (u64, u64),
    pub(crate) taken: u64,
    pub(crate) nodes: Vec<u32>,
    pub(crate) control: Option<Control>,
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
    Renew(Vec<Pass>),
    Tune(Change),
    Restore(Vec<Item>, Complete),
    /// The store loses everything.
    Empty,
    /// A copy is made, to go back to.
    Copy,
    /// The store is what it was at the last copy.
    GoBack,
}

/// A pass as somebody shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) who: u32,
    pub(crate) which: u32,
    /// Seconds from now.
    pub(crate) ends: i64,
    /// Seconds after its end.
    pub(crate) longer: u32,
}

/// Of a report.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Item {
    Session(Pass),
    Turn(VisitorId, TicketId),
    Spent(VisitorId, TicketId),
    /// Seconds from now.
    Revoked(TicketId, i64),
}

/// The life that a report tells everything to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Complete {
    No,
    Newest,
    Other,
}

pub(crate) fn histories(length: usize) -> impl Strategy<Value = History> {
    (rules(), vec(moment(), 1..length)).prop_map(|(rules, moments)| History { rules, moments })
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

fn moment() -> impl Strategy<Value = Moment> {
    let moved = prop_oneof![
        6 => 0_i64..300_000,
        3 => 0_i64..4_000_000,
        1 => 4_000_000_i64..60_000_000,
        1 => -5_000_000_i64..0,
    ];
    let at_most = option::weighted(0.2, (0_u64..3_000_000).prop_map(Duration::from_micros));
    let caller = (0..NODES, 0_u32..20, prop::bool::weighted(0.05), any::<bool>(), any::<bool>(), knows());
    (moved, at_most, caller, step()).prop_map(|(moved, at_most, caller, step)| {
        let (node, fresh, hold, alone, whole, knows) = caller;
        Moment { moved, at_most, node, fresh, hold, alone, whole, knows, step }
    })
}

fn knows() -> impl Strategy<Value = Knows> {
    prop_oneof![
        2 => Just(Knows::Nothing),
        20 => Just(Knows::Newest),
        4 => any::<Index>().prop_map(Knows::Older),
        1 => ahead().prop_map(|ahead| Knows::Ahead(Box::new(ahead))),
        1 => other().prop_map(|other| Knows::Other(Box::new(other))),
    ]
}

fn ahead() -> impl Strategy<Value = Ahead> {
    let budgets = (0_u64..20_000_000, 0_u64..20_000_000);
    let numbers = (0_u64..3000, 0_u64..30, 0_u64..20_000_000, 0_u64..30_000_000, 0_u64..9);
    (numbers, budgets, nodes(), option::of(control())).prop_map(
        |((seq, step, clock, front, taken), budgets, nodes, control)| Ahead {
            seq,
            step,
            clock,
            front,
            budgets,
            taken,
            nodes,
            control,
        },
    )
}

/// What is remembered of a life long ago.
fn other() -> impl Strategy<Value = Witness> {
    let clock = -20_000_000_i64..20_000_000;
    let numbers = (0_u64..5000, 0_u64..200, clock, 0_u64..30_000_000, 0_u64..9);
    let life = (90_u32..93).prop_map(incarnation);
    (life, numbers, nodes(), control()).prop_map(|(incarnation, numbers, nodes, control)| {
        let (seq, step, clock, front, taken) = numbers;
        let clock = Micros(START.0.saturating_add_signed(clock));
        let head = Head {
            incarnation,
            seq,
            step,
            clock,
            front: START.0 + front,
            taken,
            entry: Micros(clock.0 + front).into(),
            offer: clock.into(),
        };
        Witness { head, nodes: nodes.into_iter().map(node).collect(), control }
    })
}

fn nodes() -> impl Strategy<Value = Vec<u32>> {
    vec(0..NODES + 2, 0..4)
}

fn control() -> impl Strategy<Value = Control> {
    let rate = || select(vec![1_u32, 30, 600, 90_000]);
    let since = |since: u64| Micros(START.0 + since);
    let pause = (0_u64..9_000_000, text()).prop_map(move |(at, reason)| Pause { since: since(at), reason });
    let mode = select(vec![Mode::Open, Mode::Open, Mode::Drain, Mode::Closed]);
    (1_u64..9, rate(), 1_u32..9, option::weighted(0.2, pause), text(), mode, (rate(), 1_u32..9)).prop_map(
        |(version, rate, limit, paused, message, mode, file)| Control {
            version,
            new_users_per_minute: rate,
            total_active_users: limit,
            paused,
            message,
            mode,
            file: FileValues { new_users_per_minute: file.0, total_active_users: file.1 },
        },
    )
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
        3 => vec(pass(), 0..4).prop_map(Step::Renew),
        2 => change().prop_map(Step::Tune),
        5 => (vec(item(), 0..6), select(vec![Complete::No, Complete::Newest, Complete::Newest, Complete::Other]))
            .prop_map(|(items, complete)| Step::Restore(items, complete)),
        1 => Just(Step::Empty),
        1 => Just(Step::Copy),
        1 => Just(Step::GoBack),
    ]
}

fn pass() -> impl Strategy<Value = Pass> {
    (0..VISITORS, 0_u32..3, -3_i64..40, 0_u32..100).prop_map(|(who, which, ends, longer)| Pass {
        who,
        which,
        ends,
        longer,
    })
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        3 => pass().prop_map(Item::Session),
        3 => person().prop_map(|(visitor, ticket)| Item::Turn(visitor, ticket)),
        2 => person().prop_map(|(visitor, ticket)| Item::Spent(visitor, ticket)),
        1 => (person(), -3_i64..60).prop_map(|((_, ticket), until)| Item::Revoked(ticket, until)),
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
    let (may_wait, here) = (prop::bool::weighted(0.9), prop::bool::weighted(0.8));
    (person(), 0..span, 0..span, any::<bool>(), may_wait, here).prop_map(
        |((visitor, ticket), score, confirmed, may_enter, may_wait, here)| Arrival {
            visitor,
            ticket,
            score: START.0 + score,
            confirmed_at: Micros(START.0 + confirmed),
            may_enter,
            may_wait,
            here,
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

fn text() -> impl Strategy<Value = Option<String>> {
    option::of(select(vec!["back at 10:00", "“ünïcode” \"quoted\"\n", ""]).prop_map(String::from))
}

fn change() -> impl Strategy<Value = Change> {
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
