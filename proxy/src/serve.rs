//! One edge from its settings to its end.

mod addresses;
mod handover;
mod stores;
mod yielding;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use room::ids::NodeId;
use room::time::Micros;
use store::Store;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

pub use self::addresses::Addresses;
pub use self::handover::HandoverError;
use self::handover::Listeners;
pub use self::stores::open_store;
use self::stores::{STORE_PATIENCE, await_store};
use self::yielding::Yielding;
use crate::config::reload::Reload;
use crate::config::settings::{Settings, StoreSettings};
use crate::config::{ConfigError, Loaded, SettingsSource};
use crate::desk::Desk;
use crate::edge::tls::TlsIdentity;
use crate::edge::{self, EdgeHandle, EdgeLimits, EdgeOptions, TrustedProxies};
use crate::house::House;
use crate::metrics::{self, Exposition};
use crate::operator::{self, HouseCalls, OperatorApp, Readiness};
use crate::{random, telemetry};

/// How often those who came to wait since the last goodbye are told to come back elsewhere.
const BYE_EVERY: Duration = Duration::from_millis(200);
/// For the last answers of the operator's listener.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(2);

/// How one process runs, beside its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// After the order to stop: how long connections are still accepted.
    pub linger: Duration,
    /// After that: how long what is under way may go on.
    pub drain: Duration,
    /// Where a running edge meets its successor.
    pub upgrade_socket: PathBuf,
    /// Whether to take the listeners of a running edge, instead of opening new ones.
    pub upgrade: bool,
}

impl RunOptions {
    pub const UPGRADE_SOCKET: &str = "/run/vestibule/upgrade.sock";
}

impl Default for RunOptions {
    fn default() -> Self {
        let EdgeLimits { linger, drain, .. } = EdgeLimits::default();
        Self { linger, drain, upgrade_socket: Self::UPGRADE_SOCKET.into(), upgrade: false }
    }
}

/// What whoever runs the process may tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Take nothing new, finish what is under way, end. Said again: end at once.
    Stop,
    /// Give the listeners to the successor; once it has them, stop.
    HandOver,
}

/// Why an edge did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// Says which service, and where it was looked for.
    #[error("{0}")]
    Unreachable(String),
    #[error("cannot listen on {address}: {cause}")]
    Listen { address: SocketAddr, cause: io::Error },
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error("{0}")]
    Internal(String),
}

fn internal(error: impl std::fmt::Display) -> ServeError {
    ServeError::Internal(error.to_string())
}

/// Runs one edge. `ready` is told the addresses once all listeners are open. It ends by an order, or with the sender
/// of the orders.
pub async fn serve(
    source: SettingsSource,
    options: RunOptions,
    ready: impl FnOnce(&Addresses) -> io::Result<()>,
    mut orders: mpsc::Receiver<Order>,
) -> Result<(), ServeError> {
    let running = tokio::select! {
        biased;
        () = stop_ordered(&mut orders) => return Ok(()),
        running = Running::start(source, &options) => running?,
    };
    ready(&running.addresses).map_err(internal)?;
    let successor = running.until_stop(&mut orders, &options).await;
    running.finish(successor, &mut orders).await
}

/// Waits for the order to stop; without anybody who could give it, for ever.
async fn stop_ordered(orders: &mut mpsc::Receiver<Order>) {
    loop {
        match orders.recv().await {
            Some(Order::Stop) => return,
            Some(Order::HandOver) => tracing::warn!("there is nothing to hand over at this moment"),
            None => std::future::pending().await,
        }
    }
}

/// An edge at work.
struct Running {
    addresses: Addresses,
    edge: EdgeHandle,
    operator: JoinHandle<io::Result<()>>,
    /// The listeners once more, for a successor.
    listeners: Listeners,
    stopping: watch::Sender<bool>,
    /// The operator's listener accepts nobody any more: a successor does.
    operator_yielded: watch::Sender<bool>,
    operator_stopping: watch::Sender<bool>,
    helpers: [JoinHandle<()>; 3],
}

