//! Decides when a room ticks, and carries what is heard to those who wait here.
//!
//! While somebody waits or a turn is open, the room ticks every tenth of a second, whoever asks: an edge that hears a
//! tick puts off its own, so the store sees ten calls a second however large the fleet. An idle room is only
//! surveyed.

use std::sync::Arc;
use std::time::Duration;

use room::ids::VisitorId;
use room::node::Heard;
use room::queue::{Event, Leave, Survey};
use room::rules::{OnStoreLoss, TICK};
use room::time::Micros;
use store::batch::MOST;
use store::{StoreError, TuneError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::hall::{Hall, Reach};
use crate::hub::{Swept, pump};
use crate::standing::Known;
use crate::{healing, random};

/// Edges wait this much longer at most, each its own span, so that one ticks and the others hear it.
const JITTER: Duration = Duration::from_millis(12);
/// An idle room is looked at this often: it shows that this edge lives, and that nothing was missed.
const SURVEY_EVERY: Duration = Duration::from_secs(2);
/// An edge that did not call for so long presents its people again: the queue's patience with it may have ended.
const SILENT: Duration = Duration::from_secs(5);
/// The file's limits are offered this often to a store whose memory is full.
const OFFER_EVERY: Duration = Duration::from_secs(2);
/// However many ticks are heard from others, the store hears from this edge as often as this.
const SPEAK_EVERY: Duration = Duration::from_secs(3);
const RETRY_LEAST: Duration = Duration::from_millis(200);
/// With its jitter a second: a store that is back has heard from every edge before it gives away what they extended.
const RETRY_MOST: Duration = Duration::from_millis(500);
/// A room that may goes on without its store when that was away for longer: less is a hiccup, and coming back costs
/// more than waiting for its end.
const ALONE_AFTER: Duration = Duration::from_secs(3);
/// While the room goes on alone, the store is asked this often whether it is back.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How often the absent are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Runs one room's ticks until `stop` turns true.
pub async fn run(hall: Arc<Hall>, mut stop: watch::Receiver<bool>) {
    let events = hall.link.listen();
    let mut ticker = Ticker::new(hall);
    let healing = healing::run(Arc::clone(&ticker.hall));
    let pump = pump::run(Arc::clone(&ticker.hall));
    tokio::select! {
        () = ticker.serve(events) => {}
        () = healing => {}
        () = pump => {}
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
    /// When to tell the store the file's limits; `None` once it has taken them.
    offer_due: Option<Instant>,
    /// Events after this number were missed and have still to be read back.
    missed: Option<u64>,
    /// Whom other edges gave up although they are seen here, until the store has taken them back.
    given_up: Vec<VisitorId>,
    /// The store is in another life: once it has settled, what all edges reported is asked for.
    forgot: bool,
    /// Since when the store has been away.
    away_since: Option<Instant>,
    /// While the room goes on alone: the question whether the store is back, and when to ask it.
    probe: Option<JoinHandle<Result<Survey, StoreError>>>,
    probe_due: Instant,
}

impl Ticker {
    fn new(hall: Arc<Hall>) -> Self {
        let now = Instant::now();
        Self {
            hall,
            due: now,
            spoke: now,
            sweep: now,
            retry: RETRY_LEAST,
            offer_due: Some(now),
            missed: None,
            given_up: Vec::new(),
            forgot: false,
            away_since: None,
            probe: None,
            probe_due: now,
        }
    }

    async fn serve(&mut self, mut events: broadcast::Receiver<Arc<Event>>) {
        let hall = Arc::clone(&self.hall);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Err(RecvError::Closed) => return,
                    // What others do is heard when this edge is back among them.
                    _ if hall.reach() == Reach::Alone => {}
                    Ok(event) => self.heard(&event).await,
                    Err(RecvError::Lagged(_)) => self.catch_up().await,
                },
                survey = answered(&mut self.probe) => self.probed(survey).await,
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
            Heard::Old => return healing::recall(&self.hall, event),
            Heard::Gap { after, before } => self.read_back(after, before).await,
            Heard::Anew => self.forgot = true,
            Heard::Next => {}
        }
        self.contradict(&event.absent).await;
        if event.is_tick() {
            let next = if self.is_busy() { TICK + random::below(JITTER) } else { SURVEY_EVERY };
            self.due = (Instant::now() + next).min(self.spoke + SPEAK_EVERY);
        }
    }

    /// Calls the store: a tick, or a look at an idle room.
    async fn call(&mut self) {
        let silent = std::mem::replace(&mut self.spoke, Instant::now()).elapsed();
        let result = if self.hall.known().is_none() {
            self.survey(true).await
        } else if self.is_busy() || self.has_sessions() {
            self.tick().await
        } else {
            self.survey(false).await
        };
        match result {
            Ok(()) => self.succeeded(silent).await,
            Err(error) => self.failed(&error),
        }
    }

    /// Offers the file's limits once the room is known. A store whose memory is full takes them later.
    async fn offer(&mut self) -> Result<(), StoreError> {
        if self.offer_due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.offer_due = None;
        match self.hall.offer_file_values().await {
            Ok(_) => {}
            Err(TuneError::Store(StoreError::Full)) => self.offer_due = Some(Instant::now() + OFFER_EVERY),
            Err(TuneError::Store(error)) => {
                self.offer_due = Some(Instant::now());
                return Err(error);
            }
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

    async fn survey(&mut self, whole: bool) -> Result<(), StoreError> {
        let survey = self.hall.link.survey(whole).await?;
        self.surveyed(&survey).await;
        Ok(())
    }

    async fn surveyed(&mut self, survey: &Survey) {
        match self.hall.hear_survey(survey) {
            Heard::Gap { after, before } => self.read_back(after, before).await,
            Heard::Anew => self.forgot = true,
            Heard::Old | Heard::Next => {}
        }
    }

    async fn succeeded(&mut self, silent: Duration) {
        self.retry = RETRY_LEAST;
        if self.hall.reach() == Reach::Alone {
            self.ask_for_the_store();
        } else {
            self.store_is_back();
            if silent > SILENT {
                self.hall.healing.ask_for_waiters();
            }
            if let Err(error) = self.offer().await {
                return self.failed(&error);
            }
        }
        if let Some(after) = self.missed {
            self.read_back(after, u64::MAX).await;
        }
        let next = if self.is_busy() || self.forgot { TICK + random::below(JITTER) } else { SURVEY_EVERY };
        self.due = self.spoke + next;
        self.learn_again().await;
    }

    /// What other edges told a store that forgot: sessions that ended, and turns of visitors who wait here by now.
    async fn learn_again(&mut self) {
        let settles = |known: &Known| known.settling_until.is_some_and(|until| until > self.hall.now());
        if !self.forgot || self.hall.known().is_none_or(|known| settles(&known)) {
            return;
        }
        self.forgot = false;
        if let Err(error) = self.survey(true).await {
            self.forgot = true;
            return self.failed(&error);
        }
        self.hall.healing.ask_for_waiters();
    }

    fn store_is_back(&mut self) {
        self.away_since = None;
        if self.hall.set_reach(Reach::Here) != Reach::Here {
            tracing::info!(room = %self.hall.name, "the store answers again");
            // While this edge was not heard, the places that it looks after may have been passed over.
            self.hall.healing.ask_for_waiters();
        }
    }

    fn failed(&mut self, error: &StoreError) {
        if matches!(error, StoreError::Full) {
            // It is there, and takes what makes room.
            self.due = Instant::now() + self.retry;
            return;
        }
        let away_since = *self.away_since.get_or_insert_with(Instant::now);
        if self.hall.reach() == Reach::Here {
            self.hall.set_reach(Reach::Away);
            tracing::error!(room = %self.hall.name, %error, "no turns are given until the store answers");
        }
        let goes_on = self.hall.settings().rules.on_store_loss == OnStoreLoss::Open;
        if goes_on && away_since.elapsed() >= ALONE_AFTER && self.hall.link.go_alone() {
            self.hall.set_reach(Reach::Alone);
            tracing::warn!(room = %self.hall.name, %error, "this edge goes on alone with its share of the limits");
            self.due = Instant::now();
            return;
        }
        self.due = Instant::now() + self.retry + random::below(self.retry);
        self.retry = (self.retry * 2).min(RETRY_MOST);
    }

    /// Beside the ticks, which do not wait for the answer.
    fn ask_for_the_store(&mut self) {
        if self.probe.is_none() && Instant::now() >= self.probe_due {
            let link = Arc::clone(&self.hall.link);
            self.probe = Some(tokio::spawn(async move { link.survey_shared(true).await }));
        }
    }

    /// The answer says that the store is back, and begins its next life with what this edge did alone.
    async fn probed(&mut self, survey: Result<Survey, StoreError>) {
        self.probe = None;
        self.probe_due = Instant::now() + PROBE_EVERY;
        let Ok(survey) = survey else { return };
        self.hall.link.rejoin();
        self.store_is_back();
        self.surveyed(&survey).await;
        self.due = Instant::now();
    }

    /// Reads missed events, again and again until it works; where they are gone, asks for every waiter instead.
    async fn read_back(&mut self, after: u64, before: u64) {
        let after = self.missed.map_or(after, |missed| missed.min(after));
        self.missed = Some(after);
        match self.hall.link.missed(after).await {
            Ok(Some(events)) => {
                self.missed = None;
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
        match self.hall.link.survey(true).await {
            Ok(survey) => {
                self.missed = None;
                self.hall.hear_survey(&survey);
                self.hall.healing.ask_for_waiters();
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn catch_up(&mut self) {
        let after = self.hall.known().map_or(0, |known| known.head.seq);
        tracing::warn!(room = %self.hall.name, after, "events came faster than they were told");
        self.read_back(after, u64::MAX).await;
    }

    /// Another edge gave these up: whoever is seen here keeps the place.
    async fn contradict(&mut self, absent: &[VisitorId]) {
        self.given_up.extend_from_slice(absent);
        if let Err(error) = self.take_back().await {
            self.failed(&error);
        }
    }

    /// A store whose memory is full takes no places: they are presented again until it does.
    async fn take_back(&mut self) -> Result<(), StoreError> {
        if self.given_up.is_empty() {
            return Ok(());
        }
        let here = self.hall.hub.seen_here(&self.given_up, self.hall.now());
        self.given_up = here.iter().map(|arrival| arrival.visitor).collect();
        self.hall.present(&here).await?;
        self.given_up.clear();
        Ok(())
    }

    /// Gives back the places of those who went away.
    async fn sweep(&mut self) {
        self.sweep = Instant::now() + SWEEP_EVERY;
        self.hall.metrics.tick_age.set(self.tick_age().as_secs_f64());
        // Whoever is not there now may come back with the store; and who is brought back to it is not absent.
        if self.hall.reach() == Reach::Away || self.hall.healing.is_telling() {
            return;
        }
        if let Err(error) = self.present_late().await {
            tracing::debug!(room = %self.hall.name, %error, "some tickets are presented later");
        }
        let front = self.hall.known().map_or(0, |known| known.head.front);
        let Swept { away, doubtful } = self.hall.hub.sweep(self.hall.now(), front);
        if let Err(error) = self.hall.present(&doubtful).await {
            tracing::debug!(room = %self.hall.name, %error, "doubtful places are looked at again");
        }
        for batch in away.chunks(MOST) {
            let leaves: Vec<Leave> = batch.iter().copied().map(Leave::Absent).collect();
            self.hall.metrics.abandoned.increment(leaves.len() as u64);
            if let Err(error) = self.hall.link.leave(&leaves).await {
                tracing::warn!(room = %self.hall.name, %error, "absent visitors keep their places for now");
            }
        }
    }

    /// Presents those whom the store would not take when they came, or were given up.
    async fn present_late(&mut self) -> Result<(), StoreError> {
        self.hall.present(&self.hall.hub.unheard()).await?;
        self.take_back().await
    }

    fn tick_age(&self) -> Duration {
        let heard = self.hall.known().map_or(Micros::ZERO, |known| known.head.clock);
        if self.is_busy() { self.hall.now().since(heard) } else { Duration::ZERO }
    }
}

/// The answer to a probe; never, while there is none.
async fn answered(probe: &mut Option<JoinHandle<Result<Survey, StoreError>>>) -> Result<Survey, StoreError> {
    match probe {
        Some(probe) => match probe.await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::Failed(error.to_string())),
        },
        None => std::future::pending().await,
    }
}
