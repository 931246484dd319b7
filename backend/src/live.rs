//! Live numbers for open pages: who listens to what, and the feeds that read once for all of them.
//!
//! The stock of an event is one value that sockets watch: only the newest is there to be sent, encoded once. Orders
//! wait in a mailbox for each socket of their owner: none is left out. No lock is held while anything is sent.

mod mailbox;
mod message;
mod queue;
mod seats;
mod socket;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

pub use mailbox::Mailbox;
pub use message::Message;
pub use queue::{QueueState, RoomAtEdge};
pub use seats::SeatFeed;
pub use socket::converse;

use crate::db::orders::OrderNews;
use crate::db::{Db, DbError};
use crate::metrics;
use crate::sale::Stock;
use message::{Encoded, StockNews};
use queue::QueueNews;

/// Stock is read this often for each event that somebody watches, whatever the number of watchers.
const STOCK_EVERY: Duration = Duration::from_millis(250);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Orders of watching users are read each so many stock readings when no notifications of other processes arrive …
const ORDERS_EACH: u32 = 4;
/// … and each so many when they do, for the one that may have been lost.
const ORDERS_EACH_NOTIFIED: u32 = 40;
/// Users in one reading of orders.
const USERS_AT_ONCE: usize = 1000;
/// The latest orders of one user that are told.
const ORDERS_A_USER: u32 = 16;
/// News of this process that wait to be told to others; beyond that these read them from the tables.
const OUTBOUND: usize = 4096;

/// All sockets of this process.
#[derive(Debug)]
pub struct Hub {
    max_sockets: usize,
    send_buffer: usize,
    rooms: Mutex<Rooms>,
    closing: watch::Sender<bool>,
    /// Whether notifications of other processes arrive.
    notified: AtomicBool,
    outbound: mpsc::Sender<OrderNews>,
    queue: QueueNews,
}

#[derive(Debug, Default)]
struct Rooms {
    next_id: u64,
    open: usize,
    by_event: HashMap<String, Room>,
    /// Users who came since the last reading: by event, to be told where their orders stand.
    newcomers: HashMap<String, Vec<String>>,
    /// Events that sell at set hours and are closed now.
    closed: HashSet<String>,
}

/// The sockets of one event. No entry is ever empty.
#[derive(Debug)]
struct Room {
    sockets: usize,
    stock: watch::Sender<StockNews>,
    /// A user has a socket for each tab.
    of_user: HashMap<String, HashMap<u64, Arc<Mailbox>>>,
}

/// A place among the sockets; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    hub: Arc<Hub>,
    event_id: String,
    user_id: Option<String>,
    id: u64,
    mailbox: Arc<Mailbox>,
    stock: watch::Receiver<StockNews>,
    queue: watch::Receiver<Option<Encoded>>,
    closing: watch::Receiver<bool>,
}

impl Hub {
    /// The hub, and the news of this process for the others.
    pub fn new(max_sockets: usize, send_buffer: usize) -> (Self, mpsc::Receiver<OrderNews>) {
        let (outbound, news) = mpsc::channel(OUTBOUND);
        let hub = Self {
            max_sockets,
            send_buffer,
            rooms: Mutex::default(),
            closing: watch::Sender::new(false),
            notified: AtomicBool::new(false),
            outbound,
            queue: QueueNews::new(),
        };
        (hub, news)
    }

    /// Takes a seat, unless all are taken.
    pub fn join(self: &Arc<Self>, event_id: &str, user_id: Option<String>, stock: Stock) -> Option<Seat> {
        let mailbox = Arc::new(Mailbox::new(self.send_buffer));
        let mut rooms = self.rooms();
        if rooms.open >= self.max_sockets {
            return None;
        }
        rooms.open += 1;
        rooms.next_id += 1;
        let id = rooms.next_id;
        if let Some(user) = &user_id {
            rooms.newcomers.entry(event_id.into()).or_default().push(user.clone());
        }
        let hours = !rooms.closed.contains(event_id);
        let room = rooms.by_event.entry(event_id.into()).or_insert_with(|| Room::new(event_id, stock, hours));
        let stock = room.enter(id, user_id.as_deref(), &mailbox);
        drop(rooms);
        metrics::socket_opened();
        Some(Seat {
            hub: Arc::clone(self),
            event_id: event_id.into(),
            user_id,
            id,
            mailbox,
            stock,
            queue: self.queue.subscribe(),
            closing: self.closing.subscribe(),
        })
    }

    /// Tells the sockets of an order's owner where it stands, here and, soon, in other processes.
    pub fn tell(&self, news: &OrderNews) {
        self.hear(news);
        // When they are too many, the others read the tables.
        let _full = self.outbound.try_send(news.clone());
    }

    /// Tells the sockets of this process only.
    pub fn hear(&self, news: &OrderNews) {
        let own: Vec<Arc<Mailbox>> = {
            let rooms = self.rooms();
            let own = rooms.by_event.get(&news.event_id).and_then(|room| room.of_user.get(&news.user_id));
            own.into_iter().flat_map(HashMap::values).cloned().collect()
        };
        for mailbox in own {
            mailbox.put_order(news.order, news.status);
        }
    }

