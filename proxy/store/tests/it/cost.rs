//! What calls cost the Redis server, beside the same calls of the release before. By hand:
//! `cargo test -p store --release --test it cost -- --ignored --nocapture`

use std::time::{Duration, Instant};

use room::queue::{Arrival, SETTLE_BLANK};

use crate::skew::present::Present;
use crate::skew::previous::Previous;
use crate::skew::site::{At, Edge, Site};
use crate::support::servers::RedisServer;
use crate::support::world::{new_room, waiter};

const BATCH: u32 = 500;
const CALLS: u32 = 200;

#[test]
#[ignore = "a measurement"]
fn calls_beside_those_of_the_release_before() {
    let server = RedisServer::start();
    let site = Site::of(&server);
    for round in 0..3 {
        let previous = measure(&site, || Box::new(Previous::new(1)));
        let present = measure(&site, || Box::new(Present::new(2)));
        for ((what, before), (_, now)) in previous.into_iter().zip(present) {
            println!("round {round}: {what}: {before:.1} µs before, {now:.1} µs now");
        }
    }
}

/// CPU time of the server for each kind of call, in microseconds.
fn measure(site: &Site, edge: impl Fn() -> Box<dyn Edge>) -> Vec<(&'static str, f64)> {
    let at = At { site, room: new_room() };
    let mut edge = edge();
    edge.survey(&at);
    site.clock.advance(SETTLE_BLANK);
    edge.survey(&at);
    let crowd: Vec<Arrival> = (0..BATCH * CALLS).map(waiter).collect();
    let mut costs = Vec::new();
    let mut cost = |what, count: u32, act: &mut dyn FnMut()| {
        let before = cpu_micros(&at);
        act();
        costs.push((what, (cpu_micros(&at) - before) / f64::from(count)));
    };
    let present = |edge: &mut dyn Edge, size: u32| {
        for batch in crowd.chunks(size as usize).take(CALLS as usize) {
            edge.arrive(&at, batch);
        }
    };
    cost("a join in a batch of 500", BATCH * CALLS, &mut || present(&mut *edge, BATCH));
    cost("the same presented again", BATCH * CALLS, &mut || present(&mut *edge, BATCH));
    cost("a call with one ticket", CALLS, &mut || present(&mut *edge, 1));
    cost("a survey", CALLS, &mut || (0..CALLS).for_each(|_| edge.survey(&at)));
    cost("a tick that gives nothing", CALLS, &mut || (0..CALLS).for_each(|_| edge.tick(&at)));
    costs
}

fn cpu_micros(at: &At<'_>) -> f64 {
    let info: String = at.ask(redis::cmd("INFO").arg("cpu"));
    let value = |name: &str| -> f64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
        line.trim_start_matches(':').parse().expect("a number")
    };
    (value("used_cpu_user:") + value("used_cpu_sys:")) * 1e6
}

#[test]
#[ignore = "a measurement"]
fn half_a_million_places_behind_the_front_of_the_life_before() {
    let server = RedisServer::start();
    let site = Site::of(&server);
    let at = At { site: &site, room: new_room() };
    let mut edge = Present::new(1);
    edge.survey(&at);
    let crowd: Vec<Arrival> = (0..1_000_000).map(waiter).collect();
    for batch in crowd.chunks(1000) {
        edge.arrive(&at, batch);
    }
    edge.hear_of_front(crowd[crowd.len() / 2].score);
    let (began, before) = (Instant::now(), cpu_micros(&at));
    edge.survey(&at);
    let took: Duration = began.elapsed();
    println!(
        "half a million places set back in {took:?}, {:.1} ms of the server",
        (cpu_micros(&at) - before) / 1e3
    );
}
