//! What a seed says: the room, the edges, who comes, and what goes wrong.

use std::time::Duration;

use room::rules::{Draft, Rules};

use crate::dice::Dice;
use crate::fault::Fault;
use crate::person::Temper;
use crate::time::{At, MS, SECOND};

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) rules: Rules,
    pub(crate) edges: usize,
    /// Least and most time of a message between an edge and the store.
    pub(crate) delay: (At, At),
    pub(crate) people: Vec<(At, Temper)>,
    pub(crate) faults: Vec<(At, Fault)>,
}

/// When the last fault begins.
const TROUBLE_UNTIL: At = 40 * SECOND;

/// Faults within this are together.
const TOGETHER: At = 8 * SECOND;

impl Plan {
    /// Anything may happen.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x00d1_ce00);
        let edges = dice.between(2, 4) as usize;
        let delay = dice.pick(&[(100, 800), (100, 800), (MS, 20 * MS), (100, 60 * MS)]);
        let people = crowd(&mut dice);
        let faults = faults(&mut dice, edges);
        Self { seed, rules: rules(&mut dice), edges, delay, people, faults }
    }
}

impl Plan {
    /// The wall clock of the store leaps by up to an hour, one way or the other. An edge that is new trusts that
    /// clock, so none begins here.
    pub(crate) fn with_leaps(seed: u64) -> Self {
        let mut plan = Self::of(seed);
        let mut dice = Dice::new(seed ^ 0x1ea9);
        plan.faults.retain(|(_, fault)| !matches!(fault, Fault::Kill(..) | Fault::Restart(_)));
        for _ in 0..2 {
            let by = dice.between(0, 7200 * SECOND).cast_signed() - 3_600_000_000;
            plan.faults.push((dice.between(3 * SECOND, TROUBLE_UNTIL), Fault::Leap(by)));
        }
        plan
    }
}

fn rules(dice: &mut Dice) -> Rules {
    let secs = |secs: u64| Duration::from_secs(secs);
    let draft = Draft {
        new_users_per_minute: dice.pick(&[120, 240, 600, 1200]),
        total_active_users: dice.pick(&[8, 20, 60]),
        claim_window: secs(dice.pick(&[8, 15])),
        confirm_window: secs(10),
        settle_window: secs(dice.pick(&[1, 5])),
        session_duration: secs(dice.pick(&[20, 30])),
        session_max: secs(dice.pick(&[40, 60])),
        return_window: secs(dice.pick(&[120, 600])),
        ..Draft::default()
    };
    Rules::new(draft).unwrap()
}

fn crowd(dice: &mut Dice) -> Vec<(At, Temper)> {
    let count = dice.between(20, 70);
    let span = dice.between(2, 25) * SECOND;
    (0..count).map(|_| (dice.between(0, span), temper(dice))).collect()
}

fn temper(dice: &mut Dice) -> Temper {
    match dice.between(0, 19) {
        0..=4 => Temper::PATIENT,
        5..=9 => Temper::BRIEF,
        10 => Temper::STAYER,
        11 => Temper::NO_SHOW,
        12 => Temper::BOT,
        13 => Temper::LEAVER,
        14 | 15 => Temper::TABS,
        16 => Temper::REPLAYER,
        17 => Temper::COOKIE_DROPPER,
        18 => Temper::away(dice.between(500, 5_000) * MS, dice.between(1, 20) * SECOND),
        _ => Temper::away(dice.between(500, 5_000) * MS, dice.between(20, 60) * SECOND),
    }
}

fn faults(dice: &mut Dice, edges: usize) -> Vec<(At, Fault)> {
    let count = dice.pick(&[0, 1, 1, 2, 2, 3]);
    let mut faults: Vec<(At, Fault)> =
        (0..count).map(|_| (dice.between(3 * SECOND, TROUBLE_UNTIL), fault(dice, edges))).collect();
    faults.sort_by_key(|(at, _)| *at);
    let losses: Vec<At> = faults.iter().filter(|(_, fault)| fault.forgets()).map(|(at, _)| *at).collect();
    // An edge that dies together with the store takes with it what only they knew; a full one cannot be told.
    let alone = |at: At| losses.iter().all(|loss| loss.abs_diff(at) > TOGETHER);
    faults.retain(|&(at, fault)| !matches!(fault, Fault::Kill(..) | Fault::Full(_)) || alone(at));
    faults
}

fn fault(dice: &mut Dice, edges: usize) -> Fault {
    let edge = dice.between(0, edges as u64 - 1) as usize;
    let span = |dice: &mut Dice, most: u64| dice.between(100, most) * MS;
    match dice.between(0, 15) {
        0 => Fault::Pause(span(dice, 15_000)),
        1 => Fault::CutAll(span(dice, 15_000)),
        2 => Fault::Cut(edge, span(dice, 20_000)),
        3..=5 => Fault::Empty(span(dice, 5_000)),
        6 | 7 => Fault::FailOver { lag: dice.between(0, 2 * SECOND), away: span(dice, 8_000) },
        8 => Fault::Full(span(dice, 10_000)),
        9 => Fault::Lossy { share: dice.between(10, 300), span: span(dice, 10_000) },
        10 => Fault::Late { by: span(dice, 3_000), span: span(dice, 15_000) },
        11 => Fault::Kill(edge, span(dice, 10_000)),
        12 => Fault::Freeze(edge, span(dice, 15_000)),
        13 => Fault::Restart(edge),
        14 => Fault::Tune { rate: dice.pick(&[60, 300, 1200]), active: dice.pick(&[5, 20, 60]) },
        _ => Fault::Hold(span(dice, 10_000)),
    }
}
