//! `docs/PERFORMANCE.md` from what was measured: a table between two markers for each bench, and its figures.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bench::{BenchError, Report};
use crate::plot::Plot;
use crate::row::{self, Row, short, shown};
use crate::turns::Length;

/// What stands beside the rows of one bench: `NAME.run.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// `release`, `fast` …
    pub profile: String,
    /// `2 cores of Intel(R) Xeon(R), 24 GB`
    pub machine: String,
    /// `quick`, `usual`, `long`
    pub length: String,
    pub plots: Vec<Plot>,
}

impl Run {
    /// Of a program that was built in the same way as this one.
    fn of(length: Length, plots: Vec<Plot>) -> io::Result<Self> {
        let programs = programs()?;
        let profile = programs.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let length = match length {
            length if length.is_quick() => "quick",
            length if length.is_long() => "long",
            _ => "usual",
        };
        Ok(Self { profile, machine: machine(), length: length.into(), plots })
    }
}

/// Where this program is, and with it whatever was built in the same way.
pub fn programs() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    own.parent().map(Path::to_path_buf).ok_or_else(|| io::Error::other("this program has no folder"))
}

/// Writes the rows to `NAME.json`, and what stands beside them to `NAME.run.json`.
pub fn keep(rows: &Path, report: &Report, length: Length) -> Result<(), BenchError> {
    row::write(rows, &report.rows).map_err(|cause| BenchError::file(rows, cause))?;
    let path = rows.with_extension("run.json");
    let run = Run::of(length, report.plots.clone())?;
    let json = serde_json::to_string_pretty(&run).map_err(|cause| BenchError::file(&path, cause.into()))?;
    fs::write(&path, json + "\n").map_err(|cause| BenchError::file(&path, cause))
}

/// Cores and memory as this system names them.
fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = field("/proc/meminfo", "MemTotal");
    let kib: f64 = memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0.0);
    format!("{cores} cores of {}, {:.0} GB", field("/proc/cpuinfo", "model name"), kib * 1024.0 / 1e9)
}

/// Renders what is in `results` into `page` and `images`; answers the names that were found.
pub fn render(results: &Path, page: &Path, images: &Path) -> Result<Vec<String>, BenchError> {
    let mut text = read(page)?;
    let mut found = Vec::new();
    for name in marked(&text) {
        let rows = results.join(format!("{name}.json"));
        if !rows.is_file() {
            continue;
        }
        let rows = row::read(&rows).map_err(|cause| BenchError::file(&rows, cause))?;
        let run = read_run(results, &name)?;
        text = replaced(&text, &name, &section(&rows, run.as_ref()));
        for plot in run.iter().flat_map(|run| &run.plots) {
            let path = images.join(format!("performance-{}.svg", plot.file));
            fs::write(&path, plot.svg()).map_err(|cause| BenchError::file(&path, cause))?;
        }
        found.push(name);
    }
    fs::write(page, text).map_err(|cause| BenchError::file(page, cause))?;
    Ok(found)
}

fn read(path: &Path) -> Result<String, BenchError> {
    fs::read_to_string(path).map_err(|cause| BenchError::file(path, cause))
}

fn read_run(results: &Path, name: &str) -> Result<Option<Run>, BenchError> {
    let path = results.join(format!("{name}.run.json"));
    if !path.is_file() {
        return Ok(None);
    }
    let run = serde_json::from_str(&read(&path)?);
    run.map(Some).map_err(|cause| BenchError::file(&path, cause.into()))
}

fn opening(name: &str) -> String {
    format!("<!-- bench:{name} -->")
}

fn closing(name: &str) -> String {
    format!("<!-- /bench:{name} -->")
}

/// The names of the markers of a page, in their order.
fn marked(page: &str) -> Vec<String> {
    let names = page.lines().filter_map(|line| line.strip_prefix("<!-- bench:")?.strip_suffix(" -->"));
    names.map(str::to_owned).collect()
}

/// The page with something else between the markers of a name.
fn replaced(page: &str, name: &str, section: &str) -> String {
    let (opening, closing) = (opening(name), closing(name));
    let Some((before, rest)) = page.split_once(&opening) else { return page.to_owned() };
    let Some((_, after)) = rest.split_once(&closing) else { return page.to_owned() };
    format!("{before}{opening}\n\n{section}\n{closing}{after}")
}

fn section(rows: &[Row], run: Option<&Run>) -> String {
    let mut text = String::from("| | yardstick | ours | | ratio | goal |\n|---|---:|---:|---|---:|---|\n");
    for row in rows {
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            row.name.replace('|', "\\|"),
            shown(row.yardstick),
            short(row.ours),
            row.unit.replace("us", "µs"),
            shown(row.ratio),
            verdict(row)
        );
    }
    if let Some(run) = run {
        let Run { profile, machine, length, .. } = run;
        let _written = writeln!(text, "\nProfile `{profile}`, {length} turns, {machine}.");
        for plot in &run.plots {
            let _written = writeln!(text, "\n![{}](images/performance-{}.svg)", plot.title, plot.file);
        }
    }
    text
}

fn verdict(row: &Row) -> String {
    match (row.goal, row.met) {
        (Some(goal), Some(true)) => format!("{}: met", goal.text()),
        (Some(goal), _) => format!("{}: **missed**", goal.text()),
        (None, _) => String::new(),
    }
    .replace(">=", "≥")
    .replace("<=", "≤")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Goal;

    const PAGE: &str = "# Page\n\n<!-- bench:gate -->\nold\n<!-- /bench:gate -->\n\nafter\n";

    #[test]
    fn rows_take_the_place_of_the_old_ones_and_the_rest_of_the_page_stays() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("PERFORMANCE.md");
        fs::write(&page, PAGE).unwrap();
        let row = Row::new("forwarded", Some(10.0), 16.0, "us").with_goal(Goal::RatioAtMost(1.5));
        row::write(&folder.path().join("gate.json"), &[row]).unwrap();
        let plot = Plot::bars("gate", "CPU", "µs", vec![]);
        let run =
            Run { profile: "fast".into(), machine: "m".into(), length: "quick".into(), plots: vec![plot] };
        fs::write(folder.path().join("gate.run.json"), serde_json::to_string(&run).unwrap()).unwrap();

        assert_eq!(render(folder.path(), &page, folder.path()).unwrap(), ["gate"]);
        let text = fs::read_to_string(&page).unwrap();
        assert!(text.contains("| forwarded | 10.0 | 16.0 | µs | 1.60 | ≤ 1.5 x: **missed** |"), "{text}");
        assert!(
            text.starts_with("# Page\n\n<!-- bench:gate -->\n") && text.ends_with("\n\nafter\n"),
            "{text}"
        );
        assert!(!text.contains("old") && folder.path().join("performance-gate.svg").is_file());
    }

    #[test]
    fn what_was_not_measured_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("PERFORMANCE.md");
        fs::write(&page, PAGE).unwrap();
        assert!(render(folder.path(), &page, folder.path()).unwrap().is_empty());
        assert_eq!(fs::read_to_string(&page).unwrap(), PAGE);
    }
}
