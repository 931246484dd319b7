//! Changes of seat maps for open pages, as server-sent events.
//!
//! Changes of an event have numbers without gaps, given under its lock. One reader a process follows them and encodes
//! each once; a listener that was away, or is too slow, reads what it missed from the log, and is told to read the map
//! anew (`reset`) when the log does not go back so far.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use hyper::body::Bytes;
use serde_json::json;
use tokio::sync::{broadcast, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::db::seats::SeatChange;
use crate::db::{Db, DbError};
use crate::metrics;

const EVERY: Duration = Duration::from_millis(100);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// A comment, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Changes that wait for a slow listener; beyond that it reads the log.
const BUFFERED: usize = 256;
/// Changes of one reading.
const BATCH: u32 = 500;

/// Follows the maps that somebody watches.
#[derive(Debug, Clone)]
pub struct SeatFeed {
    channels: Arc<Mutex<HashMap<String, Channel>>>,
    closing: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Channel {
    /// The last change that was sent.
    version: i64,
    sender: broadcast::Sender<Frame>,
}

/// One change as it is sent to everybody.
#[derive(Debug, Clone)]
struct Frame {
    version: i64,
    text: Bytes,
}

/// One page.
struct Listener {
    db: Db,
    event_id: String,
    /// The last change this page has seen.
    last: i64,
    frames: broadcast::Receiver<Frame>,
    waiting: VecDeque<Bytes>,
    closing: watch::Receiver<bool>,
}

impl SeatFeed {
    pub fn new(closing: watch::Receiver<bool>) -> Self {
        Self { channels: Arc::default(), closing }
    }

    /// What happens to the seats of an event after the change `since`, or from now on.
    pub async fn follow(
        &self,
        db: &Db,
        event_id: String,
        since: Option<i64>,
    ) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + use<>, DbError> {
        let now = version(db, &event_id).await?;
        let last = since.map_or(now, |since| since.clamp(0, now));
        let mut listener = Listener {
            db: db.clone(),
            frames: self.subscribe(&event_id, last),
            event_id,
            last,
            waiting: VecDeque::new(),
            closing: self.closing.clone(),
        };
        let ready = format!("retry: 1000\nid: {last}\nevent: ready\ndata: {{\"version\":{last}}}\n\n");
        listener.waiting.push_back(ready.into());
        listener.catch_up().await?;
        Ok(unfold(listener, |mut listener| async move {
            let frame = listener.next().await?;
            metrics::message_sent("seats");
            Some((Ok(frame), listener))
        }))
    }

    /// Reads for all listeners for as long as the program runs. Without listeners it reads nothing.
    pub async fn feed(&self, db: &Db) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.read(db).await {
                tracing::warn!(error = %error, "changes of seats could not be read");
                sleep(AFTER_FAILURE).await;
            }
        }
    }

    async fn read(&self, db: &Db) -> Result<(), DbError> {
        let watched = self.watched();
        if watched.is_empty() {
            return Ok(());
        }
        let events: Vec<String> = watched.keys().cloned().collect();
        for (event, now) in db.seat_versions(&events).await? {
            let mut sent = watched.get(&event).copied().unwrap_or(now);
            while sent < now {
                let changes = db.seat_changes(&event, sent, BATCH).await?;
                // What is missing in the log is nothing that could be sent.
                sent = changes.last().map_or(now, |change| change.version);
                self.send(&event, &changes, sent);
            }
        }
        Ok(())
    }

    /// Events with listeners, and the last change that these were sent.
    fn watched(&self) -> HashMap<String, i64> {
        let mut channels = self.channels();
        channels.retain(|_, channel| channel.sender.receiver_count() > 0);
        channels.iter().map(|(event, channel)| (event.clone(), channel.version)).collect()
    }

    fn send(&self, event_id: &str, changes: &[SeatChange], sent: i64) {
        let frames: Vec<Frame> = changes.iter().map(Frame::of).collect();
        let mut channels = self.channels();
        let Some(channel) = channels.get_mut(event_id) else { return };
        channel.version = sent;
        let sender = channel.sender.clone();
        drop(channels);
        for frame in frames {
            // Without listeners nobody misses it.
            let _nobody = sender.send(frame);
        }
    }

    fn subscribe(&self, event_id: &str, last: i64) -> broadcast::Receiver<Frame> {
        let mut channels = self.channels();
        let channel = channels
            .entry(event_id.to_owned())
            .or_insert_with(|| Channel { version: last, sender: broadcast::Sender::new(BUFFERED) });
        channel.sender.subscribe()
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<String, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// The next text to send; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(text) = self.waiting.pop_front() {
                return Some(text);
            }
            tokio::select! {
                () = super::stopping(&mut self.closing) => return None,
                received = self.frames.recv() => match received {
                    Ok(frame) if frame.version <= self.last => {}
                    Ok(frame) if frame.version == self.last + 1 => {
                        self.last = frame.version;
                        return Some(frame.text);
                    }
                    // The page comes again with its `Last-Event-ID` if the log cannot be read.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => self.catch_up().await.ok()?,
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                () = sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }

    /// Puts what the log has after `last` among the waiting texts, or word that the map has to be read anew.
    async fn catch_up(&mut self) -> Result<(), DbError> {
        let now = version(&self.db, &self.event_id).await?;
        while self.last < now {
            let changes = self.db.seat_changes(&self.event_id, self.last, BATCH).await?;
            let whole =
                changes.iter().zip(self.last + 1..).all(|(change, version)| change.version == version);
            let Some(newest) = changes.last().filter(|_| whole) else {
                self.reset(now);
                return Ok(());
            };
            self.last = newest.version;
            self.waiting.extend(changes.iter().map(|change| Frame::of(change).text));
            if self.waiting.len() > BUFFERED * 8 {
                self.reset(now);
            }
        }
        Ok(())
    }

    fn reset(&mut self, now: i64) {
        self.last = now;
        self.waiting.clear();
        self.waiting.push_back(
            format!("retry: 1000\nid: {now}\nevent: reset\ndata: {{\"version\":{now}}}\n\n").into(),
        );
    }
}

impl Frame {
    fn of(change: &SeatChange) -> Self {
        let SeatChange { version, status, seats } = change;
        let data = json!({ "version": version, "status": status, "seats": seats });
        Self { version: *version, text: format!("id: {version}\nevent: seats\ndata: {data}\n\n").into() }
    }
}

async fn version(db: &Db, event_id: &str) -> Result<i64, DbError> {
    let versions = db.seat_versions(&[event_id.to_owned()]).await?;
    Ok(versions.first().map_or(0, |(_, version)| *version))
}
