//! A standby takes over; connections run out. Clear answers meanwhile, back by itself, no hold in doubt.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::task::JoinSet;

use crate::support::eventually;
use crate::support::office::Office;
use crate::support::postgres::{Postgres, TestDatabase};

/// How the primary goes.
#[derive(Clone, Copy)]
enum End {
    Killed,
    /// Its connections stay open and nobody answers.
    Frozen,
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_primary_is_killed_the_sale_goes_on_at_the_promoted_standby() {
    the_standby_takes_over(End::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_primary_is_silent_the_sale_goes_on_at_the_promoted_standby() {
    the_standby_takes_over(End::Frozen).await;
}

async fn the_standby_takes_over(end: End) {
    let mut primary = Postgres::start();
    let database = primary.database();
    let standby = primary.standby();
    let both = both(&database, &primary, &standby);
    let office = Arc::new(Office::on(&both, &["--open", "--seed-total", "100000", "--max-qty", "1"]).await);
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let mut buyers = JoinSet::new();
    for buyer in 0..16 {
        let (office, stop, answered) = (Arc::clone(&office), Arc::clone(&stop), Arc::clone(&answered));
        buyers.spawn(async move { buy_until(&office, &format!("b{buyer}"), &stop, &answered).await });
    }
    eventually("a rush", 20, async || (sold_by(&answered) > 200).then_some(())).await;
    match end {
        End::Killed => primary.kill(),
        End::Frozen => primary.freeze(),
    }
    let refused = office.buy("cat", "meanwhile", 1).await;
    refused.assert_problem(503, "database-unavailable");
    assert!(!refused.header("retry-after").is_empty());

    standby.promote();
    let (promoted, before) = (Instant::now(), sold_by(&answered));
    // Promised: 5 s. A busy test machine gets five times that.
    eventually("sales at the new primary", 25, async || (sold_by(&answered) > before + 50).then_some(()))
        .await;
    println!("sold again {:.1} s after the promotion", promoted.elapsed().as_secs_f64());
    stop.store(true, Ordering::Relaxed);
    let keys: usize = buyers.join_all().await.into_iter().sum();

    let now_at = TestDatabase { url: database.url.replace(primary.host(), standby.host()) };
    let told = answered.lock().unwrap().clone();
    assert_orders_are(&now_at, &told).await;
    let cat = i64::from(now_at.number("SELECT count(*) FROM orders WHERE user_id = 'cat'").await > 0);
    let orders = now_at.number("SELECT count(*) FROM orders").await;
    assert_eq!(orders, i64::try_from(keys).unwrap() + cat, "one order a key");
    let books = "SELECT held_qty::bigint - (SELECT sum(qty) FROM holds) FROM events";
    assert_eq!(now_at.number(books).await, 0);
}

/// The same database at both servers.
pub(crate) fn both(database: &TestDatabase, primary: &Postgres, standby: &Postgres) -> TestDatabase {
    let hosts = format!("{},{}", primary.host(), standby.host());
    TestDatabase { url: database.url.replace(primary.host(), &hosts) }
}

type Answered = Arc<std::sync::Mutex<HashMap<String, String>>>;

fn sold_by(answered: &Answered) -> usize {
    answered.lock().unwrap().len()
}

/// Buys under key after key, each until it is answered; says how many.
async fn buy_until(office: &Office, user: &str, stop: &AtomicBool, answered: &Answered) -> usize {
    let mut keys = 0;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("k{keys}");
        let answer = office.insist_on_buying(user, &key, 1).await;
        keys += 1;
        answered.lock().unwrap().insert(format!("{user} {key}"), answer.field("orderId").into());
    }
    keys
}

/// Whatever a buyer was told is so.
async fn assert_orders_are(database: &TestDatabase, answered: &HashMap<String, String>) {
    let sql = "SELECT user_id || ' ' || idempotency_key, id::text FROM orders";
    let rows = database.connect().await.query(sql, &[]).await.unwrap();
    let kept: HashMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for (key, order) in answered {
        assert_eq!(kept.get(key), Some(order), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_free_connection_is_a_503_and_serves_again_when_there_is_one() {
    let server = Postgres::start();
    let office = Office::on(&server.database(), &["--open", "--seed-total", "10"]).await;
    let database = TestDatabase { url: office.database.url.clone() };
    let mut taken = Vec::new();
    while let Ok((client, connection)) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await {
        tokio::spawn(connection);
        taken.push(client);
    }
    let refused = office.buy("ann", "k", 1).await;
    refused.assert_problem(503, "database-unavailable");
    assert!(!refused.header("retry-after").is_empty());
    drop(taken);
    let since = Instant::now();
    eventually("a purchase when there are connections again", 25, async || {
        (office.buy("ann", "k", 1).await.status == 200).then_some(())
    })
    .await;
    println!("served again after {:?}", since.elapsed());
    assert_eq!(office.stock().await, (1, 0));
    office.assert_books_balance().await;
}
