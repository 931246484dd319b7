//! The order of turns, and that places and turns last.

use std::collections::{BTreeSet, HashMap, HashSet};

use room::time::Micros;

use super::{Judge, Verdict, breach};
use crate::journal::{Note, Who};
use crate::time::{At, MS, SECOND};

const TURNS_LAST: &str = "a turn that was told can be claimed";
/// Whoever is told of a turn claims it within this, if nothing comes in between.
const COMES_WITHIN: At = 3500 * MS;
/// A turn whose edge was silent for longer is good for a whole window at the next.
const MUTE: At = 5 * SECOND;
/// Edges have told a new life of the store everything by then.
const COMES_BACK: At = 11 * SECOND;

/// Who stood where, as far as an onlooker can tell.
#[derive(Default)]
pub(crate) struct Line {
    came: HashSet<Who>,
    offline: HashSet<Who>,
    standing: BTreeSet<(u64, Who)>,
    places: HashMap<Who, Place>,
    /// The score that a person was first told.
    scores: HashMap<Who, u64>,
    /// When the store last gave this person a turn or ended one: an answer from before says nothing any more.
    changed: HashMap<Who, At>,
    turns: HashMap<Who, Told>,
    missed: HashSet<Who>,
    /// The edges, with their lives, at which those stood who were given a turn.
    stood: HashMap<Who, (usize, u32)>,
    /// When a turn was given, in the store's lived time.
    given: HashMap<Who, At>,
    /// A turn was given, and nobody heard of it who could tell.
    untold: HashSet<Who>,
    /// The newest deadline of a person's turns, and that of the newest turn that is over.
    deadlines: HashMap<Who, Micros>,
    over: HashMap<Who, Micros>,
    /// Had a turn, and was told of a return instead: another edge may still bring the turn back.
    demoted: HashMap<Who, (At, Told)>,
    /// The highest score that had a turn, and what it was when this life of the store began.
    front: u64,
    former_front: u64,
    /// When a store whose memory is full last refused to say where a person stands who had no screen open.
    refused: HashMap<Who, At>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    score: u64,
    edge: usize,
    boot: u32,
    since: At,
    /// Told by a store that is settled by now.
    firm: bool,
    /// Told by a store that gathered what was forgotten.
    gathered: bool,
}

/// A turn that a visitor was told of.
#[derive(Debug, Clone, Copy)]
struct Told {
    edge: usize,
    boot: u32,
    since: At,
    deadline: Micros,
    /// When this edge told it, and how long the edge before that had told it, or held the place, was silent by then.
    at: At,
    silence: Option<At>,
}

impl Line {
    pub(crate) fn came(&self, who: Who) -> bool {
        self.came.contains(&who)
    }

    pub(crate) fn in_order(&self) -> impl Iterator<Item = (u64, Who)> {
        self.standing.iter().copied()
    }

    /// The store is settled: what it told meanwhile holds.
    pub(crate) fn firm(&mut self) {
        self.places.values_mut().for_each(|place| place.firm = true);
    }

    fn out(&mut self, who: Who) {
        if let Some(place) = self.places.remove(&who) {
            self.standing.remove(&(place.score, who));
        }
    }

    /// The line had gone past this place in the life before, which the store that told it did not know yet.
    fn was_passed(&self, place: &Place) -> bool {
        place.gathered && place.score <= self.former_front
    }

    fn end_turn(&mut self, who: Who) {
        self.over.extend(self.deadlines.get(&who).map(|&deadline| (who, deadline)));
    }

    fn see(&mut self, note: &Note, at: At) {
        match *note {
            Note::Came { who } => drop(self.came.insert(who)),
            Note::Confirmed { who, score } => drop(self.scores.insert(who, score)),
            Note::Life { .. } => self.former_front = self.front,
            Note::Lapsed { who } => {
                self.changed.insert(who, at);
                self.turns.remove(&who);
                self.end_turn(who);
                self.missed.insert(who);
            }
            Note::Sold { who, .. } | Note::Refused { who, .. } | Note::Left { who } => {
                self.changed.insert(who, at);
                self.demoted.remove(&who);
                self.turns.remove(&who);
                self.end_turn(who);
                self.out(who);
            }
            Note::Absent { who } => {
                self.changed.insert(who, at);
                self.out(who);
            }
            Note::Holds { who, .. } | Note::Leaves { who } => self.out(who),
            Note::Offline { who } => {
                self.demoted.remove(&who);
                self.offline.insert(who);
            }
            Note::Online { who } => {
                self.offline.remove(&who);
                self.out(who);
            }
            _ => {}
        }
    }

