//! The worker that returns stock whose hold has expired. Every process runs one; they share the work.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::db::{Db, DbError};
use crate::live::Hub;
use crate::metrics;
use crate::sale::Status;

/// An expired hold waits for this long at most, while PostgreSQL answers.
const EVERY: Duration = Duration::from_millis(250);
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Refused attempts are cleaned up this often.
const FORGET_EVERY: Duration = Duration::from_secs(10);
/// Rows in one transaction: ten thousand holds that end in the same instant are ten turns at the event's row, between
/// those of the counter.
const BATCH: u32 = 1000;

/// Works for as long as the program runs.
pub async fn run(db: Db, hub: Arc<Hub>, idempotency_ttl: Duration) {
    let mut forget_at = Instant::now();
    loop {
        let mut work = expire(&db, &hub).await;
        if work.is_ok() && forget_at <= Instant::now() {
            work = forget(&db, idempotency_ttl).await;
            forget_at = Instant::now() + FORGET_EVERY;
        }
        match work {
            Ok(()) => sleep(EVERY).await,
            Err(error) => {
                tracing::warn!(error = %error, "expired holds could not be returned");
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn expire(db: &Db, hub: &Hub) -> Result<(), DbError> {
    for event in db.events_with_expired_holds().await? {
        loop {
            let ended = db.expire_holds(&event, BATCH).await?;
            let full = ended.len() >= BATCH as usize;
            metrics::reservations(Status::Expired, ended.len() as u64);
            for news in ended {
                tracing::info!(eventId = news.event_id, userId = news.user_id, orderId = %news.order, result = "EXPIRED", "hold expired");
                hub.tell(&news);
            }
            if !full {
                break;
            }
        }
    }
    Ok(())
}

async fn forget(db: &Db, ttl: Duration) -> Result<(), DbError> {
    while db.forget_rejected(ttl, BATCH).await? >= u64::from(BATCH) {}
    Ok(())
}
