//! The counter: groups, commits whose end is not known, books that are checked.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::cut::{Cut, Line};
use crate::support::eventually;
use crate::support::office::{Office, command};
use crate::support::postgres::shared;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_buyers_of_the_last_ticket_in_the_same_instant_are_one_with_and_the_rest_without() {
    let office = Arc::new(Office::selling(1).await);
    let other = Arc::new(office.another(&[]).await);
    let start = Arc::new(Barrier::new(1000));
    let mut buyers = JoinSet::new();
    for buyer in 0..1000 {
        let office = Arc::clone(if buyer % 2 == 0 { &office } else { &other });
        let start = Arc::clone(&start);
        buyers.spawn(async move {
            start.wait().await;
            let user = format!("buyer-{buyer}");
            let answer = office.insist_on_buying(&user, "the-last", 1).await;
            (answer.json["status"] == "HOLD").then(|| (user, answer.field("orderId").to_owned()))
        });
    }
    let winners: Vec<_> = buyers.join_all().await.into_iter().flatten().collect();
    let [(user, order)] = winners.as_slice() else { panic!("{winners:?}") };
    assert_eq!(office.pay(user, order).await.status, 200);
    assert_eq!(office.stock().await, (0, 1));
    office.assert_books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buyers_who_wait_together_are_served_by_few_transactions_and_each_gets_the_own_answer() {
    let office = Arc::new(Office::selling(150).await);
    let mut blocker = office.database.connect().await;
    let lock = blocker.transaction().await.unwrap();
    lock.query_one("SELECT id FROM events WHERE id = 'e1' FOR UPDATE", &[]).await.unwrap();
    let mut buyers = JoinSet::new();
    for buyer in 0..100 {
        let office = Arc::clone(&office);
        buyers.spawn(async move { office.buy(&format!("b{buyer}"), "k", 2).await });
    }
    eventually("all to stand in line", 10, async || {
        let metrics = office.get("/metrics").await.text;
        (sample(&metrics, "counter_waiting{line=\"purchases\"}") >= 100.0).then_some(())
    })
    .await;
    lock.commit().await.unwrap();

    let answers = buyers.join_all().await;
    let held: HashSet<_> = answers.iter().filter_map(|answer| answer.json["orderId"].as_str()).collect();
    assert_eq!(held.len(), 75, "partial fill: two each until 150 are gone");
    let remaining: HashSet<_> = answers
        .iter()
        .filter(|answer| answer.json["status"] == "HOLD")
        .map(|a| a.number("remaining"))
        .collect();
    assert_eq!(remaining.len(), 75, "each hold was decided at a place of its own in the line");
    let groups = sample(&office.get("/metrics").await.text, "counter_group_size_count{line=\"purchases\"}");
    assert!(groups <= 10.0, "{groups} transactions for 100 buyers");
    office.assert_books_balance().await;
}

/// The value of a sample in Prometheus text.
fn sample(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_whose_commit_was_cut_off_is_read_again_and_never_guessed() {
    for cut in [Cut::BeforeItArrives, Cut::BeforeTheAnswer] {
        let line = Line::to(&shared().database());
        let office = Office::on(&line.database, &["--open", "--seed-total", "10"]).await;
        line.cut_at(&[b"cut-key", b"COMMIT\0"], cut);
        let bought = office.buy("ann", "cut-key", 2).await;
        assert_eq!(
            (bought.status.as_u16(), bought.json["status"].as_str()),
            (200, Some("HOLD")),
            "{bought:?}"
        );
        assert_eq!(line.cuts(), 1, "{cut:?}");
        assert_eq!(bought.header("idempotency-replayed"), "", "the first answer that is heard");
        let again = office.buy("ann", "cut-key", 2).await;
        assert_eq!(
            (again.json, again.headers["idempotency-replayed"].to_str().unwrap()),
            (bought.json, "true")
        );
        assert_eq!(office.stock().await, (2, 0), "{cut:?}");
        office.assert_books_balance().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_whose_commit_was_cut_off_is_read_again_and_never_guessed() {
    for cut in [Cut::BeforeItArrives, Cut::BeforeTheAnswer] {
        let line = Line::to(&shared().database());
        let office = Office::on(&line.database, &["--open", "--seed-total", "10"]).await;
        let order = office.hold("ann", "k", 2).await;
        let id: uuid::Uuid = order.parse().unwrap();
        line.cut_at(&[id.as_bytes()], cut);
        let paid = office.pay("ann", &order).await;
        assert_eq!((paid.status.as_u16(), paid.json["status"].as_str()), (200, Some("PAID")), "{paid:?}");
        assert_eq!(line.cuts(), 1, "{cut:?}");
        assert_eq!(office.stock().await, (0, 2), "{cut:?}");
        office.assert_books_balance().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_event_is_unknown_to_everybody_in_its_line() {
    let office = Arc::new(Office::selling(1).await);
    let mut buyers = JoinSet::new();
    for buyer in 0..20 {
        let office = Arc::clone(&office);
        buyers.spawn(async move {
            let headers = [("x-user-id", format!("b{buyer}")), ("idempotency-key", "k".into())];
            let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
            office.call(axum::http::Method::POST, "/purchase", &headers, r#"{"eventId":"e2","qty":1}"#).await
        });
    }
    for answer in buyers.join_all().await {
        answer.assert_problem(404, "unknown-event");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_pays_for_somebody_else_in_the_same_instant_pays_for_nothing() {
    let office = Arc::new(Office::selling(100).await);
    let mut payments = JoinSet::new();
    for buyer in 0..20 {
        let office = Arc::clone(&office);
        payments.spawn(async move {
            let order = office.hold(&format!("b{buyer}"), "k", 1).await;
            let (ann, bob) = (format!("b{buyer}"), format!("b{}", buyer + 1));
            let (own, foreign) = tokio::join!(office.pay(&ann, &order), office.pay(&bob, &order));
            foreign.assert_problem(404, "unknown-order");
            own.status.as_u16()
        });
    }
    assert_eq!(payments.join_all().await, vec![200; 20]);
    assert_eq!(office.stock().await, (0, 20));
    office.assert_books_balance().await;
}

#[tokio::test]
async fn books_that_do_not_balance_are_found_by_the_program() {
    let office = Office::selling(10).await;
    office.hold("ann", "k", 2).await;
    let order = office.hold("bob", "k", 3).await;
    office.pay("bob", &order).await;
    let check = || {
        let output =
            command(&office.database.url).arg("--check-books").stdout(std::process::Stdio::piped()).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("held 2 (holds 2, orders 2), sold 3 (paid 3)"), "{said}");

    let client = office.database.connect().await;
    for (wrong, right) in [
        ("UPDATE events SET sold_qty = sold_qty + 1", "UPDATE events SET sold_qty = sold_qty - 1"),
        ("UPDATE events SET held_qty = held_qty - 1", "UPDATE events SET held_qty = held_qty + 1"),
        (
            "UPDATE orders SET status = 'EXPIRED' WHERE status = 'HOLD'",
            "UPDATE orders SET status = 'HOLD' WHERE status = 'EXPIRED'",
        ),
        ("UPDATE holds SET user_id = 'cat'", "UPDATE holds SET user_id = 'ann'"),
        (
            "UPDATE orders SET event_id = 'e9' WHERE user_id = 'bob'",
            "UPDATE orders SET event_id = 'e1' WHERE user_id = 'bob'",
        ),
    ] {
        client.batch_execute(wrong).await.unwrap();
        let (code, said) = check();
        assert_eq!((code, said.contains("WRONG")), (Some(65), true), "{wrong}: {said}");
        client.batch_execute(right).await.unwrap();
        assert_eq!(check().0, Some(0), "{right}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_hold_is_kept_within_a_second_while_everybody_buys() {
    let office = Arc::new(Office::with(1_000_000, &["--hold-ttl-sec", "1", "--log-level", "warn"]).await);
    let mut buyers = JoinSet::new();
    for buyer in 0..64 {
        let office = Arc::clone(&office);
        buyers.spawn(async move {
            for purchase in 0..40 {
                office.insist_on_buying(&format!("b{buyer}"), &format!("k{purchase}"), 1).await;
            }
        });
    }
    let client = office.database.connect().await;
    let overdue =
        "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - expires_at)), 0)::float8 FROM holds";
    let (mut latest, mut expired) = (0.0_f64, 0);
    while buyers.try_join_next().is_none_or(|ended| ended.is_ok()) && !buyers.is_empty() {
        latest = latest.max(client.query_one(overdue, &[]).await.unwrap().get(0));
        expired = office.database.number("SELECT count(*) FROM orders WHERE status = 'EXPIRED'").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(expired > 0, "nothing expired during the rush");
    // Promised: 1 s. A busy test machine gets five times that.
    assert!(latest < 5.0, "a hold was overdue by {latest} s");
    println!("at most {latest:.2} s overdue, {expired} expired during the rush");
    eventually("all to expire", 20, async || (office.stock().await == (0, 0)).then_some(())).await;
    office.assert_books_balance().await;
}
