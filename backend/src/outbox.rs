//! The worker of the outbox. Every process runs one; they share the work by `SKIP LOCKED`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::db::{Db, DbError};
use crate::metrics;
use crate::payment::drive::Driver;
use crate::payment::signature;

/// What another process wrote waits this long at most.
const EVERY: Duration = Duration::from_millis(100);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
const COUNT_EVERY: Duration = Duration::from_secs(1);
const FORGET_EVERY: Duration = Duration::from_secs(10);
/// Rows of order news in one transaction.
const NEWS: u32 = 200;
/// Errands at the gateway at the same time.
const ERRANDS: u32 = 32;
/// Longer than any call of the gateway with the transactions around it.
const LEASE: Duration = Duration::from_secs(20);
/// Beyond the window of signatures, on both sides of it.
const EVENTS_KEPT: Duration = Duration::from_secs(signature::WINDOW.as_secs() * 3);
/// Those who follow a seat map and were away for longer read it anew.
const SEAT_CHANGES_KEPT: Duration = Duration::from_secs(120);

/// Has the worker look at once.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Ears>);

#[derive(Debug, Default)]
struct Ears {
    news: Notify,
    errands: Notify,
}

impl Bell {
    /// There may be news and errands.
    pub fn ring(&self) {
        self.0.news.notify_one();
        self.0.errands.notify_one();
    }
}

/// Works for as long as the program runs.
pub async fn run(db: Db, driver: Driver, bell: Bell) {
    tokio::join!(spread_news(&db, &bell), run_errands(&driver, &bell));
}

async fn spread_news(db: &Db, bell: &Bell) {
    let (mut count_at, mut forget_at) = (Instant::now(), Instant::now());
    loop {
        let round = async {
            while db.spread_news(NEWS).await? >= NEWS as usize {}
            if count_at <= Instant::now() {
                count_at = Instant::now() + COUNT_EVERY;
                metrics::outbox(db.outbox_counts().await?);
            }
            if forget_at <= Instant::now() {
                forget_at = Instant::now() + FORGET_EVERY;
                forget(db).await?;
            }
            Ok::<_, DbError>(())
        };
        match round.await {
            Ok(()) => drop(timeout(EVERY, bell.0.news.notified()).await),
            Err(error) => {
                tracing::warn!(error = %error, "the outbox cannot be emptied");
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// Apart from the news, which never wait for the gateway.
async fn run_errands(driver: &Driver, bell: &Bell) {
    loop {
        match run_due(driver).await {
            Ok(true) => {}
            Ok(false) => drop(timeout(EVERY, bell.0.errands.notified()).await),
            Err(error) => {
                tracing::warn!(error = %error, "payments cannot be driven");
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// Says whether there may be more.
async fn run_due(driver: &Driver) -> Result<bool, DbError> {
    let errands = driver.db.claim_errands(LEASE, ERRANDS).await?;
    for done in join_all(errands.iter().map(|errand| driver.run(errand))).await {
        done?;
    }
    Ok(errands.len() >= ERRANDS as usize)
}

async fn forget(db: &Db) -> Result<(), DbError> {
    while db.forget_webhook_events(EVENTS_KEPT, NEWS).await? >= u64::from(NEWS) {}
    while db.forget_seat_changes(SEAT_CHANGES_KEPT, NEWS).await? >= u64::from(NEWS) {}
    Ok(())
}
