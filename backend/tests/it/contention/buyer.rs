//! A buyer with a connection to each process, some impatience and a bad memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::Rush;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(20);
const BETWEEN: Duration = Duration::from_millis(20);
/// Longer than a hold lives.
const TOO_LATE: Duration = Duration::from_millis(2200);

/// What buyers were told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Paid orders with their quantities.
    pub paid: HashMap<String, i64>,
    pub refused: u64,
    pub replayed: u64,
    pub in_flight: u64,
    pub broken: u64,
    pub late: u64,
    pub unavailable: u64,
}

impl Ledger {
    pub(super) fn join(&mut self, other: Self) {
        for (order, qty) in other.paid {
            assert_eq!(self.paid.insert(order, qty), None, "an order of two buyers");
        }
        self.refused += other.refused;
        self.replayed += other.replayed;
        self.in_flight += other.in_flight;
        self.broken += other.broken;
        self.late += other.late;
        self.unavailable += other.unavailable;
    }
}

pub(super) struct Buyer {
    user: String,
    chance: Chance,
    rush: Arc<Rush>,
    /// One for each process; `None` after it broke.
    connections: Vec<Option<BufReader<TcpStream>>>,
    avoided: Option<usize>,
    ledger: Ledger,
}

/// An answer to a call.
struct Answer {
    status: u16,
    replayed: bool,
    body: Value,
}

impl Buyer {
    pub(super) fn new(number: u64, rush: Arc<Rush>) -> Self {
        let connections = rush.addresses.iter().map(|_| None).collect();
        let chance = Chance(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number + 1));
        Self {
            user: format!("buyer-{number}"),
            chance,
            rush,
            connections,
            avoided: None,
            ledger: Ledger::default(),
        }
    }

    /// Buys until the rush is over.
    pub(super) async fn shop(&mut self) -> Ledger {
        let mut purchase = 0;
        while self.rush.goes_on() {
            purchase += 1;
            let qty = if self.rush.nearly_over() { 1 } else { 1 + self.chance.below(3) };
            self.buy(&format!("key-{purchase}"), qty).await;
        }
        std::mem::take(&mut self.ledger)
    }

    /// One purchase, with all that comes between.
    async fn buy(&mut self, key: &str, qty: u64) {
        if self.chance.percent(4) {
            self.go_away_in_the_middle(key, qty).await;
        }
        let answer = self.insist(key, qty).await;
        if answer.body["status"] == "REJECTED" {
            self.ledger.refused += 1;
            return;
        }
        let order = answer.body["orderId"].as_str().unwrap().to_owned();
        if self.chance.percent(20) {
            let again = self.insist(key, qty).await;
            assert_eq!(again.body, answer.body, "another answer to the same key");
            assert!(again.replayed);
        }
        if self.chance.percent(5) {
            let other = self.insist_on(|| purchase(key, qty + 1)).await;
            assert_eq!(other.status, 422, "{}", other.body);
        }
        self.pay(&order, qty).await;
    }

    async fn pay(&mut self, order: &str, qty: u64) {
        if self.chance.percent(2) {
            // Never pays: the tickets come back.
            return;
        }
        if self.chance.percent(1) {
            sleep(TOO_LATE).await;
        }
        let path = format!("/pay/{order}");
        let payment = self.insist_on(|| (path.clone(), None, String::new())).await;
        if payment.status == 410 {
            self.ledger.late += 1;
            return;
        }
        assert_eq!((payment.status, &payment.body["status"]), (200, &json!("PAID")), "{}", payment.body);
        if self.chance.percent(10) {
            let again = self.insist_on(|| (path.clone(), None, String::new())).await;
            assert_eq!(again.status, 200, "{}", again.body);
        }
        self.ledger.paid.insert(order.into(), qty.try_into().unwrap());
        self.rush.paid.fetch_add(qty.try_into().unwrap(), Ordering::Relaxed);
    }

    /// Asks until the purchase is decided.
    async fn insist(&mut self, key: &str, qty: u64) -> Answer {
        let answer = self.insist_on(|| purchase(key, qty)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        self.ledger.replayed += u64::from(answer.replayed);
        answer
    }

    /// Repeats a call until the answer is not "again", at whichever process.
    async fn insist_on(&mut self, call: impl Fn() -> (String, Option<String>, String)) -> Answer {
        let tries = async {
            loop {
                let process = self.some_process();
                let (path, key, body) = call();
                match self.call(process, &path, key.as_deref(), &body).await {
                    Some(answer) if answer.status == 409 => self.ledger.in_flight += 1,
                    Some(answer) if answer.status == 503 => self.ledger.unavailable += 1,
                    Some(answer) => return answer,
                    None => {
                        self.ledger.broken += 1;
                        self.avoided = Some(process);
                    }
                }
                sleep(BETWEEN).await;
            }
        };
        timeout(PATIENCE, tries).await.expect("an answer in time")
    }

    /// Seldom the one that broke last.
    fn some_process(&mut self) -> usize {
        let process = self.chance.below(self.connections.len() as u64) as usize;
        if self.avoided == Some(process) && !self.chance.percent(2) {
            return (process + 1) % self.connections.len();
        }
        process
    }

    /// Sends a purchase and hangs up: it may be made or not.
    async fn go_away_in_the_middle(&mut self, key: &str, qty: u64) {
        let process = self.some_process();
        let (path, key, body) = purchase(key, qty);
        let request = self.request(&path, key.as_deref(), &body);
        if let Some(mut connection) = self.connect(process).await {
            let _gone = connection.write_all(request.as_bytes()).await;
            self.rush.sent.fetch_add(1, Ordering::Relaxed);
            if self.chance.percent(50) {
                sleep(Duration::from_millis(self.chance.below(10))).await;
            }
        }
    }

    async fn call(&mut self, process: usize, path: &str, key: Option<&str>, body: &str) -> Option<Answer> {
        let mut connection = match self.connections[process].take() {
            Some(connection) => connection,
            None => self.connect(process).await?,
        };
        let request = self.request(path, key, body);
        connection.write_all(request.as_bytes()).await.ok()?;
        if key.is_some() {
            self.rush.sent.fetch_add(1, Ordering::Relaxed);
        }
        let answer = read(&mut connection).await?;
        self.connections[process] = Some(connection);
        Some(answer)
    }

    async fn connect(&self, process: usize) -> Option<BufReader<TcpStream>> {
        TcpStream::connect(&self.rush.addresses[process]).await.ok().map(BufReader::new)
    }

    fn request(&self, path: &str, key: Option<&str>, body: &str) -> String {
        let key = key.map_or(String::new(), |key| format!("idempotency-key: {key}\r\n"));
        format!(
            "POST {path} HTTP/1.1\r\nhost: shop\r\nx-user-id: {}\r\n{key}content-length: {}\r\n\r\n{body}",
            self.user,
            body.len()
        )
    }
}

/// Path, key and body.
fn purchase(key: &str, qty: u64) -> (String, Option<String>, String) {
    ("/purchase".into(), Some(key.into()), json!({ "eventId": "e1", "qty": qty }).to_string())
}

/// `None` when the connection broke.
async fn read(connection: &mut BufReader<TcpStream>) -> Option<Answer> {
    let mut line = String::new();
    connection.read_line(&mut line).await.ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let (mut length, mut replayed) = (0, false);
    loop {
        line.clear();
        if connection.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            None => break,
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("idempotency-replayed", value)) => replayed = value == "true",
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    Some(Answer { status, replayed, body: serde_json::from_slice(&body).unwrap() })
}

/// The same in every run: xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }
}
