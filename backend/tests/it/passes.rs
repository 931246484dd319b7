//! Who may come in, when the waiting room decides.

use axum::http::Method;
use room::token::{Alg, KeyRing, secret_to_text};

use crate::support::edge::{Edge, pass, ring};
use crate::support::eventually;
use crate::support::http::Answer;
use crate::support::office::Office;
use crate::support::postgres::shared;

async fn behind(edge: &Edge) -> Office {
    let arguments = ["--pass-jwks-url", &edge.url, "--pass-room", "e1", "--seed-total", "5"];
    Office::on(&shared().database(), &arguments).await
}

async fn events(office: &Office, pass: &str) -> Answer {
    office.call(Method::GET, "/api/events", &[("vestibule-pass", pass)], "").await
}

async fn buy(office: &Office, pass: &str) -> Answer {
    let headers = [("vestibule-pass", pass), ("idempotency-key", "k"), ("x-user-id", "somebody-else")];
    office.call(Method::POST, "/purchase", &headers, r#"{"eventId":"e1","qty":1}"#).await
}

#[tokio::test]
async fn a_pass_buys_in_the_name_of_its_visitor() {
    let keys = ring("p1", Alg::EdDsa, 1);
    let office = behind(&Edge::publishing(&keys).await).await;
    let (ann, bob) = (pass(&keys, "e1", 0xaa, 600), pass(&keys, "e1", 0xbb, 600));
    let order = buy(&office, &ann).await.field("orderId").to_owned();
    assert_eq!(
        office.database.number("SELECT count(*) FROM orders WHERE user_id = repeat('aa', 12)").await,
        1
    );

    let path = format!("/pay/{order}");
    office
        .call(Method::POST, &path, &[("vestibule-pass", &bob)], "")
        .await
        .assert_problem(404, "unknown-order");
    assert_eq!(office.call(Method::POST, &path, &[("vestibule-pass", &ann)], "").await.status, 200);
}

#[tokio::test]
async fn without_a_good_pass_nothing_but_the_operators_pages_answers() {
    let keys = ring("p1", Alg::EdDsa, 1);
    let office = behind(&Edge::publishing(&keys).await).await;
    let forged = pass(&ring("p1", Alg::EdDsa, 9), "e1", 1, 600);
    let good = pass(&keys, "e1", 1, 600);
    let (head, rest) = good.split_once('.').unwrap();
    let swapped = format!("{head}x.{rest}");
    let long = "x".repeat(2000);
    let expired = pass(&keys, "e1", 1, -1);
    for bad in ["", "nonsense", "a.b.c", &forged, &swapped, &long, &expired] {
        events(&office, bad).await.assert_problem(401, "bad-pass");
        buy(&office, bad).await.assert_problem(401, "bad-pass");
    }
    events(&office, &pass(&keys, "e2", 1, 600)).await.assert_problem(403, "other-room");
    for path in ["/", "/api/events", "/api/events/e1", "/api/events/e1/availability", "/ws"] {
        let answer = office.call(Method::GET, path, &[("x-user-id", "ann")], "").await;
        answer.assert_problem(401, "no-pass");
        assert_eq!(answer.header("www-authenticate"), "Vestibule-Pass");
    }
    let twice = [("vestibule-pass", good.as_str()), ("vestibule-pass", good.as_str())];
    office.call(Method::GET, "/api/events", &twice, "").await.assert_problem(401, "bad-pass");
    for path in ["/healthz", "/healthz?db=ping", "/metrics"] {
        assert_eq!(office.call(Method::GET, path, &[], "").await.status, 200, "{path}");
    }
    assert_eq!(events(&office, &good).await.status, 200);
    assert!(!office.log().contains(rest), "a token never reaches the log");
}

#[tokio::test]
async fn a_rotated_key_is_followed_within_a_request() {
    let old = ring("p1", Alg::EdDsa, 1);
    let new = ring("p2", Alg::EdDsa, 2);
    let edge = Edge::publishing(&old).await;
    let office = behind(&edge).await;
    assert_eq!(events(&office, &pass(&old, "e1", 1, 600)).await.status, 200);
    edge.publish(&new);
    assert_eq!(events(&office, &pass(&new, "e1", 1, 600)).await.status, 200);
    events(&office, &pass(&old, "e1", 1, 600)).await.assert_problem(401, "bad-pass");
}

#[tokio::test]
async fn until_the_edge_publishes_its_keys_the_shop_asks_to_come_back() {
    let keys = ring("p1", Alg::EdDsa, 1);
    let edge = Edge::publishing(&keys).await;
    *edge.published() = "not yet".into();
    let office = behind(&edge).await;
    let good = pass(&keys, "e1", 1, 600);
    let early = events(&office, &good).await;
    early.assert_problem(503, "no-keys");
    assert_eq!(early.header("retry-after"), "1");
    edge.publish(&keys);
    eventually("the keys", 10, async || (events(&office, &good).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_shared_secret_works_without_asking_the_edge() {
    let keys: KeyRing = ring("shared", Alg::Hs256, 7);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), secret_to_text(&[7; 32]) + "\n").unwrap();
    let path = file.path().to_str().unwrap();
    let arguments = ["--pass-secret-file", path, "--pass-kid", "shared", "--seed-total", "5"];
    let office = Office::on(&shared().database(), &arguments).await;
    assert_eq!(buy(&office, &pass(&keys, "any-room", 1, 600)).await.json["status"], "HOLD");
    let forged = pass(&ring("shared", Alg::Hs256, 8), "any-room", 1, 600);
    buy(&office, &forged).await.assert_problem(401, "bad-pass");
}
