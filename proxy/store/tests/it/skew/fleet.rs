//! Two edges of this release and two of the one before, their visitors, and what must hold of them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;
use room::ids::{Incarnation, VisitorId};
use room::node::Heard;
use room::queue::{Arrival, Claim, Event, Leave, Renewal, Session};
use room::time::Micros;
use store::Store;

use super::present::Present;
use super::previous::{Event as EventBefore, Previous};
use super::site::{At, BURST, Edge, INSIDE, RATE, Site, Standing};
use crate::support::world::{new_room, ticket, visitor};

pub(crate) const PEOPLE: usize = 12;
/// Edges from this number on are of the release before.
pub(crate) const OLD: usize = 2;

#[derive(Debug, Clone)]
struct Person {
    number: usize,
    /// A ticket buys one session.
    tickets: u32,
    stamp: Micros,
    standing: Standing,
}

impl Person {
    fn visitor(&self) -> VisitorId {
        visitor(self.number as u32)
    }

    fn arrival(&self) -> Arrival {
        Arrival {
            visitor: self.visitor(),
            ticket: ticket(self.number as u32 * 1000 + self.tickets),
            score: self.stamp.0,
            confirmed_at: self.stamp,
            may_enter: true,
            may_wait: true,
            here: true,
        }
    }
}

pub(crate) struct Fleet<'a> {
    at: At<'a>,
    edges: Vec<Box<dyn Edge>>,
    people: Vec<Person>,
    seen: u64,
    /// Nothing was lost: no edge may find that an event is missing or that another life began.
    intact: bool,
    /// (clock, entries until then)
    entries: Vec<(u64, u64)>,
    turns: Vec<VisitorId>,
}

/// What Redis holds.
struct Inside {
    line: HashMap<String, u64>,
    returns: HashMap<String, u64>,
    turns: HashMap<String, u64>,
    active: HashMap<String, u64>,
    owners: HashSet<String>,
    clock: u64,
    entered: u64,
}

impl<'a> Fleet<'a> {
    pub(crate) fn new(site: &'a Site) -> Self {
        let person = |number| Person { number, tickets: 0, stamp: Micros::ZERO, standing: Standing::Out };
        let edge = |number: usize| -> Box<dyn Edge> {
            if number < OLD {
                Box::new(Present::new(number as u32))
            } else {
                Box::new(Previous::new(number as u32))
            }
        };
        Self {
            at: At { site, room: new_room() },
            edges: (0..2 * OLD).map(edge).collect(),
            people: (0..PEOPLE).map(person).collect(),
            seen: 0,
            intact: true,
            entries: Vec::new(),
            turns: Vec::new(),
        }
    }

    /// Time goes by, and every edge shows that it lives.
    pub(crate) fn wait(&mut self, micros: u64) {
        self.at.site.clock.advance(Duration::from_micros(micros));
        for edge in &mut self.edges {
            edge.survey(&self.at);
        }
    }

    /// Presents tickets; who comes anew gets a stamp.
    pub(crate) fn arrive(&mut self, edge: usize, people: &[usize]) {
        let mut arrivals = Vec::new();
        for &number in people {
            let now = self.at.site.clock.now() + Duration::from_micros(number as u64);
            let person = &mut self.people[number];
            if person.standing == Standing::Out {
                person.stamp = now;
            }
            arrivals.push(person.arrival());
        }
        let standings = self.edges[edge].arrive(&self.at, &arrivals);
        for (&number, standing) in people.iter().zip(standings) {
            let person = &mut self.people[number];
            // A spent ticket: the visitor begins again with another.
            person.standing = standing.unwrap_or(Standing::Out);
            person.tickets += u32::from(standing.is_none());
        }
        self.hear();
    }

    pub(crate) fn tick(&mut self, edge: usize) {
        self.edges[edge].tick(&self.at);
        self.hear();
    }

    pub(crate) fn claim(&mut self, edge: usize, most: usize) {
        let people = self.those(most, |standing| standing == Standing::Turn);
        let claim = |&number: &usize| {
            let arrival = self.people[number].arrival();
            Claim { visitor: arrival.visitor, ticket: arrival.ticket }
        };
        let claims: Vec<Claim> = people.iter().map(claim).collect();
        let sessions = self.edges[edge].claim(&self.at, &claims);
        self.enter(&people, &sessions);
    }

