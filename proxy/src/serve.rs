//! One edge from its settings to its end.

use std::future::Future;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use room::ids::NodeId;
use serde::Serialize;
use store::Store;
use store::memory::Memory;
use store::redis::{Redis, RedisOptions};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::reload::Reload;
use crate::config::settings::{self, Settings, StoreSettings, StoreUrl};
use crate::config::{ConfigError, Loaded, SettingsSource};
use crate::desk::Desk;
use crate::edge::tls::TlsIdentity;
use crate::edge::{self, EdgeHandle, EdgeOptions, TrustedProxies};
use crate::house::House;
use crate::metrics::{self, Exposition};
use crate::operator::{self, HouseCalls, Latch, OperatorApp, Readiness};
use crate::{random, telemetry};

/// Where a running edge listens, as addresses that this machine can open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Addresses {
    pub site: String,
    pub operator: String,
}

impl Addresses {
    fn new(site: SocketAddr, site_is_tls: bool, operator: SocketAddr) -> Self {
        let scheme = if site_is_tls { "https" } else { "http" };
        Self {
            site: format!("{scheme}://{}", reachable(site)),
            operator: format!("http://{}", reachable(operator)),
        }
    }

    /// Writes the addresses as JSON. Whoever waits for the file finds it whole.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = file.with_file_name(name);
        let mut written = std::fs::File::create(&new)?;
        serde_json::to_writer(&mut written, self)?;
        written.write_all(b"\n")?;
        std::fs::rename(new, file)
    }
}

fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
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
    #[error("{0}")]
    Internal(String),
}

fn internal(error: impl std::fmt::Display) -> ServeError {
    ServeError::Internal(error.to_string())
}

/// Runs one edge. `ready` is told the addresses once all listeners are bound; `stop` ends it.
pub async fn serve(
    source: SettingsSource,
    ready: impl FnOnce(&Addresses) -> io::Result<()>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let Loaded { settings, warnings, .. } = source.load()?;
    let log_level = telemetry::install(&settings.telemetry.log_level).map_err(internal)?;
    let exposition = Exposition::install().map_err(internal)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    metrics::edge().config_loaded(settings.version);

    let site = listen(settings.server.listen, edge::bind)?;
    let operator = TcpListener::bind(settings.operator.listen)
        .await
        .map_err(|cause| ServeError::Listen { address: settings.operator.listen, cause })?;
    let store = open_store(&settings).await?;
    let (stopping, stopped) = watch::channel(false);
    let reload = Reload::start(source, settings, stopped.clone()).map_err(internal)?;
    let running = Running::start(reload.settings().load_full(), store, site, &stopped)?;
    let app = OperatorApp {
        settings: reload.settings(),
        calls: Arc::new(HouseCalls::new(Arc::clone(&running.house))),
        exposition: exposition.clone(),
        readiness: running.readiness.clone(),
    };
    let addresses = Addresses::new(
        running.edge.address,
        reload.settings().load().server.tls.is_some(),
        operator.local_addr().map_err(internal)?,
    );
    let (operator_stopping, operator_stopped) = watch::channel(false);
    let operator = tokio::spawn(operator::serve(operator, app, told(operator_stopped)));
    let helpers = [
        tokio::spawn(upkeep(exposition)),
        tokio::spawn(follow_log_level(log_level, reload.changes())),
        tokio::spawn(running.renovation(reload.changes()).follow()),
    ];
    ready(&addresses).map_err(internal)?;
    stop.await;
    tracing::info!("stopping: readiness is off, visitors are asked to come back");
    stopping.send_replace(true);
    // Metrics and probes are answered to the end.
    running.edge.done.await.map_err(internal)?;
    operator_stopping.send_replace(true);
    helpers.iter().for_each(tokio::task::JoinHandle::abort);
    operator.await.map_err(internal)?.map_err(internal)
}

fn listen<T>(address: SocketAddr, bind: impl FnOnce(SocketAddr) -> io::Result<T>) -> Result<T, ServeError> {
    bind(address).map_err(|cause| ServeError::Listen { address, cause })
}

/// The visitors' side, running.
struct Running {
    house: Arc<ArcSwap<House>>,
    store: Arc<dyn Store>,
    node: NodeId,
    edge: EdgeHandle,
    readiness: Readiness,
    trusted_proxies: TrustedProxies,
    tls: Option<TlsIdentity>,
}

