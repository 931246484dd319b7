//! The worker of the outbox. Every process runs one; they share the work by `SKIP LOCKED`.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::db::outbox::Errand;
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
/// At the end of the program: what is not done after this is handed back.
const FINISH: Duration = Duration::from_secs(1);
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

/// Works until `stop` is true, then hands back what it cannot finish.
pub async fn run(db: Db, driver: Driver, bell: Bell, stop: watch::Receiver<bool>) {
    tokio::join!(spread_news(&db, &bell, stop.clone()), run_errands(&driver, &bell, stop));
}

async fn spread_news(db: &Db, bell: &Bell, mut stop: watch::Receiver<bool>) {
    let (mut count_at, mut forget_at) = (Instant::now(), Instant::now());
    while !*stop.borrow() {
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
            Ok(()) => pause(EVERY, &bell.0.news, &mut stop).await,
            Err(error) => {
                tracing::warn!(error = %error, "the outbox cannot be emptied");
                pause(AFTER_FAILURE, &Notify::new(), &mut stop).await;
            }
        }
    }
}

/// Apart from the news, which never wait for the gateway.
async fn run_errands(driver: &Driver, bell: &Bell, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        match run_due(driver, &mut stop).await {
            Ok(true) => {}
            Ok(false) => pause(EVERY, &bell.0.errands, &mut stop).await,
            Err(error) => {
                tracing::warn!(error = %error, "payments cannot be driven");
                pause(AFTER_FAILURE, &Notify::new(), &mut stop).await;
            }
        }
    }
}

/// Until somebody rings, but no longer than `most`.
async fn pause(most: Duration, bell: &Notify, stop: &mut watch::Receiver<bool>) {
    tokio::select! {
        () = sleep(most) => {}
        () = bell.notified() => {}
        _told_or_alone = stop.wait_for(|stop| *stop) => {}
    }
}

/// Says whether there may be more.
async fn run_due(driver: &Driver, stop: &mut watch::Receiver<bool>) -> Result<bool, DbError> {
    let errands = driver.db.claim_errands(LEASE, ERRANDS).await?;
    let mut running: FuturesUnordered<_> = errands.iter().map(|errand| done(driver, errand)).collect();
    let mut open: HashSet<i64> = errands.iter().map(|errand| errand.id).collect();
    let mut result = Ok(errands.len() >= ERRANDS as usize);
    let mut enough = pin!(async {
        drop(stop.wait_for(|stop| *stop).await);
        sleep(FINISH).await;
    });
    loop {
        tokio::select! {
            done = running.next() => match done {
                Some((id, ended)) => {
                    open.remove(&id);
                    result = ended.and(result);
                }
                None => return result,
            },
            () = &mut enough => break,
        }
    }
    // A call that was broken off may have been heard: like one whose process died, it may be repeated.
    drop(running);
    let open: Vec<i64> = open.into_iter().collect();
    driver.db.hand_back_errands(&open).await?;
    tracing::info!(errands = open.len(), "payments are left to other processes");
    result
}

async fn done(driver: &Driver, errand: &Errand) -> (i64, Result<(), DbError>) {
    (errand.id, driver.run(errand).await)
}

async fn forget(db: &Db) -> Result<(), DbError> {
    while db.forget_webhook_events(EVENTS_KEPT, NEWS).await? >= u64::from(NEWS) {}
    while db.forget_seat_changes(SEAT_CHANGES_KEPT, NEWS).await? >= u64::from(NEWS) {}
    Ok(())
}
