//! Servers that answer the same load in turns: CPU per answer, answers a second, latencies.

use std::time::Duration;

use crate::bench::{BenchError, Context};
use crate::latency::Latencies;
use crate::load::{Load, Score};
use crate::plot::Bar;
use crate::turns::{in_turns, median};
use crate::usage::cpu_time_of_family;

/// Enough for connections to the origin, and for caches.
const WARM_UP: Duration = Duration::from_millis(300);

/// The core of what is measured, and that of whoever asks and of the origin.
pub const SERVER_CORE: usize = 0;
pub const LOAD_CORE: usize = 1;

/// One that is measured.
#[derive(Debug)]
pub struct Contestant {
    pub name: String,
    /// Whose CPU time counts, with all that it started.
    pub pid: u32,
    pub load: Load,
}

impl Contestant {
    pub fn new(name: &str, pid: u32, load: Load) -> Self {
        Self { name: name.into(), pid, load }
    }
}

/// How one did over all its turns.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub name: String,
    /// Microseconds of CPU an answer, by turn.
    cpu_us: Vec<f64>,
    /// Answers a second, by turn.
    per_second: Vec<f64>,
    pub latencies: Latencies,
    pub answers: u64,
    /// Answers that were tolerated, not expected.
    pub others: u64,
    /// Answers after which the connection was closed.
    pub closed: u64,
    pub answer_bytes: usize,
}

/// All of them, one after the other, as often as the length says.
pub fn hold(context: &Context, mut contestants: Vec<Contestant>) -> Result<Vec<Outcome>, BenchError> {
    let length = context.length;
    let scores = in_turns(length.turns, &mut contestants, |contestant| {
        let clock = || cpu_time_of_family(contestant.pid);
        let (score, before, after) = contestant.load.run(WARM_UP, length.turn, clock)?;
        let cpu_us = after.saturating_sub(before).as_secs_f64() * 1e6 / score.answers.max(1) as f64;
        Ok::<_, BenchError>((score, cpu_us))
    })?;
    let outcomes =
        contestants.iter().zip(scores).map(|(contestant, scores)| Outcome::of(contestant, &scores));
    let outcomes: Vec<Outcome> = outcomes.collect();
    for outcome in &outcomes {
        context.say(format_args!(
            "{:<44} {:>7.2} µs CPU, {:>8.0} answers/s, {} B an answer",
            outcome.name,
            outcome.cpu_us(),
            outcome.per_second(),
            outcome.answer_bytes
        ));
    }
    Ok(outcomes)
}

impl Outcome {
    fn of(contestant: &Contestant, scores: &[(Score, f64)]) -> Self {
        let mut all = Score::default();
        for (score, _) in scores {
            all.add(score);
        }
        Self {
            name: contestant.name.clone(),
            cpu_us: scores.iter().map(|(_, cpu_us)| *cpu_us).collect(),
            per_second: scores.iter().map(|(score, _)| score.per_second()).collect(),
            latencies: all.latencies,
            answers: all.answers,
            others: all.others,
            closed: all.closed,
            answer_bytes: all.answer_bytes,
        }
    }

    /// The median of the turns.
    pub fn cpu_us(&self) -> f64 {
        median(self.cpu_us.iter().copied()).unwrap_or(0.0)
    }

    /// The median of the turns.
    pub fn per_second(&self) -> f64 {
        median(self.per_second.iter().copied()).unwrap_or(0.0)
    }

    pub fn bar(&self, ours: bool) -> Bar {
        Bar { label: self.name.clone(), value: self.cpu_us(), ours }
    }
}
