//! When everybody comes: fixed before the first one does, so that a slow answer makes nobody come later.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::args::{Pace, Spread};

/// Which part of the crowd a process sends: every `of`-th, from `index` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    pub index: u32,
    pub of: u32,
}

impl Shard {
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    pub const fn is_whole(self) -> bool {
        self.of == 1
    }
}

/// Arrivals in waves: each begins some time after the one before has come.
#[derive(Debug, Clone)]
pub struct Plan {
    pub waves: Vec<u64>,
    pub pace: Pace,
    pub pause: Duration,
    pub spread: Spread,
    pub seed: u64,
}

/// One who is to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// Among all, of all shards.
    pub number: u64,
    /// Since the beginning.
    pub due: Duration,
}

/// This shard's arrivals, in order of time.
#[derive(Debug)]
pub struct Schedule {
    plan: Plan,
    shard: Shard,
    dice: fastrand::Rng,
    wave: usize,
    /// Number of the wave's first, and when it begins.
    first: u64,
    begins: Duration,
    /// How many of this shard came in this wave, and when the last one did.
    came: u64,
    last: Duration,
}

impl Schedule {
    pub fn new(plan: Plan, shard: Shard) -> Self {
        let dice = fastrand::Rng::with_seed(plan.seed ^ u64::from(shard.index).wrapping_mul(0x9e37_79b9));
        let begins = Duration::ZERO;
        Self { plan, shard, dice, wave: 0, first: 0, begins, came: 0, last: begins }
    }

    /// Since the beginning, when the last wave has come.
    pub fn lasts(plan: &Plan) -> Duration {
        let people: u64 = plan.waves.iter().sum();
        let pauses = u32::try_from(plan.waves.len().saturating_sub(1)).unwrap_or(u32::MAX);
        Duration::from_secs_f64(people as f64 / plan.pace.0) + plan.pause.saturating_mul(pauses)
    }

    fn next_wave(&mut self, people: u64) {
        self.begins += Duration::from_secs_f64(people as f64 / self.plan.pace.0) + self.plan.pause;
        self.first += people;
        self.wave += 1;
        (self.came, self.last) = (0, self.begins);
    }

    fn due(&mut self, within: u64) -> Duration {
        match self.plan.spread {
            Spread::Constant => self.begins + Duration::from_secs_f64(within as f64 / self.plan.pace.0),
            Spread::Poisson => {
                // Shards are independent: together they are a Poisson process again.
                let mean = f64::from(self.shard.of) / self.plan.pace.0;
                self.last += Duration::from_secs_f64(-(1.0 - self.dice.f64()).ln() * mean);
                self.last
            }
        }
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            let people = *self.plan.waves.get(self.wave)?;
            let (index, of) = (u64::from(self.shard.index), u64::from(self.shard.of));
            // The shard's own among all numbers, whatever the wave begins with.
            let offset = (index + of - self.first % of) % of;
            let within = offset + self.came * of;
            if within >= people {
                self.next_wave(people);
                continue;
            }
            self.came += 1;
            let due = self.due(within);
            return Some(Arrival { number: self.first + within, due });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(waves: &[u64], spread: Spread) -> Plan {
        let pause = Duration::from_secs(10);
        Plan { waves: waves.to_vec(), pace: Pace(100.0), pause, spread, seed: 3 }
    }

    #[test]
    fn shards_together_send_everybody_once() {
        for spread in [Spread::Constant, Spread::Poisson] {
            let shards = (0..3).flat_map(|index| {
                Schedule::new(plan(&[100, 50, 7], spread), Shard { index, of: 3 }).map(|a| a.number)
            });
            let mut numbers: Vec<u64> = shards.collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..157).collect::<Vec<_>>(), "{spread:?}");
        }
    }

    #[test]
    fn a_constant_pace_is_even_and_waves_are_apart() {
        let due: Vec<_> = Schedule::new(plan(&[100, 50], Spread::Constant), Shard::WHOLE)
            .map(|a| a.due.as_millis())
            .collect();
        assert_eq!((due[1], due[99], due[100], due[149]), (10, 990, 11_000, 11_490));
        assert_eq!(Schedule::lasts(&plan(&[100, 50], Spread::Constant)).as_millis(), 11_500);
    }

    #[test]
    fn poisson_arrivals_keep_the_pace_and_vary() {
        let due: Vec<_> =
            Schedule::new(plan(&[10_000], Spread::Poisson), Shard::WHOLE).map(|a| a.due).collect();
        assert!(due.is_sorted());
        let took = due.last().unwrap().as_secs_f64();
        assert!((95.0..105.0).contains(&took), "{took}");
        let gaps = due.windows(2).map(|pair| pair[1].as_secs_f64() - pair[0].as_secs_f64());
        let (short, long) =
            (gaps.clone().filter(|gap| *gap < 0.001).count(), gaps.filter(|gap| *gap > 0.03).count());
        assert!(short > 700 && long > 300, "{short} {long}");
    }
}
