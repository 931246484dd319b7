//! Judges what happens, step by step, from what an onlooker sees: never from the queue's own counters.

mod limits;
mod line;
mod sessions;

use std::collections::HashMap;

use room::ids::VisitorId;
use room::ruler::Ruler;
use room::time::Micros;

use self::limits::Limits;
use self::line::Line;
use self::sessions::Sessions;
use crate::journal::{Note, Who};
use crate::time::{At, SECOND};

/// What must hold. A breach says what happened, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) promise: &'static str,
    pub(crate) what: String,
    pub(crate) people: Vec<Who>,
}

pub(crate) type Verdict = Result<(), Breach>;

pub(crate) fn breach(promise: &'static str, people: &[Who], what: String) -> Verdict {
    Err(Breach { promise, what, people: people.to_vec() })
}

/// How an edge fares, in truth.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fares {
    pub(crate) boot: u32,
    pub(crate) up: bool,
    pub(crate) frozen: bool,
    /// When the store last carried out a call of this edge whose answer came back, in the store's lived time.
    pub(crate) spoke: At,
    /// The same of the process before this one.
    spoke_before: At,
    /// The last instant of the store's lived time at which it had been silent for too long to keep its places.
    forgot: At,
    /// The same for long enough that a claim could not get through.
    pub(crate) dumb: At,
    /// The last instant of the store's lived time at which it had been silent for so long without a message lost.
    cut: At,
    /// The newest operator's change that it heard of.
    pub(crate) serial: u64,
}

/// The instant, as the judge needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instant {
    pub(crate) at: At,
    /// The queue's clock by its last event.
    pub(crate) clock: Micros,
    /// Time in which the store carried out calls of anybody: an outage does not count.
    pub(crate) lived: At,
}

/// An edge that was heard within this keeps the places of its people: the queue's own bound is 10 s.
const HEARD: At = 8 * SECOND;
/// An edge that is silent for longer may have kept a visitor from claiming.
const DUMB: At = 2500 * crate::time::MS;
/// By then every edge that reaches the store has called it again.
const DOUBT: At = 2 * SECOND;

pub(crate) struct Judge {
    pub(crate) now: Instant,
    pub(crate) edges: Vec<Fares>,
    pub(crate) who: HashMap<VisitorId, Who>,
    pub(crate) habits: Vec<Habits>,
    /// When the store first answered after it had been away, and whether it had lost something.
    pub(crate) back: Option<At>,
    pub(crate) first_turn: Option<At>,
    /// Whether the store knows all that is known: not while it settles.
    pub(crate) settled: bool,
    /// An older copy took over, and has not been called yet.
    copied: bool,
    /// Until then whoever knows more than the copy may not have spoken.
    doubt_until: At,
    /// When an older copy was first called that nobody has found out yet.
    unnoticed: Option<At>,
    /// When the store last lost something, in its lived time, and whether its next life began without knowing of it.
    lost: At,
    blank: bool,
    /// When memory was last full, in this life of the store.
    full: Option<At>,
    /// When the queue's clock last ran ahead, in the store's lived time.
    leapt: At,
    pub(crate) line: Line,
    pub(crate) limits: Limits,
    pub(crate) sessions: Sessions,
}

/// What a person is known to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    pub(crate) honest: bool,
    pub(crate) steady: bool,
}

impl Judge {
    pub(crate) fn new(edges: usize) -> Self {
        Self {
            now: Instant { at: 0, clock: Micros::ZERO, lived: 0 },
            edges: vec![Fares { up: true, ..Fares::default() }; edges],
            who: HashMap::new(),
            habits: Vec::new(),
            back: None,
            first_turn: None,
            settled: false,
            copied: false,
            doubt_until: 0,
            unnoticed: None,
            lost: 0,
            blank: false,
            full: None,
            leapt: 0,
            line: Line::default(),
            limits: Limits::default(),
            sessions: Sessions::default(),
        }
    }

    /// Whether the people of this edge can expect their places to be kept.
    fn keeps(&self, edge: usize) -> bool {
        let fares = &self.edges[edge];
        fares.up && !fares.frozen && self.now.lived - fares.spoke < HEARD
    }

    /// The store carried out a call after so long.
    pub(crate) fn lived(&mut self, span: At) {
        self.now.lived += span;
        if std::mem::take(&mut self.copied) {
            self.doubt_until = self.now.lived + DOUBT;
            self.unnoticed = Some(self.now.lived);
        }
        for fares in &mut self.edges {
            let silent = self.now.lived - fares.spoke;
            if silent >= HEARD {
                fares.forgot = self.now.lived;
            }
            if silent >= DUMB {
                (fares.dumb, fares.cut) = (self.now.lived, self.now.lived);
            }
        }
    }

