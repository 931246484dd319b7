//! The program under test, and buyers.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use axum::http::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;

use super::eventually;
use super::http::{Answer, call};
use super::postgres::{TestDatabase, shared};

/// How often, and how long apart, a buyer repeats a call.
const INSISTENCE: usize = 600;
const BETWEEN: Duration = Duration::from_millis(100);

/// A running box office that asks for no pass, unless it is started with a way to check one.
pub(crate) struct Office {
    child: Child,
    folder: TempDir,
    /// `HOST:PORT`.
    pub address: String,
    pub database: TestDatabase,
}

impl Office {
    /// On a new database of the shared server, with `total` tickets of event `e1`.
    pub(crate) async fn selling(total: u32) -> Self {
        Self::with(total, &[]).await
    }

    /// The same with more arguments.
    pub(crate) async fn with(total: u32, arguments: &[&str]) -> Self {
        let total = total.to_string();
        Self::on(&shared().database(), &[&["--open", "--seed-total", &total], arguments].concat()).await
    }

    /// On a given database, with exactly these arguments.
    pub(crate) async fn on(database: &TestDatabase, arguments: &[&str]) -> Self {
        Self::with_variables(database, arguments, &[]).await
    }

    /// The same with environment variables.
    pub(crate) async fn with_variables(
        database: &TestDatabase,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let report = folder.path().join("report.json");
        let mut child = command(&database.url)
            .args(["--listen", "127.0.0.1:0", "--report", report.to_str().unwrap()])
            .args(arguments)
            .envs(variables.iter().copied())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let address = eventually("the report of a started box office", 30, async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("box-office ended with {status}: {}", log(folder.path()));
            }
            let report: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(&report).ok()?).unwrap();
            Some(report["http"].as_str()?.strip_prefix("http://")?.to_owned())
        })
        .await;
        Self { child, folder, address, database: database.clone() }
    }

    /// A second process on the same database.
    pub(crate) async fn another(&self, arguments: &[&str]) -> Self {
        Self::on(&self.database, &[&["--open"], arguments].concat()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[("x-user-id", "ann")], "").await
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        call(&self.address, method, path, headers, body).await.expect("an answer")
    }

    /// One purchase of event `e1`.
    pub(crate) async fn buy(&self, user: &str, key: &str, qty: i64) -> Answer {
        self.try_buy(user, key, qty).await.expect("an answer")
    }

    /// `None` when the connection broke.
    pub(crate) async fn try_buy(&self, user: &str, key: &str, qty: i64) -> Option<Answer> {
        let body = json!({ "eventId": "e1", "qty": qty }).to_string();
        let headers = [("x-user-id", user), ("idempotency-key", key)];
        call(&self.address, Method::POST, "/purchase", &headers, &body).await
    }

    pub(crate) async fn pay(&self, user: &str, order: &str) -> Answer {
        self.call(Method::POST, &format!("/pay/{order}"), &[("x-user-id", user)], "").await
    }

    /// As a shop page does it: busy, in flight and a broken connection mean again with the same key.
    pub(crate) async fn insist_on_buying(&self, user: &str, key: &str, qty: i64) -> Answer {
        for _ in 0..INSISTENCE {
            match self.try_buy(user, key, qty).await {
                Some(answer) if answer.status == 200 => return answer,
                Some(answer) => assert!(matches!(answer.status.as_u16(), 503 | 409), "{answer:?}"),
                None => {}
            }
            sleep(BETWEEN).await;
        }
        panic!("{user} is not answered")
    }

    /// The same for a payment, which needs no key.
    pub(crate) async fn insist_on_paying(&self, user: &str, order: &str) -> Answer {
        for _ in 0..INSISTENCE {
            let answer = self.pay(user, order).await;
            if answer.status != 503 {
                return answer;
            }
            sleep(BETWEEN).await;
        }
        panic!("{user} cannot pay")
    }

    /// The order of a purchase that must succeed.
    pub(crate) async fn hold(&self, user: &str, key: &str, qty: i64) -> String {
        let answer = self.buy(user, key, qty).await;
        assert_eq!(answer.json["status"], "HOLD", "{answer:?}");
        answer.field("orderId").to_owned()
    }

    /// `(held, sold)` of event `e1`.
    pub(crate) async fn stock(&self) -> (i64, i64) {
        let answer = self.get("/api/events/e1/availability").await;
        (answer.number("held"), answer.number("sold"))
    }

    /// Panics unless the counters say what the rows say, and nothing is sold twice.
    pub(crate) async fn assert_books_balance(&self) {
        let sql = "SELECT e.total_qty::bigint, e.held_qty::bigint, e.sold_qty::bigint,
            (SELECT coalesce(sum(qty), 0) FROM holds WHERE event_id = e.id),
            (SELECT coalesce(sum(qty), 0) FROM orders WHERE event_id = e.id AND status = 'HOLD'),
            (SELECT coalesce(sum(qty), 0) FROM orders WHERE event_id = e.id AND status = 'PAID')
            FROM events e WHERE id = 'e1'";
        let row = self.database.connect().await.query_one(sql, &[]).await.unwrap();
        let [total, held, sold, in_holds, on_hold, paid] =
            [0, 1, 2, 3, 4, 5].map(|column| row.get::<_, i64>(column));
        assert_eq!((held, held, sold), (in_holds, on_hold, paid), "(held, held, sold) = (holds, HOLD, PAID)");
        assert!(held + sold <= total, "{held} + {sold} of {total}");
    }

    /// Sends a signal and waits for the end.
    pub(crate) async fn end_by(&mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.ended().await
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        eventually("the end of the box office", 20, async || self.child.try_wait().unwrap()).await
    }

    /// Somebody's transaction holds up a call.
    pub(crate) async fn waits_for_a_lock(&self) {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND wait_event_type = 'Lock'";
        eventually("a call that waits for a lock", 5, async || {
            (self.database.number(waiting).await > 0).then_some(())
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: &str) {
        Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
    }

    pub(crate) fn log(&self) -> String {
        log(self.folder.path())
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        // It has ended by itself in some tests.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the box office at {}:\n{}", self.address, self.log());
        }
    }
}

/// The program with nothing but a database: the caller's environment does not reach it.
pub(crate) fn command(database_url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_box-office"));
    // Nobody sends anybody to it: there is nothing to linger for.
    command.env_clear().env("DB_URL", database_url).env("LINGER", "0s").stdout(Stdio::null());
    command
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}
