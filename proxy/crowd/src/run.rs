//! One run: find the edges, send the crowd, end it, gather the stories, prove.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::args::{RunArgs, Target};
use crate::bot;
use crate::client::Client;
use crate::clock::Clock;
use crate::journal::{Journal, Line};
use crate::meter::Meter;
use crate::plan::{Person, Role};
use crate::progress;
use crate::proof::{Findings, Promises, facts};
use crate::rates::{self, Rates};
use crate::stop::{Phase, Stop};
use crate::story::Story;
use crate::summary::Summary;
use crate::visitor::{self, Inspection, Stock};
use crate::world::{CONNECT_DEADLINE, Edge, World};

/// Why a run could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{authority} can't be reached: {source}; is the edge running there?")]
    Unreachable { authority: String, source: std::io::Error },
    #[error("{authority} is not an address: {source}")]
    Unknown { authority: String, source: std::io::Error },
    #[error("the log {0} can't be written: {1}")]
    Log(PathBuf, #[source] std::io::Error),
}

/// Two sockets each stay well below the usual limit of open files.
const MOST_AT_ONCE: usize = 8_000;
/// Stories kept for the proofs; in an endless run the oldest go.
const MOST_STORIES: usize = 50_000;
/// Those in the shop may finish for this long after the end.
const GRACE: Duration = Duration::from_secs(8);
/// A run without an end of its own ends here.
const LONGEST: Duration = Duration::from_secs(86_400);
/// The crowd waits this long for the inspector's first reading.
const FIRST_READING: Duration = Duration::from_secs(3);

/// Sends the crowd and proves what happened.
pub async fn run(args: &RunArgs, stop: Stop) -> Result<Summary, RunError> {
    let (journal, log) = open_log(args)?;
    let world = Arc::new(world(args, stop, journal).await?);
    let rates = Arc::new(Mutex::new(first_rates(args, &world).await));
    let watching = args
        .limits
        .rate_per_minute
        .is_none()
        .then(|| tokio::spawn(rates::watch(world.clone(), rates.clone())));
    let progress = tokio::spawn(progress::show(Arc::clone(&world), Arc::clone(&rates)));

    let mut inspector = Inspector::send(&world, args);
    let before = inspector.first_reading().await;
    let started = Instant::now();
    let mut archive = send_everybody(args, &world).await;
    let took = started.elapsed();
    let inspection = inspector.finish(&world).await;

    progress.abort();
    watching.inspect(JoinHandle::abort);
    let after = inspection.as_ref().and_then(|inspection| inspection.after);
    archive.keep(inspection.map(|inspection| inspection.story));
    let rates = rates.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let promises = promises(args, rates, before, after);
    let stories: Vec<&Story> = archive.stories.iter().collect();
    log_facts(&world, &stories, &promises);
    let summary = Summary::new(&stories, Findings::prove(&stories, &promises), &promises, &world, took)
        .with_forgotten(archive.forgotten);
    drop(world);
    if let Some(log) = log {
        flush(log, args).await?;
    }
    Ok(summary)
}

fn promises(args: &RunArgs, rates: Rates, before: Option<Stock>, after: Option<Stock>) -> Promises {
    Promises {
        rates,
        burst: args.limits.burst,
        active_limit: args.limits.active_limit,
        claim_window: args.limits.claim_window,
        before,
        after,
        others: args.until_stopped,
    }
}

/// What the proofs go by, for whoever wants to follow an accusation.
fn log_facts(world: &World, stories: &[&Story], promises: &Promises) {
    if !world.journal.is_open() {
        return;
    }
    let (facts, _) = facts::establish(stories, promises.claim_window);
    for person in &facts {
        world.journal.write(&Line {
            at: world.clock.now(),
            visitor: person.id,
            event: "facts",
            detail: person,
        });
    }
}

type Log = JoinHandle<std::io::Result<()>>;

fn open_log(args: &RunArgs) -> Result<(Journal, Option<Log>), RunError> {
    let Some(path) = &args.log else {
        return Ok((Journal::default(), None));
    };
    let (journal, log) = Journal::open(path).map_err(|error| RunError::Log(path.clone(), error))?;
    Ok((journal, Some(log)))
}

async fn flush(mut log: Log, args: &RunArgs) -> Result<(), RunError> {
    // Tasks that were cut may hold the journal for a moment longer.
    let written = timeout(Duration::from_secs(5), &mut log).await;
    match (written, &args.log) {
        (Ok(Ok(Err(error))), Some(path)) => Err(RunError::Log(path.clone(), error)),
        _ => Ok(()),
    }
}

async fn world(args: &RunArgs, stop: Stop, journal: Journal) -> Result<World, RunError> {
    let mut edges = Vec::new();
    for target in &args.target {
        edges.push(reach(target).await?);
    }
    let event = args.event.clone().map_or_else(OnceLock::new, OnceLock::from);
    let room = args.room.clone();
    Ok(World { edges, room, clock: Clock::start(), stop, meter: Meter::default(), journal, event })
}

