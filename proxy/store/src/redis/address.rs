//! Where the servers are and how to log in.

use std::fmt;
use std::time::Duration;

use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisResult, TlsMode,
};

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
    /// What errors name: never with credentials.
    pub(super) address: String,
    /// How long a call may take.
    pub(super) timeout: Duration,
}

pub(super) enum Kind {
    Single(ConnectionInfo),
    Sentinel { sentinels: Vec<ConnectionInfo>, master: String, login: RedisConnectionInfo, tls: bool },
    Cluster { nodes: Vec<ConnectionInfo>, login: RedisConnectionInfo },
}

/// How long a connection may take to come up. Longer than a call: a slow handshake must not be tried for ever.
pub(super) const DIAL: Duration = Duration::from_secs(2);

impl Servers {
    pub(super) fn new(options: &RedisOptions) -> Result<Self, StoreError> {
        check_prefix(&options.key_prefix)?;
        let nodes = parse(&options.topology)?;
        let Some(first) = nodes.first().cloned() else {
            return Err(StoreError::Failed("no address of a server is set".into()));
        };
        let tls = matches!(first.addr(), ConnectionAddr::TcpTls { .. });
        if tls {
            // Fails when another part of the process chose one before: that one serves as well.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let address = addresses(&nodes);
        let login = |from: &RedisConnectionInfo| login(from, options);
        let (kind, address) = match &options.topology {
            Topology::Single { .. } => {
                let login = login(first.redis_settings());
                (Kind::Single(first.set_redis_settings(login)), address)
            }
            Topology::Sentinel { master, .. } => {
                let address = format!("{master} (by the sentinels {address})");
                let kind = Kind::Sentinel {
                    sentinels: nodes,
                    master: master.clone(),
                    login: login(&RedisConnectionInfo::default()),
                    tls,
                };
                (kind, address)
            }
            Topology::Cluster { .. } => {
                let login = login(first.redis_settings());
                (Kind::Cluster { nodes, login }, address)
            }
        };
        Ok(Self { kind, address, timeout: options.timeout })
    }

    /// A cluster carries a message to one shard only, where PUBLISH would carry it to all.
    pub(super) fn publish(&self) -> &'static str {
        match self.kind {
            Kind::Cluster { .. } => "SPUBLISH",
            Kind::Single(_) | Kind::Sentinel { .. } => "PUBLISH",
        }
    }

    pub(super) fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DIAL))
            .set_response_timeout(Some(self.timeout))
    }

    /// A connection that hears what is published; not for a cluster.
    pub(super) async fn listening(
        &self,
        pushes: impl AsyncPushSender,
    ) -> RedisResult<Option<MultiplexedConnection>> {
        let config = self.config().set_push_sender(pushes);
        let connection = match &self.kind {
            Kind::Single(info) => {
                let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
                let client = Client::open(info.clone().set_redis_settings(login))?;
                client.get_multiplexed_async_connection_with_config(&config).await?
            }
            Kind::Sentinel { .. } => {
                let mut client = self.sentinel(ProtocolVersion::RESP3)?;
                client.get_async_connection_with_config(&config).await?
            }
            Kind::Cluster { .. } => return Ok(None),
        };
        Ok(Some(connection))
    }

    fn sentinel(&self, protocol: ProtocolVersion) -> RedisResult<SentinelClient> {
        let Kind::Sentinel { sentinels, master, login, tls } = &self.kind else {
            return Err((redis::ErrorKind::InvalidClientConfig, "no sentinels are set").into());
        };
        let mut node = SentinelNodeConnectionInfo::default()
            .set_redis_connection_info(login.clone().set_protocol(protocol));
        if *tls {
            node = node.set_tls_mode(TlsMode::Secure);
        }
        SentinelClient::build(sentinels.clone(), master.clone(), Some(node), SentinelServerType::Master)
    }

    /// A client of a cluster; `None` for other arrangements.
    pub(super) fn cluster(
        &self,
        change: impl FnOnce(ClusterClientBuilder) -> ClusterClientBuilder,
    ) -> RedisResult<Option<ClusterClient>> {
        let Kind::Cluster { nodes, login } = &self.kind else {
            return Ok(None);
        };
        let mut builder =
            ClusterClientBuilder::new(nodes.clone()).connection_timeout(DIAL).response_timeout(self.timeout);
        if let Some(username) = login.username() {
            builder = builder.username(username);
        }
        if let Some(password) = login.password() {
            builder = builder.password(password);
        }
        change(builder).build().map(Some)
    }
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
