//! A private PostgreSQL, the program on it, and a client.

pub(crate) mod cut;
pub(crate) mod edge;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod office;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod shop;
pub(crate) mod stream;
pub(crate) mod vestibule;

use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Asks until `condition` gives a value; gives up after `seconds`, naming what was waited for.
pub(crate) async fn eventually<T>(
    what: &str,
    seconds: u64,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up after {seconds} s: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
