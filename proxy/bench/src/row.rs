//! Rows of results: one form for every bench.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One figure beside its yardstick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    /// `None` where there is nothing to compare with.
    pub yardstick: Option<f64>,
    pub ours: f64,
    pub unit: String,
    /// Ours to the yardstick's.
    pub ratio: Option<f64>,
    /// What was promised; `None` for figures beside it.
    pub goal: Option<Goal>,
    pub met: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    RatioAtLeast(f64),
    RatioAtMost(f64),
    AtMost(f64),
    AtLeast(f64),
}

impl Row {
    pub fn new(name: impl Into<String>, yardstick: Option<f64>, ours: f64, unit: &str) -> Self {
        let ratio = yardstick.filter(|yardstick| *yardstick > 0.0).map(|yardstick| ours / yardstick);
        Self { name: name.into(), yardstick, ours, unit: unit.into(), ratio, goal: None, met: None }
    }

    #[must_use]
    pub fn with_goal(mut self, goal: Goal) -> Self {
        self.met = Some(match goal {
            Goal::RatioAtLeast(least) => self.ratio.is_some_and(|ratio| ratio >= least),
            Goal::RatioAtMost(most) => self.ratio.is_some_and(|ratio| ratio <= most),
            Goal::AtMost(most) => self.ours <= most,
            Goal::AtLeast(least) => self.ours >= least,
        });
        self.goal = Some(goal);
        self
    }

    /// `>= 20 x met`; empty without a goal.
    pub fn verdict(&self) -> String {
        match (self.goal, self.met) {
            (Some(goal), Some(met)) => format!("{} {}", goal.text(), if met { "met" } else { "MISSED" }),
            _ => String::new(),
        }
    }
}

impl Goal {
    pub fn text(self) -> String {
        match self {
            Self::RatioAtLeast(least) => format!(">= {least} x"),
            Self::RatioAtMost(most) => format!("<= {most} x"),
            Self::AtMost(most) => format!("<= {most}"),
            Self::AtLeast(least) => format!(">= {least}"),
        }
    }
}

/// A JSON list.
pub fn write(path: &Path, rows: &[Row]) -> std::io::Result<()> {
    let json = serde_json::to_string_pretty(rows)?;
    std::fs::write(path, json + "\n")
}

pub fn read(path: &Path) -> std::io::Result<Vec<Row>> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// For a terminal.
pub fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let mut table =
        format!("{:width$}  {:>10} {:>10} {:<10} {:>7}  goal\n", "", "yardstick", "ours", "", "ratio");
    for row in rows {
        // Writing to a string cannot fail.
        let _written = writeln!(
            table,
            "{:width$}  {:>10} {:>10} {:<10} {:>7}  {}",
            row.name,
            shown(row.yardstick),
            short(row.ours),
            row.unit,
            shown(row.ratio),
            row.verdict()
        );
    }
    table
}

pub fn shown(value: Option<f64>) -> String {
    value.map_or(String::from("-"), short)
}

/// Three digits, or all before the point.
pub fn short(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        ..0.01 => 4,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    let digits = format!("{value:.decimals$}");
    if decimals == 0 { grouped(&digits) } else { digits }
}

/// `1234567` as `1,234,567`.
fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut text = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_judged_by_the_yardstick_and_a_bound_by_the_figure() {
        let fast = Row::new("a", Some(100.0), 97.5, "req/s");
        assert_eq!(fast.clone().with_goal(Goal::RatioAtLeast(0.97)).met, Some(true));
        assert_eq!(fast.clone().with_goal(Goal::RatioAtLeast(0.98)).met, Some(false));
        assert_eq!(fast.with_goal(Goal::AtMost(97.0)).met, Some(false));
    }

    #[test]
    fn a_ratio_without_a_yardstick_is_missed_not_met() {
        assert_eq!(Row::new("a", None, 1.0, "us").with_goal(Goal::RatioAtMost(2.0)).met, Some(false));
    }

    #[test]
    fn figures_keep_three_digits_and_thousands_are_grouped() {
        assert_eq!(short(1_234_567.0), "1,234,567");
        assert_eq!(short(-999.4), "-999");
        assert_eq!(short(12.345), "12.3");
        assert_eq!(short(0.0012), "0.0012");
    }
}
