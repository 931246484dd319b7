//! The store is away and comes back as it was, or forgets.

use std::time::Duration;

use crate::fleet::redis::Redis;
use crate::report::Report;
use crate::stage::Stage;
use crate::trouble::Trouble;

/// Turns again, once an intact store answers.
const INTACT: Duration = Duration::from_secs(2);
/// The same after an empty or older one.
const FORGETFUL: Duration = Duration::from_secs(10);
/// How long an outage lasts, and how long is watched after it is over.
const OUTAGE: Duration = Duration::from_secs(5);
const AFTER: Duration = Duration::from_secs(3);

pub(super) async fn paused(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let before = stage.mark();
    redis(stage)?.freeze();
    stage.breathe(OUTAGE).await;
    redis(stage)?.thaw();
    recovers(stage, report, INTACT).await;
    stage.breathe(AFTER).await;
    stage.service(report, before);
    Ok(())
}

pub(super) async fn flushed(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let before = stage.mark();
    redis(stage)?.cli(&["FLUSHALL"]).await?;
    recovers(stage, report, FORGETFUL).await;
    stage.breathe(AFTER).await;
    stage.service(report, before);
    Ok(())
}

async fn recovers(stage: &Stage, report: &mut Report, figure: Duration) {
    let took = stage.turns_again(figure * crate::report::GENEROSITY).await;
    report.time("turns again", took, figure);
}

fn redis(stage: &Stage) -> Result<&Redis, Trouble> {
    stage.fleet.redis().ok_or_else(|| Trouble::Refused {
        command: "this row".into(),
        answer: "it needs a single server".into(),
    })
}