impl Running {
    /// Nobody can connect before every room has heard from the store.
    async fn start(source: SettingsSource, options: &RunOptions) -> Result<Self, ServeError> {
        let Loaded { settings, warnings, .. } = source.load()?;
        let log_level = telemetry::install(&settings.telemetry.log_level).map_err(internal)?;
        let exposition = Exposition::install().map_err(internal)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        metrics::edge().config_loaded(settings.version);

        let store = await_store(&settings).await?;
        let (stopping, stopped) = watch::channel(false);
        let reload = Reload::start(source, settings, stopped.clone()).map_err(internal)?;
        let settings = reload.settings().load_full();
        let interior = Interior::build(Arc::clone(&settings), store)?;
        interior.await_rooms().await?;
        let (listeners, predecessor) = if options.upgrade {
            if settings.store == StoreSettings::Memory {
                tracing::warn!("the queue is in memory: that of the running edge ends with it");
            }
            let (listeners, predecessor) = handover::take(&options.upgrade_socket, &settings).await?;
            (listeners, Some(predecessor))
        } else {
            (Listeners::bind(&settings)?, None)
        };

        let Listeners { site, operator } = listeners.try_clone().map_err(internal)?;
        let readiness = Readiness::default();
        let edge = interior.open(site, options, &readiness, stopped)?;
        let (operator_yielded, yielded) = watch::channel(false);
        let operator = Yielding::new(operator, yielded).map_err(internal)?;
        let addresses = Addresses::new(edge.address, settings.server.tls.is_some(), operator.address());
        let app = OperatorApp {
            settings: reload.settings(),
            calls: Arc::new(HouseCalls::new(Arc::clone(&interior.house))),
            exposition: exposition.clone(),
            readiness,
        };
        let (operator_stopping, operator_stopped) = watch::channel(false);
        let operator = tokio::spawn(operator::serve(operator, app, told(operator_stopped)));
        if let Some(predecessor) = predecessor {
            match predecessor.relieve().await {
                Ok(()) => tracing::info!("the listeners of the running edge were taken over"),
                // The listeners are here, and it may be gone.
                Err(error) => tracing::warn!(%error, "the running edge was not heard to go; this one serves"),
            }
        }
        let helpers = [
            tokio::spawn(upkeep(exposition)),
            tokio::spawn(follow_log_level(log_level, reload.changes())),
            tokio::spawn(interior.follow(reload.changes())),
        ];
        Ok(Self {
            addresses,
            edge,
            operator,
            listeners,
            stopping,
            operator_yielded,
            operator_stopping,
            helpers,
        })
    }

    /// Whether a successor has the listeners, or the edge just stops.
    async fn until_stop(&self, orders: &mut mpsc::Receiver<Order>, options: &RunOptions) -> bool {
        while let Some(Order::HandOver) = orders.recv().await {
            let given = tokio::select! {
                biased;
                () = stop_ordered(orders) => return false,
                given = handover::give(&options.upgrade_socket, &self.listeners) => given,
            };
            match given {
                Ok(()) => return true,
                Err(error) => {
                    tracing::error!(%error, "the listeners were not handed over; this edge goes on");
                }
            }
        }
        false
    }

    async fn finish(self, successor: bool, orders: &mut mpsc::Receiver<Order>) -> Result<(), ServeError> {
        tracing::info!(successor, "stopping: readiness is off, visitors are asked to come back");
        drop(self.listeners);
        if successor {
            // Its answers count from now on; ours would say that the edge is not ready.
            self.operator_yielded.send_replace(true);
        }
        self.stopping.send_replace(true);
        tokio::select! {
            ended = self.edge.done => ended.map_err(internal)?,
            () = stop_ordered(orders) => {
                tracing::warn!("told to stop a second time: what is under way is cut");
                return Ok(());
            }
        }
        // Otherwise metrics and probes are answered to the end.
        self.operator_stopping.send_replace(true);
        self.helpers.iter().for_each(JoinHandle::abort);
        // Whoever still reads from it by then has had the time.
        let _ = timeout(OPERATOR_PATIENCE, self.operator).await;
        Ok(())
    }
}

/// The rooms, and what follows their settings. Cheap to clone.
#[derive(Clone)]
struct Interior {
    house: Arc<ArcSwap<House>>,
    store: Arc<dyn Store>,
    node: NodeId,
    trusted_proxies: TrustedProxies,
    tls: Option<TlsIdentity>,
}

