//! `crowd`: see `crowd run --help`, `crowd rivals --help`.

use std::process::ExitCode;

use clap::Parser as _;
use crowd::args::{Cli, Command, RunArgs};
use crowd::crew;
use crowd::rivals::{self, RivalArgs};
use crowd::run::{RunError, run};
use crowd::stop::{Phase, Stop};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const INTERNAL: u8 = 70;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as errors too; nobody can be told if the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(INTERNAL, &error),
    };
    let done = match &cli.command {
        Command::Run(args) => runtime.block_on(start(args)),
        Command::Rivals(args) => runtime.block_on(compete(args)),
        Command::Worker => runtime.block_on(crew::serve()).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error @ (RunError::Unreachable { .. } | RunError::Unknown { .. })) => fail(UNAVAILABLE, &error),
        Err(error @ (RunError::Log(..) | RunError::Tls { .. })) => fail(USAGE, &error),
        Err(error @ RunError::Worker(_)) => fail(INTERNAL, &error),
    }
}

/// Whether every invariant holds.
async fn start(args: &RunArgs) -> Result<bool, RunError> {
    let stop = Stop::default();
    tokio::spawn(end_on_signals(stop.clone()));
    let summary = run(args, stop).await?;
    print!("{}", summary.for_people());
    if args.json {
        println!("{}", summary.json());
    }
    Ok(summary.hold())
}

/// Whether the shop served all of them in all windows.
async fn compete(args: &RivalArgs) -> Result<bool, RunError> {
    let stop = Stop::default();
    tokio::spawn(end_on_signals(stop.clone()));
    let records = rivals::run(args, stop).await?;
    print!("{}", rivals::table(&records));
    Ok(records.iter().all(|record| record.failed == 0))
}

/// The first signal closes the run, which is still proved and printed; the second cuts it.
async fn end_on_signals(stop: Stop) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    for phase in [Phase::Closing, Phase::Over] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.advance(phase);
    }
}

fn fail(code: u8, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("crowd: {error}");
    code.into()
}