/// Looks a target up, and sees that somebody listens there.
pub(crate) async fn reach(target: &Target) -> Result<Edge, RunError> {
    let authority = || target.authority.clone();
    let unknown = |source| RunError::Unknown { authority: authority(), source };
    let mut addresses = lookup_host(&target.authority).await.map_err(unknown)?;
    let address = addresses.next().ok_or_else(|| unknown(std::io::ErrorKind::NotFound.into()))?;
    let unreachable = |source| RunError::Unreachable { authority: authority(), source };
    let connected = timeout(CONNECT_DEADLINE, TcpStream::connect(address)).await;
    connected.map_err(|_| unreachable(std::io::ErrorKind::TimedOut.into()))?.map_err(unreachable)?;
    Ok(Edge::new(target.clone(), address))
}

async fn first_rates(args: &RunArgs, world: &Arc<World>) -> Rates {
    if let Some(rate) = args.limits.rate_per_minute {
        return Rates::constant(rate);
    }
    let mut rates = Rates::default();
    if let Some(room) = rates::public_state(&mut Client::new(Arc::clone(world), 0, None)).await {
        rates.observe(world.clock.now(), room.rate_per_minute);
    }
    rates
}

/// The inspector while it is on its way.
struct Inspector {
    task: JoinHandle<Inspection>,
    before: oneshot::Receiver<Stock>,
    finish: watch::Sender<bool>,
}

impl Inspector {
    fn send(world: &Arc<World>, args: &RunArgs) -> Self {
        let (told, before) = oneshot::channel();
        let (finish, finished) = watch::channel(false);
        let person = Person::new(u64::MAX, args.seed, &args.mix, args.forwarded_for);
        let task = tokio::spawn(visitor::inspect(Arc::clone(world), person, told, finished));
        Self { task, before, finish }
    }

    /// Once the crowd buys, a first reading would come too late.
    async fn first_reading(&mut self) -> Option<Stock> {
        timeout(FIRST_READING, &mut self.before).await.ok()?.ok()
    }

    async fn finish(self, world: &World) -> Option<Inspection> {
        // An inspector that is already gone has nothing to finish.
        let _ = self.finish.send(true);
        let inspection = timeout(GRACE * 2, self.task).await;
        world.stop.advance(Phase::Over);
        inspection.ok()?.ok()
    }
}

/// The stories of a run, bounded.
#[derive(Debug, Default)]
struct Archive {
    stories: VecDeque<Story>,
    forgotten: u64,
}

impl Archive {
    fn keep(&mut self, stories: impl IntoIterator<Item = Story>) {
        self.stories.extend(stories);
        while self.stories.len() > MOST_STORIES {
            self.stories.pop_front();
            self.forgotten += 1;
        }
    }
}

/// Sends everybody, closes the run in time, comes back when the last one is done.
async fn send_everybody(args: &RunArgs, world: &Arc<World>) -> Archive {
    let closing = world.stop.clone();
    let lasts = args.seconds.map_or(LONGEST, Duration::from_secs);
    let timer = tokio::spawn(async move {
        sleep(lasts).await;
        closing.advance(Phase::Closing);
    });
    let mut crowd = JoinSet::new();
    let mut archive = Archive::default();
    arrivals(args, world, &mut crowd, &mut archive).await;

    let cut = tokio::spawn(cut_after_grace(world.stop.clone()));
    while let Some(story) = crowd.join_next().await {
        archive.keep(story.ok());
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

async fn arrivals(args: &RunArgs, world: &Arc<World>, crowd: &mut JoinSet<Story>, archive: &mut Archive) {
    let at_once = if args.until_stopped { args.visitors as usize } else { MOST_AT_ONCE };
    let places = Arc::new(Semaphore::new(at_once.min(MOST_AT_ONCE)));
    let started = Instant::now();
    let last = if args.until_stopped { u64::MAX } else { u64::from(args.visitors) };
    for id in 0..last {
        let due = started + Duration::from_secs_f64(id as f64 / args.arrive.0);
        let place = async {
            sleep_until(due).await;
            Arc::clone(&places).acquire_owned().await
        };
        let place = tokio::select! {
            place = place => place,
            () = world.stop.reached(Phase::Closing) => return,
        };
        // The semaphore is never closed.
        let Ok(place) = place else { return };
        let person = Person::new(id, args.seed, &args.mix, args.forwarded_for);
        crowd.spawn(life(Arc::clone(world), person, place));
        while let Some(story) = crowd.try_join_next() {
            archive.keep(story.ok());
        }
    }
}

async fn life(world: Arc<World>, person: Person, _place: OwnedSemaphorePermit) -> Story {
    match person.role {
        Role::Visitor(habits) => visitor::live(world, person, habits).await,
        Role::Bot => bot::attack(world, person).await,
    }
}
