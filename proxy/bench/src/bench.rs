//! What a bench is.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::plot::Plot;
use crate::row::Row;
use crate::turns::Length;

/// One name of `./scripts/bench`.
#[derive(Debug)]
pub struct Bench {
    pub name: &'static str,
    /// One line for the list of benches.
    pub about: &'static str,
    pub run: fn(&Context) -> Result<Report, BenchError>,
}

/// What a bench is given.
#[derive(Debug)]
pub struct Context {
    pub length: Length,
    /// Where the programs that are measured were built.
    pub programs: PathBuf,
    /// For the logs of what is started.
    pub logs: PathBuf,
}

impl Context {
    /// A program of this workspace, built in the same way as this one.
    pub fn program(&self, name: &str) -> Result<PathBuf, BenchError> {
        let path = self.programs.join(name);
        if path.is_file() { Ok(path) } else { Err(BenchError::NotBuilt(path)) }
    }

    /// `NAME.log` in the folder for logs.
    pub fn log(&self, name: &str) -> Result<File, BenchError> {
        let path = self.logs.join(format!("{name}.log"));
        File::create(&path).map_err(|cause| BenchError::File(path, cause))
    }

    /// Progress, for whoever waits; stdout belongs to results.
    pub fn say(&self, what: impl fmt::Display) {
        eprintln!("{what}");
    }
}

/// What a bench found.
#[derive(Debug, Default)]
pub struct Report {
    pub rows: Vec<Row>,
    /// For `docs/PERFORMANCE.md`.
    pub plots: Vec<Plot>,
}

impl From<Vec<Row>> for Report {
    fn from(rows: Vec<Row>) -> Self {
        Self { rows, plots: Vec::new() }
    }
}

/// Why there is no result. A goal that was missed is a result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("{} is not there: build it in the same profile, as ./scripts/bench does", .0.display())]
    NotBuilt(PathBuf),
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    #[error("{program} did not start: {cause}")]
    Start { program: String, cause: io::Error },
    #[error("{program} was not ready in time; see its log")]
    NotReady { program: String },
    #[error("the connection to {to}: {cause}")]
    Connection { to: String, cause: io::Error },
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What was measured would not be what the figure says.
    #[error("not what was to be measured: {0}")]
    Broken(String),
    /// A promise about correctness did not hold while it was measured.
    #[error("an invariant failed: {0}")]
    Invariant(String),
}

impl BenchError {
    pub fn file(path: &Path, cause: io::Error) -> Self {
        Self::File(path.into(), cause)
    }
}
