//! Calls that come close together share one round trip.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::StoreError;

/// Batches leave no closer than this, unless they are full: whoever comes alone goes at once, and those that come while
/// a batch is under way go together.
pub const WINDOW: Duration = Duration::from_millis(2);
/// The most that one call carries. Nobody else is served meanwhile: a store with a million members takes a millisecond
/// or two for so many.
pub const MOST: usize = 250;
/// Items that may wait for their batch; beyond, callers wait for a place.
const BACKLOG: usize = 20_000;

/// Collects items of type `T`, each answered by an `R`.
pub struct Batch<T, R> {
    sender: mpsc::Sender<(T, oneshot::Sender<Result<R, StoreError>>)>,
}

impl<T, R> Clone for Batch<T, R> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone() }
    }
}

impl<T, R> fmt::Debug for Batch<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} free)", self.sender.capacity())
    }
}

impl<T: Send + 'static, R: Send + 'static> Batch<T, R> {
    /// `flush` carries out one batch and answers item by item, in order. Batches follow one another, so that a slow
    /// store makes larger batches, not more of them. Ends when the last handle is dropped.
    pub fn spawn<F, Fut>(flush: F) -> Self
    where
        F: Fn(Vec<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Vec<R>, StoreError>> + Send,
    {
        let (sender, mut receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(async move {
            let mut items = Vec::with_capacity(MOST);
            let mut next = Instant::now();
            while receiver.recv_many(&mut items, MOST).await > 0 {
                if items.len() < MOST && next > Instant::now() {
                    sleep_until(next).await;
                    while items.len() < MOST
                        && let Ok(item) = receiver.try_recv()
                    {
                        items.push(item);
                    }
                }
                next = Instant::now() + WINDOW;
                let (batch, waiting): (Vec<T>, Vec<_>) = items.drain(..).unzip();
                answer(waiting, flush(batch).await);
            }
        });
        Self { sender }
    }

    /// Sends one item with the next batch.
    pub async fn call(&self, item: T) -> Result<R, StoreError> {
        let gone = || StoreError::Failed("the batch ended before it was answered".into());
        let (sender, receiver) = oneshot::channel();
        self.sender.send((item, sender)).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }
}

fn answer<R>(waiting: Vec<oneshot::Sender<Result<R, StoreError>>>, result: Result<Vec<R>, StoreError>) {
    match result {
        Ok(values) => {
            for (sender, value) in waiting.into_iter().zip(values) {
                // The caller may have gone; the work is done all the same.
                let _ = sender.send(Ok(value));
            }
        }
        Err(error) => {
            for sender in waiting {
                let _ = sender.send(Err(error.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_within_the_window_share_one_trip_and_get_their_own_answers() {
        let batch = Batch::spawn(|items: Vec<u32>| async move {
            let size = items.len();
            Ok(items.into_iter().map(|item| (item, size)).collect())
        });
        let calls = (0..10).map(|item| {
            let batch = batch.clone();
            tokio::spawn(async move { batch.call(item).await.unwrap() })
        });
        for (item, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), (item as u32, 10));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_alone_goes_at_once_and_who_comes_right_after_waits_for_the_window() {
        let batch = Batch::spawn(|items: Vec<Instant>| async move {
            Ok(items.iter().map(tokio::time::Instant::elapsed).collect())
        });
        tokio::time::advance(WINDOW).await;
        assert_eq!(batch.call(Instant::now()).await.unwrap(), Duration::ZERO);
        tokio::time::advance(WINDOW / 2).await;
        assert_eq!(batch.call(Instant::now()).await.unwrap(), WINDOW / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_reaches_everybody_of_the_batch() {
        let batch = Batch::spawn(|_: Vec<u32>| async { Err::<Vec<u32>, _>(StoreError::Full) });
        let (a, b) = tokio::join!(batch.call(1), batch.call(2));
        assert!(matches!(a, Err(StoreError::Full)) && matches!(b, Err(StoreError::Full)));
    }
}
