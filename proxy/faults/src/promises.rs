//! The promises, and what this run saw of each: for the terminal, and for docs/PROMISES.md.

use std::fmt::Write as _;

use crate::run::{Outcome, Outcomes};

/// One promise and where it is shown.
struct Promise {
    text: &'static str,
    figure: &'static str,
    shown: Shown,
}

enum Shown {
    /// By checks of this run: those whose name starts so, of these rows and trials (all, if none are named).
    Here { rows: &'static [&'static str], checks: &'static [&'static str] },
    /// By another group of tests.
    Elsewhere(&'static str),
}

const PROMISES: &[Promise] = &[
    Promise {
        text: "nobody loses a place once the confirmed ticket reached the client",
        figure: "0 lost",
        shown: Shown::Here { rows: &[], checks: &["places lost", "visitors who never got a place"] },
    },
    Promise {
        text: "order is by arrival",
        figure: "0 inversions",
        shown: Shown::Here { rows: &[], checks: &["overtaken"] },
    },
    Promise {
        text: "never over the limit, through failover and live changes",
        figure: "0 windows; never more active than allowed",
        shown: Shown::Here {
            rows: &[],
            checks: &["windows over the limit", "most turns and sessions", "the operator's limits"],
        },
    },
    Promise {
        text: "the limit is used",
        figure: "≥ 99 %",
        shown: Shown::Elsewhere("group `core`: `crowd limits`; group `demo`: entries a minute"),
    },
    Promise {
        text: "never sold twice",
        figure: "0",
        shown: Shown::Here { rows: &[], checks: &["tickets sold", "the shop's sums"] },
    },
    Promise {
        text: "a retry is the same purchase",
        figure: "0 double holds or charges",
        shown: Shown::Elsewhere("group `backend`: `contention` (100,000 attempts, a process killed)"),
    },
    Promise {
        text: "an admitted visitor is not dropped by a deploy",
        figure: "0 failed requests; ≥ 99.9 % of sockets in 10 s; no herd",
        shown: Shown::Here {
            rows: &["deploy", "upgrade", "roll-back"],
            checks: &["failed requests", "sockets resumed", "most reconnects", "edges ended"],
        },
    },
    Promise {
        text: "a flood without cookies costs nothing in the store while others wait",
        figure: "0 keys",
        shown: Shown::Here { rows: &["flood"], checks: &["keys that the flood added", "first contacts"] },
    },
    Promise {
        text: "memory is bounded: bad clients change nothing for others",
        figure: "p99 of a good client",
        shown: Shown::Here { rows: &["bad-clients"], checks: &["a good client", "failed requests"] },
    },
    Promise {
        text: "a ticket buys one session",
        figure: "0 second sessions",
        shown: Shown::Here { rows: &["tickets"], checks: &["second sessions", "shared tickets"] },
    },
    Promise {
        text: "nothing gets past the gate",
        figure: "0 ungated requests",
        shown: Shown::Elsewhere("group `edge`: `flow::ungated`, `gate`, `transport`; group `demo`: its bots"),
    },
    Promise {
        text: "a bad config is refused whole",
        figure: "the running one stays",
        shown: Shown::Elsewhere("group `edge`: `config`, `reload`, testdata/bad"),
    },
    Promise {
        text: "store outage: admitted traffic unchanged, turns again",
        figure: "0 failed; ≤ 2 s intact, ≤ 10 s empty or older",
        shown: Shown::Here {
            rows: &[
                "store-paused",
                "link-cut",
                "link-stalled",
                "link-slow",
                "half-open",
                "one-edge-away",
                "script-busy",
                "memory-full",
                "flushed",
                "store-killed",
                "failover",
                "node-killed",
            ],
            checks: &["failed requests", "turns", "all edges are live", "not all edges"],
        },
    },
    Promise {
        text: "database outage: clear 503, nothing half-done",
        figure: "recovery ≤ 5 s",
        shown: Shown::Here {
            rows: &["database-killed", "database-paused"],
            checks: &["people buy again", "failures other than"],
        },
    },
];

/// The table of promises, then every row with all that it checked.
pub(crate) fn markdown(outcomes: &Outcomes, scale: &str, seed: u64) -> String {
    let mut page = format!(
        "# Promises\n\nWhat `./scripts/test faults` saw: three edges as processes, real stores and databases, {scale}, \
         seed {seed}, all on one machine with two cores in a debug build. Zeros are exact and come from the visitors' \
         own log; times may be five times the promised figure in this test and are printed as they were.\n\n\
         | promise | figure | this run |\n|---|---|---|\n"
    );
    for promise in PROMISES {
        // Writing into a string cannot fail.
        let _ = writeln!(page, "| {} | {} | {} |", promise.text, promise.figure, promise.seen(outcomes));
    }
    page.push_str("\n## Row by row\n");
    for outcome in &outcomes.all {
        let _ = write!(page, "\n### {}\n\n{}\n\n", outcome.name(), outcome.about());
        for check in &outcome.report.checks {
            let word = if check.holds { "" } else { "**broken** " };
            let _ = writeln!(page, "- {word}{}: {}", check.what, check.found);
        }
        for note in &outcome.report.notes {
            let _ = writeln!(page, "- {note}");
        }
    }
    page
}

/// The table for the terminal.
pub(crate) fn table(outcomes: &Outcomes) -> String {
    let mut table = String::new();
    for promise in PROMISES {
        let _ = writeln!(
            table,
            "{}\n    promised: {}\n    this run: {}",
            promise.text,
            promise.figure,
            promise.seen(outcomes)
        );
    }
    table
}

impl Promise {
    fn seen(&self, outcomes: &Outcomes) -> String {
        let (rows, checks) = match self.shown {
            Shown::Elsewhere(place) => return format!("shown by {place}"),
            Shown::Here { rows, checks } => (rows, checks),
        };
        let of_rows = |outcome: &&Outcome| rows.is_empty() || rows.contains(&outcome.name());
        let found: Vec<_> = outcomes
            .all
            .iter()
            .filter(of_rows)
            .flat_map(|outcome| outcome.report.checks.iter().map(move |check| (outcome.name(), check)))
            .filter(|(_, check)| checks.iter().any(|name| check.what.starts_with(name)))
            .collect();
        let broken: Vec<String> = found
            .iter()
            .filter(|(_, check)| !check.holds)
            .map(|(row, check)| format!("{row}: {}: {}", check.what, check.found))
            .collect();
        match (found.len(), broken.len()) {
            (0, _) => "not played".to_owned(),
            (all, 0) => format!("holds in {all} checks; {}", figures(&found)),
            (all, _) => format!("**broken** in {} of {all} checks: {}", broken.len(), broken.join("; ")),
        }
    }
}

/// The first figure of each kind of check.
fn figures(found: &[(&str, &crate::report::Check)]) -> String {
    let mut told = std::collections::BTreeMap::new();
    for (row, check) in found {
        told.entry(check.what.as_str()).or_insert_with(Vec::new).push(format!("{} ({row})", check.found));
    }
    let each = told.into_iter().map(|(what, mut figures)| {
        let more = figures.len().saturating_sub(3);
        figures.truncate(3);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{what}: {}{rest}", figures.join(", "))
    });
    each.collect::<Vec<_>>().join("; ")
}
