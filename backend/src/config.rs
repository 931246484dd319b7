//! Arguments and environment, turned once into values that need no further check.

mod database;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use room::ids::RoomName;
use room::token::{KeyError, PassVerifier, secret_from_text};

pub use database::{Database, DatabaseError};

use crate::ending::Spans;
use crate::jwks::{JwksUrl, JwksUrlError};
use crate::payment::args::{PaymentArgs, PaymentArgsError, PaymentConfig};
use crate::practice::Rule;
use crate::sale::{EventId, SaleError};

/// What the command line and the environment say.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Debug, Parser)]
#[command(name = "box-office", version, about = "A lean purchase backend on PostgreSQL.")]
pub struct Args {
    #[command(subcommand)]
    pub task: Option<Task>,
    /// Address to listen on; port 0 takes a free one. Default: 127.0.0.1 and the port of --app-port.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Port on 127.0.0.1 when --listen is absent.
    #[arg(long, env = "APP_PORT", default_value_t = 8090, value_name = "PORT")]
    pub app_port: u16,
    /// PostgreSQL, as URL or as `host=… user=… dbname=…`; a host that starts with / is a folder with its socket.
    /// sslmode and sslrootcert mean what libpq means; without sslmode, servers elsewhere are verified in full.
    #[arg(long, env = "DB_URL", hide_env_values = true, value_name = "URL", global = true)]
    pub db_url: Option<String>,
    /// Take the schema as it is, and do not start if it lacks something: `box-office migrate` has been there before.
    #[arg(long, env = "NO_MIGRATE", value_parser = clap::builder::BoolishValueParser::new())]
    pub no_migrate: bool,
    /// Most connections to PostgreSQL.
    #[arg(long, env = "DB_POOL_SIZE", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub db_pool_size: u16,
    /// The event on sale: seeded with --seed-total, and the one `/ws` follows unless it is told another.
    #[arg(long, env = "EVENT_ID", default_value = "e1", value_name = "ID")]
    pub event_id: String,
    /// Where the edge publishes the public keys of its passes (http only: the edge is next door).
    #[arg(long, env = "PASS_JWKS_URL", value_name = "URL", conflicts_with_all = ["pass_secret_file", "open"])]
    pub pass_jwks_url: Option<String>,
    /// File with the shared secret of HS256 passes, as base64url text.
    #[arg(long, env = "PASS_SECRET_FILE", value_name = "FILE", conflicts_with = "open")]
    pub pass_secret_file: Option<PathBuf>,
    /// The `kid` of the key in --pass-secret-file.
    #[arg(long, env = "PASS_KID", default_value = "pass", value_name = "KID")]
    pub pass_kid: String,
    /// The room whose passes are good here; without it, those of any room are.
    #[arg(long, env = "PASS_ROOM", value_name = "ROOM")]
    pub pass_room: Option<RoomName>,
    /// Ask for no pass: whoever calls is who `X-User-Id` says. For development only.
    #[arg(long)]
    pub open: bool,
    /// Most tickets in one purchase.
    #[arg(long, env = "MAX_QTY", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_qty: u32,
    /// How long a hold waits for its payment.
    #[arg(long, env = "HOLD_TTL_SEC", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub hold_ttl_sec: u32,
    /// How long the key of an attempt that took no stock is remembered.
    #[arg(long, env = "IDEMPOTENCY_TTL_SEC", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub idempotency_ttl_sec: u32,
    /// Most order updates that wait for one slow socket before it is closed.
    #[arg(long, env = "WS_MAX_SEND_BUFFER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub ws_max_send_buffer: u32,
    /// Most connections at once, sockets included.
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Which log lines are written: error, warn, info, debug, trace, or a filter such as `box_office=debug,info`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "FILTER", global = true)]
    pub log_level: String,
    /// Name of the event to seed; its id otherwise.
    #[arg(long, value_name = "NAME", requires = "seed_total")]
    pub seed_name: Option<String>,
    /// Create the event of --event-id with this many tickets, if there is none.
    #[arg(long, value_name = "TICKETS", value_parser = clap::value_parser!(i32).range(0..))]
    pub seed_total: Option<i32>,
    /// Give the seeded event a map of named seats, one a ticket; at most 50000.
    #[arg(long, requires = "seed_total")]
    pub seed_seats: bool,
    /// Have the event practised: its sale opens again and again, each time with its whole stock, such as
    /// `every=60s open=0s-15s` (units ms, s, m, h).
    #[arg(long, env = "PRACTICE", value_name = "RULE")]
    pub practice: Option<Rule>,
    #[command(flatten)]
    pub payment: PaymentArgs,
    /// After SIGTERM: how long connections are still accepted, until nobody sends them here any more.
    #[arg(long, value_name = "SPAN", env = "LINGER", default_value = "2s", value_parser = span)]
    pub linger: Duration,
    /// After that: how long requests may take to finish before they are cut. A second SIGTERM cuts them at once.
    #[arg(long, value_name = "SPAN", env = "DRAIN", default_value = "10s", value_parser = span)]
    pub drain: Duration,
    /// Only check that the counters of every event are what its rows add up to: exit code 0 if so, 65 if not.
    #[arg(long)]
    pub check_books: bool,
    /// Once listening, write `{"http":"http://ADDRESS:PORT"}` to this file.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Something to do instead of serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Subcommand)]
pub enum Task {
    /// Bring the schema up to date and end. Needs a role that owns it; nothing but --db-url is read.
    Migrate,
}

