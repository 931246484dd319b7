//! SIGTERM: nobody notices, but for whoever asks whether it is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::eventually;
use crate::support::http::call;
use crate::support::office::Office;
use crate::support::postgres::shared;
use crate::support::vestibule::{Vestibule, office_behind};

/// As often as a probe of this test looks; those of Kubernetes look every two seconds, and linger longer.
const PROBES_EVERY: Duration = Duration::from_millis(50);
const BUYERS: usize = 8;

/// Two offices, whoever of them is ready, and what became of the requests.
struct Town {
    offices: [String; 2],
    ready: [AtomicBool; 2],
    sold: [AtomicUsize; 2],
    /// Answers that told their connection is over.
    partings: AtomicUsize,
    closed: AtomicBool,
}

impl Town {
    fn sold(&self, office: usize) -> usize {
        self.sold[office].load(Ordering::Relaxed)
    }

    /// What a balancer does: asks both whether they are ready.
    async fn probe(&self) {
        while !self.closed.load(Ordering::Relaxed) {
            for (address, ready) in self.offices.iter().zip(&self.ready) {
                let answer = call(address, Method::GET, "/readyz", &[], "").await;
                ready.store(answer.is_some_and(|answer| answer.status == 200), Ordering::Relaxed);
            }
            sleep(PROBES_EVERY).await;
        }
    }

    fn choose(&self, turn: usize) -> usize {
        let ready = |office: usize| self.ready[office].load(Ordering::Relaxed);
        let first = turn % 2;
        if ready(first) { first } else { 1 - first }
    }