impl Interior {
    fn build(settings: Arc<Settings>, store: Arc<dyn Store>) -> Result<Self, ServeError> {
        let node = NodeId::from_random(random::bytes());
        let tls = settings.server.tls.as_ref();
        let tls =
            tls.map(|tls| TlsIdentity::load(&tls.cert_file, &tls.key_file)).transpose().map_err(internal)?;
        let trusted_proxies = TrustedProxies::new(settings.server.trusted_proxies.clone());
        let house = House::build(settings, &store, node, None).map_err(internal)?;
        Ok(Self { house: Arc::new(ArcSwap::from_pointee(house)), store, node, trusted_proxies, tls })
    }

    /// Waits until every room has heard from the store.
    async fn await_rooms(&self) -> Result<(), ServeError> {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        let ready = async {
            while !self.house.load().is_ready() {
                look.tick().await;
            }
        };
        let silent = |_| {
            ServeError::Unreachable(format!(
                "the store took the connection, but said nothing of the rooms within {STORE_PATIENCE:?}"
            ))
        };
        timeout(STORE_PATIENCE, ready).await.map_err(silent)
    }

    /// Lets visitors in.
    fn open(
        &self,
        site: std::net::TcpListener,
        options: &RunOptions,
        readiness: &Readiness,
        stop: watch::Receiver<bool>,
    ) -> Result<EdgeHandle, ServeError> {
        let house = Arc::clone(&self.house);
        readiness.watch_store(move || store_silent_since(&house.load()));
        let mut edge = EdgeOptions::new(site);
        edge.tls.clone_from(&self.tls);
        edge.trusted_proxies = self.trusted_proxies.clone();
        edge.proxy_protocol = self.house.load().settings.server.proxy_protocol;
        edge.limits.linger = options.linger;
        edge.limits.drain = options.drain;
        edge.on_stop = Box::new(goodbye(Arc::clone(&self.house), readiness.clone(), options.linger));
        let desk = Arc::new(Desk::new(Arc::clone(&self.house)));
        edge::serve(edge, desk, stop).map_err(internal)
    }

    /// Builds the house anew whenever the settings change; nobody who waits or shops notices.
    async fn follow(self, mut changes: watch::Receiver<Arc<Settings>>) {
        while changes.changed().await.is_ok() {
            let settings = Arc::clone(&changes.borrow_and_update());
            self.apply(settings).await;
        }
    }

    async fn apply(&self, settings: Arc<Settings>) {
        self.trusted_proxies.replace(settings.server.trusted_proxies.clone());
        if let (Some(identity), Some(tls)) = (&self.tls, &settings.server.tls)
            && let Err(error) = identity.reload(&tls.cert_file, &tls.key_file)
        {
            tracing::error!(%error, "the old certificate stays");
        }
        let before = self.house.load_full();
        match House::build(settings, &self.store, self.node, Some(&before)) {
            Ok(house) => self.house.store(Arc::new(house)),
            Err(error) => return tracing::error!(%error, "the old keys and rooms stay"),
        }
        for hall in self.house.load().halls.values() {
            if let Err(error) = hall.offer_file_values().await {
                tracing::warn!(room = %hall.name, %error, "the file's limits are not in force yet");
            }
        }
    }
}

/// Readiness goes off at once; those who wait are told when the listener no longer takes newcomers, so that they
/// come back elsewhere. Whoever comes to wait after that, on a connection that was still open, is told as well.
fn goodbye(house: Arc<ArcSwap<House>>, readiness: Readiness, linger: Duration) -> impl FnOnce() + Send {
    move || {
        let stopping = readiness.hold("stopping");
        tokio::spawn(async move {
            let _to_the_end = stopping;
            sleep(linger).await;
            loop {
                house.load().bye();
                sleep(BYE_EVERY).await;
            }
        });
    }
}

/// When the rooms that the store does not answer heard from it last.
fn store_silent_since(house: &House) -> Option<Micros> {
    let lost = house.halls.values().filter(|hall| hall.store_is_lost());
    lost.map(|hall| hall.known().map_or(Micros::ZERO, |known| known.head.clock)).min()
}

async fn told(mut stopped: watch::Receiver<bool>) {
    // An end of the channel is an end of the edge too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn upkeep(exposition: Exposition) {
    let mut due = tokio::time::interval(Duration::from_secs(5));
    loop {
        due.tick().await;
        exposition.run_upkeep();
    }
}

async fn follow_log_level(level: telemetry::LogLevel, mut changes: watch::Receiver<Arc<Settings>>) {
    while changes.changed().await.is_ok() {
        level.set(&changes.borrow_and_update().telemetry.log_level);
    }
}
