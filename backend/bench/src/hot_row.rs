//! One event that everybody wants: the counter beside `SELECT … FOR UPDATE`.

use box_office::config::Database;
use box_office::db::Db;
use box_office::db::migrate::migrate;
use edge_bench::row::{Goal, Row};
use edge_bench::turns::Length;
use edge_bench::usage::parent;
use tokio_postgres::NoTls;

use crate::contest::{Score, Seller, turn};
use crate::counter::Ours;
use crate::cpu::Cpu;
use crate::http::Served;
use crate::plain::{Holds, Plain};
use crate::{Args, BenchError};

pub(crate) const CLIENTS: [usize; 5] = [1, 8, 32, 64, 256];
/// Where the ratio was promised.
const PROMISED: usize = 64;
/// More than any turn sells.
const TICKETS: i32 = 1_000_000_000;
/// Throughput with more clients is at least this share of that with fewer: what one turn differs from the next.
const NOT_FALLING: f64 = 0.95;

/// The server and this program's hold on it.
struct Stage {
    database: Database,
    sql: tokio_postgres::Client,
    postmaster: u32,
    events: u32,
    length: Length,
}

/// The scores of one number of clients.
struct Scores {
    clients: usize,
    plain: Score,
    ours: Score,
    http: Score,
}

pub(crate) async fn measure(args: &Args, length: Length) -> Result<Vec<Row>, BenchError> {
    let db_url = args.db_url.as_str();
    let mut stage = Stage::new(db_url, length).await?;
    let plain = Plain { db_url: db_url.into(), holds: Holds::Summed };
    let counted = Plain { db_url: db_url.into(), holds: Holds::Counted };
    let ours = Ours::new(&stage.database)?;
    let report = std::env::temp_dir().join(format!("sale-bench-{}.json", std::process::id()));
    let served = Served::start(&args.box_office, db_url, &report).await?;

    let (mut all, mut lean) = (Vec::new(), Score::default());
    for &clients in &args.clients {
        let mut scores =
            Scores { clients, plain: Score::default(), ours: Score::default(), http: Score::default() };
        for _ in 0..length.turns {
            scores.plain.add(stage.turn(&plain, clients).await?);
            scores.ours.add(stage.turn(&ours, clients).await?);
            scores.http.add(stage.turn(&served, clients).await?);
            if clients == PROMISED {
                lean.add(stage.turn(&counted, clients).await?);
            }
        }
        eprintln!("{}", scores.line());
        all.push(scores);
    }
    stage.check_books().await?;
    Ok(rows(&mut all, &lean))
}

fn rows(all: &mut [Scores], lean: &Score) -> Vec<Row> {
    let mut rows = Vec::new();
    for scores in &*all {
        let row = Row::new(
            format!("one hot row, {} clients", scores.clients),
            Some(scores.plain.per_second()),
            scores.ours.per_second(),
            "sales/s",
        );
        let promised = scores.clients == PROMISED;
        rows.push(if promised { row.with_goal(Goal::RatioAtLeast(20.0)) } else { row });
    }
    let steps = all.windows(2).filter_map(|pair| match pair {
        [fewer, more] => Some(more.ours.per_second() / fewer.ours.per_second()),
        _ => None,
    });
    let least = steps.fold(f64::INFINITY, f64::min);
    let falling = Row::new("one hot row, least step to more clients", None, least, "x");
    rows.push(falling.with_goal(Goal::AtLeast(NOT_FALLING)));
    for scores in &mut *all {
        let (plain, ours) = (scores.plain.p95_ms(), scores.ours.p95_ms());
        let row = Row::new(format!("one hot row, {} clients, p95", scores.clients), Some(plain), ours, "ms");
        rows.push(row.with_goal(Goal::AtMost(20.0)));
    }
    for scores in &*all {
        let name = format!("the same over HTTP, {} clients (yardstick without HTTP)", scores.clients);
        rows.push(Row::new(name, Some(scores.plain.per_second()), scores.http.per_second(), "sales/s"));
    }
    if let Some(scores) = all.iter().find(|scores| scores.clients == PROMISED) {
        let name = format!("beside FOR UPDATE without the sum, {PROMISED} clients");
        rows.push(Row::new(name, Some(lean.per_second()), scores.ours.per_second(), "sales/s"));
        let (plain, ours) = (scores.plain.cpu_us(), scores.ours.cpu_us());
        let name = |part| format!("CPU a sale, {PROMISED} clients, {part}");
        rows.push(Row::new(name("PostgreSQL"), Some(plain.0), ours.0, "us"));
        rows.push(Row::new(name("client side"), Some(plain.1), ours.1, "us"));
    }
    rows
}

impl Scores {
    /// Progress, for whoever waits.
    fn line(&self) -> String {
        let cpu = |score: &Score| {
            let (postgres, own) = score.cpu_us();
            format!("{postgres:.0}+{own:.0} us CPU")
        };
        format!(
            "{:>4} clients: FOR UPDATE {:.0}/s ({}), counter {:.0}/s ({}), over HTTP {:.0}/s",
            self.clients,
            self.plain.per_second(),
            cpu(&self.plain),
            self.ours.per_second(),
            cpu(&self.ours),
            self.http.per_second()
        )
    }
}

impl Stage {
    async fn new(db_url: &str, length: Length) -> Result<Self, BenchError> {
        let database = Database::parse(db_url, 2)?;
        migrate(&database).await?;
        let (sql, connection) = tokio_postgres::connect(db_url, NoTls).await?;
        tokio::spawn(connection);
        let pid: i32 = sql.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
        let postmaster = parent(pid).ok_or_else(|| BenchError::Start("no postmaster in /proc".into()))?;
        Ok(Self { database, sql, postmaster, events: 0, length })
    }

    /// One turn on an event of its own, so that no turn meets the rows of another.
    async fn turn<S: Seller>(&mut self, seller: &S, clients: usize) -> Result<Score, BenchError> {
        self.events += 1;
        let event = format!("event-{}", self.events);
        let seed = "INSERT INTO events (id, name, total_qty) VALUES ($1, $1, $2)";
        self.sql.execute(seed, &[&event, &TICKETS]).await?;
        // What the turn before left to be written does not disturb this one.
        self.sql.batch_execute("CHECKPOINT").await?;
        turn(seller, &event, clients, self.length.turn, || Cpu::until_now(self.postmaster)).await
    }

    /// Ours kept its counters; the plain way with the sum keeps none of what is held.
    async fn check_books(&self) -> Result<(), BenchError> {
        let db = Db::new(&self.database, 1).map_err(|error| BenchError::Start(error.to_string()))?;
        let wrong = db.books().await?.into_iter().find(|books| !books.balance() && books.held > 0);
        wrong.map_or(Ok(()), |books| Err(BenchError::Books(books.to_string())))
    }
}