/// Nobody waits longer for the end of a process.
const LONGEST_END: Duration = Duration::from_secs(3600);

fn span(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if span <= LONGEST_END => Ok(span),
        Ok(_) => Err("more than an hour".into()),
        Err(error) => Err(format!("{error}; like 500ms, 30s or 2m")),
    }
}

/// What the program runs with.
#[derive(Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub report: Option<PathBuf>,
    pub max_connections: u32,
    pub database: Database,
    /// Whether the schema is brought up to date at the start.
    pub migrate: bool,
    pub end: Spans,
    pub event_id: EventId,
    pub seed: Option<Seed>,
    /// When the event is on sale, if it is practised.
    pub practice: Option<Rule>,
    pub trust: Trust,
    pub rules: SaleRules,
    pub ws_max_send_buffer: usize,
    pub payment: PaymentConfig,
}

/// An event to create at the start if there is none of its id.
#[derive(Debug, Clone)]
pub struct Seed {
    pub name: String,
    pub total: i32,
    /// With a map of named seats.
    pub seated: bool,
}

/// Whom a request may come from.
#[derive(Debug)]
pub enum Trust {
    /// Anybody who says a name.
    Open,
    /// Holders of a pass signed by a key that is known from the start.
    Keys { verifier: Box<PassVerifier>, room: Option<RoomName> },
    /// Holders of a pass signed by a key that the edge publishes.
    Published { url: JwksUrl, room: Option<RoomName> },
}

/// The operator's numbers for every sale.
#[derive(Debug, Clone, Copy)]
pub struct SaleRules {
    pub max_qty: u32,
    pub hold_ttl: Duration,
    pub idempotency_ttl: Duration,
}

/// A setting that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("which PostgreSQL? set DB_URL, or give --db-url")]
    NoDatabase,
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("EVENT_ID: {0}")]
    EventId(SaleError),
    #[error("who may buy? set PASS_JWKS_URL or PASS_SECRET_FILE, or start with --open for development")]
    NoTrust,
    #[error("PASS_JWKS_URL: {0}")]
    JwksUrl(#[from] JwksUrlError),
    #[error("PASS_SECRET_FILE {0} cannot be read: {1}")]
    SecretFile(PathBuf, #[source] std::io::Error),
    #[error("PASS_SECRET_FILE {0} does not hold base64url text")]
    SecretText(PathBuf),
    #[error("PASS_SECRET_FILE: {0}")]
    Secret(#[from] KeyError),
    #[error(transparent)]
    Payment(#[from] PaymentArgsError),
}

impl Args {
    pub fn into_config(self) -> Result<Config, ConfigError> {
        Ok(Config {
            listen: self.listen.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.app_port)),
            max_connections: self.max_connections,
            database: self.database()?,
            migrate: !self.no_migrate,
            end: Spans { linger: self.linger, drain: self.drain },
            seed: self.seed(),
            practice: self.practice,
            rules: self.rules(),
            ws_max_send_buffer: self.ws_max_send_buffer as usize,
            trust: self.trust()?,
            event_id: self.event_id.parse().map_err(ConfigError::EventId)?,
            payment: self.payment.into_config()?,
            report: self.report,
        })
    }

    pub fn database(&self) -> Result<Database, ConfigError> {
        let text = self.db_url.as_ref().ok_or(ConfigError::NoDatabase)?;
        Ok(Database::parse(text, usize::from(self.db_pool_size))?)
    }

    fn seed(&self) -> Option<Seed> {
        let name = self.seed_name.as_ref().unwrap_or(&self.event_id);
        self.seed_total.map(|total| Seed { name: name.clone(), total, seated: self.seed_seats })
    }

    fn rules(&self) -> SaleRules {
        SaleRules {
            max_qty: self.max_qty,
            hold_ttl: Duration::from_secs(self.hold_ttl_sec.into()),
            idempotency_ttl: Duration::from_secs(self.idempotency_ttl_sec.into()),
        }
    }

    fn trust(&self) -> Result<Trust, ConfigError> {
        let room = self.pass_room.clone();
        if self.open {
            return Ok(Trust::Open);
        }
        if let Some(url) = &self.pass_jwks_url {
            return Ok(Trust::Published { url: url.parse()?, room });
        }
        let path = self.pass_secret_file.clone().ok_or(ConfigError::NoTrust)?;
        let text =
            std::fs::read_to_string(&path).map_err(|error| ConfigError::SecretFile(path.clone(), error))?;
        let secret = secret_from_text(&text).ok_or(ConfigError::SecretText(path))?;
        let verifier = Box::new(PassVerifier::from_secret(&self.pass_kid, &secret)?);
        Ok(Trust::Keys { verifier, room })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, ConfigError> {
        Args::try_parse_from([&["box-office"], arguments].concat()).unwrap().into_config()
    }

    #[test]
    fn without_a_key_nobody_could_buy_so_it_does_not_start() {
        assert!(matches!(config(&["--db-url", "host=a"]), Err(ConfigError::NoTrust)));
        assert!(matches!(config(&["--open"]), Err(ConfigError::NoDatabase)));
    }

    #[test]
    fn two_ways_to_trust_are_refused() {
        let both = ["box-office", "--db-url", "host=a", "--open", "--pass-jwks-url", "http://127.0.0.1/"];
        assert!(Args::try_parse_from(both).is_err());
    }
}
