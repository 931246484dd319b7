//! The connection that hears what the scripts publish. It comes back by itself; what was missed meanwhile shows as
//! a gap in the numbers and is read back from `ticks` by whoever listens.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult, Value};
use room::queue::Event;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::address::{DIAL, Servers};
use crate::EVENT_BACKLOG;

/// How often the connection is asked whether it lives. With [`PATIENCE`]: a half-open one is noticed in 4 s.
const ASK_EVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(2);
/// Pushes that wait to be handed on; beyond, they are dropped and read back as a gap.
const BACKLOG: usize = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(super) struct Events {
    rooms: Arc<Rooms>,
    task: AbortHandle,
}

/// Who listens, by channel.
#[derive(Default)]
struct Rooms {
    senders: Mutex<HashMap<String, broadcast::Sender<Arc<Event>>>>,
    changed: Notify,
}

impl Events {
    pub(super) fn spawn(servers: Arc<Servers>) -> Self {
        let rooms = Arc::<Rooms>::default();
        let task = tokio::spawn(keep_listening(servers, Arc::clone(&rooms))).abort_handle();
        Self { rooms, task }
    }

    pub(super) fn listen(&self, channel: String) -> broadcast::Receiver<Arc<Event>> {
        let new = || broadcast::Sender::new(EVENT_BACKLOG);
        let receiver = self.rooms.senders().entry(channel).or_insert_with(new).subscribe();
        self.rooms.changed.notify_one();
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

    fn channels(&self) -> Vec<String> {
        self.senders().keys().cloned().collect()
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

async fn keep_listening(servers: Arc<Servers>, rooms: Arc<Rooms>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let (sender, pushes) = mpsc::channel(BACKLOG);
        match timeout(DIAL, Ear::open(&servers, sender)).await {
            Ok(Ok(ear)) => {
                pause = FIRST_PAUSE;
                let error = listen(ear, pushes, &rooms).await;
                tracing::warn!(store = servers.address, %error, "lost the connection for events");
            }
            Ok(Err(error)) => tracing::warn!(store = servers.address, %error, "cannot listen for events"),
            Err(_) => tracing::warn!(store = servers.address, "no connection for events came up in time"),
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Between half and the whole of a pause, so that a fleet does not come back at one instant.
fn jittered(pause: Duration) -> Duration {
    let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    pause.mul_f64(0.5 + share / 2.0)
}

/// News about the connection itself.
enum News {
    /// The slot of this channel's room moved to another node.
    Moved(String),
    /// A connection was cut.
    Cut,
}

/// Listens until the connection is lost. Handing events on and looking after the connection go side by side: a room
/// whose shard is away must not hold up the others.
async fn listen(ear: Ear, pushes: mpsc::Receiver<PushInfo>, rooms: &Rooms) -> RedisError {
    let (sender, news) = mpsc::channel(BACKLOG);
    tokio::select! {
        error = hand_on(pushes, rooms, sender) => error,
        error = look_after(ear, news, rooms) => error,
    }
}

async fn hand_on(
    mut pushes: mpsc::Receiver<PushInfo>,
    rooms: &Rooms,
    news: mpsc::Sender<News>,
) -> RedisError {
    while let Some(push) = pushes.recv().await {
        let told = match (push.kind, push.data.as_slice()) {
            (PushKind::Message | PushKind::SMessage, [channel, Value::BulkString(payload)]) => {
                rooms.deliver(&text(channel), payload);
                Ok(())
            }
            (PushKind::SUnsubscribe, [channel, ..]) => news.try_send(News::Moved(text(channel))),
            (PushKind::Disconnection, _) => news.try_send(News::Cut),
            _ => Ok(()),
        };
        if told.is_err() {
            break;
        }
    }
    lost()
}

async fn look_after(mut ear: Ear, mut news: mpsc::Receiver<News>, rooms: &Rooms) -> RedisError {
    let mut heard = HashSet::new();
    let mut alarm = interval(ASK_EVERY);
    alarm.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let outcome = tokio::select! {
            news = news.recv() => match news {
                Some(News::Moved(channel)) => {
                    heard.remove(&channel);
                    subscribe(&mut ear, rooms, &mut heard).await
                }
                // Connected again by itself; rooms are subscribed anew at the next alarm.
                Some(News::Cut) if ear.heals() => {
                    heard.clear();
                    Ok(())
                }
                Some(News::Cut) | None => Err(lost()),
            },
            () = rooms.changed.notified() => subscribe(&mut ear, rooms, &mut heard).await,
            _ = alarm.tick() => match ask(&mut ear, &heard).await {
                Ok(()) => subscribe(&mut ear, rooms, &mut heard).await,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = outcome {
            return error;
        }
    }
}

async fn subscribe(ear: &mut Ear, rooms: &Rooms, heard: &mut HashSet<String>) -> Result<(), RedisError> {
    for channel in rooms.channels() {
        if heard.contains(&channel) {
            continue;
        }
        match in_time(ear.subscribe(&channel)).await {
            Ok(()) => {
                heard.insert(channel);
            }
            // The other rooms may be on shards that are well; this one is tried again.
            Err(error) if ear.heals() => tracing::warn!(channel, %error, "cannot listen to a room"),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Asks whether the connection lives: a half-open one says nothing by itself.
async fn ask(ear: &mut Ear, heard: &HashSet<String>) -> Result<(), RedisError> {
    match ear {
        Ear::One(connection) => {
            in_time(redis::cmd("PING").exec_async(connection)).await?;
        }
        Ear::Cluster(cluster) => {
            for channel in heard {
                let route = Route::with_key(channel, SlotAddr::Master);
                let to = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route));
                if in_time(cluster.route_command(redis::cmd("PING"), to)).await.is_err() {
                    return Err(lost());
                }
            }
        }
    }
    Ok(())
}

async fn in_time<T>(work: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(lost()))
}

fn lost() -> RedisError {
    (ErrorKind::Io, "the connection is lost").into()
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        _ => String::new(),
    }
}

/// The listening connection.
enum Ear {
    One(MultiplexedConnection),
    /// Has connections to several nodes, and replaces them by itself.
    Cluster(ClusterConnection),
}

impl Ear {
    async fn open(servers: &Servers, sender: mpsc::Sender<PushInfo>) -> RedisResult<Self> {
        let push = {
            let sender = sender.clone();
            move |push: PushInfo| sender.try_send(push)
        };
        if let Some(connection) = servers.listening(push).await? {
            return Ok(Self::One(connection));
        }
        let push = move |push: PushInfo| sender.try_send(push);
        let client = servers
            .cluster(|builder| builder.use_protocol(ProtocolVersion::RESP3).push_sender(push))?
            .ok_or_else(lost)?;
        client.get_async_connection().await.map(Self::Cluster)
    }

    fn heals(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    async fn subscribe(&mut self, channel: &str) -> RedisResult<()> {
        match self {
            Self::One(connection) => connection.subscribe(channel).await,
            Self::Cluster(cluster) => cluster.ssubscribe(channel).await,
        }
    }
}
