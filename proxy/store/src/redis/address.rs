//! Where the servers are and how to log in.

use std::fmt;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisResult,
};

use tokio::runtime::Handle;

use super::RedisOptions;
use crate::StoreError;

/// How the servers are arranged. URLs are `redis://`, `rediss://` (TLS) or `unix:///path`.
#[derive(Clone, PartialEq, Eq)]
pub enum Topology {
    Single {
        url: String,
    },
    /// The URLs are those of the sentinels, with their own credentials, if they have any.
    Sentinel {
        urls: Vec<String>,
        master: String,
    },
    /// Some of the nodes; the others are learned from them.
    Cluster {
        urls: Vec<String>,
    },
}

impl Topology {
    fn urls(&self) -> &[String] {
        match self {
            Self::Single { url } => std::slice::from_ref(url),
            Self::Sentinel { urls, .. } | Self::Cluster { urls } => urls,
        }
    }
}

impl fmt::Debug for Topology {
    /// Without the URLs, which may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = parse(self).map_or_else(|_| "?".into(), |nodes| addresses(&nodes));
        match self {
            Self::Single { .. } => write!(f, "Single({shown})"),
            Self::Sentinel { master, .. } => write!(f, "Sentinel({master} by {shown})"),
            Self::Cluster { .. } => write!(f, "Cluster({shown})"),
        }
    }
}

/// The servers of a store, with credentials.
pub(super) struct Servers {
    pub(super) kind: Kind,
    /// The server, the sentinels, or some nodes of the cluster.
    pub(super) seeds: Vec<ConnectionInfo>,
    /// What errors name: never with credentials.
    pub(super) address: String,
    /// How long a call may take.
    pub(super) timeout: Duration,
    /// Where connections live, whichever runtime asks for them.
    pub(super) runtime: Handle,
    /// Of the servers that keep the data.
    login: RedisConnectionInfo,
    /// Whether any certificate will do; `None` without TLS.
    tls_insecure: Option<bool>,
}

pub(super) enum Kind {
    Single,
    Sentinel { master: String },
    Cluster,
}

/// How long a connection may take to come up. Longer than a call: a slow handshake must not be tried for ever.
pub(super) const DIAL: Duration = Duration::from_secs(2);
/// What was sent and is not acknowledged for this long ends a connection, however silent the network is about it.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(4);
/// A connection that says nothing is tried by the kernel after this long, and then this often.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(1));

impl Servers {
    /// Must be called in the runtime in which connections are to live.
    pub(super) fn new(options: &RedisOptions) -> Result<Self, StoreError> {
        check_prefix(&options.key_prefix)?;
        let seeds = parse(&options.topology)?;
        let Some(first) = seeds.first() else {
            return Err(StoreError::Failed("no address of a server is set".into()));
        };
        let tls_insecure = match first.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => Some(*insecure),
            _ => None,
        };
        if tls_insecure.is_some() {
            // Fails when another part of the process chose one before: that one serves as well.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let address = addresses(&seeds);
        let (kind, address, url) = match &options.topology {
            Topology::Single { .. } => (Kind::Single, address, first.redis_settings().clone()),
            Topology::Sentinel { master, .. } => (
                Kind::Sentinel { master: master.clone() },
                format!("{master} (by the sentinels {address})"),
                // What is in the URLs is for the sentinels.
                RedisConnectionInfo::default(),
            ),
            Topology::Cluster { .. } => (Kind::Cluster, address, first.redis_settings().clone()),
        };
        let login = login(&url, options);
        let (timeout, runtime) = (options.timeout, Handle::current());
        Ok(Self { kind, seeds, address, timeout, runtime, login, tls_insecure })
    }

    /// A cluster carries a message to one shard only, where PUBLISH would carry it to all.
    pub(super) fn publish(&self) -> &'static str {
        match self.kind {
            Kind::Cluster => "SPUBLISH",
            Kind::Single | Kind::Sentinel { .. } => "PUBLISH",
        }
    }

    pub(super) fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DIAL))
            .set_response_timeout(Some(self.timeout))
    }

    /// A server that others told of.
    pub(super) fn named(&self, host: &str, port: u16) -> ConnectionAddr {
        let host = host.into();
        match self.tls_insecure {
            Some(insecure) => ConnectionAddr::TcpTls { host, port, insecure, tls_params: None },
            None => ConnectionAddr::Tcp(host, port),
        }
    }

    /// A client of one server that keeps data.
    pub(super) fn client(&self, at: &ConnectionAddr, protocol: ProtocolVersion) -> RedisResult<Client> {
        let info = at.clone().into_connection_info()?;
        let login = self.login.clone().set_protocol(protocol);
        Client::open(info.set_redis_settings(login).set_tcp_settings(tcp()))
    }

    /// A client of one that knows where the data is: a sentinel, or a node of the cluster.
    pub(super) fn guide(&self, at: &ConnectionInfo) -> RedisResult<Client> {
        match self.kind {
            Kind::Sentinel { .. } => Client::open(at.clone().set_tcp_settings(tcp())),
            Kind::Single | Kind::Cluster => self.client(at.addr(), ProtocolVersion::RESP2),
        }
    }
}

fn tcp() -> TcpSettings {
    let (idle, interval) = KEEP_ALIVE;
    let keep_alive = TcpKeepalive::new().with_time(idle).with_interval(interval);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keep_alive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(UNACKNOWLEDGED);
    settings
}

fn login(from: &RedisConnectionInfo, options: &RedisOptions) -> RedisConnectionInfo {
    let mut login = from.clone();
    if let Some(username) = &options.username {
        login = login.set_username(username);
    }
    if let Some(password) = &options.password {
        login = login.set_password(password);
    }
    login
}

fn parse(topology: &Topology) -> Result<Vec<ConnectionInfo>, StoreError> {
    let parse_one = |url: &String| {
        url.as_str().into_connection_info().map_err(|error| {
            let reason = error.detail().unwrap_or("it is no redis://, rediss:// or unix:// URL");
            StoreError::Failed(format!("an address of the store cannot be used: {reason}"))
        })
    };
    topology.urls().iter().map(parse_one).collect()
}

fn addresses(nodes: &[ConnectionInfo]) -> String {
    let shown: Vec<String> = nodes.iter().map(|node| node.addr().to_string()).collect();
    shown.join(", ")
}

fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    if prefix.is_empty() || prefix.contains(['{', '}']) {
        return Err(StoreError::Failed(format!(
            "the key prefix `{prefix}` must be text without braces: they would scatter a room over a cluster"
        )));
    }
    Ok(())
}
