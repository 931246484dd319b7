//! What one visitor is told: the room as this edge knows it, and the visitor's place in it.

use std::num::NonZeroU32;
use std::sync::Arc;

use room::estimate::{Forecast, Limits, next_update_secs};
use room::ids::RoomName;
use room::queue::{Control, Counts, Head, Mode};
use room::ruler::Ruler;
use room::rules::{Phase, Rules};
use room::time::Micros;
use room::wire::{Estimate, Paused, PublicRoom, RoomStatus, Standing, State};

use crate::hub::View;

/// The newest that this edge heard of a room: a snapshot, replaced as a whole.
#[derive(Debug, Clone)]
pub struct Known {
    pub head: Head,
    pub counts: Counts,
    /// Length of the line, as people are told.
    pub waiting: u64,
    pub control: Control,
    pub ruler: Option<Arc<Ruler>>,
    /// The instant for which the ruler holds.
    pub ruler_at: Micros,
    pub forecast: Forecast,
    pub settling_until: Option<Micros>,
}

/// One visitor, as far as the edge knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Has a ticket that was not presented yet.
    Unconfirmed,
    InLine {
        score: u64,
        stamp: Micros,
        returning: bool,
    },
    Turn {
        deadline: Micros,
    },
    Admitted,
    Expired,
}

/// What a visitor was shown before: positions never grow on one screen. Small, because it is kept for everybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shown {
    least: Option<NonZeroU32>,
    first: Option<NonZeroU32>,
}

/// Without an estimate the next update is due between these: in the first hundred places, and far behind.
const STILL_LEAST_SECS: u64 = 2;
const STILL_MOST_SECS: u64 = 30;

const PROGRESS_STEPS: f64 = 10_000.0;

/// What those who wait are told while the store is away, if the operator says nothing.
pub const STANDS_STILL: &str = "The queue stands still for a moment. Your place is kept.";

/// What differs between one who waits and the next; all else they are told is the same for the whole line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    pub state: State,
    pub position: Option<u64>,
    pub estimate: Option<Estimate>,
    pub progress: Option<f64>,
    pub next_update_seconds: u32,
}

/// Finds out where a visitor stands, and notes what is shown.
pub fn facts(view: &View<'_>, who: Who, shown: &mut Shown) -> Facts {
    let View { rules, known, away, now, .. } = *view;
    let phase = rules.schedule.phase(now);
    let closed = phase == Phase::Closed || known.is_some_and(|known| known.control.mode == Mode::Closed);
    let rank = place(known, rules, who, now);
    let position = rank.map(|rank| shown.clamp(rank));
    let moves = known.filter(|known| known.control.paused.is_none() && phase == Phase::Open && !away);
    let wait = |place: u64| Some(moves?.forecast.wait(place - 1, limits(moves?, rules)));
    let estimate = position.and_then(wait);
    // By the place that is theirs, not by the one that they were shown before.
    let real = if rank == position { estimate } else { rank.and_then(wait) };
    let next_update_seconds = match (real, rank.map(|rank| rank - 1)) {
        (Some(estimate), Some(ahead)) => next_update_secs(estimate.p50_seconds, ahead),
        (_, ahead) => still_secs(view, who, ahead),
    };
    let progress = |(first, at): (u64, u64)| {
        let share = first.saturating_sub(at) as f64 / first.max(1) as f64;
        // More digits than a screen has pixels would make up a tenth of every update.
        (share * PROGRESS_STEPS).round() / PROGRESS_STEPS
    };
    Facts {
        state: state(who, phase, closed, position.is_some()),
        position,
        estimate,
        progress: shown.first().zip(position).map(progress),
        next_update_seconds,
    }
}