impl Running {
    fn start(
        settings: Arc<Settings>,
        store: Arc<dyn Store>,
        listener: std::net::TcpListener,
        stop: &watch::Receiver<bool>,
    ) -> Result<Self, ServeError> {
        let node = NodeId::from_random(random::bytes());
        let readiness = Readiness::default();
        let tls = settings.server.tls.as_ref();
        let tls =
            tls.map(|tls| TlsIdentity::load(&tls.cert_file, &tls.key_file)).transpose().map_err(internal)?;
        let trusted_proxies = TrustedProxies::new(settings.server.trusted_proxies.clone());
        let house = House::build(settings, &store, node, None).map_err(internal)?;
        let house = Arc::new(ArcSwap::from_pointee(house));
        let mut options = EdgeOptions::new(listener);
        options.tls.clone_from(&tls);
        options.trusted_proxies = trusted_proxies.clone();
        options.proxy_protocol = house.load().settings.server.proxy_protocol;
        options.on_stop = Box::new(goodbye(Arc::clone(&house), readiness.clone(), options.limits.linger));
        let desk = Arc::new(Desk::new(Arc::clone(&house)));
        let edge = edge::serve(options, desk, stop.clone()).map_err(internal)?;
        tokio::spawn(until_ready(Arc::clone(&house), readiness.hold("the store has not answered yet")));
        Ok(Self { house, store, node, edge, readiness, trusted_proxies, tls })
    }

    /// What follows the settings.
    fn renovation(&self, changes: watch::Receiver<Arc<Settings>>) -> Renovation {
        Renovation {
            house: Arc::clone(&self.house),
            store: Arc::clone(&self.store),
            node: self.node,
            trusted_proxies: self.trusted_proxies.clone(),
            tls: self.tls.clone(),
            changes,
        }
    }
}

/// Readiness goes off at once; those who wait are told when the listener no longer takes newcomers, so that they
/// come back elsewhere.
fn goodbye(house: Arc<ArcSwap<House>>, readiness: Readiness, linger: Duration) -> impl FnOnce() + Send {
    move || {
        let latch = readiness.hold("stopping");
        tokio::spawn(async move {
            tokio::time::sleep(linger).await;
            house.load().bye();
            // To the end of the process.
            std::mem::forget(latch);
        });
    }
}

async fn until_ready(house: Arc<ArcSwap<House>>, latch: Latch) {
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while !house.load().is_ready() {
        look.tick().await;
    }
    drop(latch);
}

/// Builds the house anew whenever the settings change; nobody who waits or shops notices.
struct Renovation {
    house: Arc<ArcSwap<House>>,
    store: Arc<dyn Store>,
    node: NodeId,
    trusted_proxies: TrustedProxies,
    tls: Option<TlsIdentity>,
    changes: watch::Receiver<Arc<Settings>>,
}

impl Renovation {
    async fn follow(mut self) {
        while self.changes.changed().await.is_ok() {
            let settings = Arc::clone(&self.changes.borrow_and_update());
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

/// The store that the settings name, once it has answered.
pub async fn open_store(settings: &Settings) -> Result<Arc<dyn Store>, ServeError> {
    match &settings.store {
        StoreSettings::Memory => Ok(Arc::new(Memory::default())),
        StoreSettings::Redis(redis) => {
            let options = RedisOptions {
                username: redis.username.clone(),
                password: redis.password.as_ref().map(|password| password.reveal().to_owned()),
                key_prefix: redis.key_prefix.clone(),
                timeout: redis.timeout,
                ..RedisOptions::new(topology(&redis.topology))
            };
            let connected = Redis::connect(options).await;
            connected.map_or_else(
                |error| Err(ServeError::Unreachable(error.to_string())),
                |redis| Ok(Arc::new(redis) as _),
            )
        }
    }
}

fn topology(topology: &settings::Topology) -> store::redis::Topology {
    let texts = |urls: &[StoreUrl]| urls.iter().map(|url| url.reveal().to_owned()).collect();
    match topology {
        settings::Topology::Single { url } => store::redis::Topology::Single { url: url.reveal().to_owned() },
        settings::Topology::Sentinel { urls, master } => {
            store::redis::Topology::Sentinel { urls: texts(urls), master: master.clone() }
        }
        settings::Topology::Cluster { urls } => store::redis::Topology::Cluster { urls: texts(urls) },
    }
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
