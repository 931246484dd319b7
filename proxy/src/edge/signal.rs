//! A word that is said once in the life of an edge, and that every connection waits for.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

/// Asked at every wake-up of a connection. Who has asked once is woken when the word comes: to ask again takes no lock.
pub(super) struct Signal {
    said: watch::Receiver<bool>,
    /// `None` once it came.
    coming: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    /// Who is woken.
    waiting: Option<Waker>,
}

impl Signal {
    pub(super) fn new(said: watch::Receiver<bool>) -> Self {
        let mut coming = said.clone();
        let coming = async move {
            // Without a sender the edge is over too.
            let _ = coming.wait_for(|said| *said).await;
        };
        Self { said, coming: Some(Box::pin(coming)), waiting: None }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(coming) = &mut self.coming else { return Poll::Ready(()) };
        let waits = self.waiting.as_ref().is_some_and(|waiting| waiting.will_wake(cx.waker()));
        if waits && matches!(self.said.has_changed(), Ok(false)) {
            return Poll::Pending;
        }
        if coming.as_mut().poll(cx).is_ready() {
            self.coming = None;
            return Poll::Ready(());
        }
        self.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_woken_however_often_they_asked_before() {
        let (say, said) = watch::channel(false);
        let mut early = Signal::new(said.clone());
        for _ in 0..3 {
            assert!(poll_fn(|cx| Poll::Ready(early.poll(cx).is_pending())).await);
        }
        let waiting = tokio::spawn(async move { poll_fn(|cx| early.poll(cx)).await });
        tokio::task::yield_now().await;
        say.send_replace(true);
        waiting.await.unwrap();
        let mut late = Signal::new(said);
        poll_fn(|cx| late.poll(cx)).await;
        poll_fn(|cx| late.poll(cx)).await;
    }

    #[tokio::test]
    async fn an_edge_without_anybody_who_could_say_it_is_over() {
        let (say, said) = watch::channel(false);
        let mut signal = Signal::new(said);
        assert!(poll_fn(|cx| Poll::Ready(signal.poll(cx).is_pending())).await);
        drop(say);
        poll_fn(|cx| signal.poll(cx)).await;
    }
}
