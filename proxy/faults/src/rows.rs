//! Every row there is, and the trial in which it plays. Rows of one trial share a fleet and a crowd.

mod store;

use crate::fleet::{EDGES, Kind};
use crate::report::Report;
use crate::stage::Stage;
use crate::trouble::Trouble;

/// One thing that is done to a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    StorePaused,
    Flushed,
}

/// Rows that share a fleet and a crowd, in the order in which they play.
#[derive(Debug)]
pub struct Trial {
    pub name: &'static str,
    pub kind: Kind,
    /// By how many seconds the wall clock of each edge is wrong.
    pub clocks: [Option<i64>; EDGES],
    pub rows: &'static [Row],
}

const RIGHT: [Option<i64>; EDGES] = [None; EDGES];

pub const TRIALS: &[Trial] = &[
    Trial { name: "outages", kind: Kind::Linked, clocks: RIGHT, rows: &[Row::StorePaused] },
    Trial { name: "losses", kind: Kind::Linked, clocks: RIGHT, rows: &[Row::Flushed] },
];

impl Row {
    pub const fn name(self) -> &'static str {
        match self {
            Self::StorePaused => "store-paused",
            Self::Flushed => "flushed",
        }
    }

    pub const fn about(self) -> &'static str {
        match self {
            Self::StorePaused => "Redis is stopped for 5 s (SIGSTOP) and goes on",
            Self::Flushed => "FLUSHALL while all wait and are active",
        }
    }

    pub async fn play(self, stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
        match self {
            Self::StorePaused => store::paused(stage, report).await,
            Self::Flushed => store::flushed(stage, report).await,
        }
    }
}

impl Trial {
    pub fn row(&self, name: &str) -> Option<Row> {
        self.rows.iter().copied().find(|row| row.name() == name)
    }
}
