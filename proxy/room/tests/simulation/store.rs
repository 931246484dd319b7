//! The store: a queue behind a wall clock, a log of events, and everything that may happen to a server.

use std::collections::VecDeque;
use std::rc::Rc;

use room::queue::{
    Arrival, Arrived, Caller, Change, Claim, Claimed, Event, Head, Leave, Now, Queue, Renewal, Renewed,
    Report, Survey,
};
use room::rules::Rules;
use room::time::Micros;

use crate::time::{At, START};

/// Events that can be read back.
const EVENTS_KEPT: usize = 1200;

/// What an edge asks.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Arrive(Vec<Arrival>),
    Claim(Claim),
    Leave(Vec<Leave>),
    Renew(Renewal),
    Restore(Report),
    Admit,
    Survey { whole: bool },
    Tune(Change),
    Missed { after: u64 },
}

/// What the store says.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Arrived(Vec<Arrived>, Head),
    Claimed(Claimed, Head),
    Done(Head),
    Renewed(Renewed, Head),
    Event(Rc<Event>),
    Survey(Box<Survey>),
    Tuned,
    Missed(Option<Vec<Rc<Event>>>),
    /// Memory is full: nothing was done.
    Full,
}

#[derive(Clone, Default)]
pub(crate) struct Store {
    /// `None`: empty, until somebody calls.
    pub(crate) queue: Option<Queue>,
    pub(crate) log: VecDeque<Rc<Event>>,
    /// How far the server's wall clock is from true time.
    pub(crate) skew: i64,
    /// Refuses what makes it grow.
    pub(crate) full: bool,
}

impl Store {
    pub(crate) fn wall(&self, now: At) -> Micros {
        Micros((START + now).saturating_add_signed(self.skew))
    }

    /// Carries out one call; the event, if it made one, is to be published.
    pub(crate) fn carry_out(
        &mut self,
        rules: &Rules,
        now: Now,
        caller: &Caller,
        ask: &Ask,
    ) -> (Said, Option<Rc<Event>>) {
        if self.full && matches!(ask, Ask::Arrive(_) | Ask::Tune(_)) {
            return (Said::Full, None);
        }
        if let Ask::Missed { after } = *ask {
            return (Said::Missed(self.missed(after)), None);
        }
        let queue = self.queue.get_or_insert_with(|| Queue::open(rules, now, caller));
        let mut published = None;
        let said = match ask {
            Ask::Arrive(arrivals) => {
                let arrived = queue.arrive(rules, now, caller, arrivals);
                Said::Arrived(arrived, queue.head())
            }
            Ask::Claim(claim) => {
                let claimed = queue.claim(rules, now, caller, &[*claim]);
                Said::Claimed(claimed[0], queue.head())
            }
            Ask::Leave(leaves) => {
                published = queue.leave(rules, now, caller, leaves).map(Rc::new);
                Said::Done(queue.head())
            }
            Ask::Renew(renewal) => {
                let renewed = queue.renew(rules, now, caller, &[*renewal]);
                Said::Renewed(renewed[0], queue.head())
            }
            Ask::Restore(report) => {
                queue.restore(rules, now, caller, report);
                Said::Done(queue.head())
            }
            Ask::Admit => {
                let event = Rc::new(queue.admit(rules, now, caller));
                published = Some(Rc::clone(&event));
                Said::Event(event)
            }
            Ask::Survey { whole } => Said::Survey(Box::new(queue.survey(rules, now, caller, *whole))),
            Ask::Tune(change) => {
                // The simulation's operators name no version, so nothing is in conflict.
                published = queue.tune(rules, now, caller, change).ok().flatten().map(Rc::new);
                Said::Tuned
            }
            Ask::Missed { .. } => Said::Missed(None),
        };
        if let Some(event) = &published {
            self.log.push_back(Rc::clone(event));
            if self.log.len() > EVENTS_KEPT {
                self.log.pop_front();
            }
        }
        (said, published)
    }

    /// The events after a number; nothing when some of them are no longer kept.
    fn missed(&self, after: u64) -> Option<Vec<Rc<Event>>> {
        let newest = self.queue.as_ref().map_or(0, |queue| queue.head().seq);
        if newest <= after {
            return Some(Vec::new());
        }
        let events: Vec<_> = self.log.iter().filter(|event| event.head.seq > after).cloned().collect();
        events.first().is_some_and(|first| first.head.seq == after + 1).then_some(events)
    }

    /// `FLUSHALL`, or a restart without data.
    pub(crate) fn empty(&mut self) {
        self.queue = None;
        self.log.clear();
    }
}
