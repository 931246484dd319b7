//! A room and its visitors in virtual time, with clocks that differ and a network that delays everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crowd::clock::Span;
use crowd::story::{Entry, Payment, Place, Purchase, Sighting, Story, Turn};
use room::ids::{TicketId, VisitorId};
use room::time::Micros;

pub(crate) const PER_MINUTE: u64 = 1200;
pub(crate) const BURST: u64 = 20;
pub(crate) const CLAIM_WINDOW: Duration = Duration::from_secs(60);

/// What the room does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cheat {
    None,
    /// One visitor's turn comes five seconds late.
    KeepsOneBack,
    /// One visitor never gets a turn.
    ForgetsOne,
    EntersTooFast,
    InflatesPositions,
}

const TICK: u64 = 100_000;
const SECOND: u64 = 1_000_000;
/// Nobody comes before: whatever is sent has its place on the clock.
const FIRST: u64 = 20 * SECOND;
const START: u64 = 1_800_000_000 * SECOND;

/// One visitor in true time; microseconds since the start.
#[derive(Debug, Clone, Copy)]
struct Person {
    asks: Trip,
    joins: Trip,
    claims_after: u64,
    stays: u64,
    leaves_line_at: Option<u64>,
}

/// Sent, at the server, back.
#[derive(Debug, Clone, Copy)]
struct Trip {
    sent: u64,
    there: u64,
    back: u64,
}

struct Network {
    dice: fastrand::Rng,
    slowest: u64,
}

impl Network {
    /// Mostly fast, now and then slow.
    fn delay(&mut self) -> u64 {
        let slowest = if self.dice.f64() < 0.9 { self.slowest / 10 } else { self.slowest };
        200 + self.dice.u64(..=slowest)
    }

    fn trip(&mut self, sent: u64) -> Trip {
        let there = sent + self.delay();
        Trip { sent, there, back: there + self.delay() }
    }
}

/// The stories of `visitors` people who come at four times the rate.
pub(crate) fn crowd(seed: u64, visitors: u64, slowest_ms: u64, cheat: Cheat) -> Vec<Story> {
    let mut network = Network { dice: fastrand::Rng::with_seed(seed), slowest: slowest_ms * 1000 };
    let mut people: Vec<Person> = (0..visitors).map(|n| person(&mut network, n)).collect();
    let victim = usize::try_from(visitors / 3).unwrap();
    people[victim].leaves_line_at = None;
    let mut room = Room::new(&people, cheat, victim);
    room.run();
    // The crowd's clock is off by up to ten seconds.
    let offset = network.dice.i64(-10_000_000..=10_000_000);
    let here = |at: u64| Micros((START + at).checked_add_signed(offset).unwrap());
    let numbered = people.iter().enumerate();
    numbered.map(|(n, person)| story(n, person, &room, &mut network, here)).collect()
}

fn person(network: &mut Network, n: u64) -> Person {
    let comes = FIRST + n * SECOND * 60 / (PER_MINUTE * 4) + network.dice.u64(..20_000);
    let asks = network.trip(comes);
    let thinks = network.dice.u64(..50_000);
    let joins = network.trip(asks.back + thinks);
    let leaves = network.dice.f64() < 0.03;
    Person {
        asks,
        joins,
        claims_after: network.dice.u64(..600_000),
        stays: network.dice.u64(200_000..2_000_000),
        leaves_line_at: leaves.then(|| joins.back + network.dice.u64(..3 * SECOND)),
    }
}

#[derive(Default)]
struct Room {
    people: Vec<Person>,
    cheat: Option<(Cheat, usize)>,
    line: BTreeSet<(u64, usize)>,
    returns: BTreeSet<(u64, usize)>,
    front: u64,
    given: BTreeMap<usize, u64>,
    entered: BTreeMap<usize, u64>,
    /// Person → (as of, position) of every second.
    shown: BTreeMap<usize, Vec<(u64, u64)>>,
    /// Virtual scheduling times of the two budgets.
    offers_at: u64,
    entries_at: u64,
}

const INTERVAL: u64 = 60 * SECOND / PER_MINUTE;

fn spend(budget: &mut u64, now: u64) -> bool {
    let next = (*budget).max(now) + INTERVAL;
    let affords = next <= now + BURST * INTERVAL;
    *budget = if affords { next } else { *budget };
    affords
}

impl Room {
    fn new(people: &[Person], cheat: Cheat, victim: usize) -> Self {
        Self { people: people.to_vec(), cheat: Some((cheat, victim)), ..Self::default() }
    }

    fn cheats(&self, cheat: Cheat, who: usize) -> bool {
        self.cheat == Some((cheat, who))
    }

    fn is(&self, cheat: Cheat) -> bool {
        self.cheat.is_some_and(|(is, _)| is == cheat)
    }

