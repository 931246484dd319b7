//! Sessions: one a ticket, and none that is in use ends early.

use std::collections::{HashMap, HashSet};

use room::ids::TicketId;
use room::time::Micros;

use super::{Judge, Verdict, breach};
use crate::journal::{Note, Who};

#[derive(Default)]
pub(crate) struct Sessions {
    entered: HashSet<Who>,
    bought: HashMap<TicketId, Bought>,
    /// Passes in use.
    using: HashMap<Who, Micros>,
}

#[derive(Debug)]
struct Bought {
    cap: Micros,
    /// The edges that saw the session, with their lives.
    seen_by: HashSet<(usize, u32)>,
}

impl Sessions {
    pub(crate) fn has_entered(&self, who: Who) -> bool {
        self.entered.contains(&who)
    }
}

impl Judge {
    pub(crate) fn sessions_last(&mut self, note: &Note) -> Verdict {
        match *note {
            Note::Holds { who, edge, ticket, session } => {
                let boot = self.edges[edge].boot;
                self.sessions.entered.insert(who);
                self.sessions.using.insert(who, session.ends);
                let first = || Bought { cap: session.cap, seen_by: HashSet::new() };
                let bought = self.sessions.bought.entry(ticket).or_insert_with(first);
                let witnessed = bought
                    .seen_by
                    .iter()
                    .any(|&(edge, boot)| self.edges[edge].up && self.edges[edge].boot == boot);
                if bought.cap != session.cap && witnessed {
                    return breach("a ticket buys one session", &[who], format!("{ticket} bought two"));
                }
                bought.cap = session.cap;
                bought.seen_by.insert((edge, boot));
                if session.ends > session.cap {
                    return breach("a session ends by its cap", &[who], format!("{session:?}"));
                }
                Ok(())
            }
            Note::Left { who } => {
                self.sessions.using.remove(&who);
                Ok(())
            }
            Note::Refused { who, .. } => match self.sessions.using.remove(&who) {
                // A little: the clocks of edges differ, and the pass is good by its seconds.
                Some(ends) if ends.0 > self.now.clock.0 + 1_500_000 && self.habits[who].honest => {
                    let what = format!("{who}'s pass is good until {ends:?}, the clock is {:?}", self.now.clock);
                    breach("a pass in use is honoured", &[who], what)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
