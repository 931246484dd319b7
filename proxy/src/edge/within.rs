//! Waiting with a limit, where there is mostly nothing to wait for.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// What `work` comes to, if it takes no longer than `limit`. A timer is set only if it is not done at once: a write
/// nearly always is.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    let at_once = poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Poll::Ready(None),
    });
    match at_once.await {
        Some(done) => Ok(done),
        None => timeout(limit, work).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_done_at_once_needs_no_time() {
        assert_eq!(within(Duration::ZERO, async { 1 }).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_a_while_has_its_limit() {
        let limit = Duration::from_secs(2);
        assert!(within(limit, tokio::time::sleep(Duration::from_secs(1))).await.is_ok());
        assert!(within(limit, std::future::pending::<()>()).await.is_err());
    }
}
