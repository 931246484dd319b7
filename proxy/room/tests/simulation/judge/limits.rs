//! The two hard limits.

use std::collections::{HashMap, HashSet};

use room::rules::Rules;
use room::time::Micros;

use super::{Judge, Verdict, breach};
use crate::journal::{Note, Who};
use crate::time::At;

#[derive(Default)]
pub(crate) struct Limits {
    pub(crate) rules: Rules,
    rate: u32,
    active: u32,
    since: At,
    /// Entries that the rate allowed until `since`.
    allowed: f64,
    /// Entries above what was allowed, over the window that ends now and is the worst.
    level: f64,
    level_at: f64,
    /// The largest burst of late, and until when it counts: it may have been taken before the rate was lowered.
    bursts: Vec<(At, u32)>,
    /// How far the queue's clock may have run ahead because its wall clock leapt, in tokens.
    slack: f64,
    turns: HashMap<Who, Turn>,
    /// The edges that showed a pass as one of them extended it alone: edge, its life, when in the store's lived time.
    lent: HashMap<Who, Vec<(usize, u32, At)>>,
    passes: HashMap<Who, Micros>,
    /// Sessions that were given back, by their caps.
    left: HashSet<(Who, Micros)>,
    caps: HashMap<Who, Micros>,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    deadline: Micros,
    told: bool,
    /// The life of the store that gave it is over.
    former: bool,
}

impl Limits {
    fn allowed_at(&self, at: At) -> f64 {
        self.allowed + (at - self.since) as f64 * f64::from(self.rate) / 6e7
    }

    /// The clock of the queue ran ahead of true time by so much, for a reason that the rules name.
    pub(crate) fn leapt(&mut self, micros: u64) {
        self.slack += micros as f64 * f64::from(self.rate) / 6e7;
    }
}

impl Judge {
    /// Over every window, entries are at most the integral of the rate plus the largest burst in it.
    pub(crate) fn entries_within_rate(&mut self, note: &Note) -> Verdict {
        let at = self.now.at;
        let limits = &mut self.limits;
        match *note {
            Note::Limits { rate, active, .. } => {
                limits.allowed = limits.allowed_at(at);
                let burst = limits.rules.burst_at(rate);
                (limits.rate, limits.active, limits.since) = (rate, active, at);
                limits.bursts.push((at, burst));
                Ok(())
            }
            Note::Sold { who, .. } => {
                let allowed = limits.allowed_at(at);
                // A bucket of our own, filled by true time: its level is the excess of the worst window.
                limits.level = (limits.level - (allowed - limits.level_at)).max(0.0) + 1.0;
                limits.level_at = allowed;
                let burst = limits.bursts.iter().map(|(_, burst)| *burst).max().unwrap_or(0);
                let most = f64::from(burst) + limits.slack;
                // A microsecond of the highest rate is the resolution of the clock.
                if limits.level > most + 0.2 {
                    let what = format!("{:.1} entries above the rate, {most:.1} is the burst", limits.level);
                    return breach("entries stay within the rate", &[who], what);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whenever somebody is admitted, the turns and passes in people's hands are within the limit that holds then.
    pub(crate) fn slots_within_limit(&mut self, note: &Note) -> Verdict {
        let clock = self.now.clock;
        let limits = &mut self.limits;
        let admitted = match *note {
            Note::Given { who, deadline } => {
                limits.turns.insert(who, Turn { deadline, told: false, former: false });
                Some(who)
            }
            Note::Told { who, deadline, .. } => {
                // One that was not given in this life was reported by an edge, and another may know that it is over.
                let former = limits.turns.get(&who).is_none_or(|turn| turn.former);
                limits.turns.insert(who, Turn { deadline, told: true, former });
                None
            }
            Note::Sold { who, at_once, session, .. } => {
                limits.turns.remove(&who);
                limits.caps.insert(who, session.cap);
                at_once.then_some(who)
            }
            Note::Holds { who, edge, session, lent, .. } => {
                let by = limits.lent.entry(who).or_default();
                if lent {
                    by.push((edge, self.edges[edge].boot, self.now.lived));
                } else {
                    by.clear();
                }
                limits.turns.remove(&who);
                limits.caps.insert(who, session.cap);
                if !limits.left.contains(&(who, session.cap)) {
                    limits.passes.insert(who, session.ends);
                }
                None
            }
            Note::Lapsed { who } | Note::Stands { who, .. } | Note::Refused { who, .. } => {
                limits.turns.remove(&who);
                None
            }
            Note::Leaves { who } | Note::Left { who } => {
                limits.turns.remove(&who);
                limits.passes.remove(&who);
                limits.left.extend(limits.caps.get(&who).map(|&cap| (who, cap)));
                None
            }
            Note::Life { .. } => {
                limits.turns.retain(|_, turn| turn.told);
                limits.turns.values_mut().for_each(|turn| turn.former = true);
                None
            }
            _ => None,
        };
        let Some(who) = admitted else { return Ok(()) };
        limits.turns.retain(|_, turn| !turn.former || turn.deadline > clock);
        limits.passes.retain(|_, ends| *ends > clock);
        let limits = &self.limits;
        let both = limits.passes.keys().filter(|who| limits.turns.contains_key(who)).count();
        let untold = limits.passes.keys().filter(|who| self.is_untold(**who)).count();
        let at_once = usize::from(matches!(note, Note::Sold { .. }) && !limits.passes.contains_key(&who));
        let taken = limits.turns.len() + limits.passes.len() + at_once - both - untold;
        if taken > limits.active as usize {
            let (turns, passes) = (&limits.turns, &limits.passes);
            let what = format!("{taken} of {} at {clock:?}: {turns:?}, {passes:?}", limits.active);
            return breach("turns and sessions stay within the limit", &[who], what);
        }
        Ok(())
    }

    /// A session that edges extended which could not tell the store: it gave the slot away.
    fn is_untold(&self, who: Who) -> bool {
        let by = self.limits.lent.get(&who).map_or(&[][..], Vec::as_slice);
        !self.limits.turns.contains_key(&who)
            && !by.is_empty()
            && by.iter().all(|&by| self.could_not_tell(by))
    }
}
