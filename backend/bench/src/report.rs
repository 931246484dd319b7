//! Rows of results: one form for every bench.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

/// One figure beside its yardstick.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub name: String,
    /// `None` where there is nothing to compare with.
    pub yardstick: Option<f64>,
    pub ours: f64,
    pub unit: &'static str,
    /// Ours to the yardstick's.
    pub ratio: Option<f64>,
    /// What was promised; `None` for figures beside it.
    pub goal: Option<Goal>,
    pub met: Option<bool>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    RatioAtLeast(f64),
    AtMost(f64),
    AtLeast(f64),
}

impl Row {
    pub(crate) fn new(name: String, yardstick: Option<f64>, ours: f64, unit: &'static str) -> Self {
        let ratio = yardstick.filter(|yardstick| *yardstick > 0.0).map(|yardstick| ours / yardstick);
        Self { name, yardstick, ours, unit, ratio, goal: None, met: None }
    }

    pub(crate) fn with_goal(mut self, goal: Goal) -> Self {
        self.met = Some(match goal {
            Goal::RatioAtLeast(least) => self.ratio.is_some_and(|ratio| ratio >= least),
            Goal::AtMost(most) => self.ours <= most,
            Goal::AtLeast(least) => self.ours >= least,
        });
        self.goal = Some(goal);
        self
    }
}

/// A JSON list.
pub(crate) fn write(path: &Path, rows: &[Row]) -> std::io::Result<()> {
    let json = serde_json::to_string_pretty(rows)?;
    std::fs::write(path, json + "\n")
}

pub(crate) fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut table =
        format!("{:width$}  {:>10} {:>10} {:<8} {:>7}  goal\n", "", "yardstick", "ours", "", "ratio");
    for row in rows {
        let optional = |value: Option<f64>| value.map_or(String::from("-"), short);
        let (yardstick, ratio) = (optional(row.yardstick), optional(row.ratio));
        let goal = match (row.goal, row.met) {
            (Some(goal), Some(met)) => format!("{} {}", goal.text(), if met { "met" } else { "MISSED" }),
            _ => String::new(),
        };
        // Writing to a string cannot fail.
        let _written = writeln!(
            table,
            "{:width$}  {yardstick:>10} {:>10} {:<8} {ratio:>7}  {goal}",
            row.name,
            short(row.ours),
            row.unit
        );
    }
    table
}

impl Goal {
    fn text(self) -> String {
        match self {
            Self::RatioAtLeast(least) => format!(">= {least} x:"),
            Self::AtMost(most) => format!("<= {most}:"),
            Self::AtLeast(least) => format!(">= {least}:"),
        }
    }
}

/// Three digits, or all before the point.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}
