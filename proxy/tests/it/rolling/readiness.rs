//! What the probes say of a store that is away. Liveness never asks it; readiness waits for it once.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use super::process::{Edge, Setup, enter};
use crate::rig::{Origin, soon};
use crate::site::RedisServer;

const OPEN: &str = "total_active_users = 100\nnew_users_per_minute = 60000";

/// The rest of `away since …` once the edge has noticed.
async fn away_since(edge: &Edge) -> String {
    soon("the edge notices", async {
        loop {
            let asked = Instant::now();
            let (status, report) = edge.readiness().await;
            assert!(asked.elapsed() < Duration::from_secs(1), "an answer took {:?}", asked.elapsed());
            assert_eq!((status, report["ready"].as_bool()), (200, Some(true)), "{report}");
            if let Some(since) = report["store"].as_str().unwrap().strip_prefix("away since ") {
                return since.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

async fn back(edge: &Edge) {
    soon("the store is back", async {
        while edge.readiness().await != (200, json!({"ready": true, "store": "here"})) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_edge_stays_ready_and_live_while_the_store_is_away_and_says_since_when() {
    let origin = Origin::start().await;
    let mut redis = RedisServer::start();
    let edge = Setup::new(origin.address, Some(&redis), OPEN).start(&[]).await;
    let mut inside = enter(edge.site).await;
    back(&edge).await;

    redis.freeze();
    let since = away_since(&edge).await;
    let since = humantime::parse_rfc3339(&since).unwrap();
    assert!(since.elapsed().unwrap() < Duration::from_secs(15), "away since {since:?}");
    assert_eq!(edge.probe("/livez").await, (200, "live\n".to_owned()));
    assert_eq!(inside.visit("/frozen").await.shows(), "GET /frozen");
    redis.thaw();
    back(&edge).await;

    redis.kill();
    away_since(&edge).await;
    assert_eq!(edge.probe("/livez").await.0, 200);
    assert_eq!(inside.visit("/killed").await.shows(), "GET /killed");
    redis.restart();
    back(&edge).await;
}

#[tokio::test]
async fn nobody_can_connect_before_the_store_has_answered_and_the_start_is_given_up_in_time() {
    let origin = Origin::start().await;
    // Takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let site = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = format!("[store]\nurl = \"redis://{address}\"\n");
    let setup = Setup::with_store(origin.address, &store, OPEN);
    let config = setup.edited(|text| text.replacen("127.0.0.1:0", &site.to_string(), 1));
    let mut edge = setup.spawn(&config, &[]);
    let began = Instant::now();
    while edge.runs() {
        assert!(std::net::TcpStream::connect(site).is_err(), "it takes visitors without a store");
        assert!(began.elapsed() < Duration::from_secs(20), "the start is not given up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(edge.exit().await.0, Some(69), "{}", edge.said());
    assert!(edge.said().contains(&address.to_string()), "{}", edge.said());
}

#[tokio::test]
async fn a_store_that_comes_a_little_late_is_waited_for() {
    let origin = Origin::start().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = format!("[store]\nurl = \"redis://127.0.0.1:{port}\"\n");
    let setup = Setup::with_store(origin.address, &store, OPEN);
    let mut edge = setup.spawn(&setup.config(), &[]);
    edge.says("the store is not there yet").await;
    let _redis = RedisServer::start_with(port, &[]);
    edge.listens().await;
    assert_eq!(edge.readiness().await, (200, json!({"ready": true, "store": "here"})));
}
