//! A crowd from several processes: the one that was asked starts them, passes the end of the run on to them, and takes
//! their stories in.

use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use room::time::Micros;
use tokio::task::{JoinSet, spawn_blocking};

use crate::args::RunArgs;
use crate::meter::Census;
use crate::record::{Order, Record, Totals};
use crate::run::{self, RunError};
use crate::schedule::Shard;
use crate::stop::{Phase, Stop};
use crate::worker::{self, Archive};
use crate::world::World;

/// Sends the crowd from `args.processes` processes of the program that runs now.
pub async fn send(args: &RunArgs, world: &Arc<World>, began: Micros) -> io::Result<Archive> {
    let (mut orders, mut reading) = (Vec::new(), JoinSet::new());
    for index in 0..args.processes {
        let shard = Shard { index, of: args.processes };
        let (mut worker, order) = start(&Order { args: args.clone(), shard, began })?;
        orders.push(order);
        let world = Arc::clone(world);
        reading.spawn_blocking(move || {
            let told = listen(&mut worker, &world);
            // It ends with its last record, or because its stdin is closed.
            worker.wait().and(told)
        });
    }
    let passing = tokio::spawn(pass_on(world.stop.clone(), orders));
    let mut archive = Archive::default();
    let mut failed = None;
    while let Some(told) = reading.join_next().await {
        match told.map_err(io::Error::other).flatten() {
            Ok(part) => {
                archive.stories.extend(part.stories);
                archive.forgotten += part.forgotten;
                archive.tally.merge(&part.tally);
            }
            Err(error) => {
                // Without all stories nothing is proved.
                world.stop.advance(Phase::Over);
                failed.get_or_insert(error);
            }
        }
    }
    world.stop.advance(Phase::Closing);
    passing.abort();
    failed.map_or(Ok(archive), Err)
}

fn start(order: &Order) -> io::Result<(Child, ChildStdin)> {
    let mut worker = Command::new(std::env::current_exe()?)
        .arg("worker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Ctrl-C reaches them by us: the run is closed, not cut.
        .process_group(0)
        .spawn()?;
    let mut orders = worker.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    serde_json::to_writer(&mut orders, order)?;
    orders.write_all(b"\n")?;
    Ok((worker, orders))
}

/// A worker whose orders end drops everything.
async fn pass_on(stop: Stop, mut orders: Vec<ChildStdin>) {
    for phase in [Phase::Emptying, Phase::Closing, Phase::Over] {
        stop.reached(phase).await;
        for order in &mut orders {
            // Who does not listen any more is done.
            let _ = writeln!(order, "{}", word(phase));
        }
    }
    std::future::pending::<()>().await;
}

fn listen(worker: &mut Child, world: &World) -> io::Result<Archive> {
    let mut stream = BufReader::new(worker.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
    let mut archive = Archive::default();
    let mut before = Census::default();
    loop {
        match Record::read(&mut stream)? {
            Record::Census(census) => {
                world.meter.follow(before, census);
                before = census;
            }
            Record::Story(story) => archive.stories.push_back(*story),
            Record::Done(totals) => {
                world.meter.follow(before, totals.census);
                world.meter.latencies.absorb(&totals.latencies);
                world.meter.absorb_errors(totals.errors);
                world.journal.dropped_elsewhere(totals.log_lines_dropped);
                archive.forgotten = totals.forgotten;
                archive.tally = totals.tally;
                return Ok(archive);
            }
        }
    }
}

const CENSUS_EVERY: Duration = Duration::from_millis(500);

/// What a worker does: reads its order, sends its share, tells what came of it.
pub async fn serve() -> Result<(), RunError> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(RunError::Worker)?;
    let Order { mut args, shard, began } =
        serde_json::from_str(&line).map_err(|error| RunError::Worker(error.into()))?;
    let stop = Stop::default();
    let ending = stop.clone();
    std::thread::spawn(move || obey(&ending));
    // Each has a log of its own.
    args.log = args.log.map(|path| path.with_added_extension(shard.index.to_string()));
    let (journal, log) = run::open_log(&args)?;
    let world = Arc::new(run::world(&args, stop, journal).await?);
    let out = Arc::new(Mutex::new(BufWriter::new(io::stdout())));
    let counting = tokio::spawn(count(Arc::clone(&world), Arc::clone(&out)));
    let archive = worker::work(&args, &world, shard, began).await.map_err(RunError::Worker)?;
    world.stop.advance(Phase::Over);
    counting.abort();
    let totals = Totals {
        census: world.meter.census(),
        forgotten: archive.forgotten,
        tally: archive.tally,
        latencies: world.meter.latencies.snapshot(),
        errors: world.meter.errors().into_iter().map(|(kind, count)| (kind.into_owned(), count)).collect(),
        log_lines_dropped: world.journal.dropped(),
    };
    drop(world);
    if let Some(log) = log {
        run::flush(log, &args).await?;
    }
    let stories = archive.stories.into_iter().map(|story| Record::Story(Box::new(story)));
    let told = spawn_blocking(move || tell(&out, stories.chain([Record::Done(Box::new(totals))])));
    told.await.map_err(io::Error::other).flatten().map_err(RunError::Worker)
}

type Out = Mutex<BufWriter<io::Stdout>>;

fn tell(out: &Out, records: impl Iterator<Item = Record>) -> io::Result<()> {
    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
    for record in records {
        record.write(&mut *out)?;
    }
    out.flush()
}

async fn count(world: Arc<World>, out: Arc<Out>) {
    let mut beat = tokio::time::interval(CENSUS_EVERY);
    loop {
        beat.tick().await;
        // Nobody who listens: the orders end too.
        let _ = tell(&out, std::iter::once(Record::Census(world.meter.census())));
    }
}

fn obey(stop: &Stop) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let phases = [Phase::Emptying, Phase::Closing, Phase::Over];
        phases.into_iter().filter(|phase| word(*phase) == line).for_each(|phase| stop.advance(phase));
    }
    // Whoever gave the orders is gone.
    stop.advance(Phase::Over);
}

const fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Open => "open",
        Phase::Emptying => "emptying",
        Phase::Closing => "closing",
        Phase::Over => "over",
    }
}
