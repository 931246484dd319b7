//! What one running edge was asked to do: plain values, checked once, never changed in place.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use ipnet::IpNet;
use room::ids::RoomName;
use room::rules::Rules;
use room::token::Key;
use serde::{Deserialize, Serialize};

pub use super::address::{HostPattern, Origin, Scheme, StoreUrl, UpstreamUrl};
pub use super::routes::Routes;

/// One generation of settings. A request takes one snapshot and keeps it to its end.
#[derive(Debug, Clone)]
pub struct Settings {
    pub server: Server,
    pub store: StoreSettings,
    pub operator: Operator,
    /// Known to form a [`room::token::KeyRing`].
    pub keys: Vec<Key>,
    pub telemetry: Telemetry,
    pub rooms: BTreeMap<RoomName, Arc<RoomSettings>>,
    /// Which room a host and path belong to; made of `rooms`.
    pub routes: Routes,
    /// Where paths without a room go, in turns; empty: they are answered 404.
    pub default_upstream: Vec<UpstreamUrl>,
    /// 1 after the start, one more with every reload that took effect.
    pub version: u64,
}

/// `[server]`: the side that visitors see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub listen: SocketAddr,
    /// Prefix of the edge's own calls: starts with `/`, does not end with one.
    pub queue_path: String,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether each connection from a trusted proxy starts with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// What visitors see in the address bar, where a proxy in front changes it.
    pub public_origin: Option<Origin>,
    pub tls: Option<Tls>,
}

/// `[server.tls]`: PEM files, both readable when the settings were loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// `[store]`: where the queues live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreSettings {
    /// In this process: one edge, and the queue ends with it.
    Memory,
    Redis(RedisSettings),
}

/// One Redis for the whole fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    pub topology: Topology,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// First part of every key; fleets that share a Redis have different ones.
    pub key_prefix: String,
    /// How long one call may take.
    pub timeout: Duration,
}

/// How the servers of one Redis are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    Single {
        url: StoreUrl,
    },
    /// `urls` are sentinels, which know who is the `master`.
    Sentinel {
        urls: Vec<StoreUrl>,
        master: String,
    },
    /// `urls` are some nodes of the cluster; they know the others.
    Cluster {
        urls: Vec<StoreUrl>,
    },
}

/// `[operator]`: the listener for metrics, probes and the operator's calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    pub listen: SocketAddr,
    pub tokens: Vec<OperatorToken>,
}

/// Who may call: the token itself is known to its owner only.
#[derive(Clone, PartialEq, Eq)]
pub struct OperatorToken {
    /// Appears in the audit trail.
    pub name: String,
    pub role: Role,
    /// SHA-256 of the token's text.
    pub sha256: [u8; 32],
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorToken({} {:?})", self.name, self.role)
    }
}

/// What an operator may do; each role may do all that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Looks and changes.
    Operator,
}

/// `[telemetry]`: how much is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// A filter of `tracing`: `info`, or `info,vestibule=debug`.
    pub log_level: String,
}

/// `[room.NAME]`: one queue in front of one part of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSettings {
    pub name: RoomName,
    /// At least one.
    pub matches: Vec<Match>,
    /// At least one; taken in turns.
    pub upstream: Vec<UpstreamUrl>,
    pub rules: Rules,
    /// Status of the waiting page; other answers to those who wait are 503.
    pub queueing_status_code: StatusCode,
    /// Whether the origin's `Vestibule-Command` is obeyed.
    pub trust_commands: bool,
    /// Origins besides the room's hosts from which a page may open the socket.
    pub allowed_origins: Vec<Origin>,
    pub limits: Limits,
}

/// Host and path prefix that belong to a room.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Match {
    pub host: HostPattern,
    /// A normalised path: `/`, or segments without a slash at the end. `/sale` covers `/sale` and `/sale/1`, not
    /// `/sales`.
    pub path: String,
}

/// `[room.NAME.limits]`: how much one client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one session, else of one address.
    pub per_client: PerSecond,
    /// New places of one address.
    pub joins_per_address: PerMinute,
}

impl Default for Limits {
    fn default() -> Self {
        const fn count(value: u32) -> NonZeroU32 {
            match NonZeroU32::new(value) {
                Some(value) => value,
                None => NonZeroU32::MIN,
            }
        }
        Self {
            per_client: PerSecond { per_second: count(50), burst: count(100) },
            joins_per_address: PerMinute { per_minute: count(600), burst: count(300) },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerSecond {
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerMinute {
    pub per_minute: NonZeroU32,
    pub burst: NonZeroU32,
}

/// Text that must not appear in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself: for the one who needs it, not for messages.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}
