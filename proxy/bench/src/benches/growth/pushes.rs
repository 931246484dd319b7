//! How much is told to all who wait, by the rules that edges follow.

use edge_bench::bench::BenchError;
use room::estimate::next_update_secs;
use room::wire::{Estimate, ServerMessage, Standing, State};

/// Updates a second to all of a line that moves evenly, at so many turns a minute.
pub(super) fn a_second(people: u64, a_minute: u64) -> f64 {
    let due = |ahead: u64| next_update_secs(ahead * 60 / a_minute, ahead);
    (0..people).map(|ahead| 1.0 / f64::from(due(ahead))).sum()
}

/// Bytes of an update to somebody far back, without those of frame and network.
pub(super) fn bytes() -> Result<f64, BenchError> {
    let broken = |what: String| BenchError::Broken(what);
    let standing = Standing {
        room: "spring-sale".parse().map_err(|_| broken("a room's name".into()))?,
        state: State::Waiting,
        position: Some(512_400),
        ahead: Some(512_399),
        waiting: 1_000_000,
        estimate: Some(Estimate { p50_seconds: 17_080, p90_seconds: 18_790 }),
        progress: Some(0.421_875),
        rate_per_minute: 1800,
        paused: None,
        message: None,
        claim_expires_at: None,
        opens_at: None,
        close_reason: None,
        next_update_seconds: 60,
        ticket: None,
        as_of: "2026-01-01T00:00:00.250Z".into(),
    };
    let update = serde_json::to_string(&ServerMessage::Update(Box::new(standing)))
        .map_err(|error| broken(error.to_string()))?;
    Ok(update.len() as f64)
}
