//! The optional log of every instant: NDJSON in a file, written beside the run through a bounded queue.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use room::time::Micros;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Lines that may wait for the disk; beyond it they are dropped and counted.
const QUEUE_LINES: usize = 16_384;

/// Where instants go, if anywhere.
#[derive(Debug, Default)]
pub struct Journal {
    lines: Option<mpsc::Sender<String>>,
    dropped: AtomicU64,
}

/// One instant.
#[derive(Debug, Serialize)]
pub struct Line<'a, T: Serialize> {
    pub at: Micros,
    pub visitor: u64,
    pub event: &'a str,
    #[serde(flatten)]
    pub detail: T,
}

impl Journal {
    /// Opens the file; the handle ends once the journal is dropped and everything is written.
    pub fn open(path: &Path) -> std::io::Result<(Self, JoinHandle<std::io::Result<()>>)> {
        let file = BufWriter::new(File::create(path)?);
        let (sender, receiver) = mpsc::channel(QUEUE_LINES);
        Ok((
            Self { lines: Some(sender), dropped: AtomicU64::new(0) },
            tokio::task::spawn_blocking(|| write(file, receiver)),
        ))
    }

    /// Whether anybody reads it.
    pub fn is_open(&self) -> bool {
        self.lines.is_some()
    }

    pub fn write<T: Serialize>(&self, line: &Line<'_, T>) {
        let Some(lines) = &self.lines else { return };
        let Ok(mut text) = serde_json::to_string(line) else {
            return;
        };
        text.push('\n');
        if lines.try_send(text).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// The same in another process.
    pub fn dropped_elsewhere(&self, lines: u64) {
        self.dropped.fetch_add(lines, Relaxed);
    }

    /// Lines the disk was too slow for.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// On a thread of its own: the disk must not hold up the visitors.
fn write(mut file: BufWriter<File>, mut lines: mpsc::Receiver<String>) -> std::io::Result<()> {
    while let Some(line) = lines.blocking_recv() {
        file.write_all(line.as_bytes())?;
    }
    file.flush()
}
