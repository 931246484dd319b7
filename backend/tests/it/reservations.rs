//! Single seats, by event and seat.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::http::Answer;
use crate::support::office::Office;

const SEAT: &str = "/api/reservations/e1/A-1-1";

async fn office(arguments: &[&str]) -> Office {
    Office::with(50, &[&["--seed-seats"], arguments].concat()).await
}

async fn reserve(office: &Office, user: &str, seat: &str, seconds: Value) -> Answer {
    let body = json!({ "eventId": "e1", "seatId": seat, "holdSeconds": seconds });
    office.post(user, "/api/reservations", &body).await
}

#[tokio::test]
async fn a_seat_is_held_by_one_and_bought_by_that_one() {
    let office = office(&[]).await;
    let held = reserve(&office, "ann", "A-1-1", json!(20)).await;
    assert_eq!((held.status.as_u16(), held.field("status"), held.field("seatId")), (201, "HOLD", "A-1-1"));
    assert_eq!((held.number("amountMinor"), held.field("reservationId")), (5000, held.field("orderId")));
    reserve(&office, "bob", "A-1-1", json!(20)).await.assert_problem(409, "RESERVATION_CONFLICT");
    reserve(&office, "ann", "A-1-1", json!(20)).await.assert_problem(409, "RESERVATION_CONFLICT");
    for what in ["/confirm", "/extend"] {
        let answer = office.post("bob", &format!("{SEAT}{what}"), &json!({})).await;
        answer.assert_problem(409, "RESERVATION_CONFLICT");
    }
    office.delete("bob", SEAT).await.assert_problem(409, "RESERVATION_CONFLICT");
    let path = format!("/api/reservations/{}", held.field("reservationId"));
    office.get_as("bob", &path).await.assert_problem(404, "unknown-reservation");
    assert_eq!(office.get_as("ann", &path).await.json, held.json);

    for _ in 0..2 {
        let bought = office.post("ann", &format!("{SEAT}/confirm"), &json!({})).await;
        assert_eq!((bought.status.as_u16(), bought.field("status")), (200, "PAID"));
        assert_eq!(bought.header("vestibule-command"), "release");
    }
    office.delete("ann", SEAT).await.assert_problem(409, "not-changeable");
    office.post("ann", &format!("{SEAT}/extend"), &json!({})).await.assert_problem(409, "not-changeable");
    assert_eq!((office.seat("A-1-1").await.as_str(), office.stock().await), ("SOLD", (0, 1)));
    office.assert_settled().await;
}

#[tokio::test]
async fn a_seat_that_is_given_back_is_anybodys() {
    let office = office(&[]).await;
    reserve(&office, "ann", "A-1-1", Value::Null).await;
    for _ in 0..2 {
        let gone = office.delete("ann", SEAT).await;
        assert_eq!((gone.status.as_u16(), gone.field("status")), (200, "CANCELLED"));
    }
    office.post("ann", &format!("{SEAT}/confirm"), &json!({})).await.assert_problem(409, "not-changeable");
    assert_eq!(reserve(&office, "bob", "A-1-1", Value::Null).await.status, 201);
    // What ann had is over; she cannot touch what bob has.
    assert_eq!(office.delete("ann", SEAT).await.field("status"), "CANCELLED");
    assert_eq!(office.seat("A-1-1").await, "HELD");
    office.assert_settled().await;
}

#[tokio::test]
async fn a_hold_is_extended_for_so_long_and_no_longer() {
    let office = office(&["--hold-ttl-sec", "3"]).await;
    let held = reserve(&office, "ann", "A-1-1", json!(1)).await;
    let longer = office.post("ann", &format!("{SEAT}/extend"), &json!({ "holdSeconds": 3 })).await;
    assert!(longer.status == 200 && longer.field("expiresAt") > held.field("expiresAt"), "{longer:?}");
    let limit = eventually("the limit of extensions", 20, async || {
        let answer = office
            .call(axum::http::Method::POST, &format!("{SEAT}/extend"), &[("x-user-id", "ann")], "")
            .await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    limit.assert_problem(409, "extension-limit");
    let kept = office.get_as("ann", &format!("/api/reservations/{}", held.field("orderId"))).await;
    let (order, sql) = (
        held.field("orderId"),
        "SELECT extract(epoch FROM h.expires_at - o.created_at)::bigint
        FROM holds h JOIN orders o USING (id) WHERE id = ",
    );
    let seconds = office.database.number(&format!("{sql}'{order}'")).await;
    assert_eq!((kept.field("status"), seconds), ("HOLD", 9), "three times the usual");
}

#[tokio::test]
async fn a_reservation_whose_time_is_over_is_gone() {
    let office = office(&[]).await;
    let held = reserve(&office, "ann", "A-1-1", json!(1)).await;
    let path = format!("/api/reservations/{}", held.field("orderId"));
    eventually("its end", 10, async || {
        (office.get_as("ann", &path).await.field("status") == "EXPIRED").then_some(())
    })
    .await;
    for what in ["/confirm", "/extend"] {
        office.post("ann", &format!("{SEAT}{what}"), &json!({})).await.assert_problem(410, "hold-expired");
    }
    office.delete("ann", SEAT).await.assert_problem(410, "hold-expired");
    office.assert_settled().await;
}

#[tokio::test]
async fn what_cannot_be_reserved_is_refused_with_its_code() {
    let office = office(&["--hold-ttl-sec", "60"]).await;
    for seconds in [json!(0), json!(-1), json!(61), json!(i64::MAX)] {
        reserve(&office, "ann", "A-1-1", seconds).await.assert_problem(400, "bad-hold-seconds");
    }
    reserve(&office, "ann", "A-1-1", json!("20")).await.assert_problem(400, "bad-json");
    reserve(&office, "ann", "Z-1-1", json!(20)).await.assert_problem(404, "unknown-seat");
    reserve(&office, "ann", "A 1", json!(20)).await.assert_problem(404, "unknown-seat");
    let elsewhere = json!({ "eventId": "nowhere", "seatId": "A-1-1" });
    office.post("ann", "/api/reservations", &elsewhere).await.assert_problem(404, "unknown-event");
    office.delete("ann", SEAT).await.assert_problem(404, "unknown-reservation");
    office.delete("ann", "/api/reservations/e1/Z-9-9").await.assert_problem(404, "unknown-seat");
    office.get_as("ann", "/api/reservations/nonsense").await.assert_problem(404, "unknown-reservation");
    let long = office.post("ann", &format!("{SEAT}/extend"), &json!({ "holdSeconds": 61 })).await;
    long.assert_problem(400, "bad-hold-seconds");
    assert_eq!(office.stock().await, (0, 0));
}

#[tokio::test]
async fn what_is_done_to_one_seat_of_an_order_is_done_to_all() {
    let office = office(&[]).await;
    office.ordered("ann", "k", json!({ "seatIds": ["A-1-1", "A-1-2"] })).await;
    let gone = office.delete("ann", "/api/reservations/e1/A-1-2").await;
    assert_eq!(gone.json["seatIds"], json!(["A-1-1", "A-1-2"]));
    assert_eq!((office.seat("A-1-1").await.as_str(), office.stock().await), ("FREE", (0, 0)));
    office.ordered("ann", "k2", json!({ "seatIds": ["A-1-1", "A-1-2"] })).await;
    office.post("ann", &format!("{SEAT}/confirm"), &json!({})).await;
    assert_eq!((office.seat("A-1-2").await.as_str(), office.stock().await), ("SOLD", (0, 2)));
    office.assert_settled().await;
}
