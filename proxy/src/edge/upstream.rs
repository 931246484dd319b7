//! The origin servers of one room: taken in turns, the dead ones passed over.
//!
//! Health is learned in two ways. A failed connect marks a server at once, and the same request goes to the next one
//! (nothing was sent yet). Pingora's own checks, run in the background while there is more than one server, mark and
//! unmark them without costing a visitor anything. When all are marked, they are tried all the same.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::lb::Backend as Probed;
use pingora::lb::health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck};
use pingora::upstreams::peer::HttpPeer;
use tokio::time::Instant;

use super::kept::Kept;
use crate::config::settings::{Scheme, UpstreamUrl};

/// Times and limits towards origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// To a TCP connection, and again as long for TLS.
    pub connect: Duration,
    /// Between two reads, the wait for the head of the answer among them.
    pub read: Duration,
    pub write: Duration,
    /// Between two reads of event streams.
    pub stream: Duration,
    /// How long an unused connection is kept. Shorter than the 5 s after which common origins close theirs.
    pub idle: Duration,
    /// How many servers one request tries.
    pub attempts: usize,
    pub probe: Probe,
    pub probe_every: Duration,
    pub resolve_every: Duration,
}

/// How a server shows that it is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It accepts a connection (and speaks TLS, if it should).
    Connect,
    /// It answers 200 to a GET of this path.
    Http(String),
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            read: Duration::from_secs(30),
            write: Duration::from_secs(30),
            stream: Duration::from_secs(600),
            idle: Duration::from_secs(4),
            attempts: 3,
            probe: Probe::Connect,
            probe_every: Duration::from_secs(2),
            resolve_every: Duration::from_secs(10),
        }
    }
}

pub struct Upstream {
    urls: Vec<UpstreamUrl>,
    settings: UpstreamSettings,
    backends: ArcSwap<Vec<Arc<Backend>>>,
    turn: AtomicUsize,
    watched: OnceLock<()>,
    /// When names were first looked up without success.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.urls.iter().map(UpstreamUrl::to_string)).finish()
    }
}

/// One address of one origin server.
pub struct Backend {
    address: SocketAddr,
    peer: HttpPeer,
    down: AtomicBool,
    /// Connections of the short way, see [`super::relay`].
    kept: Kept,
    /// Made once: it holds its own connector with its own trust store.
    probe: OnceLock<Probing>,
}

type Probing = Box<dyn HealthCheck + Send + Sync>;

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.address, if self.is_down() { " (down)" } else { "" })
    }
}

impl Upstream {
    /// Names are resolved, and health is watched, from the first request on until the last reference is gone.
    pub fn new(urls: &[UpstreamUrl]) -> Arc<Self> {
        Self::with_settings(urls, UpstreamSettings::default())
    }

    pub fn with_settings(urls: &[UpstreamUrl], settings: UpstreamSettings) -> Arc<Self> {
        let upstream = Self {
            backends: ArcSwap::default(),
            urls: urls.to_vec(),
            settings,
            turn: AtomicUsize::new(0),
            watched: OnceLock::new(),
            asked: tokio::sync::Mutex::default(),
        };
        upstream.adopt(&upstream.literal_addresses());
        Arc::new(upstream)
    }

