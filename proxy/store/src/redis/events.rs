//! The connections that hear what the scripts publish, one to each server that has a room. They come back by
//! themselves; what was missed meanwhile shows as a gap in the numbers and is read back from `ticks` by whoever
//! listens.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult, Value};
use room::queue::Event;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::address::{DIAL, Kind};
use super::directory::{Directory, Map};
use super::random::jittered;
use super::server::Server;
use crate::EVENT_BACKLOG;

/// How often a connection is asked whether it lives. With [`PATIENCE`]: a half-open one is noticed in 4 s.
const ASK_EVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(2);
/// News of a connection that wait to be read.
const BACKLOG: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Events {
    rooms: Arc<Rooms>,
    task: AbortHandle,
}

/// Who listens, by channel.
#[derive(Default)]
struct Rooms {
    senders: Mutex<HashMap<String, broadcast::Sender<Arc<Event>>>>,
    /// Changes when a channel is new.
    changed: watch::Sender<()>,
}

impl Events {
    pub(super) fn spawn(directory: Arc<Directory>) -> Self {
        let rooms = Arc::<Rooms>::default();
        let task = tokio::spawn(keep_ears(directory, Arc::clone(&rooms))).abort_handle();
        Self { rooms, task }
    }

    pub(super) fn listen(&self, channel: String) -> broadcast::Receiver<Arc<Event>> {
        let new = || broadcast::Sender::new(EVENT_BACKLOG);
        let receiver = self.rooms.senders().entry(channel).or_insert_with(new).subscribe();
        self.rooms.changed.send_replace(());
        receiver
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rooms {
    fn senders(&self) -> MutexGuard<'_, HashMap<String, broadcast::Sender<Arc<Event>>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, channel: &str, payload: &[u8]) {
        let event = match serde_json::from_slice::<Event>(payload) {
            Ok(event) => Arc::new(event),
            Err(error) => {
                tracing::warn!(channel, %error, "an event could not be read");
                return;
            }
        };
        if let Some(sender) = self.senders().get(channel) {
            // Nobody listening is no error.
            let _ = sender.send(event);
        }
    }
}

/// Has an ear at each server that has a room somebody listens to.
async fn keep_ears(directory: Arc<Directory>, rooms: Arc<Rooms>) {
    let (mut map, mut changed) = (directory.watch(), rooms.changed.subscribe());
    let mut ears = BTreeMap::<String, Attached>::new();
    loop {
        let wanted = by_server(&map.borrow_and_update(), &rooms);
        ears.retain(|address, _| wanted.contains_key(address));
        for (address, (server, channels)) in wanted {
            let ear = ears.entry(address).or_insert_with(|| Attached::new(server, &directory, &rooms));
            ear.channels.send_if_modified(|known| {
                let is_news = *known != channels;
                *known = channels;
                is_news
            });
        }
        tokio::select! {
            outcome = map.changed() => if outcome.is_err() { return },
            outcome = changed.changed() => if outcome.is_err() { return },
        }
    }
}

fn by_server(map: &Map, rooms: &Rooms) -> BTreeMap<String, (Arc<Server>, BTreeSet<String>)> {
    let mut wanted = BTreeMap::new();
    for channel in rooms.senders().keys() {
        if let Some(server) = map.server(channel) {
            let entry = wanted.entry(server.address.clone());
            let (_, channels) = entry.or_insert_with(|| (Arc::clone(server), BTreeSet::new()));
            channels.insert(channel.clone());
        }
    }
    wanted
}

/// An ear at work; it ends with the value.
struct Attached {
    channels: watch::Sender<BTreeSet<String>>,
    task: AbortHandle,
}

impl Attached {
    fn new(server: Arc<Server>, directory: &Arc<Directory>, rooms: &Arc<Rooms>) -> Self {
        let channels = watch::Sender::default();
        let ear = Ear {
            server,
            directory: Arc::clone(directory),
            rooms: Arc::clone(rooms),
            channels: channels.subscribe(),
        };
        Self { channels, task: tokio::spawn(ear.listen()).abort_handle() }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a connection tells of itself.
enum News {
    /// It was cut.
    Cut,
    /// The server no longer has a channel's room.
    Moved,
}

struct Ear {
    server: Arc<Server>,
    directory: Arc<Directory>,
    rooms: Arc<Rooms>,
    channels: watch::Receiver<BTreeSet<String>>,
}

/// A connection that hears.
struct Line {
    connection: MultiplexedConnection,
    news: mpsc::Receiver<News>,
    /// The channels it is subscribed to.
    heard: BTreeSet<String>,
}

impl Ear {
    async fn listen(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.tune_in().await {
                Ok(line) => {
                    pause = FIRST_PAUSE;
                    self.attend(line).await
                }
                Err(error) => error,
            };
            tracing::warn!(store = self.server.address, %error, "no events are heard");
            // Perhaps another server has them now.
            self.directory.look_again();
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A connection that has answered and is subscribed: a busy server lets people in and tells them nothing.
    async fn tune_in(&mut self) -> RedisResult<Line> {
        let (sender, news) = mpsc::channel(BACKLOG);
        let connection = timeout(DIAL, self.open(sender)).await.unwrap_or_else(|_| Err(silent()))?;
        let mut line = Line { connection, news, heard: BTreeSet::new() };
        self.ask(&mut line).await?;
        Ok(line)
    }

    async fn open(&self, news: mpsc::Sender<News>) -> RedisResult<MultiplexedConnection> {
        let rooms = Arc::clone(&self.rooms);
        let push = move |push: PushInfo| match (push.kind, push.data.as_slice()) {
            (PushKind::Message | PushKind::SMessage, [channel, Value::BulkString(payload)]) => {
                rooms.deliver(&text(channel), payload);
                Ok(())
            }
            (PushKind::SUnsubscribe, _) => news.try_send(News::Moved),
            (PushKind::Disconnection, _) => news.try_send(News::Cut),
            _ => Ok(()),
        };
        let servers = self.directory.config();
        let client = servers.client(self.server.at(), ProtocolVersion::RESP3)?;
        let config = servers.config().set_push_sender(push).set_response_timeout(Some(PATIENCE));
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Looks after a connection until it is lost.
    async fn attend(&mut self, mut line: Line) -> RedisError {
        let mut alarm = interval_at(Instant::now() + ASK_EVERY, ASK_EVERY);
        alarm.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let outcome = tokio::select! {
                told = line.news.recv() => Err(match told {
                    Some(News::Moved) => moved(),
                    Some(News::Cut) | None => lost(),
                }),
                changed = self.channels.changed() => match changed {
                    Ok(()) => self.subscribe(&mut line).await,
                    Err(_) => Err(lost()),
                },
                _ = alarm.tick() => self.ask(&mut line).await,
            };
            if let Err(error) = outcome {
                return error;
            }
        }
    }

    /// Asks whether the connection lives: a half-open one says nothing by itself.
    async fn ask(&mut self, line: &mut Line) -> RedisResult<()> {
        redis::cmd("PING").exec_async(&mut line.connection).await?;
        self.subscribe(line).await
    }

    async fn subscribe(&mut self, line: &mut Line) -> RedisResult<()> {
        let channels = self.channels.borrow_and_update().clone();
        for channel in channels.difference(&line.heard.clone()) {
            self.command(channel).exec_async(&mut line.connection).await?;
            line.heard.insert(channel.clone());
        }
        Ok(())
    }

    /// A cluster carries a message to one shard only.
    fn command(&self, channel: &str) -> Cmd {
        let verb = match self.directory.config().kind {
            Kind::Cluster => "SSUBSCRIBE",
            Kind::Single | Kind::Sentinel { .. } => "SUBSCRIBE",
        };
        let mut command = redis::cmd(verb);
        command.arg(channel);
        command
    }
}

fn lost() -> RedisError {
    (ErrorKind::Io, "the connection is lost").into()
}

fn silent() -> RedisError {
    (ErrorKind::Io, "no connection came up in time").into()
}

fn moved() -> RedisError {
    (ErrorKind::Io, "a room moved to another server").into()
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        _ => String::new(),
    }
}
