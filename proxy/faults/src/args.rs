//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Breaks a whole fleet on purpose and proves from outside, by the visitors' own log, what held.
#[derive(Debug, Clone, Parser)]
#[command(name = "faults", version, about, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Rows or whole trials, in the order in which they play; default: all. See --list.
    #[arg(value_name = "ROW")]
    pub rows: Vec<String>,
    /// Print the rows and stop.
    #[arg(long)]
    pub list: bool,
    /// Go on for so many minutes with random seeds, in random order, until something does not hold.
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub long: Option<u64>,
    /// The same people and moments again.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write the table of promises there, as Markdown.
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Leave logs and data where they are, also when everything held, and write down all that visitors saw.
    #[arg(long)]
    pub keep: bool,
    /// How many wait, with live sockets, while it happens.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(20..=8000))]
    pub waiting: u64,
    /// How many are inside and go on with their requests.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(10..=2000))]
    pub inside: u64,
    /// How long edges wait for their store: more than the default where the machine has other work, which is no outage.
    #[arg(long, value_name = "MS", default_value_t = 250, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    pub store_timeout: u64,
    /// Where the programs of the fleet are; default: beside this one.
    #[arg(long, value_name = "FOLDER")]
    pub programs: Option<PathBuf>,
    /// The edge of the release before, for the trial `skew`.
    #[arg(long, value_name = "FILE")]
    pub previous: Option<PathBuf>,
}

const EXIT_CODES: &str =
    "Exit codes: 0 every promise held, 1 one did not, 64 usage, 70 internal, 130 interrupted.";
