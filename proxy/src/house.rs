//! The running generation of everything that settings make: keys, rooms, routes. Replaced as a whole on a reload;
//! rooms that stay keep their queues, clocks and waiters.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use room::ids::{NodeId, RoomName};
use room::time::Micros;
use room::token::{KeyError, KeyRing};
use store::Store;
use tokio::sync::watch;

use crate::config::settings::{Settings, UpstreamUrl};
use crate::edge::upstream::Upstream;
use crate::hall::Hall;
use crate::limits::Limiter;
use crate::passes::PassCache;
use crate::ticker;

/// One generation. A request keeps the one it came with.
pub struct House {
    pub settings: Arc<Settings>,
    pub ring: KeyRing,
    pub passes: PassCache,
    pub halls: BTreeMap<RoomName, Arc<Hall>>,
    pub default_upstream: Option<Arc<Upstream>>,
    pub limiter: Arc<Limiter>,
    /// Stops the ticker of each room that is taken down.
    stops: BTreeMap<RoomName, Arc<watch::Sender<bool>>>,
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.halls.values()).finish()
    }
}

impl House {
    /// Builds what `settings` ask for and starts the tickers of new rooms. Rooms that `before` has are taken over.
    pub fn build(
        settings: Arc<Settings>,
        store: &Arc<dyn Store>,
        node: NodeId,
        before: Option<&Self>,
    ) -> Result<Self, KeyError> {
        let ring = KeyRing::new(&settings.keys)?;
        let (mut halls, mut stops) = (BTreeMap::new(), BTreeMap::new());
        for (name, room) in &settings.rooms {
            let upstream = reuse_upstream(before, name, &room.upstream);
            let kept = before.and_then(|house| Some((house.halls.get(name)?, house.stops.get(name)?)));
            let (hall, stop) = if let Some((hall, stop)) = kept {
                hall.configure(Arc::clone(room), upstream);
                (Arc::clone(hall), Arc::clone(stop))
            } else {
                let queue_path = &settings.server.queue_path;
                let hall = Hall::new(Arc::clone(room), upstream, Arc::clone(store), node, queue_path);
                let (stop, stopped) = watch::channel(false);
                tokio::spawn(ticker::run(Arc::clone(&hall), stopped));
                (hall, Arc::new(stop))
            };
            halls.insert(name.clone(), hall);
            stops.insert(name.clone(), stop);
        }
        let default = &settings.default_upstream;
        let house = Self {
            default_upstream: (!default.is_empty()).then(|| Upstream::new(default)),
            limiter: before.map_or_else(Arc::default, |house| Arc::clone(&house.limiter)),
            passes: PassCache::default(),
            settings,
            ring,
            halls,
            stops,
        };
        if let Some(before) = before {
            before.take_down(&house);
        }
        Ok(house)
    }

    /// The room that a request belongs to.
    pub fn hall_at(&self, host: &str, path: &str) -> Option<&Arc<Hall>> {
        self.halls.get(&self.settings.routes.find(host, path)?.name)
    }

    /// The edge's own call that a path names: what follows the reserved prefix.
    pub fn reserved<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.settings.server.queue_path.as_str())?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
    }

    /// The store's clock where no room is known yet: any room's tells whether a token has expired.
    pub fn now(&self) -> Micros {
        self.halls.values().next().map_or_else(|| SystemTime::now().into(), |hall| hall.now())
    }

    /// The same, but it never goes back: for limits.
    pub fn steady(&self) -> Micros {
        self.halls.values().next().map_or_else(|| SystemTime::now().into(), |hall| hall.clock.steady())
    }

    /// Says goodbye to all who wait here, each to come back at a moment of its own.
    pub fn bye(&self) {
        self.halls.values().for_each(|hall| bye(hall));
    }

    /// Whether every room has heard from the store and still does.
    pub fn is_ready(&self) -> bool {
        self.halls.values().all(|hall| hall.known().is_some() && !hall.store_is_lost())
    }

    fn take_down(&self, next: &Self) {
        for (name, stop) in &self.stops {
            if !next.halls.contains_key(name) {
                // The ticker may have ended by itself.
                let _ = stop.send(true);
                self.halls.get(name).iter().for_each(|hall| bye(hall));
            }
        }
    }
}

fn bye(hall: &Hall) {
    let spread = Duration::from_secs(5);
    hall.healing.leave();
    hall.hub.bye(|| Duration::from_millis(500) + crate::random::below(spread));
}

/// The same servers keep their connections and what is known of their health.
fn reuse_upstream(before: Option<&House>, room: &RoomName, urls: &[UpstreamUrl]) -> Arc<Upstream> {
    let kept = before.and_then(|house| house.halls.get(room)).filter(|hall| hall.settings().upstream == urls);
    kept.map_or_else(|| Upstream::new(urls), |hall| hall.upstream())
}