    /// Tells the sockets of an event that sells at set hours whether it does now.
    pub fn set_hours(&self, event_id: &str, open: bool) {
        let mut rooms = self.rooms();
        let changed =
            if open { rooms.closed.remove(event_id) } else { rooms.closed.insert(event_id.to_owned()) };
        let sender = rooms.by_event.get(event_id).map(|room| room.stock.clone());
        drop(rooms);
        if let (true, Some(sender)) = (changed, sender) {
            put(&sender, event_id, |news| (news.stock, open));
        }
    }

    fn is_empty(&self) -> bool {
        self.rooms().open == 0
    }

    /// Whether notifications of other processes arrive.
    pub fn notified(&self, arrive: bool) {
        self.notified.store(arrive, Ordering::Relaxed);
    }

    /// Says goodbye to all sockets, which then close by themselves.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Becomes true when the program stops.
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Completes when no socket is left.
    pub async fn closed(&self) {
        loop {
            if self.is_empty() {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Feeds the sockets for as long as the program runs. Without sockets it reads nothing.
    pub async fn feed(&self, db: &Db) {
        let mut ticks = interval(STOCK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut since_orders = 0_u32;
        loop {
            ticks.tick().await;
            since_orders = since_orders.saturating_add(1);
            let each = if self.notified.load(Ordering::Relaxed) { ORDERS_EACH_NOTIFIED } else { ORDERS_EACH };
            let read = async {
                self.read_stock(db).await?;
                let users = if since_orders >= each {
                    since_orders = 0;
                    self.watching_users()
                } else {
                    std::mem::take(&mut self.rooms().newcomers)
                };
                self.read_orders(db, &users).await
            };
            if let Err(error) = read.await {
                // Sockets stay open and hear nothing new until PostgreSQL is back.
                tracing::warn!(error = %error, "live numbers could not be read");
                sleep(AFTER_FAILURE).await;
            }
        }
    }

    async fn read_stock(&self, db: &Db) -> Result<(), DbError> {
        let events: Vec<String> = self.rooms().by_event.keys().cloned().collect();
        if events.is_empty() {
            return Ok(());
        }
        for (event, stock) in db.stocks(&events).await? {
            let sender = self.rooms().by_event.get(&event).map(|room| room.stock.clone());
            if let Some(sender) = sender {
                put(&sender, &event, |news| (stock, news.hours));
            }
        }
        Ok(())
    }

    async fn read_orders(&self, db: &Db, of: &HashMap<String, Vec<String>>) -> Result<(), DbError> {
        for (event, users) in of {
            for some in users.chunks(USERS_AT_ONCE) {
                for news in db.order_news(event, some, ORDERS_A_USER).await? {
                    self.hear(&news);
                }
            }
        }
        Ok(())
    }

    fn watching_users(&self) -> HashMap<String, Vec<String>> {
        let mut rooms = self.rooms();
        rooms.newcomers.clear();
        let users = |room: &Room| room.of_user.keys().cloned().collect();
        rooms.by_event.iter().map(|(event, room)| (event.clone(), users(room))).collect()
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a new stock, or other hours, in the place of what was known; wakes everybody who watches unless it is the same.
fn put(sender: &watch::Sender<StockNews>, event_id: &str, change: impl FnOnce(&StockNews) -> (Stock, bool)) {
    sender.send_if_modified(|news| {
        let (stock, hours) = change(news);
        let changed = (stock, hours) != (news.stock, news.hours);
        if changed {
            *news = StockNews::new(news.number + 1, event_id, stock, hours);
        }
        changed
    });
}

impl Room {
    fn new(event_id: &str, stock: Stock, hours: bool) -> Self {
        let stock = watch::Sender::new(StockNews::new(0, event_id, stock, hours));
        Self { sockets: 0, stock, of_user: HashMap::new() }
    }

    fn enter(&mut self, id: u64, user: Option<&str>, mailbox: &Arc<Mailbox>) -> watch::Receiver<StockNews> {
        self.sockets += 1;
        if let Some(user) = user {
            self.of_user.entry(user.into()).or_default().insert(id, Arc::clone(mailbox));
        }
        let mut stock = self.stock.subscribe();
        // The first thing a socket says is how the sale stands.
        stock.mark_changed();
        stock
    }

    fn leave(&mut self, id: u64, user: Option<&str>) {
        self.sockets = self.sockets.saturating_sub(1);
        let Some(user) = user else { return };
        if let Some(own) = self.of_user.get_mut(user) {
            own.remove(&id);
            if own.is_empty() {
                self.of_user.remove(user);
            }
        }
    }
}

/// Completes when the program stops.
async fn stopping(closing: &mut watch::Receiver<bool>) {
    let _hub_gone = closing.wait_for(|closing| *closing).await;
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut rooms = self.hub.rooms();
        rooms.open = rooms.open.saturating_sub(1);
        if let Some(room) = rooms.by_event.get_mut(&self.event_id) {
            room.leave(self.id, self.user_id.as_deref());
            if room.sockets == 0 {
                rooms.by_event.remove(&self.event_id);
            }
        }
        drop(rooms);
        metrics::socket_closed();
    }
}
