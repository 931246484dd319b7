//! Breaks a whole fleet on purpose and proves from outside what held. See docs/FAULTS.md.

mod args;
mod crew;
mod fleet;
mod http;
mod link;
mod ports;
mod process;
mod promises;
mod report;
mod rows;
mod run;
mod stage;
mod trouble;
mod verdict;
mod wait;

use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;

use args::Args;
use clap::Parser as _;
use run::Outcomes;
use tokio::signal::unix::{SignalKind, signal};
use trouble::Trouble;

const USAGE: u8 = 64;
const INTERNAL: u8 = 70;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version come as errors too; nobody can be told if the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    if args.list {
        list();
        return ExitCode::SUCCESS;
    }
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(supervise(&args)),
        Err(error) => fail(INTERNAL, &error),
    }
}

fn list() {
    for trial in rows::TRIALS {
        println!("{}", trial.name);
        for row in trial.rows {
            println!("  {:<18} {}", row.name(), row.about());
        }
    }
}

/// Everything that was started ends with the future that started it, however that one ends.
async fn supervise(args: &Args) -> ExitCode {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return INTERNAL.into();
    };
    tokio::select! {
        code = whole_run(args) => code,
        _ = interrupt.recv() => INTERRUPTED.into(),
        _ = terminate.recv() => INTERRUPTED.into(),
    }
}

async fn whole_run(args: &Args) -> ExitCode {
    let folder = match open_folder() {
        Ok(folder) => folder,
        Err(error) => return fail(INTERNAL, &error),
    };
    let Some(programs) = args.programs.clone().or_else(run::beside_us) else {
        return fail(INTERNAL, &Trouble::NoSuchRow("programs".into()));
    };
    let outcomes = match run::play(args, &programs, folder.path()).await {
        Ok(outcomes) => outcomes,
        Err(error @ (Trouble::NoSuchRow(_) | Trouble::NoPrevious(_))) => return fail(USAGE, &error),
        Err(error) => {
            keep(folder);
            return fail(INTERNAL, &error);
        }
    };
    conclude(args, &outcomes, folder)
}

fn conclude(args: &Args, outcomes: &Outcomes, folder: tempfile::TempDir) -> ExitCode {
    if args.keep || outcomes.failed() > 0 {
        keep(folder);
    }
    println!("{}", promises::table(outcomes));
    if let Some(file) = &args.write {
        let scale = format!("{} waiting with live sockets and {} inside", args.waiting, args.inside);
        if let Err(error) = std::fs::write(file, promises::markdown(outcomes, &scale, args.seed)) {
            eprintln!("faults: {}: {error}", file.display());
        }
    }
    println!("{} passed, {} failed", outcomes.passed(), outcomes.failed());
    if outcomes.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Paths of sockets are short by nature, and PostgreSQL's user must be able to pass through.
fn open_folder() -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix("faults.").tempdir_in("/tmp")?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
    Ok(folder)
}

fn keep(folder: tempfile::TempDir) {
    eprintln!("faults: everything is kept in {}", folder.keep().display());
}

fn fail(code: u8, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("faults: {error}");
    code.into()
}
