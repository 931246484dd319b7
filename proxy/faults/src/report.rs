//! What a row has to say: checks that hold or not, and figures beside them.

use std::time::Duration;

use crate::trouble::Trouble;

/// One promise, as this run saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub what: String,
    pub found: String,
    pub holds: bool,
}

/// Everything about one row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    pub checks: Vec<Check>,
    /// Worth knowing, promised nowhere.
    pub notes: Vec<String>,
}

/// Times may be this many times the promised figure here: the crowd, the fleet and whatever else runs on this machine
/// share its cores.
pub(crate) const GENEROSITY: u32 = 5;

impl Report {
    pub(crate) fn check(&mut self, what: impl Into<String>, found: impl Into<String>, holds: bool) {
        self.checks.push(Check { what: what.into(), found: found.into(), holds });
    }

    /// A count that must be zero, out of so many.
    pub(crate) fn zero(&mut self, what: &str, count: u64, out_of: impl std::fmt::Display) {
        self.check(what, format!("{count} of {out_of}"), count == 0);
    }

    /// A time that was promised to be at most `figure`; `None`: it did not happen within what is allowed.
    pub(crate) fn time(&mut self, what: &str, took: Option<Duration>, figure: Duration) {
        let promised = seconds(figure);
        match took {
            Some(took) => {
                let found = format!("{} (promised: {promised})", seconds(took));
                self.check(what, found, took <= figure * GENEROSITY);
            }
            None => self.check(what, format!("not within {}", seconds(figure * GENEROSITY)), false),
        }
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.checks.extend(other.checks);
        self.notes.extend(other.notes);
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub(crate) fn trouble(&mut self, trouble: &Trouble) {
        self.check("the trial could be carried out", trouble.to_string(), false);
    }

    pub(crate) fn passed(&self) -> usize {
        self.checks.iter().filter(|check| check.holds).count()
    }

    pub(crate) fn failed(&self) -> usize {
        self.checks.len() - self.passed()
    }
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_five_times_the_figure_and_no_more() {
        let figure = Duration::from_secs(2);
        let holds = |took| {
            let mut report = Report::default();
            report.time("turns again", took, figure);
            report.failed() == 0
        };
        assert!(holds(Some(figure * GENEROSITY)));
        assert!(!holds(Some(figure * GENEROSITY + Duration::from_millis(1))));
        assert!(!holds(None));
    }

    #[test]
    fn a_zero_is_exact() {
        let mut report = Report::default();
        report.zero("places lost", 0, 10);
        assert_eq!(report.failed(), 0);
        report.zero("places lost", 1, 1_000_000);
        assert_eq!((report.passed(), report.failed()), (1, 1));
    }
}
