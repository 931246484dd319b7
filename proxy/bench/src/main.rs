//! `edge-bench`: measures beside yardsticks, prints a table, writes the rows as JSON.

mod benches;
mod profile;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use benches::ALL;
use clap::{Parser, Subcommand};
use edge_bench::bench::{Bench, BenchError, Context};
use edge_bench::render;
use edge_bench::row::{self, Row};
use edge_bench::turns::Length;
use edge_bench::usage::raise_descriptor_limit;

#[derive(Debug, Parser)]
#[command(name = "edge-bench", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure one bench, or several.
    Run(RunArgs),
    /// Print the names of all benches, in the order of a run of all.
    List,
    /// Print the rows with a goal of all results in a folder.
    Summary { results: PathBuf },
    /// Draw a flame graph of a program under the load of a bench, and print its largest costs.
    Profile {
        #[arg(required = true)]
        names: Vec<String>,
        #[arg(long, value_name = "FOLDER")]
        images: PathBuf,
        #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
        results: PathBuf,
    },
    /// Put tables and figures into the page about performance.
    Render {
        results: PathBuf,
        #[arg(long, value_name = "FILE")]
        page: PathBuf,
        #[arg(long, value_name = "FOLDER")]
        images: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    #[arg(required = true, value_parser = bench)]
    names: Vec<&'static Bench>,
    /// Short turns: is anything badly off?
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// Many long turns.
    #[arg(long)]
    long: bool,
    /// Where rows (NAME.json) and figures (NAME.run.json) go.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    results: PathBuf,
    /// Where the rows go instead; for one bench.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn bench(name: &str) -> Result<&'static Bench, String> {
    let known = || ALL.iter().map(|bench| bench.name).collect::<Vec<_>>().join(", ");
    ALL.iter().find(|bench| bench.name == name).ok_or_else(|| format!("known are: {}", known()))
}

fn main() -> ExitCode {
    match act(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act(command: &Command) -> Result<(), BenchError> {
    match command {
        Command::Run(args) => measure(args),
        Command::List => {
            for bench in ALL {
                println!("{:<10} {}", bench.name, bench.about);
            }
            Ok(())
        }
        Command::Summary { results } => {
            summary(results);
            Ok(())
        }
        Command::Profile { names, images, results } => {
            profile::profile(&context(Length::USUAL, results)?, names, images)
        }
        Command::Render { results, page, images } => {
            let found = render::render(results, page, images)?;
            println!("{}: {}", page.display(), found.join(", "));
            Ok(())
        }
    }
}

fn measure(args: &RunArgs) -> Result<(), BenchError> {
    let length = match (args.quick, args.long) {
        (true, _) => Length::QUICK,
        (_, true) => Length::LONG,
        _ => Length::USUAL,
    };
    let context = context(length, &args.results)?;
    for bench in &args.names {
        context.say(format_args!("── {}: {}", bench.name, bench.about));
        let report = (bench.run)(&context)?;
        print!("{}", row::table(&report.rows));
        let rows = args.json.clone().unwrap_or_else(|| args.results.join(format!("{}.json", bench.name)));
        render::keep(&rows, &report, length)?;
    }
    Ok(())
}

fn context(length: Length, results: &Path) -> Result<Context, BenchError> {
    let logs = results.join("logs");
    fs::create_dir_all(&logs).map_err(|cause| BenchError::file(&logs, cause))?;
    raise_descriptor_limit();
    Ok(Context { length, programs: render::programs()?, logs })
}

/// In the order of a run of all, then those of other programs.
fn summary(results: &Path) {
    let mut names: Vec<String> = ALL.iter().map(|bench| bench.name.to_owned()).collect();
    names.push("sale".into());
    let mut promised: Vec<Row> = Vec::new();
    for name in names {
        let Ok(rows) = row::read(&results.join(format!("{name}.json"))) else { continue };
        let rows = rows.into_iter().filter(|row| row.goal.is_some());
        promised.extend(rows.map(|row| Row { name: format!("{name}: {}", row.name), ..row }));
    }
    print!("{}", row::table(&promised));
    let missed = promised.iter().filter(|row| row.met == Some(false)).count();
    println!("{} promised figures, {missed} missed", promised.len());
}
