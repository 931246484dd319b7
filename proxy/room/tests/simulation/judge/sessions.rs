//! Sessions: one a ticket, and none that is in use ends early.

use std::collections::{HashMap, HashSet};

use room::ids::TicketId;
use room::queue::Session;
use room::time::Micros;

use super::{Judge, Verdict, breach};
use crate::journal::{Note, Who};
use crate::time::{At, SECOND};

/// A store that lived for less while a session lasted was away for most of it.
const AWAY: At = 5 * SECOND;

#[derive(Default)]
pub(crate) struct Sessions {
    entered: HashSet<Who>,
    /// The sessions that a ticket bought, by their caps.
    bought: HashMap<TicketId, Vec<Micros>>,
    /// The edges that saw a session, with their lives; when they first did, in the store's lived time.
    seen: HashMap<(Who, Micros), HashMap<(usize, u32), At>>,
    /// The newest session of each: the edge that asked for it, when in the store's lived time, and its end.
    sold: HashMap<Who, (usize, At, Micros)>,
    /// Passes in use.
    using: HashMap<Who, Micros>,
    /// Whoever gave something back may be refused.
    left: HashSet<Who>,
}

impl Sessions {
    pub(crate) fn holds_pass(&self, who: Who, clock: Micros) -> bool {
        self.using.get(&who).is_some_and(|&ends| ends > clock)
    }

    pub(crate) fn has_entered(&self, who: Who) -> bool {
        self.entered.contains(&who)
    }
}

impl Judge {
    pub(crate) fn sessions_last(&mut self, note: &Note) -> Verdict {
        match *note {
            Note::Sold { who, ticket, edge, session: Session { ends, cap }, .. } => {
                self.sessions.sold.insert(who, (edge, self.now.lived, ends));
                let before = self.sessions.bought.entry(ticket).or_default();
                let other = before.iter().copied().find(|&before| before != cap);
                before.push(cap);
                match other {
                    Some(other) if self.is_remembered(who, other) => {
                        breach("a ticket buys one session", &[who], format!("{ticket} bought two"))
                    }
                    _ => Ok(()),
                }
            }
            Note::Holds { who, edge, session, .. } => {
                let (boot, lived) = (self.edges[edge].boot, self.now.lived);
                self.sessions.entered.insert(who);
                self.sessions.using.insert(who, session.ends);
                self.sessions
                    .seen
                    .entry((who, session.cap))
                    .or_default()
                    .entry((edge, boot))
                    .or_insert(lived);
                if session.ends > session.cap {
                    return breach("a session ends by its cap", &[who], format!("{session:?}"));
                }
                Ok(())
            }
            Note::Leaves { who } => {
                self.sessions.left.insert(who);
                Ok(())
            }
            Note::Refused { who, .. } => match self.sessions.using.remove(&who) {
                // A little: the clocks of edges differ, and the pass is good by its seconds.
                Some(ends) if ends.0 > self.now.clock.0 + 1_500_000 && self.is_honoured(who) => {
                    let what =
                        format!("{who}'s pass is good until {ends:?}, the clock is {:?}", self.now.clock);
                    breach("a pass in use is honoured", &[who], what)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Whether this visitor's session ended before the answer, which was lost, could be asked for again.
    pub(crate) fn ended_unheard(&self, who: Who) -> bool {
        self.sessions.sold.get(&who).is_some_and(|&(edge, since, ends)| {
            let was_away = self.edges[edge].dumb >= since || self.now.lived - since < AWAY;
            ends <= self.now.clock && was_away
        })
    }

    /// Whether an edge that saw this session lives, and can say so.
    fn is_remembered(&self, who: Who, cap: Micros) -> bool {
        let seen = self.sessions.seen.get(&(who, cap)).into_iter().flatten();
        seen.into_iter().any(|(&(edge, boot), &since)| {
            self.edges[edge].boot == boot && self.keeps(edge) && self.has_told(edge, since)
        })
    }

    fn is_honoured(&self, who: Who) -> bool {
        self.habits[who].honest && !self.sessions.left.contains(&who)
    }
}
