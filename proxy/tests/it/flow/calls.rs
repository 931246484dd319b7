//! The calls under the reserved prefix: what they refuse, and what anybody may know.

use std::time::Duration;

use room::queue::{Change, Mode, PauseRequest};
use serde_json::Value;

use crate::rig::Origin;
use crate::site::{Site, full, until};

#[tokio::test]
async fn a_room_that_is_not_there_is_404() {
    let site = Site::open("").await;
    for call in [
        "POST join?room=none",
        "GET status?room=none",
        "GET rooms/none",
        "GET rooms/NO_NAME",
        "POST join?room=",
    ] {
        let refused = site.visitor().call(call).await;
        assert_eq!((refused.status, refused.code()), (404, "unknown-room".into()), "{call}");
        assert_eq!(refused.header("content-type"), "application/problem+json");
        let problem = refused.json();
        assert_eq!(problem["type"], "urn:vestibule:problem:unknown-room");
        assert_eq!(problem["trace_id"].as_str().map(str::len), Some(32));
    }
    let refused = site.visitor().call("GET nothing").await;
    assert_eq!((refused.status, refused.code()), (404, "unknown-call".into()));
    assert!(site.origin.requests().is_empty(), "the prefix is never forwarded");
}

#[tokio::test]
async fn a_host_with_several_rooms_needs_to_be_told_which() {
    let text = "[room.a]\nupstream = [\"http://ORIGIN\"]\nmatch = [{ path = \"/a\" }]\n\
                [room.b]\nupstream = [\"http://ORIGIN\"]\nmatch = [{ path = \"/b\" }, { host = \"b.example\" }]";
    let site = Site::with(Origin::start().await, text).await;
    assert_eq!(site.visitor().call("POST join").await.status, 404);
    assert_eq!(site.visitor().call("POST join?room=b").await.standing().room.as_str(), "b");
    let named = [("content-type", "application/json")];
    let answer = site.visitor().request("POST", "/_queue/join", &named, r#"{"room":"a"}"#).await;
    assert_eq!((answer.status, answer.standing().room.as_str()), (201, "a"));
}

#[tokio::test]
async fn a_body_must_be_json_and_small() {
    let site = Site::open("").await;
    for body in ["{", "[1]", r#"{"room":1}"#, "room=e1", "\"e1\""] {
        let refused = site.visitor().request("POST", "/_queue/join", &[], body).await;
        assert_eq!((refused.status, refused.code()), (400, "bad-json".into()), "{body}");
    }
    let refused = site.visitor().request("POST", "/_queue/join", &[], " ".repeat(5000)).await;
    assert_eq!(refused.status, 413);
    let fits = format!("{{\"room\":\"e1\"}}{}", " ".repeat(4000));
    assert_eq!(site.visitor().request("POST", "/_queue/join", &[], fits).await.status, 201);
}

#[tokio::test]
async fn each_call_has_its_methods() {
    let site = Site::open("").await;
    for (call, allowed) in [
        ("GET join", "POST"),
        ("PUT join", "POST"),
        ("POST status", "GET, HEAD"),
        ("GET enter", "POST"),
        ("GET leave", "DELETE, POST"),
        ("POST ws", "GET"),
        ("DELETE rooms/e1", "GET, HEAD"),
        ("POST jwks.json", "GET, HEAD"),
    ] {
        let refused = site.visitor().call(call).await;
        assert_eq!((refused.status, refused.header("allow")), (405, allowed), "{call}");
    }
}

#[tokio::test]
async fn whoever_has_no_ticket_is_told_to_join() {
    let site = Site::open("").await;
    for call in ["GET status", "POST enter", "DELETE leave", "POST leave"] {
        let refused = site.visitor().call(call).await;
        assert_eq!((refused.status, refused.code()), (401, "no-ticket".into()), "{call}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("POST join"));
    }
}

#[tokio::test]
async fn a_ws_call_without_an_upgrade_is_refused() {
    let (site, _holder) = full("").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    let refused = visitor.call("GET ws").await;
    assert!((400..500).contains(&refused.status), "{}", refused.status);
}

#[tokio::test]
async fn anybody_may_read_the_public_keys_and_they_hold_no_secret() {
    let site = Site::open("").await;
    let answer = site.visitor().call("GET jwks.json").await;
    assert_eq!(answer.status, 200);
    let key = &answer.json()["keys"][0];
    assert_eq!(
        (key["kty"].as_str(), key["crv"].as_str(), key["kid"].as_str()),
        (Some("OKP"), Some("Ed25519"), Some("pass-1"))
    );
    assert!(key.get("d").is_none() && answer.json()["keys"].as_array().unwrap().len() == 1);
}

async fn public(site: &Site) -> Value {
    let answer = site.visitor().call("GET rooms/e1").await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "public, max-age=1"));
    answer.json()
}

#[tokio::test]
async fn the_public_state_follows_the_room() {
    let site = Site::open("total_active_users = 1").await;
    let open = public(&site).await;
    let mut names: Vec<_> = open.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["draw", "opens_at", "rate_per_minute", "room", "status", "waiting"]);
    assert_eq!(
        (open["status"].as_str(), &open["waiting"], &open["rate_per_minute"]),
        (Some("open"), &0.into(), &600.into())
    );

    let mut holder = site.visitor();
    holder.visit("/").await;
    site.visitor().join().await;
    until("somebody waits", || site.counts().waiting == 1).await;
    let queueing = public(&site).await;
    assert_eq!((queueing["status"].as_str(), &queueing["waiting"]), (Some("queueing"), &1.into()));

    let control = || site.hall().known().map(|known| known.control.clone()).unwrap();
    let pause = PauseRequest::default();
    site.tune(Change { paused: Some(Some(pause)), ..Change::default() }).await;
    until("it is paused", || control().paused.is_some()).await;
    assert_eq!(public(&site).await["status"], "paused");

    site.tune(Change { mode: Some(Mode::Closed), ..Change::default() }).await;
    until("it is closed", || control().mode == Mode::Closed).await;
    assert_eq!(public(&site).await["status"], "closed");
}

#[tokio::test]
async fn the_public_state_follows_the_schedule() {
    let site = Site::open("").await;
    let at = |secs: u64| (site.hall().now() + Duration::from_secs(secs)).to_rfc3339();
    site.reload(&format!(
        "[room.e1.schedule]\nprequeue_at = {}\nopens_at = {}\ncloses_at = {}",
        at(10),
        at(20),
        at(30)
    ))
    .await;
    assert_eq!(public(&site).await["status"], "closed", "before the pre-queue");
    for (status, span) in [("prequeue", 11), ("open", 10), ("closed", 10)] {
        site.pass_time(Duration::from_secs(span)).await;
        assert_eq!(public(&site).await["status"], status);
    }
}
