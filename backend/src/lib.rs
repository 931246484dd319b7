//! The box office: sells the tickets of an event from PostgreSQL and never the same one twice.
//!
//! | module | does |
//! |---|---|
//! | [`config`] | arguments and environment, valid once parsed |
//! | [`sale`] | the rules: stock, quantities, keys, states of an order; no IO |
//! | [`counter`] | buyers of the same moment, served by one transaction |
//! | [`db`] | the transactions that keep those rules, one file per table family |
//! | [`passes`], [`jwks`] | who is calling |
//! | [`routes`] | HTTP, thin |
//! | [`live`] | sockets and what is told to them |
//! | [`expiry`] | returns stock whose hold has expired |
//! | [`payment`] | the payment saga, its gateway and the mock of one |
//! | [`outbox`], [`notify`] | what is told outside, once it is committed: to the gateway, to other processes |
//! | [`practice`] | sales that open again and again: the rule, who keeps it |
//! | [`seats`] | named seats: ids, generated maps; no IO |
//! | [`outgoing`] | calls that this program makes |
//! | [`error`], [`trace`] | every failure in the shape the outside sees |
//! | [`metrics`], [`logs`] | what is counted and written |
//! | `workers` | starts what goes on beside requests |
//! | [`serve`], [`ending`] | the listener; how the program ends |

pub mod config;
pub mod counter;
pub mod db;
pub mod ending;
pub mod error;
pub mod expiry;
pub mod jwks;
pub mod live;
pub mod logs;
pub mod metrics;
pub mod notify;
pub mod outbox;
pub mod outgoing;
pub mod passes;
pub mod payment;
pub mod practice;
pub mod routes;
pub mod sale;
pub mod seats;
pub mod serve;
pub mod trace;
mod workers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use config::{Config, ConfigError, Database};
use counter::Counter;
use db::books::Books;
use db::migrate::{MigrateError, migrate, ready};
use db::{Db, DbError};
use ending::Stage;
use live::{Hub, SeatFeed};
use outbox::Bell;
use routes::{Facts, Maps, Page, Payments, Shop, routes};
use workers::Needs;

/// How long sockets may take to say goodbye.
const SOCKETS_END: Duration = Duration::from_secs(5);
/// Most of them wait for the row of their event or for its commit; each serves many buyers.
const COUNTER_CONNECTIONS: usize = 8;

/// Why the program ends with a failure.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("PostgreSQL at {address} cannot be used: {cause}")]
    Database { address: String, cause: MigrateError },
    #[error("the event cannot be seeded: {0}")]
    Seed(DbError),
    #[error(
        "--practice: {0} is an ordinary sale that has begun, or there is no such event; take another EVENT_ID"
    )]
    NotPractised(String),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    #[error("cannot write the report {0}: {1}")]
    Report(PathBuf, std::io::Error),
    #[error("the books cannot be read: {0}")]
    Unread(DbError),
    #[error("the books do not balance: see above")]
    Books,
    #[error("cannot start: {0}")]
    Start(Box<dyn std::error::Error + Send + Sync>),
}

impl RunError {
    /// As in `sysexits.h`: what an operator's script looks at.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::NotPractised(_) => 78,
            Self::Database { .. } | Self::Listen(..) | Self::Seed(_) | Self::Unread(_) => 69,
            Self::Books => 65,
            Self::Report(..) | Self::Start(_) => 70,
        }
    }
}

/// Runs until a word comes; a second one cuts the end short.
pub async fn run(config: Config, mut words: mpsc::Receiver<()>) -> Result<(), RunError> {
    let metrics = metrics::install().map_err(|error| RunError::Start(error.into()))?;
    tokio::select! {
        prepared = prepare(&config) => prepared?,
        Some(()) = words.recv() => return Ok(()),
    }
    let (hub, news) = Hub::new(config.max_connections as usize, config.ws_max_send_buffer);
    let hub = Arc::new(hub);
    let (leader, mut ending) = ending::begin();
    let shop = Arc::new(Shop {
        db: pool(&config.database, config.database.pool_size)?,
        counter: counter(&config)?,
        gatekeeper: config.trust.into(),
        hub: Arc::clone(&hub),
        rules: config.rules,
        event_id: config.event_id,
        metrics,
        page: Page::new(),
        payments: Payments::of(&config.payment),
        bell: Bell::default(),
        maps: Maps::default(),
        facts: Facts::default(),
        seat_feed: SeatFeed::new(hub.closing()),
        practice: Arc::default(),
        ending: ending.clone(),
    });
    shop.practice.read(&shop.db).await.map_err(|error| RunError::Start(error.into()))?;
    let listener = listen(config.listen).await?;
    let http = listener.local_addr().map_err(|error| RunError::Listen(config.listen, error))?;
    let needs = Needs { database: config.database, payment: config.payment, http, news };
    let workers = workers::start(&shop, needs).await?;
    report(http, config.report.as_deref())?;

    tokio::spawn(leader.lead(words, config.end));
    let serving = serve::serve(listener, routes(shop), config.max_connections, ending.clone());
    let farewell = async {
        ending.reaches(Stage::Draining).await;
        hub.close();
    };
    tokio::join!(serving, farewell);
    if timeout(SOCKETS_END, hub.closed()).await.is_err() {
        tracing::warn!("some sockets did not close in time and were cut off");
    }
    workers.end().await;
    tracing::info!("stopped");
    Ok(())
}