/// How long after a standing without an estimate the next is due. For the line that stands still, 2 % of the people
/// ahead taken as seconds: what makes it move again is told at once, and until then there is little to tell, to many.
/// The opening is nobody's news: who is early looks again when it has come. Who only asks sleeps through no turn.
fn still_secs(view: &View<'_>, who: Who, ahead: Option<u64>) -> u32 {
    let View { rules, known, away, now, .. } = *view;
    let stands = away
        || rules.schedule.phase(now) != Phase::Open
        || known.is_some_and(|known| known.control.paused.is_some());
    if !stands || !matches!(who, Who::InLine { .. }) {
        return STILL_LEAST_SECS as u32;
    }
    // Whose place is not known is behind all others; an edge that knows of no line supposes a long one.
    let ahead = ahead.unwrap_or_else(|| known.map_or(u64::MAX, |known| known.waiting));
    let most = STILL_MOST_SECS.min(rules.claim_window.as_secs() / 2).max(STILL_LEAST_SECS);
    let secs = (ahead / 50).clamp(STILL_LEAST_SECS, most) as u32;
    let opening = rules.schedule.opens_at.filter(|&at| at > now);
    opening.map_or(secs, |at| secs.min(at.since(now).as_secs_f64().ceil() as u32))
}

/// Composes what a visitor is told.
pub fn compose(view: &View<'_>, who: Who, facts: Facts) -> Standing {
    let View { room, rules, known, away, now } = *view;
    let Facts { state, position, estimate, progress, next_update_seconds } = facts;
    let rate = known.map_or(rules.new_users_per_minute, |known| known.control.new_users_per_minute);
    let words = known.and_then(|known| known.control.message.clone());
    Standing {
        room: room.clone(),
        state,
        position,
        ahead: position.map(|position| position - 1),
        waiting: known.map_or(0, |known| known.waiting),
        estimate,
        progress,
        rate_per_minute: rate.into(),
        paused: known.and_then(|known| paused(&known.control)),
        message: words.or_else(|| away.then(|| STANDS_STILL.to_owned())),
        claim_expires_at: match who {
            Who::Turn { deadline } => Some(deadline.to_rfc3339()),
            _ => None,
        },
        opens_at: rules.schedule.opens_at.filter(|&at| at > now).map(Micros::to_rfc3339),
        close_reason: None,
        next_update_seconds,
        ticket: None,
        as_of: as_of(known, who, now).to_rfc3339(),
    }
}

fn limits(known: &Known, rules: &Rules) -> Limits {
    Limits {
        rate_per_minute: known.control.new_users_per_minute,
        slots: known.control.total_active_users,
        taken: known.head.taken,
        session: rules.session_duration,
    }
}

impl Shown {
    /// By a screen that began with this position.
    pub fn since(first: Option<u64>) -> Self {
        let first = first.map(place_of);
        Self { least: first, first }
    }

    /// A screen shows this one already.
    pub fn recall(&mut self, position: u64) {
        let position = place_of(position);
        self.least = Some(self.least.map_or(position, |least| least.min(position)));
    }

    pub fn least(self) -> Option<u64> {
        self.least.map(|least| u64::from(least.get()))
    }

    fn first(self) -> Option<u64> {
        self.first.map(|first| u64::from(first.get()))
    }

    /// The position to show: never more than before.
    fn clamp(&mut self, rank: u64) -> u64 {
        let rank = place_of(rank);
        let position = self.least.map_or(rank, |least| least.min(rank));
        self.least = Some(position);
        self.first.get_or_insert(position);
        position.get().into()
    }
}

/// Places are counted from 1, and there are fewer people than four billion.
fn place_of(rank: u64) -> NonZeroU32 {
    let rank = u32::try_from(rank).unwrap_or(u32::MAX);
    NonZeroU32::new(rank).unwrap_or(NonZeroU32::MIN)
}

