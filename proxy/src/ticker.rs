//! Decides when a room ticks, and carries what is heard to those who wait here.
//!
//! While somebody waits or a turn is open, the room ticks every tenth of a second, whoever asks: an edge that hears a
//! tick puts off its own, so the store sees ten calls a second however large the fleet. An idle room is only
//! surveyed.

use std::sync::Arc;
use std::time::Duration;

use room::ids::VisitorId;
use room::queue::{Arrival, Event, Leave};
use room::rules::TICK;
use room::time::Micros;
use store::StoreError;
use store::batch::MOST;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until};

use crate::hall::{Hall, Heard};
use crate::random;

/// Edges wait this much longer at most, each its own span, so that one ticks and the others hear it.
const JITTER: Duration = Duration::from_millis(12);
/// An idle room is looked at this often: it shows that this edge lives, and that nothing was missed.
const SURVEY_EVERY: Duration = Duration::from_secs(2);
/// However many ticks are heard from others, the store hears from this edge as often as this.
const SPEAK_EVERY: Duration = Duration::from_secs(3);
const RETRY_LEAST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(2);
/// How often the absent are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Runs one room's ticks until `stop` turns true.
pub async fn run(hall: Arc<Hall>, mut stop: watch::Receiver<bool>) {
    let events = hall.link.listen();
    let mut ticker = Ticker::new(hall);
    tokio::select! {
        () = ticker.serve(events) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

struct Ticker {
    hall: Arc<Hall>,
    /// When to call the store next.
    due: Instant,
    /// When this edge called last.
    spoke: Instant,
    sweep: Instant,
    retry: Duration,
    /// Whether the store was told the file's limits.
    offered: bool,
}

impl Ticker {
    fn new(hall: Arc<Hall>) -> Self {
        let now = Instant::now();
        Self { hall, due: now, spoke: now, sweep: now, retry: RETRY_LEAST, offered: false }
    }

    async fn serve(&mut self, mut events: broadcast::Receiver<Arc<Event>>) {
        let hall = Arc::clone(&self.hall);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => self.heard(&event).await,
                    Err(RecvError::Lagged(_)) => self.catch_up().await,
                    Err(RecvError::Closed) => return,
                },
                () = hall.woken.notified() => self.due = self.due.min(Instant::now() + TICK),
                () = sleep_until(self.due) => self.call().await,
                () = sleep_until(self.sweep) => self.sweep().await,
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.hall
            .known()
            .is_none_or(|known| known.counts.waiting + known.counts.returning + known.counts.turns > 0)
    }

    /// Sessions end by ticks: they go on slowly while nobody waits.
    fn has_sessions(&self) -> bool {
        self.hall.known().is_some_and(|known| known.counts.active > 0)
    }

    /// An event, ours or another edge's; a tick puts off our own.
    async fn heard(&mut self, event: &Event) {
        match self.hall.hear(event) {
            Heard::Old => return,
            Heard::Next => {}
            Heard::Gap { after, before } => self.read_back(after, before).await,
            Heard::Anew => self.present_again().await,
        }
        self.contradict(&event.absent).await;
        if event.is_tick() {
            let next = if self.is_busy() { TICK + random::below(JITTER) } else { SURVEY_EVERY };
            self.due = (Instant::now() + next).min(self.spoke + SPEAK_EVERY);
        }
    }

    /// Calls the store: a tick, or a look at an idle room.
    async fn call(&mut self) {
        self.spoke = Instant::now();
        let result = if !self.offered {
            self.begin().await
        } else if self.is_busy() || self.has_sessions() {
            self.tick().await
        } else {
            self.survey().await
        };
        match result {
            Ok(()) => self.succeeded().await,
            Err(error) => self.failed(&error),
        }
    }

    async fn begin(&mut self) -> Result<(), StoreError> {
        self.survey().await?;
        match self.hall.offer_file_values().await {
            Ok(_) => self.offered = true,
            Err(store::TuneError::Store(error)) => return Err(error),
            Err(error) => tracing::warn!(room = %self.hall.name, %error, "the file's limits were not taken"),
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), StoreError> {
        let event = self.hall.link.admit().await?;
        self.hall.metrics.admissions.increment(event.turns.len() as u64);
        self.hall.metrics.no_shows.increment(event.lapsed.len() as u64);
        self.heard(&event).await;
        Ok(())
    }

    async fn survey(&mut self) -> Result<(), StoreError> {
        let survey = self.hall.link.survey().await?;
        match self.hall.hear_survey(&survey) {
            Heard::Anew => self.present_again().await,
            Heard::Gap { after, before } => self.read_back(after, before).await,
            Heard::Old | Heard::Next => {}
        }
        Ok(())
    }

    async fn succeeded(&mut self) {
        self.retry = RETRY_LEAST;
        if self.hall.set_store_lost(false) {
            tracing::info!(room = %self.hall.name, "the store answers again");
            // While this edge was not heard, the places that it looks after may have been passed over.
            self.present_again().await;
        }
        let next = if self.is_busy() { TICK + random::below(JITTER) } else { SURVEY_EVERY };
        self.due = self.spoke + next;
    }

    fn failed(&mut self, error: &StoreError) {
        if self.hall.set_store_lost(true) {
            tracing::error!(room = %self.hall.name, %error, "no turns are given until the store answers");
        }
        self.due = Instant::now() + self.retry + random::below(self.retry);
        self.retry = (self.retry * 2).min(RETRY_MOST);
    }

    /// Reads missed events; where they are gone, asks for every waiter instead.
    async fn read_back(&mut self, after: u64, before: u64) {
        match self.hall.link.missed(after).await {
            Ok(Some(events)) => {
                for event in events.iter().filter(|event| event.head.seq < before) {
                    self.hall.hear_late(event);
                    self.contradict(&event.absent).await;
                }
            }
            Ok(None) => self.begin_again().await,
            Err(error) => self.failed(&error),
        }
    }

    /// Too much was missed to be read back: everything is asked for.
    async fn begin_again(&mut self) {
        match self.hall.link.survey_anew().await {
            Ok(survey) => {
                self.hall.hear_survey(&survey);
                self.present_again().await;
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn catch_up(&mut self) {
        let after = self.hall.known().map_or(0, |known| known.head.seq);
        tracing::warn!(room = %self.hall.name, after, "events came faster than they were told");
        self.read_back(after, u64::MAX).await;
    }

    /// Presents the tickets of all who wait here: the store forgot them, or we do not know what became of them.
    async fn present_again(&mut self) {
        let waiters = self.hall.hub.arrivals();
        tracing::info!(room = %self.hall.name, waiters = waiters.len(), "presenting every ticket again");
        self.present(&waiters).await;
    }

    /// Another edge gave these up: whoever is seen here keeps the place.
    async fn contradict(&mut self, absent: &[VisitorId]) {
        if !absent.is_empty() {
            let here = self.hall.hub.seen_here(absent, self.hall.now());
            self.present(&here).await;
        }
    }

    async fn present(&mut self, waiters: &[Arrival]) {
        for batch in waiters.chunks(MOST) {
            match self.hall.link.arrive(batch).await {
                Ok(arrived) => {
                    let (settings, known) = (self.hall.settings(), self.hall.known());
                    let view = self.hall.view(&settings, known.as_deref());
                    for (arrival, (arrived, number)) in batch.iter().zip(&arrived) {
                        self.hall.hub.restate(arrival.visitor, arrived, *number, view);
                    }
                }
                // The next life, or the next gap, brings the rest.
                Err(error) => return self.failed(&error),
            }
        }
    }

    /// Gives back the places of those who went away.
    async fn sweep(&mut self) {
        self.sweep = Instant::now() + SWEEP_EVERY;
        self.hall.metrics.tick_age.set(self.tick_age().as_secs_f64());
        if self.hall.store_is_lost() {
            return;
        }
        let away: Vec<VisitorId> = self.hall.hub.absent(self.hall.now());
        for batch in away.chunks(MOST) {
            let leaves: Vec<Leave> = batch.iter().copied().map(Leave::Absent).collect();
            self.hall.metrics.abandoned.increment(leaves.len() as u64);
            if let Err(error) = self.hall.link.leave(&leaves).await {
                tracing::warn!(room = %self.hall.name, %error, "absent visitors keep their places for now");
            }
        }
    }

    fn tick_age(&self) -> Duration {
        let heard = self.hall.known().map_or(Micros::ZERO, |known| known.head.clock);
        if self.is_busy() { self.hall.now().since(heard) } else { Duration::ZERO }
    }
}
