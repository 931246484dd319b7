//! A fleet behind the simplest of balancers, restarted edge by edge while a hundred wait and thirty shop.

use std::time::{Duration, Instant};

use super::balancer::Balancer;
use super::process::{Edge, Setup, enter};
use super::shopper::Shopper;
use super::waiter::{Loss, Waiter};
use crate::rig::Origin;
use crate::site::{RedisServer, Visitor, until_within};

const WAITERS: usize = 100;
const SHOPPERS: usize = 30;
/// Promised is that 99.9 % of the sockets are back within this.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// More than this share at one edge is a herd.
const HERD: f64 = 0.4;
const HALF_A_SECOND: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_edge_is_restarted_and_nobody_inside_or_in_line_notices_more_than_a_pause() {
    let origin = Origin::start().await;
    let redis = RedisServer::start();
    let room = format!(
        "total_active_users = {SHOPPERS}\nnew_users_per_minute = 60000\nburst = 100\nsettle_window = \"0s\""
    );
    let setup = Setup::new(origin.address, Some(&redis), &room);
    let flags = ["--linger", "1s"];
    let mut edges = Vec::new();
    for _ in 0..3 {
        edges.push(setup.start(&flags).await);
    }
    let sites: Vec<_> = edges.iter().map(|edge| edge.site).collect();
    let balancer = Balancer::before(&sites).await;

    let shoppers = shoppers(&balancer).await;
    let waiters = line_up(&balancer).await;
    for edge in &mut edges {
        restart(edge, &setup, &flags, &balancer, &waiters).await;
    }

    let (mut answered, mut failed) = (0, Vec::new());
    for shopper in shoppers {
        let purchases = shopper.stop().await;
        answered += purchases.answered;
        failed.extend(purchases.failed);
    }
    assert!(
        failed.is_empty(),
        "{} of {} requests failed: {failed:#?}",
        failed.len(),
        answered + failed.len()
    );
    assert!(answered > 1000, "only {answered} requests");
    let losses: Vec<Loss> = waiters.iter().flat_map(|waiter| waiter.story().losses).collect();
    assert!(losses.len() >= WAITERS, "each edge had its waiters: {}", losses.len());
    assert!(losses.iter().all(|loss| loss.announced), "a socket ended without a goodbye");
    let longest = losses.iter().map(|loss| loss.resumed.unwrap() - loss.at).max().unwrap();
    assert!(longest < BACK_WITHIN, "a socket was away for {longest:?}");
    in_order(&waiters);
    assert_eq!(redis.cli(&["ZCARD", "vestibule:{e1}:queue"]), WAITERS.to_string());
    println!("{answered} requests, {} sockets moved, the longest was away for {longest:?}", losses.len());
}

/// People inside. Some ask all the time, some now and then: their connections are idle when an edge stops.
async fn shoppers(balancer: &Balancer) -> Vec<Shopper> {
    let mut shoppers = Vec::new();
    for number in 0..SHOPPERS {
        let visitor = enter(balancer.address).await;
        let every = Duration::from_millis(if number % 3 == 0 { 700 } else { 100 });
        shoppers.push(Shopper::inside(&visitor, balancer.address, every));
    }
    shoppers
}

/// The waiter at index 0 is the first in line.
async fn line_up(balancer: &Balancer) -> Vec<Waiter> {
    let mut waiters = Vec::new();
    for _ in 0..WAITERS {
        let mut visitor = Visitor::new(balancer.address);
        visitor.join().await;
        waiters.push(Waiter::watch(visitor, balancer.address));
    }
    until_within("everybody knows the place", BACK_WITHIN, || all_connected(&waiters)).await;
    in_order(&waiters);
    waiters
}

fn all_connected(waiters: &[Waiter]) -> bool {
    waiters.iter().all(|waiter| waiter.story().connected)
}

fn in_order(waiters: &[Waiter]) {
    for (place, waiter) in (1..).zip(waiters) {
        let story = waiter.story();
        assert_eq!((story.position, &story.grew[..]), (Some(place), &[][..]), "the place of {place}");
    }
}

/// One edge of a deploy: told to stop, gone, replaced, and its waiters are back.
async fn restart(edge: &mut Edge, setup: &Setup, flags: &[&str], balancer: &Balancer, waiters: &[Waiter]) {
    let began = Instant::now();
    edge.signal("-TERM");
    let (code, took) = edge.exit().await;
    assert_eq!(code, Some(0), "{}", edge.said());
    assert!(took < Duration::from_secs(8), "with nothing under way it still took {took:?} to end");
    let new = setup.start(flags).await;
    balancer.replace(edge.site, new.site);
    *edge = new;
    until_within("the waiters are back", BACK_WITHIN, || all_connected(waiters)).await;
    let mut tried: Vec<Instant> = waiters
        .iter()
        .flat_map(|waiter| waiter.story().losses)
        .filter(|loss| loss.at > began)
        .filter_map(|loss| loss.tried)
        .collect();
    tried.sort();
    let together =
        |from: &Instant| tried.iter().filter(|at| **at >= *from && **at < *from + HALF_A_SECOND).count();
    let herd = tried.iter().map(together).max().unwrap_or_default();
    assert!(tried.len() >= 15, "only {} waited there", tried.len());
    assert!(
        herd as f64 <= HERD * tried.len() as f64,
        "{herd} of {} came back within half a second",
        tried.len()
    );
}
