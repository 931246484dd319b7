//! One edge as a process of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::http::is_ok;
use crate::process::{Process, Program};
use crate::trouble::Trouble;
use crate::wait::until;

#[derive(Debug)]
pub(crate) struct Edge {
    pub name: String,
    /// Where visitors connect.
    pub port: u16,
    pub operator: u16,
    program: Program,
    logs: PathBuf,
    process: Process,
}

const START: Duration = Duration::from_secs(30);

/// What one edge is started with.
#[derive(Debug)]
pub(crate) struct Beginning<'a> {
    pub name: String,
    pub port: u16,
    pub operator: u16,
    /// The settings, as TOML.
    pub settings: String,
    /// By how many seconds its wall clock is wrong.
    pub clock_off_by: Option<i64>,
    /// The program.
    pub file: &'a Path,
    pub folder: &'a Path,
}

impl Edge {
    pub(crate) async fn start(beginning: Beginning<'_>) -> Result<Self, Trouble> {
        let Beginning { name, port, operator, settings, clock_off_by, file, folder } = beginning;
        let config = folder.join(format!("{name}.toml")).display().to_string();
        std::fs::write(&config, settings).map_err(Trouble::io(config.clone()))?;
        let mut program = Program::new(file, &["run", "--config", &config]);
        if let Some(seconds) = clock_off_by {
            program.env = wrong_clock(seconds).await?;
        }
        let process = Process::start(&name, &program, folder)?;
        let mut edge = Self { name, port, operator, program, logs: folder.to_owned(), process };
        edge.ready().await?;
        Ok(edge)
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&mut self) -> Result<Duration, Trouble> {
        let operator = self.operator;
        let waited =
            until(&format!("{} is ready", self.name), START, async || is_ok(operator, "/readyz").await).await;
        self.process.check()?;
        waited
    }

    pub(crate) async fn is_ready(&self) -> bool {
        is_ok(self.operator, "/readyz").await
    }

    pub(crate) async fn is_live(&self) -> bool {
        is_ok(self.operator, "/livez").await
    }

    pub(crate) async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Whether it ended within `limit`, and well.
    pub(crate) async fn ended_well(&mut self, limit: Duration) -> bool {
        self.process.ended(limit).await.is_some_and(|status| status.success())
    }

    /// The same edge once more, where it was.
    pub(crate) async fn start_again(&mut self) -> Result<Duration, Trouble> {
        self.process = Process::start(&self.name, &self.program, &self.logs)?;
        self.ready().await
    }

    /// Whether it runs this program, or will when it starts again.
    pub(crate) fn is_of(&self, release: &Path) -> bool {
        self.program.file == release
    }

    /// What it runs when it starts again.
    pub(crate) fn becomes(&mut self, release: &Path) {
        release.clone_into(&mut self.program.file);
    }

    pub(crate) fn check(&mut self) -> Result<(), Trouble> {
        self.process.check()
    }
}

/// What `faketime` would set. It would also stand between us and the process, so only its library is used.
async fn wrong_clock(seconds: i64) -> Result<Vec<(String, String)>, Trouble> {
    let offset = format!("{seconds:+}");
    let library = Program::new("faketime", &["-f", &offset, "printenv", "LD_PRELOAD"]).output().await?;
    let set = [("LD_PRELOAD", library), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into())];
    Ok(set.map(|(name, value)| (name.to_owned(), value)).into())
}
