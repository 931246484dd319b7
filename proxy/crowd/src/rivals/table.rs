//! What came of it: a table for people.

use std::fmt::Write as _;

/// One rival's windows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    pub name: String,
    /// Runs that were paid, in their order.
    pub runs: Vec<Run>,
    /// Windows in which everything was gone.
    pub sold_out: u32,
    /// Windows in which the shop did not serve.
    pub failed: u32,
}

/// One window that ended with a ticket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// From the opening to the payment, as the shop measured it.
    pub elapsed_ms: i64,
    /// Among all runs of the event at that moment.
    pub rank: i64,
    pub percentile: f64,
}

impl Record {
    fn best(&self) -> Option<Run> {
        self.runs.iter().copied().min_by_key(|run| run.elapsed_ms)
    }

    fn median_ms(&self) -> Option<i64> {
        let mut elapsed: Vec<i64> = self.runs.iter().map(|run| run.elapsed_ms).collect();
        elapsed.sort_unstable();
        elapsed.get(elapsed.len().saturating_sub(1) / 2).copied()
    }
}

/// The fastest first; those without a ticket last.
pub fn table(records: &[Record]) -> String {
    let mut records: Vec<&Record> = records.iter().collect();
    records.sort_by_key(|record| (record.best().map_or(i64::MAX, |run| run.elapsed_ms), record.name.clone()));
    let mut text = format!(
        "{:>5}  {:<16} {:>7} {:>8} {:>6} {:>10} {:>10} {:>6} {:>10}\n",
        "place", "rival", "tickets", "sold out", "failed", "best", "median", "rank", "percentile"
    );
    for (index, record) in records.iter().enumerate() {
        let best = record.best();
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:>5}  {:<16} {:>7} {:>8} {:>6} {:>10} {:>10} {:>6} {:>10}",
            index + 1,
            record.name,
            record.runs.len(),
            record.sold_out,
            record.failed,
            or_dash(best.map(|run| seconds(run.elapsed_ms))),
            or_dash(record.median_ms().map(seconds)),
            or_dash(best.map(|run| run.rank.to_string())),
            or_dash(best.map(|run| format!("{:.1}", run.percentile))),
        );
    }
    text
}

fn seconds(millis: i64) -> String {
    format!("{:.3} s", millis as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_stands_first_and_who_got_nothing_last() {
        let run = |elapsed_ms, rank| Run { elapsed_ms, rank, percentile: 50.0 };
        let record =
            |name: &str, runs: &[Run]| Record { name: name.into(), runs: runs.into(), ..Record::default() };
        let records = [
            record("none", &[]),
            record("slow", &[run(900, 4), run(700, 3), run(800, 5)]),
            record("fast", &[run(300, 1)]),
        ];
        let text = table(&records);
        let names: Vec<&str> =
            text.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap()).collect();
        assert_eq!(names, ["fast", "slow", "none"]);
        let slow = text.lines().nth(2).unwrap();
        assert!(slow.contains("0.700 s") && slow.contains("0.800 s"), "{slow}");
    }
}
