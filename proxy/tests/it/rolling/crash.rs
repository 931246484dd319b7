//! `kill -9` of one edge of two: what it held is found at the other.

use std::time::Duration;

use super::balancer::Balancer;
use super::process::{Setup, enter};
use super::shopper::Shopper;
use super::waiter::Waiter;
use crate::rig::Origin;
use crate::site::{RedisServer, until_within};

/// Nobody says goodbye here, so a lost socket is noticed and opened anew at once.
const BACK_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_edge_held_is_found_at_the_other() {
    const WAITERS: usize = 20;
    let origin = Origin::start().await;
    let redis = RedisServer::start();
    let room = "total_active_users = 2\nnew_users_per_minute = 60000\nsettle_window = \"0s\"\nclaim_window = \"60s\"";
    let setup = Setup::new(origin.address, Some(&redis), room);
    let mut doomed = setup.start(&[]).await;
    let other = setup.start(&[]).await;
    let balancer = Balancer::before(&[doomed.site, other.site]).await;

    let mut inside = enter(doomed.site).await;
    let mut leaves = enter(doomed.site).await;
    // The first in line gets a turn from the doomed edge and does not take it there.
    let mut called = doomed.visitor();
    called.join().await;
    let mut screen = called.watch().await;
    let mut waiters = Vec::new();
    for _ in 0..WAITERS {
        // Sockets only go through the balancer, in turns: half of them to each edge.
        let mut visitor = other.visitor();
        visitor.join().await;
        waiters.push(Waiter::watch(visitor, balancer.address));
    }
    leaves.call("POST leave").await;
    screen.next_of("queue.turn").await;
    until_within("everybody knows the place", BACK_WITHIN, || in_order(&waiters)).await;

    doomed.kill();
    // Whoever was inside goes on with the pass, and the turn is claimed, without a word from the dead.
    for (visitor, path) in [(&mut inside, "/buy"), (&mut called, "/claimed")] {
        visitor.edge = balancer.address;
        assert_eq!(visitor.visit(path).await.shows(), format!("GET {path}"));
    }
    let moved = |waiter: &Waiter| !waiter.story().losses.is_empty();
    until_within("the waiters of the dead edge have moved", BACK_WITHIN, || {
        waiters.iter().filter(|waiter| moved(waiter)).count() == WAITERS / 2
    })
    .await;
    until_within("everybody is back at the same place", BACK_WITHIN, || in_order(&waiters)).await;
    let unannounced = waiters.iter().flat_map(|waiter| waiter.story().losses).all(|loss| !loss.announced);
    assert!(unannounced, "the dead say nothing");

    // The line goes on: the next is called, at the edge that lives.
    inside.edge = other.site;
    assert_eq!(inside.call("POST leave").await.status, 204);
    until_within("the next is called", BACK_WITHIN, || waiters[0].story().turn).await;
    let mut next = waiters[0].visitor.clone();
    assert_eq!(next.visit("/next").await.shows(), "GET /next");
    assert!(waiters.iter().all(|waiter| waiter.story().grew.is_empty()), "a place grew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edges_are_killed_while_people_shop_and_wait_and_each_loses_one_request_at_most_and_no_place() {
    const KILLS: u64 = 4;
    const WAITERS: usize = 30;
    const SHOPPERS: usize = 8;
    let origin = Origin::start().await;
    let redis = RedisServer::start();
    let room =
        format!("total_active_users = {SHOPPERS}\nnew_users_per_minute = 60000\nsettle_window = \"0s\"");
    let setup = Setup::new(origin.address, Some(&redis), &room);
    let mut edges = [setup.start(&[]).await, setup.start(&[]).await];
    let balancer = Balancer::before(&[edges[0].site, edges[1].site]).await;
    let mut shoppers = Vec::new();
    for _ in 0..SHOPPERS {
        let visitor = enter(balancer.address).await;
        shoppers.push(Shopper::inside(&visitor, balancer.address, Duration::from_millis(20)));
    }
    let mut waiters = Vec::new();
    for _ in 0..WAITERS {
        let mut visitor = edges[1].visitor();
        visitor.join().await;
        waiters.push(Waiter::watch(visitor, balancer.address));
    }
    until_within("everybody knows the place", BACK_WITHIN, || in_order(&waiters)).await;
    for kill in 0..KILLS {
        // At a moment that nobody chose.
        tokio::time::sleep(Duration::from_millis(137 * (kill + 1) % 400)).await;
        let edge = &mut edges[(kill % 2) as usize];
        edge.kill();
        let new = setup.start(&[]).await;
        balancer.replace(edge.site, new.site);
        *edge = new;
        until_within("everybody is back at the same place", BACK_WITHIN, || in_order(&waiters)).await;
    }
    for shopper in shoppers {
        let purchases = shopper.stop().await;
        let failed = &purchases.failed;
        assert!(purchases.in_a_row <= 1, "a second request failed as well: {failed:?}");
        assert!(failed.len() <= KILLS as usize && purchases.answered > 50, "{failed:?}");
    }
    assert!(waiters.iter().all(|waiter| waiter.story().grew.is_empty()), "a place grew");
    assert_eq!(redis.cli(&["ZCARD", "vestibule:{e1}:queue"]), WAITERS.to_string());
}

/// Whether each has a socket and sees the place of the index.
fn in_order(waiters: &[Waiter]) -> bool {
    (1..).zip(waiters).all(|(place, waiter)| {
        let story = waiter.story();
        story.connected && story.position == Some(place)
    })
}