    /// Whether all servers speak HTTP without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.urls.iter().all(|url| url.scheme == Scheme::Http)
    }

    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// The next server that is not among `tried`; one that is marked down only if there is no other.
    pub async fn pick(self: &Arc<Self>, tried: &[Arc<Backend>]) -> Option<Arc<Backend>> {
        self.watched.get_or_init(|| drop(tokio::spawn(watch(Arc::downgrade(self)))));
        if self.backends.load().is_empty() {
            self.resolve_first().await;
        }
        let backends = self.backends.load();
        let untried =
            || backends.iter().filter(|backend| !tried.iter().any(|other| other.address == backend.address));
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // Turns are taken among those that are up, lest the one behind a dead one get twice its share.
        let up = || untried().filter(|backend| !backend.is_down());
        let nth = |count: usize| turn.checked_rem(count);
        match nth(up().count()) {
            Some(turn) => up().nth(turn).cloned(),
            None => untried().nth(nth(untried().count())?).cloned(),
        }
    }

    /// For the first requests. Those that come together share one look-up, and its failure holds for a second.
    async fn resolve_first(&self) {
        let mut asked = self.asked.lock().await;
        let recently = asked.is_some_and(|asked| asked.elapsed() < Duration::from_secs(1));
        if self.backends.load().is_empty() && !recently {
            self.resolve().await;
            *asked = Some(Instant::now());
        }
    }

    /// Asks for the addresses of all names. A name that does not resolve keeps what it had.
    async fn resolve(&self) {
        let mut found = Vec::new();
        for url in &self.urls {
            match look_up(url).await {
                Ok(addresses) => found.extend(addresses.into_iter().map(|address| (url, address))),
                Err(error) => {
                    tracing::warn!(upstream = %url, %error, "the name of an upstream does not resolve");
                    let sni = sni(url);
                    let known = self.backends.load();
                    let kept =
                        known.iter().filter(|backend| backend.peer.sni == sni && backend.port() == url.port);
                    found.extend(kept.map(|backend| (url, backend.address)));
                }
            }
        }
        self.adopt(&found);
    }

    fn literal_addresses(&self) -> Vec<(&UpstreamUrl, SocketAddr)> {
        let literal =
            |url: &UpstreamUrl| url.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, url.port));
        let all: Option<Vec<_>> =
            self.urls.iter().map(|url| literal(url).map(|address| (url, address))).collect();
        all.unwrap_or_default()
    }

    /// Replaces the list; servers that stay keep what is known of them.
    fn adopt(&self, found: &[(&UpstreamUrl, SocketAddr)]) {
        let known = self.backends.load();
        let mut backends: Vec<Arc<Backend>> = Vec::with_capacity(found.len());
        for (url, address) in found {
            let same = |backend: &&Arc<Backend>| backend.address == *address && backend.peer.sni == sni(url);
            if backends.iter().any(|backend| same(&backend)) {
                continue;
            }
            let kept = known.iter().find(same).cloned();
            backends.push(kept.unwrap_or_else(|| Arc::new(Backend::new(url, *address, &self.settings))));
        }
        self.backends.store(Arc::new(backends));
    }

    /// Checks all servers, if there is a choice to make between them.
    async fn probe(&self) {
        let backends = self.backends.load_full();
        if backends.len() > 1 {
            for backend in backends.iter() {
                backend.learn(backend.answers(&self.settings).await);
            }
        }
    }
}

impl Backend {
    fn new(url: &UpstreamUrl, address: SocketAddr, settings: &UpstreamSettings) -> Self {
        let mut peer = HttpPeer::new(address, url.scheme == Scheme::Https, sni(url));
        peer.options.connection_timeout = Some(settings.connect);
        peer.options.total_connection_timeout = Some(settings.connect * 2);
        peer.options.read_timeout = Some(settings.read);
        peer.options.write_timeout = Some(settings.write);
        peer.options.idle_timeout = Some(settings.idle);
        Self { address, peer, down: AtomicBool::new(false), kept: Kept::default(), probe: OnceLock::new() }
    }

    /// For one request; `streams` if its answer may be silent for long.
    pub fn peer(&self, settings: &UpstreamSettings, streams: bool) -> HttpPeer {
        let mut peer = self.peer.clone();
        if streams {
            peer.options.read_timeout = Some(settings.stream);
        }
        peer
    }

