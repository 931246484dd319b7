//! A whole edge in the test's own process: settings from text, a store, the desk, a listener, and an origin that
//! remembers what it was asked.

mod screen;
#[allow(dead_code)] // shared with the tests of the store, which also start sentinels and clusters
#[path = "../../store/tests/it/support/servers.rs"]
mod servers;
mod visitor;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use room::ids::{NodeId, RoomName};
use room::queue::{Change, Counts};
use room::time::{Micros, as_micros};
use room::token::KeyRing;
use store::Store;
use store::memory::Memory;
use store::redis::{Redis, RedisOptions, Topology};
use tokio::sync::watch;
use vestibule::config::SettingsSource;
use vestibule::config::settings::Settings;
use vestibule::desk::Desk;
use vestibule::edge::{self, EdgeHandle, EdgeOptions, TrustedProxies};
use vestibule::hall::Hall;
use vestibule::house::House;
use vestibule::random;

use crate::rig::{DEADLINE, Origin, soon};

pub(crate) use self::screen::Screen;
pub(crate) use self::servers::RedisServer;
pub(crate) use self::visitor::Visitor;

/// What every site is signed with, so that edges of one fleet understand each other.
const KEYS: &str = r#"
[[keys]]
kid = "ticket-1"
kind = "ticket"
secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
[[keys]]
kid = "pass-1"
kind = "pass"
secret = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
"#;

/// One running edge; dropping it stops it.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) origin: Arc<Origin>,
    pub(crate) house: Arc<ArcSwap<House>>,
    store: Arc<dyn Store>,
    node: NodeId,
    /// Microseconds by which the clock of a memory store is ahead of the wall.
    ahead: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    handle: EdgeHandle,
}

impl Site {
    /// One room `e1` with these settings for every path, on a memory store.
    pub(crate) async fn open(room: &str) -> Self {
        Self::before(Origin::start().await, room).await
    }

    /// The same before an origin of the test's own.
    pub(crate) async fn before(origin: Origin, room: &str) -> Self {
        Self::with(origin, &one_room(room)).await
    }

