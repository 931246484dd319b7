//! `box-office`: arguments, logs, signals, exit code.

use std::process::ExitCode;

use box_office::config::{Args, Task};
use box_office::{RunError, check_books, logs, migrate_only, run};
use clap::Parser as _;
use clap::error::ErrorKind;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

const USAGE: u8 = 64;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nobody reads it if this fails.
            let _unread = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { 0 } else { USAGE });
        }
    };
    if let Err(error) = logs::install(&args.log_level) {
        eprintln!("box-office: LOG_LEVEL: {error}");
        return ExitCode::from(USAGE);
    }
    if let Err(error) = traces::install("box-office", env!("CARGO_PKG_VERSION")) {
        tracing::error!("{error}");
        return ExitCode::from(USAGE);
    }
    let ended = start(args);
    traces::uninstall();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(args: Args) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::Start(error.into()))?;
    if args.task == Some(Task::Migrate) {
        return runtime.block_on(migrate_only(&args.database()?));
    }
    if args.check_books {
        return runtime.block_on(check_books(&args.database()?));
    }
    let config = args.into_config()?;
    runtime.block_on(async { run(config, words_to_stop()?).await })
}

/// One for each signal that asks for the end.
fn words_to_stop() -> Result<mpsc::Receiver<()>, RunError> {
    let heard = |kind| signal(kind).map_err(|error| RunError::Start(error.into()));
    let (mut terminate, mut interrupt) = (heard(SignalKind::terminate())?, heard(SignalKind::interrupt())?);
    let (told, words) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if told.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(words)
}
