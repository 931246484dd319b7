//! Ten thousand tickets, ten times as many attempts, buyers who behave as buyers do, and a process that dies in the
//! middle. `CONTENTION_ATTEMPTS` makes it longer.

mod buyer;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::eventually;
use crate::support::office::Office;
use buyer::{Buyer, Ledger};

const TICKETS: u32 = 10_000;
const ATTEMPTS: u64 = 100_000;
/// Buyers at the same time.
const CROWD: u64 = 128;
/// Short, so that tickets which nobody pays come back while the rush goes on.
const ARGUMENTS: [&str; 4] = ["--hold-ttl-sec", "2", "--log-level", "warn"];

/// What buyers share.
pub(super) struct Rush {
    /// `HOST:PORT` of each process.
    addresses: Vec<String>,
    /// Requests to buy, repetitions included.
    sent: AtomicU64,
    wanted: u64,
    paid: AtomicUsize,
}

impl Rush {
    /// Whether there is reason to go on: attempts to make or tickets to sell.
    pub(super) fn goes_on(&self) -> bool {
        self.sent.load(Ordering::Relaxed) < self.wanted || self.paid() < TICKETS as usize
    }

    pub(super) fn paid(&self) -> usize {
        self.paid.load(Ordering::Relaxed)
    }

    /// A lone ticket may be all that is left.
    pub(super) fn nearly_over(&self) -> bool {
        self.paid() + 50 > TICKETS as usize
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rush_with_retries_duplicates_and_a_killed_process_sells_each_ticket_once() {
    let office = Office::with(TICKETS, &ARGUMENTS).await;
    let doomed = office.another(&ARGUMENTS).await;
    let wanted = std::env::var("CONTENTION_ATTEMPTS").map_or(ATTEMPTS, |text| text.parse().unwrap());
    let rush = Arc::new(Rush {
        addresses: vec![office.address.clone(), doomed.address.clone()],
        sent: AtomicU64::new(0),
        wanted,
        paid: AtomicUsize::new(0),
    });
    let started = Instant::now();
    let mut crowd = JoinSet::new();
    for number in 0..CROWD {
        let mut buyer = Buyer::new(number, Arc::clone(&rush));
        crowd.spawn(async move { buyer.shop().await });
    }
    eventually("half of the tickets to be paid", 120, async || {
        (rush.paid() > TICKETS as usize / 2).then_some(())
    })
    .await;
    doomed.signal("-KILL");

    let mut ledger = Ledger::default();
    while let Some(own) = crowd.join_next().await {
        ledger.join(own.unwrap());
    }
    report(&rush, &ledger, started.elapsed());
    assert!(rush.sent.load(Ordering::Relaxed) >= wanted);
    assert_eq!(ledger.paid.values().sum::<i64>(), i64::from(TICKETS), "what buyers hold");
    eventually("holds that nobody paid to be gone", 20, async || (office.stock().await.0 == 0).then_some(()))
        .await;
    assert_eq!(office.stock().await, (0, i64::from(TICKETS)));
    office.assert_books_balance().await;
    assert_ledger_is_true(&office, &ledger).await;
}

/// Every order that a buyer was told is paid is there, paid, with as many tickets, and there are no others.
async fn assert_ledger_is_true(office: &Office, ledger: &Ledger) {
    let client = office.database.connect().await;
    let sql = "SELECT id::text, qty::bigint FROM orders WHERE status = 'PAID'";
    let rows = client.query(sql, &[]).await.unwrap();
    let kept: HashMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(kept.len(), ledger.paid.len());
    for (order, qty) in &ledger.paid {
        assert_eq!(kept.get(order), Some(qty), "{order}");
    }
    let twice = "SELECT count(*) FROM (SELECT 1 FROM orders WHERE idempotency_key IS NOT NULL
        GROUP BY user_id, idempotency_key HAVING count(*) > 1) AS twice";
    assert_eq!(office.database.number(twice).await, 0, "orders for the same key");
}

fn report(rush: &Rush, ledger: &Ledger, took: Duration) {
    let sent = rush.sent.load(Ordering::Relaxed);
    println!(
        "{sent} attempts in {:.1} s: {} orders paid, {} refused, {} replays, {} in flight, {} connections broken, \
         {} late payments, {} unavailable",
        took.as_secs_f64(),
        ledger.paid.len(),
        ledger.refused,
        ledger.replayed,
        ledger.in_flight,
        ledger.broken,
        ledger.late,
        ledger.unavailable,
    );
    // What the test is about did happen.
    for (what, count) in [
        ("refused", ledger.refused),
        ("replays", ledger.replayed),
        ("broken connections", ledger.broken),
        ("payments after the hold", ledger.late),
    ] {
        assert!(count > 0, "no {what}");
    }
}
