//! What a request must be, and what it hears when it is not.

use axum::http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::office::Office;

const GOOD: &str = r#"{"eventId":"e1","qty":1}"#;

#[tokio::test]
async fn a_purchase_that_cannot_be_is_refused_with_its_code_and_takes_nothing() {
    let office = Office::selling(50).await;
    let long = "k".repeat(256);
    let large = format!(r#"{{"eventId":"e1","qty":1,"note":"{}"}}"#, "x".repeat(20_000));
    let cases: [(&str, &str, u16, &str); 17] = [
        ("k", r#"{"eventId":"e1","qty":0}"#, 400, "bad-qty"),
        ("k", r#"{"eventId":"e1","qty":-1}"#, 400, "bad-qty"),
        ("k", r#"{"eventId":"e1","qty":9}"#, 400, "bad-qty"),
        ("k", r#"{"eventId":"e1","qty":9223372036854775807}"#, 400, "bad-qty"),
        ("k", r#"{"eventId":"e1","qty":99999999999999999999}"#, 400, "bad-json"),
        ("k", r#"{"eventId":"e1","qty":1.5}"#, 400, "bad-json"),
        ("k", r#"{"eventId":"e1","qty":"1"}"#, 400, "bad-json"),
        ("k", r#"{"eventId":"e1"}"#, 400, "bad-json"),
        ("k", r#"{"eventId":"e1","qty":1"#, 400, "bad-json"),
        ("k", "", 400, "bad-json"),
        ("k", "\u{0}", 400, "bad-json"),
        ("k", r#"{"eventId":"nowhere","qty":1}"#, 404, "unknown-event"),
        ("k", r#"{"eventId":"e1\u0000","qty":1}"#, 404, "unknown-event"),
        ("k", &large, 413, "body-too-large"),
        ("", GOOD, 400, "idempotency-key-missing"),
        (&long, GOOD, 400, "idempotency-key-too-long"),
        ("two words", GOOD, 400, "idempotency-key-unreadable"),
    ];
    for (key, body, status, code) in cases {
        let headers = [("x-user-id", "ann"), ("idempotency-key", key)];
        let answer = office.call(Method::POST, "/purchase", &headers, body).await;
        answer.assert_problem(status, code);
    }
    let keyless = office.call(Method::POST, "/purchase", &[("x-user-id", "ann")], GOOD).await;
    keyless.assert_problem(400, "idempotency-key-missing");
    let two = [("x-user-id", "ann"), ("idempotency-key", "a"), ("idempotency-key", "b")];
    let answer = office.call(Method::POST, "/purchase", &two, GOOD).await;
    answer.assert_problem(400, "idempotency-key-unreadable");
    assert_eq!(office.stock().await, (0, 0));
    assert_eq!(office.database.number("SELECT count(*) FROM orders").await, 0);
}

#[tokio::test]
async fn the_largest_quantity_and_the_longest_key_are_good() {
    let office = Office::with(50, &["--max-qty", "20"]).await;
    office.hold("ann", &"k".repeat(255), 20).await;
}

#[tokio::test]
async fn without_a_name_nobody_buys() {
    let office = Office::selling(5).await;
    let key = ("idempotency-key", "k");
    office.call(Method::POST, "/purchase", &[key], GOOD).await.assert_problem(401, "no-user");
    for name in ["", "two words", &"n".repeat(65)] {
        let headers = [key, ("x-user-id", name)];
        office.call(Method::POST, "/purchase", &headers, GOOD).await.assert_problem(401, "no-user");
    }
    assert_eq!(office.call(Method::GET, "/api/events", &[], "").await.status, 200);
}

#[tokio::test]
async fn unknown_places_and_methods_are_problems_too() {
    let office = Office::selling(5).await;
    office.get("/nowhere").await.assert_problem(404, "not-found");
    office.get("/api/events/nowhere").await.assert_problem(404, "unknown-event");
    office.get("/api/events/nowhere/availability").await.assert_problem(404, "unknown-event");
    let deleted = office.call(Method::DELETE, "/purchase", &[("x-user-id", "ann")], "").await;
    deleted.assert_problem(405, "method-not-allowed");
    assert_eq!(deleted.header("allow"), "POST");
}

#[tokio::test]
async fn a_chunked_body_over_the_cap_is_cut_off() {
    let office = Office::selling(5).await;
    let mut stream = TcpStream::connect(&office.address).await.unwrap();
    let head = "POST /purchase HTTP/1.1\r\nhost: shop\r\nx-user-id: ann\r\nidempotency-key: k\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    for _ in 0..5 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}
