//! What goes on beside requests, for as long as the program runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use room::ids::RoomName;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::config::Database;
use crate::db::Db;
use crate::db::orders::OrderNews;
use crate::jwks::Jwks;
use crate::live::{RoomAtEdge, SeatFeed};
use crate::passes::Gatekeeper;
use crate::payment::args::{GatewayChoice, PaymentConfig};
use crate::payment::drive::Driver;
use crate::payment::gateway::Gateway;
use crate::payment::mock::Mock;
use crate::routes::Shop;
use crate::{RunError, expiry, notify, outbox, pool, practice};

/// Of their own, so that expired holds come back while all other connections are busy.
const EXPIRY_CONNECTIONS: usize = 2;
/// For stock, seats and news.
const LIVE_CONNECTIONS: usize = 2;
/// For the outbox and the mock gateway.
const PAYMENT_CONNECTIONS: usize = 4;
/// Of its own, so that windows open in time while all other connections are busy.
const PRACTICE_CONNECTIONS: usize = 1;
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// For the outbox to hand back what it has claimed: its second to finish, and one call of PostgreSQL.
const HAND_BACK: Duration = Duration::from_secs(6);

/// All of them, running.
#[derive(Debug)]
pub(crate) struct Workers {
    tasks: JoinSet<()>,
    /// Has claims that others wait for; all others can be stopped anywhere.
    outbox: JoinHandle<()>,
    stop_outbox: watch::Sender<bool>,
}

/// What workers need beside the shop.
#[derive(Debug)]
pub(crate) struct Needs {
    pub database: Database,
    pub payment: PaymentConfig,
    /// Where this process is reached, for the webhook of its mock gateway.
    pub http: SocketAddr,
    /// What this process has to tell others.
    pub news: mpsc::Receiver<OrderNews>,
}

/// Starts them all.
pub(crate) async fn start(shop: &Arc<Shop>, needs: Needs) -> Result<Workers, RunError> {
    let Needs { database, payment, http, news } = needs;
    let mut tasks = JoinSet::new();
    let db = pool(&database, EXPIRY_CONNECTIONS)?;
    tasks.spawn(expiry::run(db, Arc::clone(&shop.hub), shop.rules.idempotency_ttl));
    tasks.spawn(upkeep(shop.metrics.clone()));
    let db = pool(&database, PRACTICE_CONNECTIONS)?;
    tasks.spawn(practice::worker::run(db, Arc::clone(&shop.practice), Arc::clone(&shop.hub)));
    if let Gatekeeper::Published { jwks, room } = &shop.gatekeeper {
        follow_edge(&mut tasks, shop, jwks, room.as_ref());
    }
    let db = pool(&database, PAYMENT_CONNECTIONS)?;
    let gateway = open_gateway(&mut tasks, &db, &payment, http).await?;
    let driver = Driver { db: db.clone(), gateway: Arc::new(gateway), rules: payment.rules };
    let (stop_outbox, told) = watch::channel(false);
    let outbox = tokio::spawn(outbox::run(db, driver, shop.bell.clone(), told));
    start_live(&mut tasks, shop, database, news)?;
    Ok(Workers { tasks, outbox, stop_outbox })
}

impl Workers {
    /// Stops them: the outbox first, which may need the mock gateway to finish.
    pub(crate) async fn end(mut self) {
        self.stop_outbox.send_replace(true);
        if timeout(HAND_BACK, &mut self.outbox).await.is_err() {
            tracing::warn!(
                "claimed payments could not be handed back; others have them when their lease is over"
            );
            self.outbox.abort();
        }
        self.tasks.shutdown().await;
    }
}

/// Keeps the keys of passes, and tells pages how the room stands if the edge is known to publish it.
fn follow_edge(workers: &mut JoinSet<()>, shop: &Arc<Shop>, jwks: &Arc<Jwks>, room: Option<&RoomName>) {
    let url = jwks.url().to_string();
    let edge = url.strip_suffix("/jwks.json").and_then(|edge| edge.parse().ok());
    if let (Some(edge), Some(room)) = (edge, room) {
        let (room, hub) = (RoomAtEdge { edge, room: room.clone() }, Arc::clone(&shop.hub));
        workers.spawn(async move { room.feed(&hub).await });
    }
    let jwks = Arc::clone(jwks);
    workers.spawn(async move { jwks.keep_fresh().await });
}

fn start_live(
    workers: &mut JoinSet<()>,
    shop: &Arc<Shop>,
    database: Database,
    news: mpsc::Receiver<OrderNews>,
) -> Result<(), RunError> {
    let db = pool(&database, LIVE_CONNECTIONS)?;
    let (hub, seats) = (Arc::clone(&shop.hub), shop.seat_feed.clone());
    workers.spawn(feed_stock(db.clone(), shop.clone()));
    workers.spawn(feed_seats(db.clone(), seats));
    workers.spawn(notify::spread(db.clone(), news));
    workers.spawn(notify::beat(db));
    workers.spawn(notify::listen(database, hub));
    Ok(())
}

/// The gateway of the settings; the mock is started first.
async fn open_gateway(
    workers: &mut JoinSet<()>,
    db: &Db,
    payment: &PaymentConfig,
    http: SocketAddr,
) -> Result<Gateway, RunError> {
    let origin = match &payment.gateway {
        GatewayChoice::At(origin) => origin.clone(),
        GatewayChoice::Mock(behaviour) => {
            let start = |error: std::io::Error| RunError::Start(error.into());
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(start)?;
            let address = listener.local_addr().map_err(start)?;
            let (secret, webhook) = (payment.secret.clone(), origin_of(reachable(http))?);
            let mock = Mock { db: db.clone(), behaviour: *behaviour, secret, webhook };
            tracing::warn!("payments are made by a mock gateway, which moves no money");
            workers.spawn(mock.run(listener));
            origin_of(address)?
        }
    };
    Ok(Gateway::new(origin, payment.secret.clone()))
}

fn origin_of(address: SocketAddr) -> Result<crate::outgoing::Origin, RunError> {
    format!("http://{address}")
        .parse()
        .map_err(|error: crate::outgoing::OriginError| RunError::Start(error.into()))
}

/// Who listens on every address is reached on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn feed_stock(db: Db, shop: Arc<Shop>) {
    shop.hub.feed(&db).await;
}

async fn feed_seats(db: Db, seats: SeatFeed) {
    seats.feed(&db).await;
}

/// Lets histograms fold their samples even when nobody scrapes.
async fn upkeep(metrics: PrometheusHandle) {
    let mut ticks = interval(UPKEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}