    /// News of a turn that is over.
    pub(crate) fn is_old_news(&self, note: &Note) -> bool {
        match *note {
            Note::Told { who, deadline, .. } => self.over.get(&who).is_some_and(|&over| deadline <= over),
            _ => false,
        }
    }

    fn is_stale(&self, who: Who, told: At) -> bool {
        self.changed.get(&who).is_some_and(|&changed| told <= changed)
    }
}

impl Judge {
    /// In the ordinary line, online, at an edge that keeps the place. Whoever was inside already, and stands there by
    /// the word of a store that gathers what was forgotten, may have shown a ticket that is spent.
    pub(crate) fn is_present(&self, who: Who) -> bool {
        !self.line.offline.contains(&who)
            && !self.sessions.holds_pass(who, self.now.clock)
            && self.line.places.get(&who).is_some_and(|place| {
                let may_be_spent = place.gathered && self.sessions.has_entered(who);
                self.still_keeps(place.edge, place.boot, place.since)
                    && !may_be_spent
                    && !self.line.was_passed(place)
                    && !self.could_not_come_back(place.edge, place.since)
            })
    }

    /// Whether an edge that looked after somebody at the instant `since` has done so all the time.
    fn still_keeps(&self, edge: usize, boot: u32, since: At) -> bool {
        self.edges[edge].boot == boot && self.keeps(edge) && self.edges[edge].forgot < since
    }

    /// Nobody gets a turn from the ordinary line while somebody who came earlier is present in it.
    pub(crate) fn order_holds(&self, note: &Note) -> Verdict {
        let Note::Given { who, .. } = *note else { return Ok(()) };
        let Some(place) = self.line.places.get(&who) else { return Ok(()) };
        let mut earlier = self.line.in_order().take_while(|&(score, _)| score < place.score);
        match earlier.find(|&(_, other)| self.is_present(other)) {
            Some((_, passed)) => {
                breach("turns go by arrival", &[who, passed], format!("{who} had a turn before {passed}"))
            }
            None => Ok(()),
        }
    }

    /// A place keeps its score, and whoever is present in the line is not set back; an honest ticket is not refused.
    pub(crate) fn places_last(&self, note: &Note) -> Verdict {
        const PROMISE: &str = "a place that was told is not lost";
        match *note {
            Note::Stands { who, score, returning, told, .. } => {
                let first = self.line.scores.get(&who).copied().unwrap_or(score);
                if score > first && !self.sessions.has_entered(who) {
                    return breach(PROMISE, &[who], format!("{who} stood at {first} and stands at {score}"));
                }
                let firm = self.line.places.get(&who).is_some_and(|place| place.firm);
                let passed = !firm || self.line.is_stale(who, told) || self.line.untold.contains(&who);
                if returning && self.is_present(who) && !passed {
                    return breach(PROMISE, &[who], format!("{who} was present and is among the returns"));
                }
                Ok(())
            }
            Note::Refused { who, .. }
                if self.habits[who].steady
                    && self.line.scores.contains_key(&who)
                    && !self.sessions.has_entered(who)
                    && !self.line.missed.contains(&who)
                    && !self.ended_unheard(who) =>
            {
                breach(PROMISE, &[who], format!("{who} never went in, and the ticket is refused"))
            }
            _ => Ok(()),
        }
    }

    /// A turn that was told to somebody who comes for it is neither lapsed nor forgotten.
    pub(crate) fn turns_last(&self, note: &Note) -> Verdict {
        match *note {
            Note::Lapsed { who } => match self.line.turns.get(&who) {
                Some(turn) if self.could_claim(who, turn) => {
                    breach(TURNS_LAST, &[who], format!("{who}'s turn until {:?} lapsed", turn.deadline))
                }
                _ => Ok(()),
            },
            Note::Given { .. } => self.turns_came_back(),
            _ => Ok(()),
        }
    }

    /// A turn that a store forgot is given again by the time that it settled.
    fn turns_came_back(&self) -> Verdict {
        let lived = self.now.lived;
        let is_due =
            |&(since, turn): &(At, Told)| lived - since > COMES_BACK && !self.was_forgotten(since, turn);
        match self.line.demoted.iter().find(|(_, demoted)| is_due(demoted)) {
            Some((&who, _)) => breach(TURNS_LAST, &[who], format!("{who}'s turn became a return")),
            None => Ok(()),
        }
    }

    /// The edge that had told it is gone, and the store to which it reported this turn lost it again.
    fn was_forgotten(&self, since: At, turn: Told) -> bool {
        let fares = &self.edges[turn.edge];
        (fares.boot != turn.boot || !fares.up) && self.lost >= since
    }