    pub(crate) fn renew(&mut self, edge: usize, most: usize) {
        let people = self.those(most, |standing| matches!(standing, Standing::Inside(_)));
        let renewal = |&number: &usize| {
            let arrival = self.people[number].arrival();
            let Standing::Inside(session) = self.people[number].standing else { unreachable!("is inside") };
            Renewal { visitor: arrival.visitor, ticket: arrival.ticket, session }
        };
        let renewals: Vec<Renewal> = people.iter().map(renewal).collect();
        let sessions = self.edges[edge].renew(&self.at, &renewals);
        self.enter(&people, &sessions);
    }

    fn enter(&mut self, people: &[usize], sessions: &[Option<Session>]) {
        for (&number, session) in people.iter().zip(sessions) {
            if let Some(session) = *session {
                self.people[number].standing = Standing::Inside(session);
            }
        }
    }

    pub(crate) fn end(&mut self, edge: usize, number: usize) {
        let arrival = self.people[number].arrival();
        self.edges[edge].leave(&self.at, Leave::Ended(arrival.visitor, Some(arrival.ticket)));
        self.hear();
        let person = &mut self.people[number];
        (person.standing, person.tickets) = (Standing::Out, person.tickets + 1);
    }

    pub(crate) fn away(&mut self, edge: usize, number: usize) {
        self.edges[edge].leave(&self.at, Leave::Absent(self.people[number].visitor()));
        self.hear();
    }

    pub(crate) fn show_message(&mut self, edge: usize) {
        let message = format!("“{}” from {edge}", self.seen);
        self.edges[edge].show_message(&self.at, &message);
        self.hear();
    }

    fn those(&self, most: usize, is: impl Fn(Standing) -> bool) -> Vec<usize> {
        let those = self.people.iter().filter(|person| is(person.standing));
        those.map(|person| person.number).take(most).collect()
    }

    /// Both releases read every event alike, and everybody hears what it says of them.
    fn hear(&mut self) {
        let read = self.read_back();
        let old = self.events_as_before();
        if self.intact {
            assert!(read.is_some(), "an event is missing after {}", self.seen);
        }
        let events = read.unwrap_or_default();
        for (event, old) in events.iter().zip(&old) {
            assert_eq!((event.head.seq, event.head.clock), (old.head.seq, old.head.clock));
            assert_eq!((&event.turns, &event.lapsed, &event.absent), (&old.turns, &old.lapsed, &old.absent));
            let first = self.seen == 0;
            for edge in &mut self.edges {
                let heard = edge.hear(event);
                assert!(!self.intact || first || heard == Heard::Next || heard == Heard::Old, "{heard:?}");
            }
            let turns = event.turns.iter().map(|(visitor, _)| (*visitor, Standing::Turn));
            let outs = event.lapsed.iter().chain(&event.absent).map(|visitor| (*visitor, Standing::Out));
            for (visitor, standing) in turns.chain(outs) {
                self.turns.extend((standing == Standing::Turn).then_some(visitor));
                if let Some(person) = self.people.iter_mut().find(|person| person.visitor() == visitor) {
                    person.standing = standing;
                }
            }
        }
        self.seen = events.last().map_or(self.seen, |event| event.head.seq);
    }

    fn read_back(&self) -> Option<Vec<Event>> {
        let Site { runtime, store, .. } = self.at.site;
        runtime.block_on(store.missed(&self.at.room, self.seen)).unwrap()
    }

    fn events_as_before(&self) -> Vec<EventBefore> {
        type Entry = (String, Vec<String>);
        let from = (self.seen + 1).to_string();
        let entries: Vec<Entry> =
            self.at.ask(redis::cmd("XRANGE").arg(self.at.key("ticks")).arg(from).arg("+"));
        entries.iter().map(|(_, fields)| serde_json::from_str(&fields[1]).expect("an event")).collect()
    }

    /// The store was emptied: numbers begin again.
    pub(crate) fn forgotten(&mut self) {
        self.intact = false;
        self.turns.clear();
    }

    pub(crate) fn is_inside(&self, number: usize) -> bool {
        matches!(self.people[number].standing, Standing::Inside(_))
    }

