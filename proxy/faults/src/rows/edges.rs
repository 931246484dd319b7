//! Edges end, by order or by accident, or have wrong clocks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crowd::clock::Span;

use crate::fleet::edge::Edge;
use crate::report::{GENEROSITY, Report};
use crate::stage::{Played, Stage};
use crate::trouble::Trouble;
use crate::verdict::{MOMENT, RESUMED_WITHIN, Sockets, failures};

/// Of the sockets that were lost.
const RESUMED_SHARE: f64 = 0.999;
const TURNS: Duration = Duration::from_secs(2);
/// An edge that was told to stop ends when its last session is gone, and in any case after this.
const STOPPED: Duration = Duration::from_secs(45);
const WATCHED: Duration = Duration::from_secs(8);

/// `kill -9`; the others take over what was there, and it comes back.
pub(super) async fn killed(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let one = stage.dice.usize(..stage.fleet.edges.len());
    if let Some(edge) = stage.fleet.edges.get_mut(one) {
        edge.kill().await;
    }
    let turns = stage.turns_again(TURNS * GENEROSITY).await;
    report.time("turns go on", turns, TURNS);
    stage.breathe(WATCHED).await;
    if let Some(edge) = stage.fleet.edges.get_mut(one) {
        let took = edge.start_again().await?;
        report.note(format!("{} was ready again {:.1} s after its start", edge.name, took.as_secs_f64()));
    }
    Ok(())
}

/// A deploy of the same release.
pub(super) async fn deploy(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    restart(stage, report, None).await
}

pub(super) async fn upgrade(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let release = stage.fleet.releases.this.clone();
    restart(stage, report, Some(&release)).await
}

pub(super) async fn roll_back(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let release = stage.fleet.releases.previous.clone();
    restart(stage, report, Some(&release)).await
}

/// One edge after the other is told to stop, ends by itself, and starts again; with a release all that are not of it,
/// and as that.
async fn restart(stage: &mut Stage, report: &mut Report, release: Option<&Path>) -> Result<(), Trouble> {
    let before = stage.mark();
    let (mut edges, mut well, mut longest) = (0, 0, Duration::ZERO);
    let affected = |edge: &&mut Edge| release.is_none_or(|release| !edge.is_of(release));
    for edge in stage.fleet.edges.iter_mut().filter(affected) {
        let started = std::time::Instant::now();
        edge.terminate();
        edges += 1;
        well += usize::from(edge.ended_well(STOPPED).await);
        longest = longest.max(started.elapsed());
        if let Some(release) = release {
            edge.becomes(release);
        }
        edge.start_again().await?;
    }
    report.check(
        "edges ended by themselves, with code 0",
        format!("{well} of {edges}"),
        edges > 0 && well == edges,
    );
    report.note(format!("the slowest took {:.1} s to end", longest.as_secs_f64()));
    stage.breathe(WATCHED).await;
    stage.service(report, before);
    Ok(())
}

/// What is odd was so from the start: nothing is to be noticed.
pub(super) async fn watched(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let before = stage.mark();
    stage.breathe(WATCHED).await;
    let turns = stage.turns_again(TURNS * GENEROSITY).await;
    report.time("turns go on", turns, TURNS);
    stage.service(report, before);
    Ok(())
}

/// What was under way at the killed edge is lost with it; everything else goes on.
pub(super) fn judge_kill(played: &Played, window: Span, report: &mut Report) {
    let mut kinds = failures(played, window);
    let under_way = kinds.remove("lost-answer").unwrap_or_default();
    report.note(format!("{under_way} requests were under way at the killed edge and lost"));
    let others: u64 = kinds.values().sum();
    report.zero("other failed requests of those inside", others, "all");
    if others > 0 {
        report.note(format!("failed: {}", list(&kinds)));
    }
    resumed_in_time(Sockets::lost_within(played.stories.iter(), window), report);
}

fn resumed_in_time(Sockets { lost, resumed, .. }: Sockets, report: &mut Report) {
    let share = resumed as f64 / lost.max(1) as f64;
    report.check(
        format!("sockets resumed within {} s", RESUMED_WITHIN.as_secs()),
        format!("{resumed} of {lost}, {:.2} %", share * 100.0),
        lost > 0 && share >= RESUMED_SHARE,
    );
}

pub(super) fn judge_deploy(played: &Played, window: Span, report: &mut Report) {
    /// Of all who reconnect; each of three edges spreads a third.
    const HERD: f64 = 0.05;
    let sockets = Sockets::lost_within(played.stories.iter(), window);
    resumed_in_time(sockets, report);
    let Sockets { lost, herd, .. } = sockets;
    let most = (lost as f64 * HERD).ceil() as u64;
    report.check(
        format!("most reconnects within {} ms (no herd)", MOMENT.as_millis()),
        format!("{herd} of {lost}"),
        herd <= most,
    );
    let kinds = failures(played, window);
    if !kinds.is_empty() {
        report.note(format!("failed: {}", list(&kinds)));
    }
}

pub(super) fn note_sockets(played: &Played, window: Span, report: &mut Report) {
    let Sockets { lost, resumed, .. } = Sockets::lost_within(played.stories.iter(), window);
    if lost > 0 {
        let within = RESUMED_WITHIN.as_secs();
        report.note(format!("{lost} sockets were lost, {resumed} of them resumed within {within} s"));
    }
    let kinds = failures(played, window);
    if !kinds.is_empty() {
        report.note(format!("failed: {}", list(&kinds)));
    }
}

fn list(kinds: &BTreeMap<String, u64>) -> String {
    kinds.iter().map(|(kind, count)| format!("{count} × {kind}")).collect::<Vec<_>>().join(", ")
}
