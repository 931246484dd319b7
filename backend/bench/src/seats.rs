//! Named seats: everybody wants one that is free, or the best two that are left, of a map of 50,000.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use box_office::config::{Database, SaleRules};
use box_office::db::Db;
use box_office::db::migrate::migrate;
use box_office::db::placing::{Placed, What, Wish};
use box_office::sale::{EventId, Qty};
use box_office::seats::{SeatId, plan};
use edge_bench::row::Row;
use edge_bench::turns::Length;
use edge_bench::usage::parent;
use tokio_postgres::NoTls;

use crate::contest::{Client, Score, Seller, turn};
use crate::cpu::Cpu;
use crate::{Args, BenchError};

const CLIENTS: [usize; 2] = [1, 64];
const SEATS: u32 = 50_000;
/// As many as the program has for requests.
const CONNECTIONS: usize = 16;
const RULES: SaleRules =
    SaleRules { max_qty: 8, hold_ttl: Duration::from_secs(3600), idempotency_ttl: Duration::from_secs(120) };

/// What is wanted.
#[derive(Debug, Clone, Copy)]
enum Want {
    /// A seat that nobody else wants: each in its turn.
    Named,
    /// The best two.
    Best,
}

#[derive(Clone)]
struct Seats {
    db: Db,
    want: Want,
    /// The ids of the map, and how many were asked for.
    ids: Arc<Vec<SeatId>>,
    asked: Arc<AtomicUsize>,
}

struct Buyer {
    seats: Seats,
    event_id: EventId,
}

pub(crate) async fn measure(args: &Args, length: Length) -> Result<Vec<Row>, BenchError> {
    let database = Database::parse(&args.db_url, CONNECTIONS)?;
    migrate(&database).await?;
    let (sql, connection) = tokio_postgres::connect(&args.db_url, NoTls).await?;
    tokio::spawn(connection);
    let pid: i32 = sql.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
    let postmaster = parent(pid).ok_or_else(|| BenchError::Start("no postmaster in /proc".into()))?;
    let db = Db::new(&database, CONNECTIONS).map_err(|error| BenchError::Start(error.to_string()))?;
    let ids = plan(SEATS, 5000).iter().filter_map(|seat| seat.id.parse().ok()).collect();
    let ids: Arc<Vec<SeatId>> = Arc::new(ids);
    let mut rows = Vec::new();
    for (want, name) in [(Want::Named, "one named seat"), (Want::Best, "the best two seats")] {
        for clients in CLIENTS {
            let event = format!("{want:?}-{clients}");
            let seed = "INSERT INTO events (id, name, total_qty) VALUES ($1, $1, $2)";
            sql.execute(seed, &[&event, &SEATS.cast_signed()]).await?;
            db.seed_seats(&event).await?;
            sql.batch_execute("ANALYZE seats; CHECKPOINT").await?;
            let seats = Seats { db: db.clone(), want, ids: Arc::clone(&ids), asked: Arc::default() };
            let score = turn(&seats, &event, clients, length.turn, || Cpu::until_now(postmaster)).await?;
            rows.extend(shown(name, clients, score));
        }
    }
    Ok(rows)
}

fn shown(name: &str, clients: usize, mut score: Score) -> [Row; 2] {
    let name = format!("{name} of {SEATS}, {clients} clients");
    let p95 = Row::new(format!("{name}, p95"), None, score.p95_ms(), "ms");
    [Row::new(name, None, score.per_second(), "sales/s"), p95]
}

impl Seller for Seats {
    type Client = Buyer;

    async fn client(&self, event_id: &str) -> Result<Buyer, BenchError> {
        let event_id = event_id.parse().map_err(|_| BenchError::Start(format!("the event {event_id}")))?;
        Ok(Buyer { seats: self.clone(), event_id })
    }
}

impl Client for Buyer {
    /// Each sale is that of another visitor, as none may have so many.
    async fn sell(&mut self, user: &str, key: &str) -> Result<(), BenchError> {
        let what = self.seats.next()?;
        let (event_id, user_id) = (self.event_id.clone(), format!("{user}-{key}"));
        let wish = Wish { event_id, user_id, what, hold_ttl: RULES.hold_ttl, once: None };
        match self.seats.db.place(&wish, RULES).await? {
            Placed::Held { .. } => Ok(()),
            other => Err(BenchError::NotSold(format!("{other:?}"))),
        }
    }
}

impl Seats {
    fn next(&self) -> Result<What, BenchError> {
        let all_gone = || BenchError::NotSold(format!("all {SEATS} seats are gone"));
        match self.want {
            Want::Named => {
                let number = self.asked.fetch_add(1, Ordering::Relaxed);
                Ok(What::Seats(vec![self.ids.get(number).cloned().ok_or_else(all_gone)?]))
            }
            Want::Best => {
                let qty = Qty::new(2, RULES.max_qty).map_err(|_| all_gone())?;
                Ok(What::Tickets { qty, section: None })
            }
        }
    }
}
