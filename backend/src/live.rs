//! Live numbers for open pages: who listens to what, and the feed that reads stock once for all of them.

mod mailbox;
mod socket;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

pub use mailbox::{Mailbox, Message};
pub use socket::converse;

use crate::db::orders::OrderNews;
use crate::db::{Db, DbError};
use crate::metrics;
use crate::sale::Stock;

/// Stock is read this often for each event that somebody watches, whatever the number of watchers.
const STOCK_EVERY: Duration = Duration::from_millis(250);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Orders of watching users are read each so many stock readings: news of other processes arrive this way.
const ORDERS_EACH: u32 = 4;
/// Users in one reading of orders.
const USERS_AT_ONCE: usize = 1000;
/// The latest orders of one user that are told.
const ORDERS_A_USER: u32 = 16;

/// All sockets of this process.
#[derive(Debug)]
pub struct Hub {
    max_sockets: usize,
    send_buffer: usize,
    rooms: Mutex<Rooms>,
    closing: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Rooms {
    next_id: u64,
    open: usize,
    by_event: HashMap<String, Room>,
}

/// The sockets of one event. No entry is ever empty.
#[derive(Debug, Default)]
struct Room {
    mailboxes: HashMap<u64, Arc<Mailbox>>,
    /// A user has a socket for each tab.
    of_user: HashMap<String, HashMap<u64, Arc<Mailbox>>>,
}

/// A place among the sockets; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    hub: Arc<Hub>,
    event_id: String,
    id: u64,
    mailbox: Arc<Mailbox>,
    closing: watch::Receiver<bool>,
}

impl Hub {
    pub fn new(max_sockets: usize, send_buffer: usize) -> Self {
        let closing = watch::Sender::new(false);
        Self { max_sockets, send_buffer, rooms: Mutex::default(), closing }
    }

    /// Takes a seat, unless all are taken.
    pub fn join(self: &Arc<Self>, event_id: &str, user_id: Option<String>, stock: Stock) -> Option<Seat> {
        let mailbox = Arc::new(Mailbox::new(event_id.into(), user_id, stock, self.send_buffer));
        let mut rooms = self.rooms();
        if rooms.open >= self.max_sockets {
            return None;
        }
        rooms.open += 1;
        rooms.next_id += 1;
        let id = rooms.next_id;
        rooms.by_event.entry(event_id.into()).or_default().insert(id, &mailbox);
        drop(rooms);
        metrics::socket_opened();
        let closing = self.closing.subscribe();
        Some(Seat { hub: Arc::clone(self), event_id: event_id.into(), id, mailbox, closing })
    }

    /// Tells the sockets of an order's owner where it stands.
    pub fn tell(&self, news: &OrderNews) {
        let rooms = self.rooms();
        let own = rooms.by_event.get(&news.event_id).and_then(|room| room.of_user.get(&news.user_id));
        for mailbox in own.into_iter().flat_map(HashMap::values) {
            mailbox.put_order(news.order, news.status);
        }
    }

    /// Says goodbye to all sockets, which then close by themselves.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Completes when no socket is left.
    pub async fn closed(&self) {
        self.closing.closed().await;
    }

    /// Feeds the sockets for as long as the program runs. Without sockets it reads nothing.
    pub async fn feed(&self, db: &Db) {
        let mut ticks = interval(STOCK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0_u32;
        loop {
            ticks.tick().await;
            round = round.wrapping_add(1);
            let read = async {
                self.read_stock(db).await?;
                if round.is_multiple_of(ORDERS_EACH) { self.read_orders(db).await } else { Ok(()) }
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
            if let Some(room) = self.rooms().by_event.get(&event) {
                for mailbox in room.mailboxes.values() {
                    mailbox.put_stock(stock);
                }
            }
        }
        Ok(())
    }

    async fn read_orders(&self, db: &Db) -> Result<(), DbError> {
        for (event, users) in self.watching_users() {
            for some in users.chunks(USERS_AT_ONCE) {
                for news in db.order_news(&event, some, ORDERS_A_USER).await? {
                    self.tell(&news);
                }
            }
        }
        Ok(())
    }

    fn watching_users(&self) -> Vec<(String, Vec<String>)> {
        let rooms = self.rooms();
        let users = |room: &Room| room.of_user.keys().cloned().collect();
        rooms.by_event.iter().map(|(event, room)| (event.clone(), users(room))).collect()
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn insert(&mut self, id: u64, mailbox: &Arc<Mailbox>) {
        self.mailboxes.insert(id, Arc::clone(mailbox));
        if let Some(user) = mailbox.user_id() {
            self.of_user.entry(user.into()).or_default().insert(id, Arc::clone(mailbox));
        }
    }

    fn remove(&mut self, id: u64, user: Option<&str>) {
        self.mailboxes.remove(&id);
        let Some(user) = user else { return };
        if let Some(own) = self.of_user.get_mut(user) {
            own.remove(&id);
            if own.is_empty() {
                self.of_user.remove(user);
            }
        }
    }
}

impl Seat {
    /// Completes when the program stops.
    async fn closing(&self) {
        let mut closing = self.closing.clone();
        let _hub_gone = closing.wait_for(|closing| *closing).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut rooms = self.hub.rooms();
        rooms.open = rooms.open.saturating_sub(1);
        if let Some(room) = rooms.by_event.get_mut(&self.event_id) {
            room.remove(self.id, self.mailbox.user_id());
            if room.mailboxes.is_empty() {
                rooms.by_event.remove(&self.event_id);
            }
        }
        drop(rooms);
        metrics::socket_closed();
    }
}