    pub(crate) fn refused(&mut self, who: Who) {
        self.line.refused.insert(who, self.now.lived);
    }

    fn could_claim(&self, who: Who, turn: &Told) -> bool {
        self.habits[who].steady
            && self.line.refused.get(&who).is_none_or(|&at| at < turn.since)
            && !self.sessions.has_entered(who)
            && !self.line.offline.contains(&who)
            && self.still_keeps(turn.edge, turn.boot, turn.since)
            && self.edges[turn.edge].dumb < turn.since
            && !self.was_told_late(turn)
    }

    /// Less was left of the turn than it takes to come when the visitor's edge was gone and the next one told of it, or
    /// when the queue's clock had run ahead. The store gives more where the edge before had been silent for long.
    fn was_told_late(&self, turn: &Told) -> bool {
        let ran_ahead = self.leapt > 0 && self.leapt >= turn.since;
        let hindered = ran_ahead || turn.silence.is_some_and(|silence| silence < MUTE);
        hindered && self.now.at - turn.at < COMES_WITHIN
    }

    /// How long the edge at which the visitor was before had been silent, if it has gone away meanwhile.
    fn silence_before(&self, who: Who, edge: usize) -> Option<At> {
        let told = self.line.turns.get(&who).map(|turn| (turn.edge, turn.boot));
        let (before, boot) = told.or_else(|| self.line.stood.get(&who).copied())?;
        let fares = &self.edges[before];
        let is_gone = fares.boot != boot || !fares.up || fares.frozen;
        let spoke = if fares.boot == boot { fares.spoke } else { fares.spoke_before };
        let is_another = (before, boot) != (edge, self.edges[edge].boot);
        (is_gone && is_another).then(|| self.now.lived - spoke)
    }

    pub(crate) fn line_sees(&mut self, note: &Note) {
        let at = self.now.at;
        match *note {
            Note::Stands { who, edge, score, returning, told, here } if !self.line.is_stale(who, told) => {
                self.sees_standing(who, edge, (score, returning), here);
            }
            Note::Given { who, deadline } => self.sees_given(who, deadline),
            Note::Told { who, edge, deadline } => self.sees_told(who, edge, deadline),
            _ => self.line.see(note, at),
        }
    }

    fn sees_standing(&mut self, who: Who, edge: usize, (score, returning): (u64, bool), here: bool) {
        let since = self.now.lived;
        let had = self.line.turns.get(&who).copied();
        let lost = had.filter(|turn| returning && self.could_claim(who, turn));
        let before = self.line.places.get(&who).filter(|_| !here);
        let (edge, boot, since) = before
            .map_or((edge, self.edges[edge].boot, since), |place| (place.edge, place.boot, place.since));
        let firm = self.settled;
        let line = &mut self.line;
        line.out(who);
        line.turns.remove(&who);
        line.demoted.extend(lost.map(|turn| (who, (self.now.lived, turn))));
        if !returning {
            line.demoted.remove(&who);
            line.places.insert(who, Place { score, edge, boot, since, firm, gathered: !firm });
            line.standing.insert((score, who));
        }
    }

    fn sees_given(&mut self, who: Who, deadline: Micros) {
        let line = &mut self.line;
        line.deadlines.insert(who, deadline);
        line.changed.insert(who, self.now.at);
        line.given.insert(who, self.now.lived);
        line.untold.insert(who);
        line.demoted.remove(&who);
        let place = line.places.get(&who).copied();
        line.stood.remove(&who);
        line.stood.extend(place.map(|place| (who, (place.edge, place.boot))));
        let score = place.map(|place| place.score).or_else(|| line.scores.get(&who).copied());
        line.front = line.front.max(score.unwrap_or_default());
        line.out(who);
    }

    fn sees_told(&mut self, who: Who, edge: usize, deadline: Micros) {
        let (at, boot) = (self.now.at, self.edges[edge].boot);
        let before = self.line.turns.get(&who).filter(|turn| (turn.edge, turn.boot) == (edge, boot));
        let silence = before.map_or_else(|| self.silence_before(who, edge), |turn| turn.silence);
        let line = &mut self.line;
        line.out(who);
        line.demoted.remove(&who);
        line.untold.remove(&who);
        line.deadlines.insert(who, deadline);
        let since = line.given.get(&who).copied().unwrap_or(self.now.lived);
        line.turns.insert(who, Told { edge, boot, since, deadline, at, silence });
    }
}
