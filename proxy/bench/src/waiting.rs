//! A room in which as many wait as one likes, without a store: for what its hub costs.

use std::sync::Arc;
use std::time::Duration;

use room::budget::Budget;
use room::estimate::Forecast;
use room::ids::{Incarnation, RoomName, TicketId, VisitorId};
use room::queue::{Arrival, Arrived, Control, Counts, Event, FileValues, Head, Mode, Place};
use room::ruler::Ruler;
use room::rules::{Draft, Rules};
use room::time::Micros;
use vestibule::hub::{Hub, Said, View};
use vestibule::standing::Known;

use crate::bench::BenchError;

/// When the first came; the others ten microseconds apart.
const START: Micros = Micros(1_767_225_600_000_000);
const APART_MICROS: u64 = 10;
/// A line that moves fast enough for everybody's place to change between two updates.
const ADMITTED_A_MINUTE: u32 = 6_000;
/// As the pump of a room tells them.
const PUSHES_AT_ONCE: usize = 64;

/// The room, as an edge knows it that heard the newest ruler.
#[derive(Debug)]
pub struct Waiting {
    room: RoomName,
    rules: Rules,
    known: Known,
    now: Micros,
}

impl Waiting {
    pub fn of(people: u64) -> Result<Self, BenchError> {
        let broken = |what: &dyn std::fmt::Display| BenchError::Broken(what.to_string());
        let draft = Draft { new_users_per_minute: ADMITTED_A_MINUTE, ..Draft::default() };
        // Long enough for the last place to be settled.
        let now = START + Duration::from_secs(100);
        let known = Known {
            head: head(now),
            counts: Counts { waiting: people, ..Counts::default() },
            waiting: people,
            control: control(),
            ruler: Some(Arc::new(Ruler::measure(people, (0..people).map(score)))),
            ruler_at: now,
            forecast: Forecast::default(),
            settling_until: None,
        };
        Ok(Self {
            room: "bench".parse().map_err(|error| broken(&error))?,
            rules: Rules::new(draft).map_err(|error| broken(&error))?,
            known,
            now,
        })
    }

    pub fn view(&self) -> View<'_> {
        View { room: &self.room, rules: &self.rules, known: Some(&self.known), away: false, now: self.now }
    }

    /// The visitor at this place, from 0, is kept by the hub.
    pub fn keep(&self, hub: &Hub, place: u64) -> VisitorId {
        let visitor = VisitorId::from_random(id(place));
        let arrival = Arrival {
            visitor,
            ticket: TicketId::from_random(id(place)),
            score: score(place),
            confirmed_at: START,
            may_enter: false,
            may_wait: true,
            here: true,
        };
        let arrived = Arrived::Waiting(Place { score: arrival.score, returning: false, new: true });
        let said = Said { arrived: &arrived, number: 1, knows_all: true };
        hub.keep(arrival, Micros(arrival.score), said, self.now);
        visitor
    }

    /// Lets time pass, and tells everybody who is due then. The line has not moved.
    pub fn measure_after(&mut self, span: Duration, hub: &Hub) {
        self.now = self.now + span;
        (self.known.head.clock, self.known.ruler_at) = (self.now, self.now);
        hub.hear(&self.event(), self.view());
        for part in 0..hub.parts() {
            while hub.tell_some(part, PUSHES_AT_ONCE, self.view()) {}
        }
    }

    fn event(&self) -> Event {
        Event {
            head: self.known.head,
            counts: self.known.counts,
            control: self.known.control.clone(),
            turns: Vec::new(),
            lapsed: Vec::new(),
            revoked: Vec::new(),
            absent: Vec::new(),
            ruler: self.known.ruler.as_deref().cloned(),
            settling_until: None,
            nodes: Vec::new(),
        }
    }
}

fn head(clock: Micros) -> Head {
    Head {
        incarnation: Incarnation::from_random([1; 12]),
        seq: 1,
        step: 1,
        clock,
        front: 0,
        taken: 0,
        entry: Budget::default(),
        offer: Budget::default(),
    }
}

fn control() -> Control {
    let file = FileValues { new_users_per_minute: ADMITTED_A_MINUTE, total_active_users: 1_000_000 };
    Control {
        version: 1,
        new_users_per_minute: file.new_users_per_minute,
        total_active_users: file.total_active_users,
        paused: None,
        message: None,
        mode: Mode::Open,
        file,
    }
}

fn score(place: u64) -> u64 {
    START.0 + place * APART_MICROS
}

/// Spread as random ids are.
fn id(place: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    let (high, low) = bytes.split_at_mut(8);
    high.copy_from_slice(&place.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    low.copy_from_slice(&(place as u32).to_be_bytes());
    bytes
}
