//! What a process knows without asking: the rules of all events that are practised, and the database's clock.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Millis, Rule};
use crate::db::practice::Practised;
use crate::db::{Db, DbError};

/// How much two clocks may drift apart: of 10,000 parts, one.
const DRIFT: u32 = 10_000;

/// As last read.
#[derive(Debug, Default)]
pub struct Timetable(Mutex<Reading>);

#[derive(Debug, Default)]
struct Reading {
    events: HashMap<String, Practised>,
    clock: Option<Clock>,
}

/// The database's clock, as far as it can be known from here.
#[derive(Debug, Clone, Copy)]
struct Clock {
    read_at: Instant,
    said: Millis,
    /// It was read between `read_at - error` and `read_at + error`.
    error: Duration,
}

impl Timetable {
    /// Reads rules and clock anew.
    pub async fn read(&self, db: &Db) -> Result<(), DbError> {
        let asked_at = Instant::now();
        let (said, events) = db.practised().await?;
        let error = asked_at.elapsed() / 2;
        let clock = Clock { read_at: asked_at + error, said, error };
        let mut reading = self.reading();
        reading.events = events.into_iter().map(|event| (event.event_id.clone(), event)).collect();
        reading.clock = Some(reading.clock.map_or(clock, |before| before.or_better(clock)));
        Ok(())
    }

    /// The rule of an event and what the time is; `None` if it is an ordinary sale.
    pub fn of(&self, event_id: &str) -> Option<(Rule, Millis)> {
        let reading = self.reading();
        Some((reading.events.get(event_id)?.rule, reading.clock?.now()))
    }

    /// Everything there is to know at this moment; empty before the first reading.
    pub fn all(&self) -> Vec<(Practised, Millis)> {
        let reading = self.reading();
        let Some(now) = reading.clock.map(Clock::now) else { return Vec::new() };
        reading.events.values().map(|event| (event.clone(), now)).collect()
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock {
    fn now(self) -> Millis {
        self.said.saturating_add(millis(self.read_at.elapsed()))
    }

    /// The newer reading, unless this one says more in spite of its age and does not contradict it.
    fn or_better(self, newer: Self) -> Self {
        let age = newer.read_at.saturating_duration_since(self.read_at);
        let error = self.error + age / DRIFT;
        let expected = self.said.saturating_add(millis(age));
        let agrees =
            expected.abs_diff(newer.said) <= u64::try_from(millis(error + newer.error) + 1).unwrap_or(0);
        if agrees && error < newer.error { self } else { newer }
    }
}

fn millis(span: Duration) -> Millis {
    Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sharp_reading_is_kept_until_it_is_old_or_the_clock_was_set() {
        let start = Instant::now();
        let reading = |secs: u64, said, error| Clock {
            read_at: start + Duration::from_secs(secs),
            said,
            error: Duration::from_millis(error),
        };
        let sharp = reading(0, 1_000_000, 1);
        assert_eq!(sharp.or_better(reading(1, 1_001_040, 80)).said, 1_000_000, "kept");
        assert_eq!(sharp.or_better(reading(1, 1_001_000, 1)).said, 1_001_000, "as sharp and newer");
        assert_eq!(sharp.or_better(reading(1000, 2_000_040, 80)).said, 2_000_040, "old");
        assert_eq!(
            sharp.or_better(reading(1, 1_005_000, 80)).said,
            1_005_000,
            "another server, another clock"
        );
    }
}
