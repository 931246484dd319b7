//! The database of the shop is away. The room does not notice; buyers hear when to come back, and nothing is half done.

use std::collections::BTreeMap;
use std::time::Duration;

use crowd::clock::Span;

use crate::fleet::Grounds;
use crate::report::{GENEROSITY, Report};
use crate::stage::{Played, Stage};
use crate::trouble::Trouble;
use crate::verdict::failures;

/// People buy again, once the database answers.
const RECOVERED: Duration = Duration::from_secs(5);
const TURNS: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(3);

pub(super) async fn killed(
    stage: &mut Stage,
    grounds: &mut Grounds,
    report: &mut Report,
) -> Result<(), Trouble> {
    let outage = stage.outage();
    grounds.shop.kill_database().await;
    stage.breathe(outage).await;
    let folder = grounds.folder().to_owned();
    grounds.shop.restart_database(&folder).await?;
    recovers(stage, grounds, report).await
}

pub(super) async fn paused(
    stage: &mut Stage,
    grounds: &mut Grounds,
    report: &mut Report,
) -> Result<(), Trouble> {
    let outage = stage.outage();
    grounds.shop.freeze();
    stage.breathe(outage).await;
    grounds.shop.thaw();
    recovers(stage, grounds, report).await
}

async fn recovers(stage: &Stage, grounds: &mut Grounds, report: &mut Report) -> Result<(), Trouble> {
    let took = stage.payments_again(RECOVERED * GENEROSITY).await;
    report.time("people buy again", took, RECOVERED);
    let took = stage.turns_again(TURNS * GENEROSITY).await;
    report.time("turns go on", took, TURNS);
    stage.breathe(AFTER).await;
    grounds.shop.check()
}

/// Every refusal was a clear one.
pub(super) fn judge(played: &Played, window: Span, report: &mut Report) {
    let (clear, other): (BTreeMap<_, _>, BTreeMap<_, _>) = failures(played, window)
        .into_iter()
        .partition(|(kind, _)| kind.starts_with("503 ") && !kind.ends_with("no Retry-After"));
    let (clear, unclear): (u64, u64) = (clear.values().sum(), other.values().sum());
    report.zero("failures other than 503 with Retry-After", unclear, clear + unclear);
    for (kind, count) in other {
        report.note(format!("failed: {count} × {kind}"));
    }
}
