//! Waiting for conditions: every wait says what for and ends.

use std::time::{Duration, Instant};

use crate::trouble::Trouble;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long it took until `condition` held.
pub(crate) async fn until(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) -> Result<Duration, Trouble> {
    let started = Instant::now();
    while !condition().await {
        if started.elapsed() > limit {
            return Err(Trouble::Waited { what: what.to_owned(), limit });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(started.elapsed())
}
