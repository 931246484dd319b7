//! One run: the trials that were asked for, one after the other.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crowd::clock::Span;

use crate::args::Args;
use crate::fleet::Grounds;
use crate::report::{Report, seconds};
use crate::rows::{Row, TRIALS, Trial};
use crate::stage::{Scale, Setting, Stage};
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

/// A trial, and those of its rows that play.
type Part = (&'static Trial, Vec<Row>);

/// What was asked for: the trials, and the rows of each, in the order in which they were named.
fn chosen(args: &Args) -> Result<Vec<Part>, Trouble> {
    let mut parts: Vec<Part> = Vec::new();
    let all = TRIALS.iter().filter(|trial| args.previous.is_some() || !trial.needs_previous());
    if args.rows.is_empty() {
        return Ok(all.map(|trial| (trial, trial.rows.to_vec())).collect());
    }
    for name in &args.rows {
        let (trial, rows) = named(name).ok_or_else(|| Trouble::NoSuchRow(name.clone()))?;
        if trial.needs_previous() && args.previous.is_none() {
            return Err(Trouble::NoPrevious(name.clone()));
        }
        match parts.iter_mut().find(|(known, _)| known.name == trial.name) {
            Some((_, known)) => known.extend(rows),
            None => parts.push((trial, rows)),
        }
    }
    Ok(parts)
}

/// A whole trial or one row of one.
fn named(name: &str) -> Option<Part> {
    let whole = TRIALS.iter().find(|trial| trial.name == name).map(|trial| (trial, trial.rows.to_vec()));
    whole.or_else(|| TRIALS.iter().find_map(|trial| Some((trial, vec![trial.row(name)?]))))
}

/// Plays the trials one after the other; what goes wrong in one does not keep the next from playing. With `--long` they
/// play again and again, in random order and with random seeds, until the time is up or something does not hold.
pub(crate) async fn play(args: &Args, programs: &Path, folder: &Path) -> Result<Outcomes, Trouble> {
    let mut parts = chosen(args)?;
    eprintln!("faults: logs in {}", folder.display());
    let mut grounds = Grounds::open(programs, args.previous.as_deref(), args.store_timeout, folder).await?;
    let mut outcomes = Outcomes::default();
    let time = args.long.map(|minutes| Duration::from_secs(60 * minutes));
    let started = Instant::now();
    let is_over = || time.is_none_or(|time| started.elapsed() >= time);
    let mut dice = fastrand::Rng::with_seed(args.seed);
    let mut seed = args.seed;
    for round in 1.. {
        eprintln!("── round {round}, seed {seed}");
        for part in &parts {
            play_trial(args, &mut grounds, part, seed, &mut outcomes).await;
            if time.is_some() && (outcomes.failed() > 0 || is_over()) {
                return Ok(outcomes);
            }
        }
        if is_over() {
            break;
        }
        dice.shuffle(&mut parts);
        for (_, rows) in &mut parts {
            dice.shuffle(rows);
        }
        seed = dice.u64(..1_000_000);
    }
    Ok(outcomes)
}

/// What plays this part again: rows play in the order in which they are named.
fn replay(args: &Args, (trial, rows): &Part, seed: u64) -> String {
    let all = rows[..] == *trial.rows;
    let names: Vec<&str> = if all { vec![trial.name] } else { rows.iter().map(|row| row.name()).collect() };
    let program = std::env::args().next().unwrap_or_else(|| "faults".into());
    let Args { waiting, inside, store_timeout, .. } = args;
    let previous = args.previous.as_ref().map(|file| format!(" --previous {}", file.display()));
    format!(
        "{program} {} --seed {seed} --waiting {waiting} --inside {inside} --store-timeout {store_timeout}{}",
        names.join(" "),
        previous.unwrap_or_default()
    )
}

async fn play_trial(args: &Args, grounds: &mut Grounds, part: &Part, seed: u64, outcomes: &mut Outcomes) {
    let (trial, rows) = part;
    eprintln!("── {}", trial.name);
    let (started, failed_before) = (Instant::now(), outcomes.failed());
    let scale = trial.scale(Scale { waiting: args.waiting, inside: args.inside });
    let mut whole = Report::default();
    let mut logs = None;
    match Stage::set(grounds, Setting { fleet: trial.fleet, scale, seed, journal: args.keep }).await {
        Ok(stage) => {
            eprintln!(
                "   {} wait, {} are inside, after {}",
                stage.crew.sockets(),
                stage.crew.inside(),
                seconds(started.elapsed())
            );
            logs = Some(stage.fleet.folder.clone());
            act(stage, grounds, trial, rows, outcomes, &mut whole).await;
        }
        Err(trouble) => whole.trouble(&trouble),
    }
    whole.note(format!("took {}", seconds(started.elapsed())));
    show(trial.name, &whole);
    outcomes.all.push(Outcome { trial: trial.name, row: None, report: whole });
    if outcomes.failed() > failed_before {
        eprintln!("   once more: {}", replay(args, part, seed));
    } else if let Some(logs) = logs.filter(|_| !args.keep) {
        // Hours of logs of what held would fill a disk. What cannot be removed now goes with the whole folder.
        let _ = std::fs::remove_dir_all(logs);
    }
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn parts(words: &[&str]) -> Result<Vec<(&'static str, Vec<&'static str>)>, Trouble> {
        let args = Args::parse_from([&["faults"], words].concat());
        let parts = chosen(&args)?;
        Ok(parts
            .into_iter()
            .map(|(trial, rows)| (trial.name, rows.into_iter().map(Row::name).collect()))
            .collect())
    }

    #[test]
    fn rows_play_in_the_order_in_which_they_are_named() {
        let named = parts(&["store-killed", "edges", "flushed"]).unwrap();
        assert_eq!(
            named,
            [("losses", vec!["store-killed", "flushed"]), ("edges", vec!["edge-killed", "deploy"])]
        );
    }

    #[test]
    fn a_release_before_plays_only_when_there_is_one() {
        let trials = |words: &[&str]| parts(words).unwrap().len();
        assert_eq!(trials(&["--previous", "edge"]), trials(&[]) + 1);
        assert!(matches!(parts(&["upgrade"]), Err(Trouble::NoPrevious(_))));
        assert!(matches!(parts(&["nonsense"]), Err(Trouble::NoSuchRow(_))));
    }

    #[test]
    fn what_is_played_again_is_played_in_the_same_order() {
        let args = Args::parse_from(["faults", "store-killed", "flushed", "--waiting", "50"]);
        let part = &chosen(&args).unwrap()[0];
        let command = replay(&args, part, 7);
        assert!(
            command.ends_with(" store-killed flushed --seed 7 --waiting 50 --inside 300 --store-timeout 250"),
            "{command}"
        );
    }
}
