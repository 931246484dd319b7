//! The end of the program, in stages that everything in it can follow.
//!
//! SIGTERM or SIGINT begins it; a second one cuts short what is left.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// How far the end has come; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Serving,
    /// Not ready any more, but there for whoever has not noticed yet.
    Lingering,
    /// Takes no new connections, and finishes what is under way.
    Draining,
    /// Whatever is left is cut off.
    Cut,
}

/// How long the stages last at most.
#[derive(Debug, Clone, Copy)]
pub struct Spans {
    pub linger: Duration,
    pub drain: Duration,
}

/// Watches the stages. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ending(watch::Receiver<Stage>);

/// Goes through the stages.
#[derive(Debug)]
pub struct Leader(watch::Sender<Stage>);

/// The program serves.
pub fn begin() -> (Leader, Ending) {
    let (stages, ending) = watch::channel(Stage::Serving);
    (Leader(stages), Ending(ending))
}

impl Ending {
    pub fn has_reached(&self, stage: Stage) -> bool {
        *self.0.borrow() >= stage
    }

    /// Completes when the end has come so far.
    pub async fn reaches(&mut self, stage: Stage) {
        // Without a leader nobody stops the program any more.
        if self.0.wait_for(|now| *now >= stage).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Leader {
    /// Each word is one signal.
    pub async fn lead(self, mut words: mpsc::Receiver<()>, spans: Spans) {
        if words.recv().await.is_none() {
            return std::future::pending().await;
        }
        self.go(Stage::Lingering);
        if pause(spans.linger, &mut words).await {
            self.go(Stage::Draining);
            pause(spans.drain, &mut words).await;
        }
        self.go(Stage::Cut);
        // Whoever still looks is not to lose the leader.
        self.0.closed().await;
    }

    fn go(&self, stage: Stage) {
        tracing::info!(stage = ?stage, "stopping");
        self.0.send_replace(stage);
    }
}

/// Whether it was left to last its time.
async fn pause(span: Duration, words: &mut mpsc::Receiver<()>) -> bool {
    tokio::select! {
        () = sleep(span) => true,
        Some(()) = words.recv() => false,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const SPANS: Spans = Spans { linger: Duration::from_secs(10), drain: Duration::from_secs(20) };

    #[tokio::test(start_paused = true)]
    async fn the_stages_last_their_time() {
        let ((leader, mut ending), (told, words)) = (begin(), mpsc::channel(1));
        tokio::spawn(leader.lead(words, SPANS));
        assert!(!ending.has_reached(Stage::Lingering));
        told.send(()).await.unwrap();
        ending.reaches(Stage::Lingering).await;
        let began = Instant::now();
        for (stage, after) in [(Stage::Draining, SPANS.linger), (Stage::Cut, SPANS.linger + SPANS.drain)] {
            ending.reaches(stage).await;
            assert_eq!(began.elapsed().as_secs(), after.as_secs(), "{stage:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_word_ends_it_at_once() {
        let ((leader, mut ending), (told, words)) = (begin(), mpsc::channel(1));
        let began = Instant::now();
        tokio::spawn(leader.lead(words, SPANS));
        told.send(()).await.unwrap();
        told.send(()).await.unwrap();
        ending.reaches(Stage::Cut).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
