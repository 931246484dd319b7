//! What an edge owes to a store that was away, or that forgot: the sessions it extended meanwhile, what it remembers of
//! sessions, turns and spent tickets, and the tickets of all who wait here. Goes on beside ticks and calls, and is
//! repeated until the store has taken all of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use room::ids::VisitorId;
use room::queue::{Event, Report, Restore};
use store::StoreError;
use store::batch::MOST;
use tokio::sync::Notify;

use crate::hall::Hall;
use crate::random;

const RETRY_LEAST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_millis(800);

/// What one room's store has still to be told.
#[derive(Debug, Default)]
pub struct Healing {
    state: Mutex<State>,
    asked: Notify,
    leaving: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    wish: Option<Wish>,
    /// Something is being told at this moment.
    telling: bool,
    /// Turns of the life before, of which this edge heard late.
    late: Vec<Restore>,
}

/// The greater includes the lesser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    /// An edge extended sessions by itself.
    Lent,
    /// The store was away: the tickets of those who wait here.
    Waiters,
    /// The store is in another life: all that this edge remembers.
    All,
}

impl Healing {
    /// This edge extended a session: the store hears of it as soon as it can.
    pub fn ask_for_lent(&self) {
        self.ask(Wish::Lent);
    }

    /// The store was away, or did not hear of this edge for a while.
    pub fn ask_for_waiters(&self) {
        self.ask(Wish::Waiters);
    }

    /// The store forgot.
    pub fn ask_for_all(&self) {
        self.ask(Wish::All);
    }

    /// Those who wait here are sent elsewhere. This edge still reports what it remembers, but presents nobody any more:
    /// it would take their places from the edges to which they go.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Whether the store may still lack something that this edge knows.
    pub fn is_telling(&self) -> bool {
        let state = self.state();
        state.telling || state.wish.is_some()
    }

    fn ask(&self, wish: Wish) {
        let mut state = self.state();
        state.wish = state.wish.max(Some(wish));
        drop(state);
        self.asked.notify_one();
    }

    fn take(&self) -> Option<Wish> {
        let mut state = self.state();
        let wish = state.wish.take();
        state.telling = wish.is_some();
        wish
    }

    fn take_late(&self) -> Vec<Restore> {
        std::mem::take(&mut self.state().late)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A word of a former life that comes when the store has begun another: visitors who wait here have turns by it, which
/// the store is told of as long as it gathers what was forgotten.
pub fn recall(hall: &Hall, event: &Event) {
    if event.turns.is_empty() || event.head.incarnation == hall.link.incarnation() {
        return;
    }
    let named: Vec<VisitorId> = event.turns.iter().map(|(visitor, _)| *visitor).collect();
    let here = hall.hub.seen_here(&named, hall.now());
    let turns = here.iter().map(|at| Restore::Turn { visitor: at.visitor, ticket: at.ticket });
    hall.healing.state().late.extend(turns);
    hall.healing.ask_for_waiters();
}

/// Tells the store of one room what is asked for, until it is dropped.
pub async fn run(hall: Arc<Hall>) {
    let mut retry = RETRY_LEAST;
    // Sessions that were extended by this edge alone, and turns heard of late: the store does not know of them.
    let mut owed = Vec::new();
    loop {
        while let Some(wish) = hall.healing.take() {
            match tell(&hall, wish, &mut owed).await {
                Ok(()) => retry = RETRY_LEAST,
                Err(error) => {
                    tracing::debug!(room = %hall.name, %error, "the store is told again what this edge knows");
                    hall.healing.ask(wish);
                    tokio::time::sleep(retry + random::below(retry)).await;
                    retry = (retry * 2).min(RETRY_MOST);
                }
            }
        }
        hall.healing.asked.notified().await;
    }
}

async fn tell(hall: &Hall, wish: Wish, owed: &mut Vec<Restore>) -> Result<(), StoreError> {
    tell_owed(hall, owed).await?;
    match wish {
        Wish::Lent => Ok(()),
        Wish::Waiters if hall.healing.is_leaving() => Ok(()),
        Wish::Waiters => present_all(hall).await,
        Wish::All => tell_all(hall, owed).await,
    }
}

async fn tell_owed(hall: &Hall, owed: &mut Vec<Restore>) -> Result<(), StoreError> {
    owed.extend(hall.link.note(|node| node.take_lent(hall.now())));
    owed.extend(hall.healing.take_late());
    restore(hall, owed).await?;
    owed.clear();
    Ok(())
}

/// The room settles when every edge has done this. Another life that begins meanwhile is heard, and asks for all of it
/// again.
async fn tell_all(hall: &Hall, owed: &mut Vec<Restore>) -> Result<(), StoreError> {
    let life = hall.link.incarnation();
    let mut items = hall.link.ask(|node| node.report(hall.now()));
    items.extend(hall.hub.turns());
    tracing::info!(room = %hall.name, items = items.len(), "telling a store that forgot");
    restore(hall, &items).await?;
    if hall.healing.is_leaving() {
        // The room is settled when those who wait are back, and this edge cannot tell.
        return Ok(());
    }
    present_all(hall).await?;
    tell_owed(hall, owed).await?;
    hall.link.restore(&Report { items: Vec::new(), complete: Some(life) }).await
}

async fn restore(hall: &Hall, items: &[Restore]) -> Result<(), StoreError> {
    for chunk in items.chunks(MOST) {
        hall.link.restore(&Report { items: chunk.to_vec(), complete: None }).await?;
    }
    Ok(())
}

async fn present_all(hall: &Hall) -> Result<(), StoreError> {
    let waiters = hall.hub.arrivals();
    tracing::info!(room = %hall.name, waiters = waiters.len(), "presenting every ticket again");
    hall.present(&waiters).await
}
