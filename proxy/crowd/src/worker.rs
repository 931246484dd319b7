//! One process's share of the crowd: sends it, ends it, brings its stories home.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use room::time::Micros;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

use crate::args::RunArgs;
use crate::herd::tally::Tally;
use crate::plan::{Person, Role};
use crate::schedule::{Plan, Schedule, Shard};
use crate::stop::{Phase, Stop};
use crate::story::Story;
use crate::world::World;
use crate::{bot, herd, visitor};

/// Two sockets each stay well below the usual limit of open files.
const MOST_AT_ONCE: usize = 8_000;
/// Stories of ordinary visitors kept for the proofs; in an endless run the oldest go.
const MOST_STORIES: usize = 50_000;
/// Those in the shop may finish for this long after the end.
pub const GRACE: Duration = Duration::from_secs(8);
/// A run without an end of its own ends here.
const LONGEST: Duration = Duration::from_secs(86_400);

/// The stories of a run, bounded, and what else was counted.
#[derive(Debug, Default)]
pub struct Archive {
    pub stories: VecDeque<Story>,
    pub forgotten: u64,
    pub tally: Tally,
}

impl Archive {
    pub fn keep(&mut self, stories: impl IntoIterator<Item = Story>) {
        self.stories.extend(stories);
        while self.stories.len() > MOST_STORIES {
            self.stories.pop_front();
            self.forgotten += 1;
        }
    }
}

/// Sends this shard's share, from `began` on; comes back when the last one is done.
pub async fn work(
    args: &RunArgs,
    world: &Arc<World>,
    shard: Shard,
    began: Micros,
) -> std::io::Result<Archive> {
    let waiting = (!args.herd.herd.is_empty()).then(|| {
        let (world, args) = (Arc::clone(world), args.clone());
        spawn_blocking(move || herd::run(&world, &args, shard, began))
    });
    let mut archive = send_everybody(args, world, shard, began, waiting.is_some()).await;
    if let Some(waiting) = waiting {
        let gathered = waiting.await.map_err(std::io::Error::other)??;
        archive.stories.extend(gathered.stories);
        archive.tally = gathered.tally;
    }
    Ok(archive)
}

/// Sends all visitors, closes the run in time, comes back when the last one is done.
async fn send_everybody(
    args: &RunArgs,
    world: &Arc<World>,
    shard: Shard,
    began: Micros,
    herd: bool,
) -> Archive {
    let closing = world.stop.clone();
    let began = Instant::now() + began.since(world.clock.now());
    let lasts = args.seconds.map_or(LONGEST, Duration::from_secs);
    let timer = tokio::spawn(async move {
        sleep_until(began + lasts).await;
        closing.advance(Phase::Closing);
    });
    let mut crowd = JoinSet::new();
    let mut archive = Archive::default();
    Arrivals { args, world, shard, began }.send(&mut crowd, &mut archive).await;

    let cut = tokio::spawn(cut_after_grace(world.stop.clone()));
    while let Some(story) = crowd.join_next().await {
        archive.keep(story.ok());
    }
    if herd {
        world.stop.reached(Phase::Closing).await;
    }
    timer.abort();
    cut.abort();
    world.stop.advance(Phase::Closing);
    archive
}

async fn cut_after_grace(stop: Stop) {
    stop.reached(Phase::Closing).await;
    sleep(GRACE).await;
    stop.advance(Phase::Over);
}

struct Arrivals<'a> {
    args: &'a RunArgs,
    world: &'a Arc<World>,
    shard: Shard,
    began: Instant,
}

impl Arrivals<'_> {
    /// Until all came, or the run closes.
    async fn send(&self, crowd: &mut JoinSet<Story>, archive: &mut Archive) {
        let Self { args, world, shard, began } = *self;
        let at_once =
            if args.until_stopped { args.visitors as usize / shard.of as usize } else { MOST_AT_ONCE };
        let places = Arc::new(Semaphore::new(at_once.clamp(1, MOST_AT_ONCE)));
        for arrival in Schedule::new(self.plan(), shard) {
            let place = async {
                sleep_until(began + arrival.due).await;
                Arc::clone(&places).acquire_owned().await
            };
            let place = tokio::select! {
                place = place => place,
                () = world.stop.reached(Phase::Closing) => return,
            };
            // The semaphore is never closed.
            let Ok(place) = place else { return };
            let person = Person::new(arrival.number, args.seed, &args.mix, args.forwarded_for);
            crowd.spawn(life(Arc::clone(world), person, place));
            while let Some(story) = crowd.try_join_next() {
                archive.keep(story.ok());
            }
        }
    }

    fn plan(&self) -> Plan {
        let args = self.args;
        let people = if args.until_stopped { u64::MAX } else { u64::from(args.visitors) };
        Plan {
            waves: vec![people],
            pace: args.arrive,
            pause: Duration::ZERO,
            spread: args.spread,
            seed: args.seed,
        }
    }
}

async fn life(world: Arc<World>, person: Person, _place: OwnedSemaphorePermit) -> Story {
    match person.role {
        Role::Visitor(habits) => visitor::live(world, person, habits).await,
        Role::Bot => bot::attack(world, person).await,
    }
}
