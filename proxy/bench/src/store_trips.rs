//! Whether answers cost the store anything: what it counts under load, less what it counts while nobody asks.

use std::time::{Duration, Instant};

use crate::bench::BenchError;
use crate::load::Load;
use crate::redis::Redis;

/// Commands for a second of an idle room are counted for so long.
const IDLE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub struct StoreTrips {
    pub answers: u64,
    /// Commands more than an idle room gave in the same time.
    pub commands: f64,
    /// Keys more than before.
    pub keys: f64,
}

impl StoreTrips {
    /// Of a load on an edge that has this Redis.
    pub fn of(load: &Load, length: Duration, redis: &Redis) -> Result<Self, BenchError> {
        let (idle_from, began) = (redis.figures()?, Instant::now());
        std::thread::sleep(IDLE);
        let idle = redis.figures()?.commands_since(&idle_from) as f64 / began.elapsed().as_secs_f64();
        let keys = redis.keys()?;
        let (score, before, after) = load.run(Duration::ZERO, length, || redis.figures())?;
        let commands = after?.commands_since(&before?) as f64 - idle * score.seconds;
        Ok(Self { answers: score.answers, commands, keys: redis.keys()? as f64 - keys as f64 })
    }

    /// More than an idle room gave; the ticks do not fall evenly, so a few of either sign are nothing.
    pub fn per_thousand(&self) -> f64 {
        self.commands.max(0.0) * 1e3 / self.answers.max(1) as f64
    }
}
