//! News between processes: what the outbox worker of one process says with `NOTIFY`, the sockets of all hear.
//!
//! Notifications may stop without a word (a failover, a proxy that forgot the connection). So every process says a
//! word each [`BEAT_EVERY`], and a listener that hears nothing for [`DEADLINE`] takes its connection for dead: the hub
//! reads the orders of its users from the tables until a new connection listens.

use std::future::poll_fn;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_postgres::AsyncMessage;
use uuid::Uuid;

use crate::config::Database;
use crate::db::orders::OrderNews;
use crate::db::outbox::connect_to_listen;
use crate::db::{Db, DbError};
use crate::live::Hub;
use crate::sale::Status;

pub const CHANNEL: &str = "box_office";
/// Says only that notifications arrive.
pub const BEAT: &str = "[]";
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// Silence for this long is the end of a connection.
const DEADLINE: Duration = Duration::from_secs(4);
const RECONNECT_AFTER: Duration = Duration::from_millis(500);
/// News gather for this long, so that a rush is few notifications.
const GATHER: Duration = Duration::from_millis(20);
/// News of one round.
const TOGETHER: usize = 1024;
/// PostgreSQL takes payloads of less than 8000 bytes.
const MAX_PAYLOAD_BYTES: usize = 7900;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    order_id: Uuid,
    event_id: String,
    user_id: String,
    status: String,
}

/// What the outbox keeps: a JSON list of `{orderId, eventId, userId, status}`.
pub fn payload(news: &[OrderNews]) -> String {
    let told: Vec<Told> = news.iter().map(Told::of).collect();
    serde_json::to_string(&told).unwrap_or_else(|_| BEAT.into())
}

/// The news of many payloads in as few as fit a notification each. What is no list of news is left out.
pub fn chunks(payloads: &[&str]) -> Vec<String> {
    let told = payloads.iter().flat_map(|payload| parse(payload));
    let mut chunks: Vec<String> = Vec::new();
    for item in told.filter_map(|told| serde_json::to_string(&told).ok()) {
        match chunks.last_mut() {
            Some(chunk) if chunk.len() + item.len() + 2 <= MAX_PAYLOAD_BYTES => {
                chunk.push(',');
                chunk.push_str(&item);
            }
            _ => chunks.push(format!("[{item}")),
        }
    }
    for chunk in &mut chunks {
        chunk.push(']');
    }
    chunks
}

fn parse(payload: &str) -> Vec<Told> {
    serde_json::from_str(payload).unwrap_or_else(|error| {
        tracing::error!(error = %error, "a payload of order news cannot be read");
        Vec::new()
    })
}

/// Tells other processes what happens here, for as long as the program runs. What is lost here they read from the
/// tables; what must not be lost goes by the outbox.
pub async fn spread(db: Db, mut news: mpsc::Receiver<OrderNews>) {
    let mut some = Vec::new();
    while news.recv_many(&mut some, TOGETHER).await > 0 {
        let text = payload(&some);
        if let Err(error) = db.notify(&chunks(&[&text])).await {
            tracing::debug!(error = %error, "other processes could not be told");
        }
        some.clear();
        sleep(GATHER).await;
    }
}

/// Says [`BEAT`] for as long as the program runs.
pub async fn beat(db: Db) {
    let mut ticks = interval(BEAT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = db.notify(&[BEAT.to_owned()]).await {
            tracing::debug!(error = %error, "no sign of life could be sent");
        }
    }
}

/// Tells the hub what other processes say, for as long as the program runs.
pub async fn listen(database: Database, hub: Arc<Hub>) {
    loop {
        let end = hear(&database, &hub).await;
        hub.notified(false);
        tracing::warn!(end = %end, "news of other processes are read from the tables for now");
        sleep(RECONNECT_AFTER).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error("nothing was heard for {} s", DEADLINE.as_secs())]
    Silence,
    #[error("the connection ended")]
    Closed,
}

/// Listens until the connection ends or falls silent.
async fn hear(database: &Database, hub: &Hub) -> End {
    let (client, mut connection) = match connect_to_listen(database).await {
        Ok(both) => both,
        Err(error) => return error.into(),
    };
    let listen = format!("LISTEN {CHANNEL}");
    let mut listening = Box::pin(client.batch_execute(&listen));
    let mut has_begun = false;
    loop {
        tokio::select! {
            begun = &mut listening, if !has_begun => match begun {
                Ok(()) => has_begun = true,
                Err(error) => return DbError::from(error).into(),
            },
            heard = timeout(DEADLINE, poll_fn(|context| connection.poll_message(context))) => match heard {
                Err(_) => return End::Silence,
                Ok(None) => return End::Closed,
                Ok(Some(Err(error))) => return DbError::from(error).into(),
                Ok(Some(Ok(AsyncMessage::Notification(said)))) => {
                    hub.notified(true);
                    for told in parse(said.payload()) {
                        tell(hub, told);
                    }
                }
                // A notice is a word too.
                Ok(Some(Ok(_))) => {}
            }
        }
    }
}

fn tell(hub: &Hub, told: Told) {
    match Status::from_str(&told.status) {
        Ok(status) => hub.hear(&OrderNews {
            order: told.order_id,
            event_id: told.event_id,
            user_id: told.user_id,
            status,
        }),
        // Of a newer program on the same database; its own sockets know it.
        Err(error) => tracing::debug!(error = %error, "news of an order that cannot be told here"),
    }
}

impl Told {
    fn of(news: &OrderNews) -> Self {
        Self {
            order_id: news.order,
            event_id: news.event_id.clone(),
            user_id: news.user_id.clone(),
            status: news.status.as_str().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(number: u128) -> OrderNews {
        OrderNews {
            order: Uuid::from_u128(number),
            event_id: "e1".into(),
            user_id: "ann".into(),
            status: Status::Paid,
        }
    }

    #[test]
    fn news_keep_their_order_through_as_few_notifications_as_they_fit() {
        let payloads: Vec<String> =
            (0..200).map(|batch| payload(&[news(batch * 2), news(batch * 2 + 1)])).collect();
        let chunks = chunks(&payloads.iter().map(String::as_str).collect::<Vec<_>>());
        let bytes: usize = payloads.iter().map(String::len).sum();
        assert!(chunks.iter().all(|chunk| chunk.len() <= MAX_PAYLOAD_BYTES));
        assert!(chunks.len() <= bytes / 7000, "{} chunks of {bytes} bytes", chunks.len());
        let told: Vec<u128> =
            chunks.iter().flat_map(|chunk| parse(chunk)).map(|told| told.order_id.as_u128()).collect();
        assert_eq!(told, (0..400).collect::<Vec<_>>());
    }

    #[test]
    fn a_payload_that_cannot_be_read_holds_nothing_up() {
        assert_eq!(chunks(&["nonsense", BEAT, &payload(&[news(7)])]).len(), 1);
        assert!(chunks(&[]).is_empty());
    }
}
