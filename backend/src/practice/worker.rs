//! Opens and closes the sales that are practised, and brings their stock back in between. Every process runs one: each
//! tells its own sockets, and for each window one of them brings the stock back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::timetable::Timetable;
use crate::db::practice::{Practised, Reset};
use crate::db::{Db, DbError};
use crate::live::Hub;
use crate::metrics;
use crate::sale::Status;

/// Rules and clock are read this often at least.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Stock is brought back when whoever is paying has paid, or another process does it.
const TRY_AGAIN: Duration = Duration::from_millis(50);
/// Batches of holds in one go.
const MOST_BATCHES: u32 = 100;

/// Works for as long as the program runs.
pub async fn run(db: Db, timetable: Arc<Timetable>, hub: Arc<Hub>) {
    loop {
        tell(&timetable, &hub);
        if let Err(error) = timetable.read(&db).await {
            tracing::warn!(error = %error, "the hours of practice could not be read");
        }
        tell(&timetable, &hub);
        sleep(keep(&db, &timetable, &hub).await).await;
    }
}

fn tell(timetable: &Timetable, hub: &Hub) {
    for (event, now) in timetable.all() {
        hub.set_hours(&event.event_id, event.rule.is_open(now));
    }
}

/// Brings stock back where it is time to; says when to look again.
async fn keep(db: &Db, timetable: &Timetable, hub: &Hub) -> Duration {
    let mut wait = READ_EVERY;
    for (event, now) in timetable.all() {
        let edge = event.rule.until_edge(now);
        wait = wait.min(edge);
        if event.window == event.rule.stock_for(now) {
            continue;
        }
        match bring_back(db, hub, &event).await {
            Ok(true) => {}
            Ok(false) => wait = wait.min(TRY_AGAIN),
            Err(error) => {
                wait = wait.min(TRY_AGAIN * 4);
                tracing::warn!(eventId = event.event_id, error = %error, "stock could not be brought back");
            }
        }
    }
    wait
}

/// Whether it is there, by this process.
async fn bring_back(db: &Db, hub: &Hub, event: &Practised) -> Result<bool, DbError> {
    for _ in 0..MOST_BATCHES {
        match db.reset_practice(&event.event_id).await? {
            Reset::Done { window, forgotten } => {
                tracing::info!(eventId = event.event_id, window, forgotten, "stock brought back");
                return Ok(true);
            }
            Reset::HoldsEnded(ended) => {
                metrics::reservations(Status::Expired, ended.len() as u64);
                for news in &ended {
                    hub.tell(news);
                }
            }
            Reset::NotNow => return Ok(false),
        }
    }
    Ok(false)
}
