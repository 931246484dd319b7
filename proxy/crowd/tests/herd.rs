//! Herds against the small waiting room: an honest one, one for every way to cheat, and both from several processes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // the fake server, too, is only test code

mod fake;

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use clap::Parser as _;
use crowd::args::{Cli, Command as Asked};
use crowd::run::run;
use crowd::stop::Stop;
use crowd::summary::Summary;
use fake::{Fake, Fault, Settings};
use serde_json::Value;

/// Slow enough that most of eighty wait to the end.
const HONEST: Settings = Settings { per_minute: 300, burst: 8, stock: 1000, fault: Fault::None };
const HERD: &str = "--burst 8 --visitors 10 --arrive 5/s --herd 30,30 --herd-arrive 100/s --herd-pause 500ms \
    --per-address 20 --no-show 0% --dropoff 5% --leave 5% --refresh 5% --json";

fn line(fake: &Fake, more: &str) -> String {
    let seconds = if more.contains("--seconds") { "" } else { "--seconds 9" };
    format!("crowd run --target http://{} {HERD} {seconds} {more}", fake.address)
}

async fn send(fault: Fault, more: &str) -> Summary {
    let fake = Fake::start(Settings { fault, ..HONEST }).await;
    let line = line(&fake, more);
    let Asked::Run(args) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
        panic!("{line}")
    };
    run(&args, Stop::default()).await.unwrap()
}

/// By the program itself, as only that starts others.
fn start(fake: &Fake, more: &str) -> Child {
    let line = line(fake, more);
    Command::new(env!("CARGO_BIN_EXE_crowd"))
        .args(line.split_whitespace().skip(1))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn send_from_processes(fault: Fault, more: &str) -> (Output, Value) {
    let fake = Fake::start(Settings { fault, ..HONEST }).await;
    let crowd = start(&fake, more);
    let output = tokio::task::spawn_blocking(|| crowd.wait_with_output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let figures = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let figures = figures.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    (output, figures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_room_keeps_every_promise_to_a_herd() {
    let summary = send(Fault::None, "--spread poisson").await;
    let figures: Value = serde_json::from_str(&summary.json()).unwrap();
    assert!(summary.hold(), "{}{figures}", summary.for_people());
    assert_eq!(figures["visitors"], 70);
    assert!(
        figures["admitted"].as_u64() > Some(30) && figures["order_compared"].as_u64() > Some(40),
        "{figures}"
    );
    assert!(figures["cadence_compared"].as_u64() > Some(45), "{figures}");
    let herd = &figures["herd"];
    assert_eq!((herd["waiters"].as_u64(), herd["joined_ms"]["count"].as_u64() > Some(45)), (Some(60), true));
    assert!(herd["messages"].as_u64() > Some(300) && herd["most_open"].as_u64() > Some(20), "{figures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_herd_from_three_processes_is_proved_as_one() {
    let (output, figures) = send_from_processes(Fault::None, "--processes 3").await;
    assert!(output.status.success() && figures["ok"] == true, "{figures}");
    assert_eq!((&figures["visitors"], figures["herd"]["waiters"].as_u64()), (&70.into(), Some(60)));
    assert!(figures["order_compared"].as_u64() > Some(40), "{figures}");
    assert!(figures["positions_compared"].as_u64() > Some(100), "{figures}");
    assert!(figures["entries"].as_u64() > Some(30) && figures["requests"].as_u64() > Some(10), "{figures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_overtaken_by_somebody_of_another_process_is_found() {
    let (output, figures) = send_from_processes(Fault::LastFirst, "--processes 3").await;
    assert!(figures["order_inversions"].as_u64() > Some(0), "{figures}");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_told_later_than_announced_is_found() {
    let summary = send(Fault::FallsSilent, "").await;
    assert!(summary.findings().off_cadence > Some(0) && !summary.hold(), "{}", summary.for_people());
    let summary = send(Fault::FallsSilent, "--cadence 30s").await;
    assert_eq!(summary.findings().off_cadence, Some(0), "as much as is allowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_that_grow_or_are_too_high_are_found() {
    let swing = send(Fault::PositionsSwing, "").await;
    assert!(swing.findings().positions.grew > 0 && !swing.hold(), "{}", swing.for_people());
    let inflated = send(Fault::InflatedPositions, "").await;
    assert!(inflated.findings().positions.wrong > 0 && !inflated.hold(), "{}", inflated.for_people());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_several_processes_count_against_one_limit() {
    let (_, figures) = send_from_processes(Fault::NoLimit, "--processes 3").await;
    assert!(figures["over_limit_windows"].as_u64() > Some(0), "{figures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_stories_of_one_process_nothing_is_proved() {
    let fake = Fake::start(HONEST).await;
    let crowd = start(&fake, "--processes 2 --seconds 60");
    let worker = tokio::task::spawn_blocking({
        let id = crowd.id();
        move || first_worker(id)
    });
    let killed = Command::new("kill").args(["-KILL", &worker.await.unwrap()]).status().unwrap();
    assert!(killed.success());
    let output = tokio::task::spawn_blocking(|| crowd.wait_with_output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.contains("nothing is proved")), (Some(70), true), "{said}");
}

/// The process id of the first worker, once there is one.
fn first_worker(crowd: u32) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let children = fs::read_to_string(format!("/proc/{crowd}/task/{crowd}/children")).unwrap();
        if let Some(child) = children.split_whitespace().next() {
            return child.into();
        }
        std::thread::yield_now();
    }
    panic!("no worker was started");
}
