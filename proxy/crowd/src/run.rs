//! One run: find the edges, send the crowd, end it, gather the stories, prove.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::args::{RunArgs, Target};
use crate::client::Client;
use crate::clock::Clock;
use crate::crew;
use crate::journal::{Journal, Line};
use crate::meter::Meter;
use crate::plan::Person;
use crate::progress;
use crate::proof::{Findings, Promises, facts};
use crate::rates::{self, Rates};
use crate::schedule::Shard;
use crate::stop::{Phase, Stop};
use crate::story::Story;
use crate::summary::Summary;
use crate::tls::{Tls, TlsArgs, TlsError};
use crate::visitor::{self, Inspection, Stock};
use crate::worker::{self, Archive, GRACE};
use crate::world::{CONNECT_DEADLINE, Edge, World};

/// Why a run could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{authority} can't be reached: {source}; is the edge running there?")]
    Unreachable { authority: String, source: std::io::Error },
    #[error("{authority} is not an address: {source}")]
    Unknown { authority: String, source: std::io::Error },
    #[error("{authority} can't be spoken to by TLS: {source}")]
    Tls { authority: String, source: TlsError },
    #[error("the log {0} can't be written: {1}")]
    Log(PathBuf, #[source] std::io::Error),
    #[error("a part of the crowd could not be sent, or did not come back, so nothing is proved: {0}")]
    Worker(#[source] std::io::Error),
}

/// Edges look once a second who is due, and a machine may be busy.
const CADENCE: Duration = Duration::from_secs(2);
/// Workers are there by then.
const HEAD_START: Duration = Duration::from_millis(500);
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
    let mut archive = send_everybody(args, &world).await.map_err(RunError::Worker)?;
    let took = started.elapsed();
    let inspection = inspector.finish(&world).await;

    progress.abort();
    watching.inspect(JoinHandle::abort);
    let after = inspection.as_ref().and_then(|inspection| inspection.after);
    archive.stories.extend(inspection.map(|inspection| inspection.story));
    let rates = rates.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let promises = promises(args, rates, before, after);
    let stories: Vec<&Story> = archive.stories.iter().collect();
    log_facts(&world, &stories, &promises);
    let summary = Summary::new(&stories, Findings::prove(&stories, &promises), &promises, &world, took)
        .with_forgotten(archive.forgotten)
        .with_herd(&stories, &promises, &archive.tally);
    drop(world);
    if let Some(log) = log {
        flush(log, args).await?;
    }
    Ok(summary)
}

async fn send_everybody(args: &RunArgs, world: &Arc<World>) -> std::io::Result<Archive> {
    let now = world.clock.now();
    if args.processes > 1 {
        crew::send(args, world, now + HEAD_START).await
    } else {
        worker::work(args, world, Shard::WHOLE, now).await
    }
}

fn promises(args: &RunArgs, rates: Rates, before: Option<Stock>, after: Option<Stock>) -> Promises {
    Promises {
        rates,
        burst: args.limits.burst,
        active_limit: args.limits.active_limit,
        claim_window: args.limits.claim_window,
        cadence: args.limits.cadence.or((!args.herd.herd.is_empty()).then_some(CADENCE)),
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

pub(crate) type Log = JoinHandle<std::io::Result<()>>;

pub(crate) fn open_log(args: &RunArgs) -> Result<(Journal, Option<Log>), RunError> {
    let Some(path) = &args.log else {
        return Ok((Journal::default(), None));
    };
    let (journal, log) = Journal::open(path).map_err(|error| RunError::Log(path.clone(), error))?;
    Ok((journal, Some(log)))
}

pub(crate) async fn flush(mut log: Log, args: &RunArgs) -> Result<(), RunError> {
    // Tasks that were cut may hold the journal for a moment longer.
    let written = timeout(Duration::from_secs(5), &mut log).await;
    match (written, &args.log) {
        (Ok(Ok(Err(error))), Some(path)) => Err(RunError::Log(path.clone(), error)),
        _ => Ok(()),
    }
}

pub(crate) async fn world(args: &RunArgs, stop: Stop, journal: Journal) -> Result<World, RunError> {
    let mut edges = Vec::new();
    for target in &args.target {
        edges.push(reach(target, &args.tls).await?);
    }
    let event = args.event.clone().map_or_else(OnceLock::new, OnceLock::from);
    let room = args.room.clone();
    Ok(World { edges, room, clock: Clock::start(), stop, meter: Meter::default(), journal, event })
}

/// Looks a target up, and sees that somebody listens there.
pub(crate) async fn reach(target: &Target, args: &TlsArgs) -> Result<Edge, RunError> {
    let authority = || target.authority.clone();
    let unknown = |source| RunError::Unknown { authority: authority(), source };
    let mut addresses = lookup_host(target.address()).await.map_err(unknown)?;
    let address = addresses.next().ok_or_else(|| unknown(std::io::ErrorKind::NotFound.into()))?;
    let unreachable = |source| RunError::Unreachable { authority: authority(), source };
    let tls = target.secure.then(|| Tls::with(&target.host(), args)).transpose();
    let tls = tls.map_err(|source| RunError::Tls { authority: authority(), source })?;
    let edge = Edge::new(target.clone(), address).with_tls(tls);
    let connected = timeout(CONNECT_DEADLINE, edge.connect()).await;
    connected.map_err(|_| unreachable(std::io::ErrorKind::TimedOut.into()))?.map_err(unreachable)?;
    Ok(edge)
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
