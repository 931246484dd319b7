//! One run: the trials that were asked for, one after the other.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crowd::clock::Span;

use crate::args::Args;
use crate::fleet::Grounds;
use crate::report::{Report, seconds};
use crate::rows::{Row, TRIALS, Trial};
use crate::stage::{Scale, Stage};
use crate::trouble::Trouble;
use crate::verdict;

/// What came of a row, or of a trial as a whole.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub trial: &'static str,
    /// `None`: the zeros of the whole trial.
    pub row: Option<Row>,
    pub report: Report,
}

impl Outcome {
    pub(crate) fn name(&self) -> &'static str {
        self.row.map_or(self.trial, Row::name)
    }

    pub(crate) fn about(&self) -> &'static str {
        self.row.map_or("The whole trial, judged by the stories of all its visitors.", Row::about)
    }
}

/// Everything that came of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub all: Vec<Outcome>,
}

impl Outcomes {
    pub(crate) fn passed(&self) -> usize {
        self.all.iter().map(|outcome| outcome.report.passed()).sum()
    }

    pub(crate) fn failed(&self) -> usize {
        self.all.iter().map(|outcome| outcome.report.failed()).sum()
    }
}

/// The rows asked for, as trials.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<(&'static Trial, Vec<Row>)>, Trouble> {
    let known = |name: &String| TRIALS.iter().any(|trial| trial.name == name || trial.row(name).is_some());
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(Trouble::NoSuchRow(unknown.clone()));
    }
    let wanted = |trial: &Trial, row: Row| {
        names.is_empty() || names.iter().any(|name| name == trial.name || name == row.name())
    };
    let rows = |trial: &'static Trial| trial.rows.iter().copied().filter(|row| wanted(trial, *row)).collect();
    let trials = TRIALS.iter().map(|trial| (trial, rows(trial)));
    Ok(trials.filter(|(_, rows): &(_, Vec<Row>)| !rows.is_empty()).collect())
}

/// Plays the trials one after the other; what goes wrong in one does not keep the next from playing.
pub(crate) async fn play(args: &Args, programs: &Path, folder: &Path) -> Result<Outcomes, Trouble> {
    let trials = chosen(&args.rows)?;
    eprintln!("faults: seed {}, logs in {}", args.seed, folder.display());
    let mut grounds = Grounds::open(programs, folder).await?;
    let mut outcomes = Outcomes::default();
    for (trial, rows) in &trials {
        play_trial(args, &mut grounds, trial, rows, args.seed, &mut outcomes).await;
    }
    if let Some(minutes) = args.long {
        play_on(args, &mut grounds, trials, Duration::from_secs(60 * minutes), &mut outcomes).await;
    }
    Ok(outcomes)
}

/// Again and again, in random order, with seeds that are printed.
async fn play_on(
    args: &Args,
    grounds: &mut Grounds,
    mut trials: Vec<(&'static Trial, Vec<Row>)>,
    time: Duration,
    outcomes: &mut Outcomes,
) {
    let started = Instant::now();
    let mut dice = fastrand::Rng::with_seed(args.seed);
    while started.elapsed() < time {
        dice.shuffle(&mut trials);
        for (trial, rows) in &mut trials {
            if started.elapsed() >= time {
                return;
            }
            dice.shuffle(rows);
            let seed = dice.u64(..1_000_000);
            play_trial(args, grounds, trial, rows, seed, outcomes).await;
        }
    }
}

async fn play_trial(
    args: &Args,
    grounds: &mut Grounds,
    trial: &'static Trial,
    rows: &[Row],
    seed: u64,
    outcomes: &mut Outcomes,
) {
    eprintln!("── {} (seed {seed})", trial.name);
    let started = Instant::now();
    let scale = trial.scale(Scale { waiting: args.waiting, inside: args.inside });
    let mut whole = Report::default();
    match Stage::set(grounds, trial.kind, trial.clocks, scale, seed).await {
        Ok(stage) => {
            eprintln!(
                "   {} wait, {} are inside, after {}",
                stage.crew.sockets(),
                stage.crew.inside(),
                seconds(started.elapsed())
            );
            act(stage, grounds, trial, rows, outcomes, &mut whole).await;
        }
        Err(trouble) => whole.trouble(&trouble),
    }
    whole.note(format!("took {}", seconds(started.elapsed())));
    show(trial.name, &whole);
    outcomes.all.push(Outcome { trial: trial.name, row: None, report: whole });
}

async fn act(
    mut stage: Stage,
    grounds: &mut Grounds,
    trial: &'static Trial,
    rows: &[Row],
    outcomes: &mut Outcomes,
    whole: &mut Report,
) {
    let mut acts = Vec::new();
    for row in rows {
        let mut report = Report::default();
        let from = stage.crew.world.clock.now();
        if let Err(trouble) = row.play(&mut stage, grounds, &mut report).await {
            report.trouble(&trouble);
        }
        show(row.name(), &report);
        acts.push((*row, Span::new(from, stage.crew.world.clock.now()), report));
    }
    let played = stage.finish(&grounds.shop).await;
    for (row, window, mut report) in acts {
        if let Ok(played) = &played {
            let mut later = Report::default();
            row.judge(played, window, &mut later);
            show(row.name(), &later);
            report.extend(later);
        }
        outcomes.all.push(Outcome { trial: trial.name, row: Some(row), report });
    }
    match played {
        Ok(played) => verdict::judge(&played, whole),
        Err(trouble) => whole.trouble(&trouble),
    }
}

fn show(name: &str, report: &Report) {
    for check in &report.checks {
        let word = if check.holds { "ok    " } else { "FAILED" };
        eprintln!("{word} {name}: {} – {}", check.what, check.found);
    }
    for note in &report.notes {
        eprintln!("       {name}: {note}");
    }
}

/// The folder this program is in, where cargo puts the others too.
pub(crate) fn beside_us() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_owned())
}
