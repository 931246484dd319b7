//! The store is away and comes back as it was, or forgets.

use std::time::Duration;

use room::time::Micros;
use tokio::time::timeout;

use crate::fleet::Store;
use crate::fleet::redis::Redis;
use crate::link::{Link, Weather};
use crate::report::{GENEROSITY, Report};
use crate::stage::Stage;
use crate::trouble::Trouble;
use crate::wait::until;

/// Turns again, once an intact store answers.
const INTACT: Duration = Duration::from_secs(2);
/// The same after an empty or older one.
const FORGETFUL: Duration = Duration::from_secs(10);
/// Until a connection is known to be dead.
const HALF_OPEN: Duration = Duration::from_secs(5);
/// How long is watched after it is over.
const AFTER: Duration = Duration::from_secs(3);
/// A call to the store may take 250 ms.
const ROUND_TRIP: Duration = Duration::from_millis(200);
/// Until Redis calls a script busy that others wait for.
const BUSY_AFTER_MILLIS: &str = "300";

pub(super) async fn paused(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let before = stage.mark();
    redis(stage)?.freeze();
    let outage = stage.outage();
    stage.breathe(outage).await;
    lives(stage, report).await;
    redis(stage)?.thaw();
    recovers(stage, report, INTACT).await;
    stage.service(report, before);
    Ok(())
}

pub(super) async fn flushed(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let (before, lost) = (stage.mark(), stage.crew.world.clock.now());
    redis(stage)?.cli(&["FLUSHALL"]).await?;
    gathers(stage, report, lost).await;
    stage.service(report, before);
    Ok(())
}

/// Killed, and started empty: nothing is persisted.
pub(super) async fn killed(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let (before, lost) = (stage.mark(), stage.crew.world.clock.now());
    let outage = stage.outage();
    redis_mut(stage)?.kill().await;
    stage.breathe(outage).await;
    lives(stage, report).await;
    redis_mut(stage)?.restart().await?;
    gathers(stage, report, lost).await;
    stage.service(report, before);
    Ok(())
}

pub(super) async fn cut(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    weather(stage, report, Weather { cut: true, ..Weather::default() }).await
}

pub(super) async fn stalled(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    weather(stage, report, Weather::stalled()).await
}

/// Bad weather for a while on all links.
async fn weather(stage: &mut Stage, report: &mut Report, weather: Weather) -> Result<(), Trouble> {
    let before = stage.mark();
    links(stage)?.iter().for_each(|link| link.set(weather));
    let outage = stage.outage();
    stage.breathe(outage).await;
    lives(stage, report).await;
    links(stage)?.iter().for_each(Link::heal);
    recovers(stage, report, INTACT).await;
    stage.service(report, before);
    Ok(())
}

/// One edge alone hears nothing of the store; the others go on, and give turns to those who wait at it.
pub(super) async fn one_away(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let before = stage.mark();
    let one = stage.dice.usize(..links(stage)?.len().max(1));
    let outage = stage.outage();
    links(stage)?.iter().skip(one).take(1).for_each(|link| link.set(Weather::stalled()));
    let took = stage.turns_again(INTACT * GENEROSITY).await;
    report.time("the others give turns", took, INTACT);
    stage.breathe(outage).await;
    lives(stage, report).await;
    links(stage)?.iter().for_each(Link::heal);
    recovers(stage, report, INTACT).await;
    stage.service(report, before);
    Ok(())
}

/// A slow network is no outage: turns go on.
pub(super) async fn slow(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let before = stage.mark();
    links(stage)?.iter().for_each(|link| link.set(Weather::round_trip(ROUND_TRIP)));
    recovers(stage, report, INTACT).await;
    let outage = stage.outage();
    stage.breathe(outage).await;
    let took = stage.turns_again(INTACT * GENEROSITY).await;
    report.time("turns go on all the while", took, INTACT);
    links(stage)?.iter().for_each(Link::heal);
    stage.service(report, before);
    Ok(())
}

/// The other host is gone without a word; new connections would work.
pub(super) async fn half_open(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let before = stage.mark();
    links(stage)?.iter().for_each(Link::haunt);
    recovers(stage, report, HALF_OPEN).await;
    stage.service(report, before);
    Ok(())
}