    /// For requests that choose their time-outs themselves.
    pub(super) fn plain_peer(&self) -> &HttpPeer {
        &self.peer
    }

    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    pub fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Learns from a connect or a check.
    pub fn learn(&self, alive: bool) {
        if self.down.swap(!alive, Ordering::Relaxed) == alive {
            if alive {
                tracing::info!(upstream = %self.address, "an upstream is back");
            } else {
                tracing::warn!(upstream = %self.address, "an upstream is down");
            }
        }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    async fn answers(&self, settings: &UpstreamSettings) -> bool {
        let Ok(target) = Probed::new(&self.address.to_string()) else {
            return false;
        };
        let probe = self.probe.get_or_init(|| self.new_probe(settings));
        // The check has time-outs for its parts, but none for an answer that trickles.
        let checked = tokio::time::timeout(settings.connect * 4, probe.check(&target)).await;
        matches!(checked, Ok(Ok(())))
    }

    fn new_probe(&self, settings: &UpstreamSettings) -> Probing {
        let sni = &self.peer.sni;
        match &settings.probe {
            Probe::Connect => {
                let mut check = TcpHealthCheck::default();
                check.peer_template.sni.clone_from(sni);
                check.peer_template.options.connection_timeout = Some(settings.connect);
                check.peer_template.options.total_connection_timeout = Some(settings.connect * 2);
                Box::new(check)
            }
            Probe::Http(path) => {
                let host = if sni.is_empty() { self.address.to_string() } else { sni.clone() };
                let mut check = HttpHealthCheck::new(&host, self.peer.is_tls());
                check.peer_template.options.connection_timeout = Some(settings.connect);
                check.peer_template.options.read_timeout = Some(settings.connect);
                // A path that is no valid target leaves the default, `/`.
                let _ = check.req.set_raw_path(path.as_bytes());
                Box::new(check)
            }
        }
    }
}

/// The server name of TLS; empty without it.
fn sni(url: &UpstreamUrl) -> String {
    if url.scheme == Scheme::Https { url.host.clone() } else { String::new() }
}

async fn look_up(url: &UpstreamUrl) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = url.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, url.port)]);
    }
    let asked = tokio::net::lookup_host((url.host.as_str(), url.port));
    Ok(tokio::time::timeout(Duration::from_secs(3), asked).await??.collect())
}

/// Checks and resolves until the upstream is dropped.
async fn watch(upstream: Weak<Upstream>) {
    let mut resolved = Instant::now();
    loop {
        let Some(current) = upstream.upgrade() else { return };
        let (probe_every, resolve_every) = (current.settings.probe_every, current.settings.resolve_every);
        if current.literal_addresses().is_empty() && resolved.elapsed() >= resolve_every {
            current.resolve().await;
            resolved = Instant::now();
        }
        current.probe().await;
        current.backends.load().iter().for_each(|backend| backend.kept.sweep(current.settings.idle));
        drop(current);
        tokio::time::sleep(probe_every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(urls: &[&str]) -> Arc<Upstream> {
        Upstream::new(&urls.iter().map(|url| url.parse().unwrap()).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn servers_are_taken_in_turns() {
        let upstream = upstream(&["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"]);
        let mut ports = Vec::new();
        for _ in 0..6 {
            ports.push(upstream.pick(&[]).await.unwrap().port());
        }
        assert_eq!(ports, [1, 2, 3, 1, 2, 3]);
    }

    #[tokio::test]
    async fn a_server_that_is_down_is_passed_over_while_another_is_up() {
        let upstream = upstream(&["http://127.0.0.1:1", "http://127.0.0.1:2"]);
        let first = upstream.pick(&[]).await.unwrap();
        first.learn(false);
        for _ in 0..4 {
            assert_eq!(upstream.pick(&[]).await.unwrap().port(), 2);
        }
        let second = upstream.pick(&[]).await.unwrap();
        assert_eq!(upstream.pick(&[Arc::clone(&second)]).await.unwrap().port(), 1, "the last resort");
        assert!(upstream.pick(&[first, second]).await.is_none());
    }

    #[tokio::test]
    async fn a_name_is_resolved_with_the_first_request() {
        let upstream = upstream(&["http://localhost:7"]);
        assert_eq!(upstream.pick(&[]).await.unwrap().port(), 7);
    }
}
