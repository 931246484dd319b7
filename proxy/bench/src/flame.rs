//! Where a process spends its time: samples of its stacks by `perf`, a flame graph, and the largest costs.

mod picture;
mod stacks;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

pub use self::stacks::Stacks;
use crate::bench::BenchError;
use crate::process::folder;

/// Samples a second: enough for shares of a percent in a few seconds, and not in step with any tick.
const SAMPLES_PER_SECOND: u32 = 499;
/// Bytes of each stack that are kept to be unwound.
const STACK_BYTES: u32 = 16 * 1024;

/// Samples a process for so long; whoever gives it work does so meanwhile on a thread of its own.
pub fn record(pid: u32, length: Duration, log: &File) -> Result<Stacks, BenchError> {
    let folder = folder()?;
    let data = folder.path().join("perf.data");
    let mut record = Command::new("perf");
    record.args(["record", "--quiet", "-e", "cpu-clock", "-F", &SAMPLES_PER_SECOND.to_string()]);
    record.args(["--call-graph", &format!("dwarf,{STACK_BYTES}"), "-p", &pid.to_string(), "-o"]).arg(&data);
    record.args(["--", "sleep", &length.as_secs_f64().to_string()]);
    run(record, log)?;
    let text = folder.path().join("stacks.txt");
    let mut script = Command::new("perf");
    script.args(["script", "--no-inline", "-F", "ip,sym", "-i"]).arg(&data);
    script.stdout(File::create(&text)?);
    run_into(script, log)?;
    let stacks = Stacks::read(&fs::read_to_string(&text)?);
    if stacks.samples() == 0 {
        return Err(BenchError::Broken("perf took no samples".into()));
    }
    Ok(stacks)
}

/// Draws a flame graph into a file.
pub fn draw(stacks: &Stacks, title: &str, path: &Path) -> Result<(), BenchError> {
    fs::write(path, picture::draw(stacks, title)).map_err(|cause| BenchError::file(path, cause))
}

fn run(mut command: Command, log: &File) -> Result<(), BenchError> {
    command.stdout(log.try_clone()?);
    run_into(command, log)
}

fn run_into(mut command: Command, log: &File) -> Result<(), BenchError> {
    let failed = |cause| BenchError::Start { program: "perf".into(), cause };
    let status = command.stdin(Stdio::null()).stderr(log.try_clone()?).status().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(BenchError::Broken(format!("perf ended with {status}"))) }
}
