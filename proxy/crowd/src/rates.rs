//! What the room said about its entry rate through the run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::{Method, StatusCode};
use room::time::Micros;
use room::wire::PublicRoom;

use crate::client::{Call, Client, Cookies};
use crate::world::World;

/// The public state is cached for a second and edges hear of a change within another.
const LAG: Duration = Duration::from_secs(3);
/// Changes kept; a room is not retuned more often than this in one run.
const MAX_CHANGES: usize = 10_000;

/// The highest rate, in entries a minute, that may have been in force at each instant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates {
    /// Sorted: from this instant on, this rate was seen.
    seen: Vec<(Micros, u64)>,
}

impl Rates {
    /// One rate for the whole run.
    pub fn constant(per_minute: u64) -> Self {
        Self { seen: vec![(Micros::ZERO, per_minute)] }
    }

    /// Seen at `now`; only changes are kept.
    pub fn observe(&mut self, now: Micros, per_minute: u64) {
        let changed = self.seen.last().is_none_or(|(_, last)| *last != per_minute);
        if changed && self.seen.len() < MAX_CHANGES {
            let from = if self.seen.is_empty() { Micros::ZERO } else { now };
            self.seen.push((from, per_minute));
        }
    }

    pub fn is_known(&self) -> bool {
        !self.seen.is_empty()
    }

    pub fn highest(&self) -> Option<u64> {
        self.seen.iter().map(|(_, rate)| *rate).max()
    }

    /// What was seen last.
    pub fn latest(&self) -> Option<u64> {
        self.seen.last().map(|(_, rate)| *rate)
    }

    /// Entries that the rate allows from the epoch to `instant`: around a change the higher rate counts.
    pub fn allowed_until(&self, instant: Micros) -> f64 {
        let pieces = self.seen.iter().enumerate().map(|(index, (from, rate))| {
            let rises = index
                .checked_sub(1)
                .and_then(|before| self.seen.get(before))
                .is_none_or(|(_, old)| old < rate);
            let begins = if rises { *from - LAG } else { *from + LAG };
            (if index == 0 { *from } else { begins }, *rate)
        });
        let pieces: Vec<_> = pieces.collect();
        let ends = pieces.iter().skip(1).map(|(from, _)| *from).chain([Micros(u64::MAX)]);
        pieces
            .iter()
            .zip(ends)
            .map(|((from, rate), end)| *rate as f64 / 60e6 * overlap(*from, end.min(instant)))
            .sum()
    }
}

fn overlap(from: Micros, to: Micros) -> f64 {
    to.0.saturating_sub(from.0) as f64
}

/// Asks the room once a second for as long as it is polled.
pub async fn watch(world: Arc<World>, rates: Arc<Mutex<Rates>>) {
    let mut client = Client::new(Arc::clone(&world), 0, None);
    loop {
        if let Some(room) = public_state(&mut client).await {
            let mut rates = rates.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            rates.observe(world.clock.now(), room.rate_per_minute);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// `None` when the edge does not tell.
pub async fn public_state(client: &mut Client) -> Option<PublicRoom> {
    let path = format!("/_queue/rooms/{}", client.room());
    let call = Call::json(Method::GET, path).with_cookies(Cookies::Own(None));
    let answer = client.call(&call).await.ok()?;
    answer.json().filter(|_| answer.status == StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(secs: u64) -> Micros {
        Micros::from_secs(secs)
    }

    #[test]
    fn a_constant_rate_allows_its_share_of_any_window() {
        let rates = Rates::constant(60);
        assert!((rates.allowed_until(seconds(100)) - rates.allowed_until(seconds(90)) - 10.0).abs() < 1e-6);
    }

    #[test]
    fn around_a_change_the_higher_rate_counts() {
        let mut rates = Rates::default();
        rates.observe(seconds(1000), 60);
        rates.observe(seconds(1001), 60);
        rates.observe(seconds(1100), 120);
        rates.observe(seconds(1200), 60);
        let within = |from, to| rates.allowed_until(seconds(to)) - rates.allowed_until(seconds(from));
        assert!((within(1097, 1100) - 6.0).abs() < 1e-6, "{}", within(1097, 1100));
        assert!((within(1200, 1203) - 6.0).abs() < 1e-6);
        assert!((within(1203, 1206) - 3.0).abs() < 1e-6);
        assert_eq!((rates.highest(), rates.latest()), (Some(120), Some(60)));
    }
}
