//! Who gets the tickets, and what a retry is.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::eventually;
use crate::support::office::Office;

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_buyers_for_the_last_tickets_leave_exactly_none_and_none_twice() {
    let office = Office::selling(100).await;
    let offices = [Arc::new(office.another(&[]).await), Arc::new(office)];
    let mut buyers = JoinSet::new();
    for buyer in 0..400 {
        let office = Arc::clone(&offices[buyer % 2]);
        buyers.spawn(async move { buy_and_pay(&office, &format!("buyer-{buyer}")).await });
    }
    let bought = buyers.join_all().await.into_iter().filter(|paid| *paid).count();
    assert_eq!(bought, 100);
    assert_eq!(offices[0].stock().await, (0, 100));
    offices[0].assert_books_balance().await;
}

/// Whether a ticket was to be had.
async fn buy_and_pay(office: &Office, user: &str) -> bool {
    let answer = office.insist_on_buying(user, "the-one", 1).await;
    if answer.json["status"] == "REJECTED" {
        return false;
    }
    let paid = office.insist_on_paying(user, answer.field("orderId")).await;
    assert_eq!(paid.json["status"], "PAID", "{paid:?}");
    true
}

#[tokio::test]
async fn a_retry_is_the_same_purchase() {
    let office = Office::selling(10).await;
    let first = office.buy("ann", "k1", 2).await;
    assert_eq!((first.number("remaining"), first.header("idempotency-replayed")), (8, ""));
    office.hold("bob", "k1", 3).await;
    let order = first.field("orderId");
    assert_eq!(office.pay("ann", order).await.status, 200);

    let again = office.buy("ann", "k1", 2).await;
    assert_eq!(again.json, first.json, "the first answer, whatever happened since");
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(office.stock().await, (3, 2));
}

