//! The visitors of one trial: those who stay inside, those who wait, those who still come. A load balancer in front
//! takes edges out that say they are not ready.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crowd::args::{Mix, Share, Target};
use crowd::clock::Clock;
use crowd::journal::Journal;
use crowd::meter::Meter;
use crowd::plan::{Person, Role};
use crowd::stop::{Phase, Stop};
use crowd::story::Story;
use crowd::world::{Edge, World};
use crowd::{bot, visitor};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::fleet::Fleet;
use crate::fleet::config::ROOM;
use crate::http::is_ok;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(crate) struct Crew {
    pub world: Arc<World>,
    people: Arc<Mutex<JoinSet<Story>>>,
    next: Arc<AtomicU64>,
    seed: u64,
    helpers: Vec<JoinHandle<()>>,
}

/// A health check of the load balancer, and its patience.
const CHECK_EVERY: Duration = Duration::from_millis(250);
const CHECK_PATIENCE: Duration = Duration::from_secs(1);

/// Who comes to wait: mostly straight, some with habits that have always been where queues break.
const WAITERS: Mix = Mix {
    bots: Share(0.0),
    leave: Share(0.01),
    dropoff: Share(0.02),
    refresh: Share(0.03),
    no_show: Share(0.02),
    double_click: Share(0.05),
    polling: Share(0.04),
    stay: Share(0.0),
};

/// Who comes to stay inside.
const REGULARS: Mix = Mix {
    leave: Share(0.0),
    dropoff: Share(0.0),
    refresh: Share(0.0),
    no_show: Share(0.0),
    polling: Share(0.0),
    stay: Share(1.0),
    ..WAITERS
};

impl Crew {
    /// `journal`: where to write every instant, if anywhere.
    pub(crate) fn gather(fleet: &Fleet, seed: u64, journal: Option<&Path>) -> Result<Self, Trouble> {
        let edge = |port: u16| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            Edge::new(Target::from(address), address)
        };
        let edges: Vec<Edge> = fleet.edges.iter().map(|door| edge(door.port)).collect();
        let journal = match journal {
            // The writer ends with the world that holds the journal.
            Some(file) => Journal::open(file).map_err(Trouble::io(file.display().to_string()))?.0,
            None => Journal::default(),
        };
        let Ok(room) = ROOM.parse() else {
            return Err(Trouble::Refused { command: "a room's name".into(), answer: ROOM.into() });
        };
        let world = World {
            edges,
            room,
            clock: Clock::start(),
            stop: Stop::default(),
            meter: Meter::default(),
            journal,
            event: OnceLock::from("e1".to_owned()),
        };
        let mut crew = Self {
            world: Arc::new(world),
            people: Arc::default(),
            next: Arc::default(),
            seed,
            helpers: Vec::new(),
        };
        for (door, edge) in fleet.edges.iter().zip(&crew.world.edges) {
            crew.helpers.push(tokio::spawn(balance(edge.clone(), door.operator)));
        }
        Ok(crew)
    }

    /// People who get in and stay.
    pub(crate) async fn settle_in(&self, people: u64, per_second: f64) {
        self.send(people, per_second, &REGULARS).await;
    }

    /// People who queue.
    pub(crate) async fn line_up(&self, people: u64, per_second: f64) {
        self.send(people, per_second, &WAITERS).await;
    }

    async fn send(&self, people: u64, per_second: f64, mix: &Mix) {
        self.sender(mix.clone()).send(people, per_second).await;
    }

    /// Somebody new comes now and then, until the line is emptied.
    pub(crate) fn trickle(&mut self, per_second: f64) {
        let sender = self.sender(WAITERS);
        let stop = self.world.stop.clone();
        self.helpers.push(tokio::spawn(async move {
            tokio::select! {
                () = sender.send(u64::MAX, per_second) => {}
                () = stop.reached(Phase::Emptying) => {}
            }
        }));
    }

    fn sender(&self, mix: Mix) -> Sender {
        Sender {
            world: Arc::clone(&self.world),
            people: Arc::clone(&self.people),
            next: Arc::clone(&self.next),
            seed: self.seed,
            mix,
        }
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.world.meter
    }

    pub(crate) fn sockets(&self) -> u64 {
        self.meter().sockets.load(Relaxed).unsigned_abs()
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.meter().waiting.load(Relaxed).unsigned_abs()
    }

    pub(crate) fn inside(&self) -> u64 {
        self.meter().shopping.load(Relaxed).unsigned_abs()
    }

    /// Ends everybody where they stand and hears what they saw.
    pub(crate) async fn stories(self) -> Vec<Story> {
        self.world.stop.advance(Phase::Over);
        let mut people = std::mem::take(&mut *self.people.lock().unwrap_or_else(PoisonError::into_inner));
        let mut stories = Vec::new();
        while let Some(story) = people.join_next().await {
            stories.extend(story.ok());
        }
        stories
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.helpers.iter().for_each(JoinHandle::abort);
    }
}

/// Sends people of one kind.
struct Sender {
    world: Arc<World>,
    people: Arc<Mutex<JoinSet<Story>>>,
    next: Arc<AtomicU64>,
    seed: u64,
    mix: Mix,
}

impl Sender {
    async fn send(&self, people: u64, per_second: f64) {
        let started = Instant::now();
        for nth in 0..people {
            sleep_until(started + Duration::from_secs_f64(nth as f64 / per_second)).await;
            let id = self.next.fetch_add(1, Relaxed);
            let person = Person::new(id, self.seed, &self.mix, true);
            let life = life(Arc::clone(&self.world), person);
            self.people.lock().unwrap_or_else(PoisonError::into_inner).spawn(life);
        }
    }
}

async fn life(world: Arc<World>, person: Person) -> Story {
    match person.role {
        Role::Visitor(habits) => visitor::live(world, person, habits).await,
        Role::Bot => bot::attack(world, person).await,
    }
}

async fn balance(edge: Edge, operator: u16) {
    loop {
        let ready = timeout(CHECK_PATIENCE, is_ok(operator, "/readyz")).await.unwrap_or(false);
        edge.rotate(ready);
        sleep(CHECK_EVERY).await;
    }
}