/// Somebody's script holds the server until it is killed.
pub(super) async fn busy(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let before = stage.mark();
    let outage = stage.outage();
    let redis = redis(stage)?;
    redis.cli(&["CONFIG", "SET", "busy-reply-threshold", BUSY_AFTER_MILLIS]).await?;
    let endless = "while true do redis.call('EXISTS', 'x') end";
    // It never answers: it is ended by the kill below.
    drop(timeout(outage, redis.cli(&["EVAL", endless, "0"])).await);
    lives(stage, report).await;
    redis.cli(&["SCRIPT", "KILL"]).await?;
    recovers(stage, report, INTACT).await;
    stage.service(report, before);
    Ok(())
}

/// No memory for new places: those who come keep their stamp, and the line moves on.
pub(super) async fn full(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let before = stage.mark();
    let outage = stage.outage();
    let redis = redis(stage)?;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).await?;
    let took = stage.turns_again(INTACT * GENEROSITY).await;
    report.time("turns go on while memory is full", took, INTACT);
    stage.breathe(outage).await;
    lives(stage, report).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    recovers(stage, report, INTACT).await;
    stage.service(report, before);
    Ok(())
}

/// The replica has missed the last writes when it is made the primary.
pub(super) async fn failover(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    const MISSED: Duration = Duration::from_millis(1500);
    const WRITTEN: Duration = Duration::from_secs(10);
    const ELECTED: Duration = Duration::from_secs(30);
    let (before, lost) = (stage.mark(), stage.crew.world.clock.now());
    let Store::Sentinel { watched, link } = &mut stage.fleet.store else { return Err(wrong_store()) };
    link.set(Weather { cut: true, ..Weather::default() });
    tokio::time::sleep(MISSED).await;
    let mut missed = 0;
    until("the replica misses writes", WRITTEN, async || {
        missed = watched.lag().await.unwrap_or_default();
        missed > 0
    })
    .await?;
    watched.kill_primary().await?;
    let took = until("the sentinels agree", ELECTED, async || watched.has_failed_over().await).await?;
    report.note(format!("the replica took over after {:.1} s", took.as_secs_f64()));
    report.check("writes were lost", format!("{missed} bytes"), missed > 0);
    gathers(stage, report, lost).await;
    stage.service(report, before);
    Ok(())
}

/// The node that has the room dies; its replica takes over.
pub(super) async fn node_killed(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    const ELECTED: Duration = Duration::from_secs(40);
    let (before, lost) = (stage.mark(), stage.crew.world.clock.now());
    let Store::Cluster(cluster) = &mut stage.fleet.store else { return Err(wrong_store()) };
    cluster.kill_home().await;
    let took = until("the replica takes over", ELECTED, async || cluster.has_failed_over().await).await?;
    report.note(format!("the replica took over after {:.1} s", took.as_secs_f64()));
    gathers(stage, report, lost).await;
    stage.service(report, before);
    Ok(())
}

/// Turns again, and a while of them.
async fn recovers(stage: &Stage, report: &mut Report, figure: Duration) {
    let took = stage.turns_again(figure * GENEROSITY).await;
    report.time("turns again", took, figure);
    stage.breathe(AFTER).await;
}

/// The same of a store that forgot what it knew at `lost`.
async fn gathers(stage: &mut Stage, report: &mut Report, lost: Micros) {
    let took = stage.turns_after_loss(lost, FORGETFUL * GENEROSITY).await;
    report.time("turns again", took, FORGETFUL);
    stage.breathe(AFTER).await;
}

/// Whoever restarts what does not live, or takes all edges out at once, would make an outage of the store worse.
async fn lives(stage: &Stage, report: &mut Report) {
    let (mut live, mut ready) = (0, 0);
    for edge in &stage.fleet.edges {
        live += usize::from(edge.is_live().await);
        ready += usize::from(edge.is_ready().await);
    }
    let edges = stage.fleet.edges.len();
    report.check("all edges are live meanwhile", format!("{live} of {edges}"), live == edges);
    report.check("not all edges are out meanwhile", format!("{ready} of {edges} ready"), ready > 0);
}

fn redis(stage: &Stage) -> Result<&Redis, Trouble> {
    match &stage.fleet.store {
        Store::Linked { redis, .. } => Ok(redis),
        _ => Err(wrong_store()),
    }
}

fn redis_mut(stage: &mut Stage) -> Result<&mut Redis, Trouble> {
    match &mut stage.fleet.store {
        Store::Linked { redis, .. } => Ok(redis),
        _ => Err(wrong_store()),
    }
}

fn links(stage: &Stage) -> Result<&[Link], Trouble> {
    match &stage.fleet.store {
        Store::Linked { links, .. } => Ok(links),
        _ => Err(wrong_store()),
    }
}

fn wrong_store() -> Trouble {
    Trouble::Refused { command: "this row".into(), answer: "its trial has another kind of store".into() }
}
