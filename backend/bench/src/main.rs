//! `sale-bench`: contests between the plain way to sell and ours, in turns, on one PostgreSQL.

mod contest;
mod counter;
mod cpu;
mod hot_row;
mod http;
mod plain;
mod seats;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use edge_bench::bench::Report;
use edge_bench::render;
use edge_bench::row::table;
use edge_bench::turns::Length;

/// Measures, prints a table, writes the rows as JSON.
#[derive(Debug, Parser)]
#[command(name = "sale-bench", version)]
struct Args {
    /// An empty database of a private server.
    #[arg(long, value_name = "URL")]
    db_url: String,
    /// The program that is measured over HTTP.
    #[arg(long, value_name = "FILE")]
    box_office: PathBuf,
    /// Where the rows go.
    #[arg(long, value_name = "FILE")]
    json: PathBuf,
    /// How many buy at the same time.
    #[arg(long, value_delimiter = ',', default_values_t = hot_row::CLIENTS)]
    clients: Vec<usize>,
    /// One short turn each.
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// Many long turns each.
    #[arg(long)]
    long: bool,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("PostgreSQL: {0}")]
    Postgres(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Address(#[from] box_office::config::DatabaseError),
    #[error("the counter: {0}")]
    Counter(#[from] box_office::db::DbError),
    #[error("the schema: {0}")]
    Schema(#[from] box_office::db::migrate::MigrateError),
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    #[error(transparent)]
    Results(#[from] edge_bench::bench::BenchError),
    #[error("the connection to the program: {0}")]
    Connection(#[from] std::io::Error),
    #[error("HTTP: {0}")]
    Http(String),
    #[error("cannot start: {0}")]
    Start(String),
    #[error("a client was not sold a ticket although there were enough: {0}")]
    NotSold(String),
    #[error("the books do not balance after the run: {0}")]
    Books(String),
}

fn main() -> ExitCode {
    let args = Args::parse();
    match measure(&args) {
        Ok(report) => {
            print!("{}", table(&report.rows));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("sale-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<Report, BenchError> {
    let length = match (args.quick, args.long) {
        (true, _) => Length::QUICK,
        (_, true) => Length::LONG,
        _ => Length::USUAL,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| BenchError::Start(error.to_string()))?;
    let mut rows = runtime.block_on(hot_row::measure(args, length))?;
    rows.extend(runtime.block_on(seats::measure(args, length))?);
    let report = Report::from(rows);
    render::keep(&args.json, &report, length)?;
    Ok(report)
}