    /// Buys without a pause on connections that are kept for as long as the office keeps them; every request must be
    /// answered, and well.
    async fn buy(&self, buyer: usize) {
        let mut purchases = 0_usize;
        for turn in buyer.. {
            let office = self.choose(turn);
            let mut connection = Connection::open(&self.offices[office]).await;
            // Some go on for long, some change sides now and then.
            for _ in 0..if buyer < BUYERS / 2 { usize::MAX } else { 10 } {
                if self.closed.load(Ordering::Relaxed) {
                    return;
                }
                purchases += 1;
                let parts = connection.buy(&format!("b{buyer}-{purchases}")).await;
                self.sold[office].fetch_add(1, Ordering::Relaxed);
                if parts {
                    self.partings.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
    }
}

/// One that is kept alive.
struct Connection {
    office: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    async fn open(office: &str) -> Self {
        let stream = TcpStream::connect(office).await.expect("an office that was ready takes connections");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(connection);
        Self { office: office.to_owned(), sender }
    }

    /// One ticket; says whether the office takes leave with its answer.
    async fn buy(&mut self, key: &str) -> bool {
        let body = json!({ "eventId": "e1", "qty": 1 }).to_string();
        let request = Request::post("/purchase").header("host", &self.office).header("x-user-id", key);
        let request = request.header("idempotency-key", key).body(Full::new(body.into())).unwrap();
        self.sender.ready().await.expect("a connection that was not taken leave of is open");
        let answer = self.sender.send_request(request).await.expect("an answer");
        let parts = answer.headers().get("connection").is_some_and(|value| value == "close");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a whole answer").to_bytes();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        parts
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_replaced_under_load_fails_no_request() {
    let database = shared().database();
    let arguments = ["--open", "--seed-total", "1000000", "--linger", "1s"];
    let mut going = Office::on(&database, &arguments).await;
    let staying = Office::on(&database, &arguments).await;
    let town = Arc::new(Town {
        offices: [going.address.clone(), staying.address.clone()],
        ready: [AtomicBool::new(true), AtomicBool::new(true)],
        sold: Default::default(),
        partings: AtomicUsize::new(0),
        closed: AtomicBool::new(false),
    });
    let mut people = JoinSet::new();
    let probing = Arc::clone(&town);
    people.spawn(async move { probing.probe().await });
    for buyer in 0..BUYERS {
        let town = Arc::clone(&town);
        people.spawn(async move { town.buy(buyer).await });
    }
    eventually("a rush at both", 20, async || (town.sold(0).min(town.sold(1)) > 100).then_some(())).await;

    let told = Instant::now();
    let before = (town.sold(0), town.sold(1));
    assert!(going.end_by("-TERM").await.success());
    assert!(told.elapsed() >= Duration::from_secs(1), "it lingered only {:?}", told.elapsed());
    eventually("a rush at the other", 20, async || (town.sold(1) > before.1 + 200).then_some(())).await;
    town.closed.store(true, Ordering::Relaxed);
    // A buyer or the probe that panicked has said why.
    while let Some(person) = people.join_next().await {
        person.expect("a request failed");
    }
    // Half of those who stay on one connection were there.
    assert!(town.partings.load(Ordering::Relaxed) >= BUYERS / 4, "nobody was told to go elsewhere");
    let sold = town.sold(0) + town.sold(1);
    assert_eq!(staying.stock().await, (i64::try_from(sold).unwrap(), 0));
    staying.assert_books_balance().await;
    let after = (town.sold(0) - before.0, told.elapsed());
    println!("{sold} sold, {} by the one that was leaving, in {:?}: no request failed", after.0, after.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_asks_nobody_whether_they_are_ready_loses_no_request_either() {
    const ROOM: &str = "total_active_users = 100\nnew_users_per_minute = 60000\n\
        [room.e1.limits]\nper_client = { per_second = 100000, burst = 100000 }";
    let database = shared().database();
    let arguments = ["--seed-total", "1000000", "--linger", "500ms"];
    let mut going = office_behind(&database, &arguments, &[]).await;
    let staying = office_behind(&database, &arguments, &[]).await;
    let edge = Vestibule::before(&[&going, &staying], ROOM, &[]).await;
    let inside = edge.somebody_inside().await;
    let (sold, closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut buyers = JoinSet::new();
    for buyer in 0..BUYERS {
        let (mut visitor, sold, closed) = (inside.clone(), Arc::clone(&sold), Arc::clone(&closed));
        buyers.spawn(async move {
            for purchase in 0.. {
                if closed.load(Ordering::Relaxed) {
                    return;
                }
                let key = format!("b{buyer}-{purchase}");
                let body = json!({ "eventId": "e1", "qty": 1 }).to_string();
                let headers = [("idempotency-key", key.as_str())];
                let answer = visitor.ask(Method::POST, "/purchase", &headers, &body).await;
                assert_eq!(answer.json["status"], "HOLD", "{answer:?}");
                sold.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let more = async |wanted: usize| {
        let before = sold.load(Ordering::Relaxed);
        eventually("a rush", 20, async || (sold.load(Ordering::Relaxed) > before + wanted).then_some(()))
            .await;
    };
    more(200).await;
    assert!(going.end_by("-TERM").await.success());
    more(200).await;
    closed.store(true, Ordering::Relaxed);
    while let Some(buyer) = buyers.join_next().await {
        buyer.expect("a request failed");
    }
    assert!(going.log().matches("idempotencyKey").count() > 50, "nobody was sent to the one that went");
    let sold = i64::try_from(sold.load(Ordering::Relaxed)).unwrap();
    let held = "SELECT held_qty::bigint FROM events WHERE id = 'e1'";
    assert_eq!(database.number(held).await, sold);
    staying.assert_books_balance().await;
}

#[tokio::test]
async fn readiness_goes_off_at_once_and_whoever_comes_a_little_later_is_served() {
    let mut office = Office::with(5, &["--linger", "1500ms"]).await;
    let ready = office.get("/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.json), (200, json!({ "ready": true })));
    let mut kept = Connection::open(&office.address).await;
    assert!(!kept.buy("before").await);

    let told = Instant::now();
    office.signal("-TERM");
    let off = eventually("readiness off", 5, async || {
        let answer = office.get("/readyz").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(off.json, json!({ "ready": false, "reasons": ["stopping"] }));
    assert!(told.elapsed() < Duration::from_secs(1), "only after {:?}", told.elapsed());
    assert_eq!(office.get("/healthz").await.status, 200, "it lives");
    assert!(kept.buy("after").await, "its connection ends with the answer");
    assert!(Connection::open(&office.address).await.buy("newcomer").await);
    assert!(office.ended().await.success());
    assert!(told.elapsed() >= Duration::from_millis(1500), "it lingered only {:?}", told.elapsed());
}

#[tokio::test]
async fn an_idle_process_ends_as_soon_as_it_has_lingered() {
    let mut office = Office::with(5, &["--linger", "300ms", "--drain", "1h"]).await;
    let mut idle = Connection::open(&office.address).await;
    assert!(!idle.buy("k").await);
    let told = Instant::now();
    assert!(office.end_by("-TERM").await.success());
    assert!(told.elapsed() < Duration::from_secs(5), "it took {:?}", told.elapsed());
}

#[tokio::test]
async fn a_second_signal_cuts_what_a_first_one_waits_for() {
    let mut office = Office::with(5, &["--linger", "1h", "--drain", "1h"]).await;
    let mut blocker = office.database.connect().await;
    let lock = blocker.transaction().await.unwrap();
    lock.query_one("SELECT id FROM events WHERE id = 'e1' FOR UPDATE", &[]).await.unwrap();
    let mut waiting = Connection::open(&office.address).await;
    let unanswered = tokio::spawn(async move { waiting.buy("k").await });
    office.waits_for_a_lock().await;
    office.signal("-TERM");
    eventually("readiness off", 5, async || (office.get("/readyz").await.status == 503).then_some(())).await;
    assert!(office.end_by("-TERM").await.success());
    assert!(unanswered.await.is_err(), "its connection was cut");
}

#[tokio::test]
async fn payments_that_it_has_claimed_are_left_to_others_at_once() {
    // Takes connections and never says a word.
    let gateway = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", gateway.local_addr().unwrap());
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I").unwrap();
    let file = secret.path().to_str().unwrap();
    let mut office = Office::with(5, &["--gateway-url", &url, "--webhook-secret-file", file]).await;
    let order = office.hold("ann", "k", 1).await;
    office.authorize("ann", &order).await;
    let errands =
        |when: &str| format!("SELECT count(*) FROM outbox WHERE topic = 'payment' AND due_at {when}");
    let claimed = errands("> now() + interval '15 seconds'");
    eventually("the payment is claimed", 10, async || {
        (office.database.number(&claimed).await == 1).then_some(())
    })
    .await;
    let told = Instant::now();
    assert!(office.end_by("-TERM").await.success());
    println!("ended {:?} after the signal", told.elapsed());
    assert_eq!(
        office.database.number(&errands("<= now() + interval '1 second'")).await,
        1,
        "it is still leased"
    );
}
