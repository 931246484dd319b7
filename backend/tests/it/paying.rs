//! Payments: once, by the owner, in time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::eventually;
use crate::support::office::Office;

#[tokio::test]
async fn paying_twice_is_paying_once() {
    let office = Office::selling(5).await;
    let order = office.hold("ann", "k", 2).await;
    for _ in 0..2 {
        let paid = office.pay("ann", &order).await;
        assert_eq!((paid.status.as_u16(), paid.text.as_str()), (200, r#"{"ok":true,"status":"PAID"}"#));
    }
    assert_eq!(office.stock().await, (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn paying_many_times_at_once_is_paying_once() {
    let office = Arc::new(Office::selling(5).await);
    let order = office.hold("ann", "k", 2).await;
    let mut payments = JoinSet::new();
    for _ in 0..30 {
        let (office, order) = (Arc::clone(&office), order.clone());
        payments.spawn(async move { office.pay("ann", &order).await.status.as_u16() });
    }
    assert_eq!(payments.join_all().await, vec![200; 30]);
    assert_eq!(office.stock().await, (0, 2));
    office.assert_books_balance().await;
}

#[tokio::test]
async fn an_order_of_somebody_else_does_not_exist() {
    let office = Office::selling(5).await;
    let order = office.hold("ann", "k", 2).await;
    office.pay("bob", &order).await.assert_problem(404, "unknown-order");
    office.pay("ann", "00000000-0000-0000-0000-000000000000").await.assert_problem(404, "unknown-order");
    office.pay("ann", "no-such-thing").await.assert_problem(404, "unknown-order");
    assert_eq!(office.stock().await, (2, 0));
}

#[tokio::test]
async fn a_payment_after_the_hold_expired_is_gone() {
    let office = Office::with(5, &["--hold-ttl-sec", "1"]).await;
    let order = office.hold("ann", "k", 2).await;
    eventually("the hold to expire", 5, async || (office.stock().await == (0, 0)).then_some(())).await;
    for _ in 0..2 {
        office.pay("ann", &order).await.assert_problem(410, "hold-expired");
    }
    assert_eq!(office.stock().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_that_race_with_the_expiry_are_either_paid_or_gone() {
    let office = Arc::new(Office::with(1000, &["--hold-ttl-sec", "1"]).await);
    let other = Arc::new(office.another(&["--hold-ttl-sec", "1"]).await);
    let mut buyers = JoinSet::new();
    for buyer in 0..120_u64 {
        let office = Arc::clone(if buyer % 2 == 0 { &office } else { &other });
        buyers.spawn(async move {
            let user = format!("b{buyer}");
            let order = office.hold(&user, "k", 1).await;
            // The moment matters here: around the end of the hold, and of the worker's round.
            sleep(Duration::from_millis(700 + buyer * 6)).await;
            office.pay(&user, &order).await.status.as_u16()
        });
    }
    let answers = buyers.join_all().await;
    let paid = answers.iter().filter(|status| **status == 200).count();
    assert!(answers.iter().all(|status| matches!(status, 200 | 410)), "{answers:?}");
    let paid = i64::try_from(paid).unwrap();
    eventually("all else to be returned", 5, async || (office.stock().await == (0, paid)).then_some(()))
        .await;
    office.assert_books_balance().await;
}
