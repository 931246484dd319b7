//! One edge from its settings to its end.

use std::future::Future;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use room::ids::{Incarnation, NodeId};
use room::queue::Caller;
use serde::Serialize;
use store::Store;
use store::memory::Memory;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::reload::Reload;
use crate::config::settings::{Settings, StoreSettings};
use crate::config::{ConfigError, Loaded, SettingsSource};
use crate::metrics::{self, Exposition};
use crate::operator::{self, DirectCalls, OperatorApp, Readiness};
use crate::telemetry;

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

    let store = open_store(&settings).await?;
    let readiness = Readiness::default();
    let operator = TcpListener::bind(settings.operator.listen)
        .await
        .map_err(|cause| ServeError::Listen { address: settings.operator.listen, cause })?;
    let addresses = Addresses::new(
        settings.server.listen,
        settings.server.tls.is_some(),
        operator.local_addr().map_err(internal)?,
    );
    let (stopping, stopped) = watch::channel(false);
    let reload = Reload::start(source, settings, stopped.clone()).map_err(internal)?;
    let app = OperatorApp {
        settings: reload.settings(),
        calls: Arc::new(DirectCalls::new(store, caller()?)),
        exposition: exposition.clone(),
        readiness: readiness.clone(),
    };
    let upkeep = tokio::spawn(upkeep(exposition));
    let levels = tokio::spawn(follow_log_level(log_level, reload.changes()));
    let operator = tokio::spawn(operator::serve(operator, app, told(stopped)));
    ready(&addresses).map_err(internal)?;
    stop.await;
    stopping.send_replace(true);
    upkeep.abort();
    levels.abort();
    operator.await.map_err(internal)?.map_err(internal)
}

/// The store that the settings name, once it has answered.
pub async fn open_store(settings: &Settings) -> Result<Arc<dyn Store>, ServeError> {
    match &settings.store {
        StoreSettings::Memory => Ok(Arc::new(Memory::default())),
        StoreSettings::Redis(_) => Err(ServeError::Unreachable("no Redis in this build".into())),
    }
}

fn caller() -> Result<Caller, ServeError> {
    let mut random = [[0; 12]; 2];
    getrandom::fill(random.as_flattened_mut()).map_err(internal)?;
    let [node, fresh] = random;
    Ok(Caller {
        node: NodeId::from_random(node),
        fresh: Incarnation::from_random(fresh),
        witness: None,
        hold: false,
    })
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