    pub(crate) fn life(&self) -> Incarnation {
        let life: String = self.at.ask(redis::cmd("HGET").arg(self.at.key("state")).arg("incarnation"));
        life.parse().expect("a name")
    }

    /// A tick, and somebody who takes the turn.
    pub(crate) fn go_on(&mut self, edge: usize) {
        self.wait(400_000);
        self.tick(edge);
        self.claim(edge, 1);
    }

    /// Who waits, in order.
    pub(crate) fn line(&self) -> Vec<VisitorId> {
        let waits = self.people.iter().filter(|person| person.standing == Standing::Waiting);
        let mut line: Vec<(Micros, VisitorId)> =
            waits.map(|person| (person.stamp, person.visitor())).collect();
        line.sort_unstable();
        line.into_iter().map(|(_, visitor)| visitor).collect()
    }

    /// Who of them got a turn since then, in order.
    pub(crate) fn served_since_forgotten(&self, line: &[VisitorId]) -> Vec<VisitorId> {
        self.turns.iter().copied().filter(|visitor| line.contains(visitor)).collect()
    }

    pub(crate) fn check(&mut self) -> Result<(), TestCaseError> {
        let inside = self.look();
        for person in &mut self.people {
            if let Standing::Inside(session) = person.standing
                && session.ends.0 <= inside.clock
            {
                (person.standing, person.tickets) = (Standing::Out, person.tickets + 1);
            }
        }
        self.check_places()?;
        each_in_one_set(&inside)?;
        let taken = inside.turns.len() + inside.active.len();
        prop_assert!(taken <= INSIDE as usize, "{taken} slots are taken");
        self.entries.push((inside.clock, inside.entered));
        self.no_window_holds_too_many()
    }

    /// Everybody still is where the edges last said.
    pub(crate) fn check_places(&self) -> Result<(), TestCaseError> {
        let inside = self.look();
        for person in &self.people {
            let (visitor, stamp) = (person.visitor().to_string(), person.stamp.0);
            let is_there = match person.standing {
                Standing::Out => true,
                Standing::Waiting => {
                    [&inside.line, &inside.returns].iter().any(|set| set.get(&visitor) == Some(&stamp))
                }
                Standing::Turn => inside.turns.contains_key(&visitor),
                Standing::Inside(session) => {
                    !self.intact
                        || session.ends.0 <= inside.clock
                        || inside.active.get(&visitor) >= Some(&session.ends.0)
                }
            };
            prop_assert!(is_there, "{person:?} is not there");
        }
        Ok(())
    }

    fn no_window_holds_too_many(&self) -> Result<(), TestCaseError> {
        for (first, (from, before)) in self.entries.iter().enumerate() {
            for (until, entered) in &self.entries[first..] {
                let allowed = (until - from) as f64 * f64::from(RATE) / 6e7 + f64::from(BURST);
                let came = (entered - before) as f64;
                prop_assert!(came <= allowed + 0.01, "{came} entries, {allowed} allowed");
            }
        }
        Ok(())
    }

    fn look(&self) -> Inside {
        let set = |name: &str| -> HashMap<String, u64> {
            self.at.ask(redis::cmd("ZRANGE").arg(self.at.key(name)).arg(0).arg(-1).arg("WITHSCORES"))
        };
        let number =
            |name: &str| -> u64 { self.at.ask(redis::cmd("HGET").arg(self.at.key("state")).arg(name)) };
        Inside {
            line: set("queue"),
            returns: set("returns"),
            turns: set("turns"),
            active: set("active"),
            owners: self.at.ask(redis::cmd("HKEYS").arg(self.at.key("owner"))),
            clock: number("clock"),
            entered: number("entered"),
        }
    }
}

fn each_in_one_set(inside: &Inside) -> Result<(), TestCaseError> {
    let live = inside.active.iter().filter(|(_, ends)| **ends > inside.clock).map(|(visitor, _)| visitor);
    let sets = [&inside.line, &inside.returns, &inside.turns];
    let mut seen = HashSet::new();
    for visitor in sets.into_iter().flat_map(|set| set.keys()).chain(live) {
        prop_assert!(seen.insert(visitor), "{visitor} is in two sets");
        prop_assert!(inside.owners.contains(visitor), "{visitor} has no record");
    }
    Ok(())
}