    pub(crate) fn see(&mut self, note: &Note) -> Verdict {
        if self.line.is_old_news(note) {
            return Ok(());
        }
        match *note {
            Note::HeardControl { edge, serial } => {
                let heard = &mut self.edges[edge].serial;
                *heard = (*heard).max(serial);
            }
            Note::Life { blank, .. } => (self.blank, self.unnoticed, self.full) = (blank, None, None),
            _ => {}
        }
        self.control_is_kept(note)?;
        self.order_holds(note)?;
        self.places_last(note)?;
        self.turns_last(note)?;
        self.line_sees(note);
        self.entries_within_rate(note)?;
        self.slots_within_limit(note)?;
        self.sessions_last(note)
    }

    pub(crate) fn edge_began(&mut self, edge: usize, boot: u32) {
        let (spoke, spoke_before) = (self.now.lived, self.edges[edge].spoke);
        self.edges[edge] = Fares { boot, up: true, spoke, spoke_before, ..Fares::default() };
    }

    /// The store lost what it had, or the newest of it.
    pub(crate) fn forgot(&mut self, is_copy: bool) {
        (self.settled, self.copied, self.lost) = (false, is_copy, self.now.lived);
    }

    /// The clock of the queue ran ahead of true time by so much, as its wall clock leapt.
    pub(crate) fn ran_ahead(&mut self, micros: u64) {
        self.limits.leapt(micros);
        self.leapt = self.now.lived;
    }

    /// The store refused somebody because its memory is full.
    pub(crate) fn refuses_all(&mut self) {
        self.full = Some(self.now.lived);
    }

    /// Whether the store may be an older copy that nobody has found out yet: what it tells may be taken back.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.copied || self.now.lived < self.doubt_until
    }

    /// Whether an edge had the time to say what it has known since then: not if it was silent for so long that a life
    /// did not wait for it, and is only just back; nor if the store lost everything, nobody else knew, and this edge
    /// was cut off before it could say so.
    fn has_told(&self, edge: usize, since: At) -> bool {
        let fares = &self.edges[edge];
        let is_back = fares.forgot < since || self.now.lived - fares.forgot > DOUBT;
        is_back && !(self.blank && self.has_been_dumb_since(edge, self.lost))
    }

    /// Whether nothing of what an edge said reached the store since then.
    fn has_been_dumb_since(&self, edge: usize, since: At) -> bool {
        let fares = &self.edges[edge];
        fares.spoke <= since && fares.dumb >= since
    }

    /// Whether somebody of whom this edge was told then could not come back to a store that has lost the place: its
    /// memory has been full, or it is an older copy that nobody has found out, and nothing has reached it from there.
    fn could_not_come_back(&self, edge: usize, since: At) -> bool {
        let is_lost = since <= self.lost && self.lost > 0;
        let is_unnoticed = |began: At| since <= began && self.has_been_dumb_since(edge, began);
        is_lost && self.full.is_some() || self.unnoticed.is_some_and(is_unnoticed)
    }

    /// Whether this edge, in that life, could not tell the store what it did alone since then: it was cut off while
    /// others were not, or is gone.
    fn could_not_tell(&self, (edge, boot, since): (usize, u32, At)) -> bool {
        let fares = &self.edges[edge];
        fares.boot != boot || !fares.up || fares.cut >= since
    }

    /// What an edge that lives has heard of the operator's changes is not undone by a store that forgot them.
    fn control_is_kept(&self, note: &Note) -> Verdict {
        let Note::Limits { serial, .. } = *note else { return Ok(()) };
        let live = self.edges.iter().enumerate().filter(|&(edge, _)| self.keeps(edge));
        match live.max_by_key(|(_, fares)| fares.serial) {
            Some((edge, fares)) if fares.serial > serial => breach(
                "the operator's newest change lasts",
                &[],
                format!("change {serial} is in force, edge {edge} heard of {}", fares.serial),
            ),
            _ => Ok(()),
        }
    }

    /// The line was measured: nobody is placed before people who stand in front of them.
    pub(crate) fn measured(&self, ruler: &Ruler) -> Verdict {
        // Those with the same stamp share a place.
        let (mut ahead, mut behind, mut last, mut before) = (0, 0, 0, 0);
        for (score, who) in self.line.in_order() {
            if score > before {
                (ahead, before) = (ahead + behind, score);
                behind = 0;
            }
            let place = ruler.place(score);
            if place < ahead + 1 {
                let what = format!("{who} is placed {place}th with {ahead} people in front");
                return breach("a place is not shown better than it is", &[who, last], what);
            }
            if self.is_present(who) {
                (behind, last) = (behind + 1, who);
            }
        }
        Ok(())
    }

    /// At the end of the world.
    pub(crate) fn finish(&self) -> Verdict {
        let lost = (0..self.habits.len())
            .find(|&who| self.habits[who].honest && self.line.came(who) && !self.sessions.has_entered(who));
        match lost {
            Some(who) => {
                breach("who keeps coming back is let in", &[who], format!("{who} came and was never let in"))
            }
            None => Ok(()),
        }
    }
}