#[tokio::test]
async fn a_refusal_is_replayed_too_until_its_key_is_forgotten() {
    let office = Office::with(1, &["--hold-ttl-sec", "1", "--idempotency-ttl-sec", "3"]).await;
    office.hold("ann", "k", 1).await;
    let refused = office.buy("bob", "k", 1).await;
    assert_eq!(refused.text, r#"{"status":"REJECTED","reason":"OUT_OF_STOCK","remaining":0}"#);
    eventually("the stock of the expired hold", 10, async || (office.stock().await == (0, 0)).then_some(()))
        .await;
    assert_eq!(office.buy("bob", "k", 1).await.json, refused.json);
    eventually("the key to be free again", 10, async || {
        (office.buy("bob", "k", 1).await.json["status"] == "HOLD").then_some(())
    })
    .await;
}

#[tokio::test]
async fn refused_attempts_do_not_pile_up() {
    let office = Office::with(0, &["--idempotency-ttl-sec", "1"]).await;
    assert_eq!(office.buy("ann", "k", 1).await.json["status"], "REJECTED");
    eventually("the forgotten row to go", 20, async || {
        (office.database.number("SELECT count(*) FROM orders").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_of_another_purchase_is_refused() {
    let office = Office::selling(10).await;
    office.hold("ann", "k", 2).await;
    office.buy("ann", "k", 3).await.assert_problem(422, "idempotency-key-reused");
    office.hold("bob", "k", 3).await;
    assert_eq!(office.stock().await, (5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_many_times_at_once_is_one_purchase() {
    let office = Arc::new(Office::selling(10).await);
    let mut clicks = JoinSet::new();
    for _ in 0..40 {
        let office = Arc::clone(&office);
        clicks.spawn(async move { office.buy("ann", "double-click", 2).await });
    }
    let mut orders = HashSet::new();
    for answer in clicks.join_all().await {
        match answer.status.as_u16() {
            200 => drop(orders.insert(answer.field("orderId").to_owned())),
            _ => answer.assert_problem(409, "in-flight"),
        }
    }
    assert_eq!(orders.len(), 1);
    assert_eq!(office.stock().await, (2, 0));
    office.assert_books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_purchase_is_being_made_its_duplicate_hears_so_even_from_another_process() {
    let office = Arc::new(Office::selling(10).await);
    let other = office.another(&[]).await;
    let mut blocker = office.database.connect().await;
    let lock = blocker.transaction().await.unwrap();
    lock.query_one("SELECT id FROM events WHERE id = 'e1' FOR UPDATE", &[]).await.unwrap();

    let first = tokio::spawn({
        let office = Arc::clone(&office);
        async move { office.buy("ann", "k", 1).await }
    });
    eventually("the first to wait for the row", 5, async || {
        let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
            WHERE NOT granted OR l.locktype = 'advisory' AND d.datname = current_database()";
        (office.database.number(waiting).await > 0).then_some(())
    })
    .await;
    let duplicate = timeout(Duration::from_secs(1), other.buy("ann", "k", 1)).await.expect("no waiting");
    duplicate.assert_problem(409, "in-flight");
    assert_eq!(duplicate.header("retry-after"), "1");

    lock.commit().await.unwrap();
    let first = first.await.unwrap();
    assert_eq!(first.json["status"], "HOLD");
    assert_eq!(other.buy("ann", "k", 1).await.json, first.json);
}

#[tokio::test]
async fn a_lock_that_is_kept_too_long_is_a_clear_503_and_nothing_half_done() {
    let office = Office::selling(10).await;
    let mut blocker = office.database.connect().await;
    let lock = blocker.transaction().await.unwrap();
    lock.query_one("SELECT id FROM events WHERE id = 'e1' FOR UPDATE", &[]).await.unwrap();
    let answer = timeout(Duration::from_secs(10), office.buy("ann", "k", 1)).await.expect("a bounded wait");
    answer.assert_problem(503, "busy");
    assert!(!answer.header("retry-after").is_empty());
    lock.rollback().await.unwrap();
    assert_eq!(office.stock().await, (0, 0));
    office.hold("ann", "k", 1).await;
    office.assert_books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_buyers_than_connections_wait_a_bounded_time() {
    let office = Arc::new(Office::with(10, &["--db-pool-size", "2"]).await);
    let mut blocker = office.database.connect().await;
    let lock = blocker.transaction().await.unwrap();
    lock.query_one("SELECT id FROM events WHERE id = 'e1' FOR UPDATE", &[]).await.unwrap();
    let mut buyers = JoinSet::new();
    for buyer in 0..10 {
        let office = Arc::clone(&office);
        buyers.spawn(async move { office.buy(&format!("b{buyer}"), "k", 1).await });
    }
    let answers = timeout(Duration::from_secs(15), buyers.join_all()).await.expect("bounded waits");
    assert!(answers.iter().all(|answer| answer.status == 503 && !answer.header("retry-after").is_empty()));
    lock.rollback().await.unwrap();
    office.hold("ann", "k", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_who_goes_away_in_the_middle_leaves_nothing_half_done() {
    let office = Arc::new(Office::selling(1000).await);
    let mut impatient = JoinSet::new();
    for buyer in 0..200_u64 {
        let office = Arc::clone(&office);
        impatient.spawn(async move {
            let user = format!("b{buyer}");
            let purchase = office.try_buy(&user, "k", 1);
            // Sooner or later, before, during or after the commit.
            let _went_away = timeout(Duration::from_micros(buyer * 100), purchase).await;
        });
    }
    impatient.join_all().await;
    // Let what is still running in the server end.
    eventually("no open transaction", 10, async || {
        let open = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()";
        (office.database.number(open).await == 0).then_some(())
    })
    .await;
    office.assert_books_balance().await;
    for buyer in 0..200 {
        office.insist_on_buying(&format!("b{buyer}"), "k", 1).await;
    }
    assert_eq!(office.stock().await, (200, 0), "one each");
}

#[tokio::test]
async fn more_than_remains_is_refused_and_says_how_many_remain() {
    let office = Office::selling(5).await;
    office.hold("ann", "k", 3).await;
    let refused = office.buy("bob", "k1", 3).await;
    assert_eq!((refused.json["status"].as_str(), refused.number("remaining")), (Some("REJECTED"), 2));
    office.hold("bob", "k2", 2).await;
}