/// Brings the schema up to date, and nothing else.
pub async fn migrate_only(database: &Database) -> Result<(), RunError> {
    say_risk(database);
    let done = migrate(database).await.map_err(|cause| unusable(database, cause))?;
    tracing::info!(version = done.version, applied = done.applied, "the schema is up to date");
    Ok(())
}

/// Prints the books of every event; an error if they do not balance. Sales may go on meanwhile.
pub async fn check_books(database: &Database) -> Result<(), RunError> {
    let db = pool(database, 1)?;
    let books = db.books().await.map_err(RunError::Unread)?;
    let strays = db.strays().await.map_err(RunError::Unread)?;
    for event in &books {
        println!("{}  {event}", if event.balance() { "ok   " } else { "WRONG" });
    }
    if strays > 0 {
        println!("WRONG  {strays} orders or holds of events that do not exist");
    }
    if strays == 0 && books.iter().all(Books::balance) { Ok(()) } else { Err(RunError::Books) }
}

/// The schema is up to date and the event is there, or the program does not start.
async fn prepare(config: &Config) -> Result<(), RunError> {
    if config.migrate {
        migrate_only(&config.database).await?;
    } else {
        say_risk(&config.database);
        ready(&config.database).await.map_err(|cause| unusable(&config.database, cause))?;
    }
    if let Some(seed) = &config.seed {
        let db = pool(&config.database, 1)?;
        let created = db.seed(config.event_id.as_str(), seed).await.map_err(RunError::Seed)?;
        let seated = seed.seated && db.seed_seats(config.event_id.as_str()).await.map_err(RunError::Seed)?;
        tracing::info!(
            eventId = config.event_id.as_str(),
            total = seed.total,
            created,
            seated,
            "event seeded"
        );
    }
    if let Some(rule) = config.practice {
        let event_id = config.event_id.as_str();
        let db = pool(&config.database, 1)?;
        if !db.practise(event_id, rule).await.map_err(RunError::Seed)? {
            return Err(RunError::NotPractised(event_id.to_owned()));
        }
        tracing::info!(eventId = event_id, rule = %rule, "event is practised");
    }
    Ok(())
}

fn unusable(database: &Database, cause: MigrateError) -> RunError {
    RunError::Database { address: database.address(), cause }
}

fn say_risk(database: &Database) {
    if let Some(risk) = database.risk() {
        let (address, sslmode) = (database.address(), database.tls.mode().as_str());
        tracing::warn!(
            address,
            sslmode,
            "whoever is on the way to PostgreSQL can {risk}; see sslmode in DB_URL"
        );
    }
}

fn pool(database: &Database, connections: usize) -> Result<Db, RunError> {
    Db::new(database, connections).map_err(|error| RunError::Start(error.into()))
}

fn counter(config: &Config) -> Result<Counter, RunError> {
    let db = Db::for_counter(&config.database, COUNTER_CONNECTIONS)
        .map_err(|error| RunError::Start(error.into()))?;
    Ok(Counter::new(db, config.rules))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|error| RunError::Listen(address, error))
}

/// Says where this process is reached.
fn report(http: SocketAddr, path: Option<&Path>) -> Result<(), RunError> {
    tracing::info!(address = %http, "listening");
    let Some(path) = path else { return Ok(()) };
    write_whole(path, &json!({ "http": format!("http://{http}") }).to_string())
        .map_err(|error| RunError::Report(path.into(), error))
}

/// Whoever reads the file sees all of it or none of it.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".part");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path)
}