    /// Settings as a whole; `ORIGIN` in them stands for the origin's address.
    pub(crate) async fn with(origin: Origin, text: &str) -> Self {
        let ahead = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&ahead);
        let clock =
            move || Micros::from(SystemTime::now()) + Duration::from_micros(shared.load(Ordering::Relaxed));
        let store = Arc::new(Memory::with_clock(Box::new(clock)));
        Self::on(store, ahead, Arc::new(origin), text).await
    }

    /// One edge of a fleet, by the clock of its Redis.
    pub(crate) async fn of_fleet(redis: &RedisServer, origin: &Arc<Origin>, room: &str) -> Self {
        let mut options = RedisOptions::new(Topology::Single { url: redis.url() });
        // A machine that runs many tests at once is no outage.
        options.timeout = Duration::from_secs(1);
        let store = Redis::connect(options).await.unwrap();
        Self::on(Arc::new(store), Arc::default(), Arc::clone(origin), &one_room(room)).await
    }

    /// One room `e1` with these settings, on a store of the test's own.
    pub(crate) async fn over(store: Arc<dyn Store>, room: &str) -> Self {
        Self::on(store, Arc::default(), Arc::new(Origin::start().await), &one_room(room)).await
    }

    async fn on(store: Arc<dyn Store>, ahead: Arc<AtomicU64>, origin: Arc<Origin>, text: &str) -> Self {
        let settings = settings(text, &origin);
        let node = NodeId::from_random(random::bytes());
        let house = House::build(Arc::clone(&settings), &store, node, None).unwrap();
        let house = Arc::new(ArcSwap::from_pointee(house));
        let mut options = EdgeOptions::new(edge::bind("127.0.0.1:0".parse().unwrap()).unwrap());
        options.limits.linger = Duration::ZERO;
        options.trusted_proxies = TrustedProxies::new(settings.server.trusted_proxies.clone());
        let ends = Arc::clone(&house);
        options.on_stop = Box::new(move || ends.load().bye());
        let (stop, stopped) = watch::channel(false);
        let handle = edge::serve(options, Arc::new(Desk::new(Arc::clone(&house))), stopped).unwrap();
        let address = handle.address;
        let site = Self { address, origin, house, store, node, ahead, stop, handle };
        until("every room has heard from the store", || site.house.load().is_ready()).await;
        until("the store has waited for who may know it better", || site.is_settled()).await;
        site
    }

    pub(crate) fn visitor(&self) -> Visitor {
        Visitor::new(self.address)
    }

    pub(crate) fn hall(&self) -> Arc<Hall> {
        self.hall_of("e1")
    }

    pub(crate) fn hall_of(&self, room: &str) -> Arc<Hall> {
        Arc::clone(&self.house.load().halls[&room.parse::<RoomName>().unwrap()])
    }

    /// Signs and verifies with the site's keys.
    pub(crate) fn ring(&self) -> KeyRing {
        KeyRing::new(&self.house.load().settings.keys).unwrap()
    }

    /// What this edge last heard of the room.
    pub(crate) fn counts(&self) -> Counts {
        self.hall().known().map(|known| known.counts).unwrap_or_default()
    }

    /// Whether turns are given, as far as the life of the store goes.
    pub(crate) fn is_settled(&self) -> bool {
        let halls = self.house.load().halls.clone();
        halls.values().all(|hall| {
            let until = hall.known().and_then(|known| known.settling_until);
            until.is_none_or(|until| until <= hall.now())
        })
    }

    /// The room as the store has it at this moment.
    pub(crate) async fn survey(&self) -> Counts {
        self.hall().link.survey(false).await.unwrap().counts
    }

    /// Another edge on the same memory store, with the same clock.
    pub(crate) async fn beside(&self, room: &str) -> Self {
        let (store, ahead) = (Arc::clone(&self.store), Arc::clone(&self.ahead));
        Self::on(store, ahead, Arc::clone(&self.origin), &one_room(room)).await
    }

    /// Lets the store's clock run ahead, with a tick for every second, until this edge has heard all of it.
    pub(crate) async fn pass_time(&self, span: Duration) {
        pass_time_at(&[self], span).await;
    }

    /// Lets time pass until `condition` holds: for what the edge does in its own time, after some of the store's.
    pub(crate) async fn pass_time_until(&self, what: &str, condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                self.pass_time(Duration::from_secs(1)).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon(what, wait).await;
    }

    /// The operator changes the room.
    pub(crate) async fn tune(&self, change: Change) {
        self.hall().link.tune(&change).await.unwrap();
    }

    /// New settings of room `e1`, as if the file had been saved.
    pub(crate) async fn reload(&self, room: &str) {
        self.reload_whole(&one_room(room)).await;
    }

    /// The same with settings as a whole.
    pub(crate) async fn reload_whole(&self, text: &str) {
        let settings = settings(text, &self.origin);
        let before = self.house.load_full();
        let house = House::build(settings, &self.store, self.node, Some(&before)).unwrap();
        self.house.store(Arc::new(house));
        for hall in self.house.load().halls.values() {
            hall.offer_file_values().await.unwrap();
        }
    }

    /// Stops the edge, as a deploy would, and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.send(true).unwrap();
        soon("the end of the edge", self.handle.done).await.unwrap();
    }

    /// The same, without waiting.
    pub(crate) fn begin_stop(&self) {
        self.stop.send(true).unwrap();
    }
}

/// Lets the clock that these edges share run ahead. Each of them speaks every second, as a living edge does.
pub(crate) async fn pass_time_at(edges: &[&Site], span: Duration) {
    let halls: Vec<_> = edges.iter().map(|edge| edge.hall()).collect();
    let mut left = span;
    while !left.is_zero() {
        let step = left.min(Duration::from_secs(1));
        edges[0].ahead.fetch_add(as_micros(step), Ordering::Relaxed);
        let mut seq = 0;
        for hall in &halls {
            seq = hall.link.admit().await.unwrap().head.seq;
        }
        let heard = |hall: &Arc<Hall>| hall.known().is_some_and(|known| known.head.seq >= seq);
        until("the edges heard the ticks", || halls.iter().all(heard)).await;
        left -= step;
    }
}

/// A room for one that somebody is in.
pub(crate) async fn full(room: &str) -> (Site, Visitor) {
    let site = Site::open(&format!("total_active_users = 1\n{room}")).await;
    let mut holder = site.visitor();
    assert_eq!(holder.visit("/").await.status, 200);
    assert!(holder.pass().is_some(), "the first is let in");
    (site, holder)
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(what, DEADLINE, condition).await;
}

pub(crate) async fn until_within(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let held = tokio::time::timeout(limit, wait).await;
    assert!(held.is_ok(), "not within {limit:?}: {what}");
}

fn one_room(room: &str) -> String {
    format!("[room.e1]\nupstream = [\"http://ORIGIN\"]\n{room}\n")
}

fn settings(text: &str, origin: &Origin) -> Arc<Settings> {
    let text = format!("{KEYS}{}", text.replace("ORIGIN", &origin.address.to_string()));
    let loaded = SettingsSource::text("site.toml", text).load();
    Arc::new(loaded.unwrap_or_else(|error| panic!("{error}")).settings)
}