    /// Ticks until everybody is served, and some seconds longer.
    fn run(&mut self) {
        let mut arrivals: BTreeSet<(u64, usize)> =
            self.people.iter().enumerate().map(|(n, person)| (person.joins.there, n)).collect();
        let most_seconds = 60 + self.people.len() as u64 / 10;
        for tick in 1..most_seconds * 10 {
            let now = tick * TICK;
            while arrivals.first().is_some_and(|(at, _)| *at <= now) {
                arrivals.pop_first().into_iter().for_each(|(_, who)| self.join(who));
            }
            self.line.retain(|(_, who)| self.people[*who].leaves_line_at.is_none_or(|at| at > now));
            self.give_turns(now);
            self.let_in(now);
            if tick % 10 == 0 {
                self.show(now);
            }
        }
    }

    fn join(&mut self, who: usize) {
        let stamp = self.people[who].asks.there;
        if stamp > self.front {
            self.line.insert((stamp, who));
        } else {
            self.returns.insert((stamp, who));
        }
    }

    fn give_turns(&mut self, now: u64) {
        if let Some((_, who)) = self.returns.pop_first() {
            self.given.insert(who, now);
        }
        while let Some(next) = self.next_in_line(now) {
            if !spend(&mut self.offers_at, now) {
                return;
            }
            self.line.remove(&next);
            self.front = self.front.max(next.0);
            self.given.insert(next.1, now);
        }
    }

    fn next_in_line(&self, now: u64) -> Option<(u64, usize)> {
        let kept_back = |who: usize| {
            self.cheats(Cheat::ForgetsOne, who)
                || self.cheats(Cheat::KeepsOneBack, who) && now < self.people[who].joins.there + 15 * SECOND
        };
        self.line.iter().copied().find(|(_, who)| !kept_back(*who))
    }

    fn let_in(&mut self, now: u64) {
        for (who, given) in &self.given {
            let ready = now >= given + self.people[*who].claims_after && !self.entered.contains_key(who);
            let too_fast = self.cheat.is_some_and(|(cheat, _)| cheat == Cheat::EntersTooFast);
            if ready && (spend(&mut self.entries_at, now) || too_fast && now % (20 * SECOND) < 10 * SECOND) {
                self.entered.insert(*who, now);
            }
        }
        if self.is(Cheat::EntersTooFast) && now.is_multiple_of(5 * SECOND) {
            // Everybody in the line at once.
            for (_, who) in std::mem::take(&mut self.line) {
                self.given.insert(who, now);
                self.entered.insert(who, now);
            }
        }
    }

    fn show(&mut self, now: u64) {
        let inflates = self.is(Cheat::InflatesPositions);
        let inflate = |rank: u64| if inflates { rank + rank / 10 + 1 } else { rank };
        for (rank, (_, who)) in (1..).zip(&self.line) {
            // Beyond the first hundred up to 2 % may be off.
            let near = if rank > 120 { rank - rank / 60 } else { rank };
            self.shown.entry(*who).or_default().push((now, inflate(near)));
        }
    }
}

fn story(
    n: usize,
    person: &Person,
    room: &Room,
    network: &mut Network,
    here: impl Fn(u64) -> Micros,
) -> Story {
    let server = |at: u64| Micros(START + at);
    let trip = |trip: Trip| Span::new(here(trip.sent), here(trip.back));
    let bytes = |n: usize| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, (n >> 8) as u8, n as u8];
    let ticket = TicketId::from_random(bytes(n));
    let stamp = server(person.asks.there);
    let given = room.given.get(&n).copied();
    let seen_from = |at: u64, network: &mut Network| at.max(person.joins.back) + network.delay();
    let turn = given.map(|given| Turn {
        seen: here(seen_from(given, network)),
        expires: Some(cut_to_millis(server(given) + CLAIM_WINDOW)),
    });
    let entry = room.entered.get(&n).map(|at| Entry {
        span: Span::new(here(at - network.delay()), here(at + network.delay())),
        at_once: false,
        ticket: Some(ticket),
        expires: Some(server(*at) + Duration::from_secs(600)),
        ended: Some(here(at + SECOND / 2 + person.stays)),
    });
    let mut story = Story {
        id: n as u64,
        arrival: Some(trip(person.asks)),
        first_stamp: Some(stamp),
        joined: Some(trip(person.joins)),
        place: Some(Place { visitor: VisitorId::from_random(bytes(n)), ticket, stamp }),
        turn,
        left_line: person.leaves_line_at.filter(|_| given.is_none()).map(here),
        purchases: entry
            .iter()
            .map(|_| Purchase { qty: 1, payment: Payment::None, ..Purchase::default() })
            .collect(),
        entries: entry.into_iter().collect(),
        ..Story::default()
    };
    let mut last = None;
    for (as_of, position) in
        room.shown.get(&n).into_iter().flatten().filter(|(at, _)| *at > person.joins.back)
    {
        // Shown positions never grow.
        let shown = last.map_or(*position, |last: u64| last.min(*position));
        let as_of = cut_to_millis(server(*as_of));
        story.sightings.push(Sighting { as_of, position: shown, held: last == Some(shown) });
        story.last_waiting = Some(as_of);
        last = Some(shown);
    }
    story
}

fn cut_to_millis(instant: Micros) -> Micros {
    Micros(instant.0 / 1000 * 1000)
}