/// The rank by the ruler; `None` before the opening, which may draw lots, and while a place is being secured: those
/// who came a moment earlier may not have confirmed theirs yet.
fn place(known: Option<&Known>, rules: &Rules, who: Who, now: Micros) -> Option<u64> {
    let Who::InLine { score, stamp, returning } = who else {
        return None;
    };
    if rules.schedule.phase(now) == Phase::Prequeue {
        return None;
    }
    if returning {
        return Some(1);
    }
    let known = known?;
    // When the line was measured, not now: somebody newer than that is not in it.
    let settled = known.ruler_at > stamp && known.ruler_at.since(stamp) >= rules.settle_window;
    known.ruler.as_ref().filter(|_| settled).map(|ruler| ruler.place(score))
}

/// The instant for which all of it holds: of a position, when the line was measured.
fn as_of(known: Option<&Known>, who: Who, now: Micros) -> Micros {
    match (known, who) {
        (Some(known), Who::InLine { returning: false, .. }) if known.ruler.is_some() => known.ruler_at,
        (Some(known), _) => known.head.clock,
        (None, _) => now,
    }
}

fn state(who: Who, phase: Phase, closed: bool, placed: bool) -> State {
    match who {
        Who::Turn { .. } => State::Turn,
        Who::Admitted => State::Admitted,
        Who::Expired => State::Expired,
        _ if closed => State::Closed,
        _ if phase == Phase::Prequeue => State::Prequeue,
        Who::InLine { .. } if placed => State::Waiting,
        _ => State::Securing,
    }
}

/// The pause as visitors see it.
pub fn paused(control: &Control) -> Option<Paused> {
    let pause = control.paused.as_ref()?;
    Some(Paused { since: pause.since.to_rfc3339(), reason: pause.reason.clone() })
}

/// What anybody may know.
pub fn public(room: &RoomName, rules: &Rules, known: Option<&Known>, now: Micros) -> PublicRoom {
    let control = known.map(|known| &known.control);
    let waiting = known.map_or(0, |known| known.waiting);
    let status = match rules.schedule.phase(now) {
        Phase::Closed => RoomStatus::Closed,
        _ if control.is_some_and(|control| control.mode == Mode::Closed) => RoomStatus::Closed,
        Phase::Prequeue => RoomStatus::Prequeue,
        Phase::Open if control.is_some_and(|control| control.paused.is_some()) => RoomStatus::Paused,
        Phase::Open if waiting > 0 || rules.queue_all => RoomStatus::Queueing,
        Phase::Open => RoomStatus::Open,
    };
    PublicRoom {
        room: room.clone(),
        status,
        waiting,
        rate_per_minute: control.map_or(rules.new_users_per_minute, |c| c.new_users_per_minute).into(),
        opens_at: rules.schedule.opens_at.map(Micros::to_rfc3339),
        draw: None,
    }
}

/// The same in words, for browsers without scripts.
pub fn in_words(standing: &Standing) -> String {
    let words = place_in_words(standing);
    match &standing.message {
        Some(message) => format!("{words} {message}"),
        None => words,
    }
}

fn place_in_words(standing: &Standing) -> String {
    let waiting = standing.waiting;
    match (standing.state, standing.position) {
        (State::Turn, _) => "It is your turn. Reload this page to go in.".into(),
        (State::Closed, _) => "This queue is closed.".into(),
        (State::Prequeue, _) => "You are early: your place is kept, the queue opens soon.".into(),
        (State::Waiting, Some(position)) if standing.paused.is_some() => {
            format!("You are number {position}. The queue is paused; your place is kept.")
        }
        (State::Waiting, Some(position)) => match standing.estimate {
            Some(wait) => {
                let minutes = |secs: u64| secs.div_ceil(60).max(1);
                let (low, high) = (minutes(wait.p50_seconds), minutes(wait.p90_seconds));
                let range = if low == high { format!("{low}") } else { format!("{low} to {high}") };
                let unit = if high == 1 { "minute" } else { "minutes" };
                format!("You are number {position} of {waiting}: about {range} {unit}.")
            }
            None => format!("You are number {position} of {waiting}."),
        },
        _ => "Your place is being kept. This page looks again by itself.".into(),
    }
}
