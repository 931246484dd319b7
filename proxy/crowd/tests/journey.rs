//! Whole runs against a small waiting room with a shop behind it: an honest one, and one for every way to cheat.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // the fake server, too, is only test code

mod fake;

use std::net::SocketAddr;

use clap::Parser as _;
use crowd::args::{Cli, Command, RunArgs};
use crowd::run::{RunError, run};
use crowd::stop::{Phase, Stop};
use crowd::summary::Summary;
use fake::{Fake, Fault, Settings};
use serde_json::Value;

const HONEST: Settings = Settings { per_minute: 1200, burst: 8, stock: 1000, fault: Fault::None };

fn args(targets: &[SocketAddr], more: &str) -> RunArgs {
    let targets: Vec<_> = targets.iter().map(|address| format!("http://{address}")).collect();
    let line = format!("crowd run --target {} --burst 8 {more}", targets.join(","));
    let Command::Run(args) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
        panic!("{line}");
    };
    *args
}

async fn visit(settings: Settings, more: &str) -> Summary {
    let fake = Fake::start(settings).await;
    run(&args(&[fake.address], more), Stop::default()).await.unwrap()
}

fn figures(summary: &Summary) -> Value {
    serde_json::from_str(&summary.json()).unwrap()
}

/// A crowd of eighty that comes faster than the rate: most of it has to wait.
const RUSH: &str = "--visitors 80 --arrive 200/s --seconds 30 --no-show 2% --dropoff 0%";

#[tokio::test]
async fn an_honest_room_keeps_every_promise() {
    let summary = visit(
        HONEST,
        "--visitors 80 --arrive 200/s --seconds 30 --dropoff 5% --bots 10% --forwarded-for --active-limit 1000",
    )
    .await;
    let figures = figures(&summary);
    assert!(summary.hold(), "{}{figures}", summary.for_people());
    assert_eq!(figures["visitors"].as_u64().unwrap() + figures["bots"].as_u64().unwrap(), 80);
    assert!(figures["admitted"].as_u64() >= Some(55), "{figures}");
    assert!(figures["paid"].as_u64() >= Some(50), "{figures}");
    assert_eq!(figures["sold"], figures["paid_qty"]);
    assert!(figures["order_compared"].as_u64() > Some(40), "{figures}");
    assert!(figures["positions_compared"].as_u64() > Some(50), "{figures}");
}

#[tokio::test]
async fn two_doors_of_one_house_are_visited_alike() {
    let fake = Fake::start(HONEST).await;
    let args = args(&[fake.address, fake.address], "--visitors 30 --arrive 100/s --dropoff 50% --seconds 30");
    let summary = run(&args, Stop::default()).await.unwrap();
    assert!(summary.hold(), "{}", summary.for_people());
}

#[tokio::test]
async fn an_open_side_door_is_found() {
    let summary =
        visit(Settings { fault: Fault::OpenApi, ..HONEST }, "--visitors 30 --bots 50% --seconds 6").await;
    assert!(summary.findings().forwarded_ungated > 0 && !summary.hold());
}

#[tokio::test]
async fn serving_the_last_first_is_found() {
    let summary = visit(Settings { fault: Fault::LastFirst, ..HONEST }, RUSH).await;
    assert!(summary.findings().order_inversions > 0, "{}", summary.for_people());
}

#[tokio::test]
async fn letting_in_too_many_is_found() {
    let summary = visit(Settings { fault: Fault::NoLimit, ..HONEST }, RUSH).await;
    assert!(summary.findings().over_limit_windows > Some(0), "{}", summary.for_people());
}

#[tokio::test]
async fn a_place_that_moves_back_is_found() {
    let slow = Settings { per_minute: 300, fault: Fault::Restamps, ..HONEST };
    let summary = visit(slow, "--visitors 60 --arrive 200/s --refresh 50% --seconds 8").await;
    assert!(summary.findings().lost_places > 0, "{}", summary.for_people());
}

#[tokio::test]
async fn positions_that_are_too_high_are_found() {
    let summary = visit(Settings { fault: Fault::InflatedPositions, ..HONEST }, RUSH).await;
    assert!(summary.findings().positions.wrong > 0, "{}", summary.for_people());
}

#[tokio::test]
async fn selling_twice_for_one_key_is_found() {
    let summary =
        visit(Settings { fault: Fault::IgnoresKeys, ..HONEST }, &format!("{RUSH} --double-click 50%")).await;
    assert!(summary.findings().sales.double_orders > 0, "{}", summary.for_people());
}

#[tokio::test]
async fn sales_missing_from_the_books_are_found() {
    let summary = visit(Settings { fault: Fault::LosesSales, ..HONEST }, RUSH).await;
    assert!(summary.findings().sales.mismatch > 0, "{}", summary.for_people());
}

#[tokio::test]
async fn a_small_stock_is_sold_to_the_last_ticket_and_not_beyond() {
    let summary = visit(Settings { stock: 20, ..HONEST }, RUSH).await;
    let figures = figures(&summary);
    assert!(summary.hold(), "{}", summary.for_people());
    assert!(figures["sold"].as_u64() >= Some(19), "{figures}");
}

#[tokio::test]
async fn a_run_that_is_stopped_early_is_still_proved() {
    let fake = Fake::start(HONEST).await;
    let stop = Stop::default();
    let args = args(&[fake.address], "--visitors 40 --arrive 100/s --until-stopped");
    let ending = async {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        stop.advance(Phase::Closing);
    };
    let (summary, ()) = tokio::join!(run(&args, stop.clone()), ending);
    let summary = summary.unwrap();
    assert!(summary.hold(), "{}", summary.for_people());
    assert!(figures(&summary)["visitors"].as_u64() >= Some(40));
}

#[tokio::test]
async fn a_target_that_is_not_there_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = run(&args(&[address], ""), Stop::default()).await.unwrap_err();
    assert!(
        matches!(error, RunError::Unreachable { .. }) && error.to_string().contains(&address.to_string())
    );
}

#[tokio::test]
async fn the_log_holds_every_instant_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.ndjson");
    visit(HONEST, &format!("--visitors 10 --arrive 100/s --seconds 20 --log {}", file.display())).await;
    let text = std::fs::read_to_string(&file).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for wanted in ["answer", "entered", "end"] {
        assert!(events.iter().any(|event| event["event"] == wanted), "{wanted}");
    }
}
