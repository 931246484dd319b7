//! The settings of the edges of a fleet, and the secrets they share.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::redis::{Cluster, MASTER, Watched};
use crate::process::Program;
use crate::trouble::Trouble;

/// The room of every trial.
pub(crate) const ROOM: &str = "e1";
/// A key of the room's, by which its place in a cluster is found.
pub(crate) const ROOM_KEY: &str = "vestibule:{e1}:state";

/// What the room allows while a trial lasts. Set by the operator, so that it also shows who forgets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub per_minute: u64,
    pub active: u64,
}

/// What the settings file says; less than the operator's, so that losing those is seen.
pub(crate) const FILE: Limits = Limits { per_minute: 300, active: 350 };

/// Longer than an outage: sessions are renewed before and after, not in it.
pub(crate) const SESSION: std::time::Duration = std::time::Duration::from_secs(40);
pub(crate) const CLAIM_WINDOW: std::time::Duration = std::time::Duration::from_secs(20);

/// Fresh for every run.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub operator: String,
    ticket: PathBuf,
    pass: PathBuf,
}

impl Secrets {
    pub(crate) async fn make(programs: &Path, folder: &Path) -> Result<Self, Trouble> {
        let key = async |name: &str| {
            let file = folder.join(name);
            let secret = Program::new(programs.join("vestibule"), &["keys", "new"]).output().await?;
            std::fs::write(&file, secret).map_err(Trouble::io(file.display().to_string()))?;
            Ok::<_, Trouble>(file)
        };
        let mut token = [0; 24];
        getrandom::fill(&mut token).map_err(|error| Trouble::Io {
            what: "randomness".into(),
            source: std::io::Error::other(error),
        })?;
        let operator = URL_SAFE_NO_PAD.encode(token);
        Ok(Self { operator, ticket: key("ticket.key").await?, pass: key("pass.key").await? })
    }

    fn operator_digest(&self) -> String {
        hex(&Sha256::digest(&self.operator))
    }
}

/// Where an edge finds its store: the `[store]` table.
#[derive(Debug, Clone)]
pub(crate) struct StoreTable(String);

impl StoreTable {
    pub(crate) fn server(port: u16) -> Self {
        Self(format!("url = \"redis://127.0.0.1:{port}\""))
    }

    pub(crate) fn watched(watched: &Watched) -> Self {
        let urls: Vec<String> =
            watched.sentinels.iter().map(|one| format!("\"redis://127.0.0.1:{}\"", one.port())).collect();
        Self(format!("[store.sentinel]\nurls = [{}]\nmaster = \"{MASTER}\"", urls.join(", ")))
    }

    pub(crate) fn cluster(cluster: &Cluster) -> Self {
        let urls: Vec<String> = cluster.urls().iter().map(|url| format!("\"{url}\"")).collect();
        Self(format!("cluster = [{}]", urls.join(", ")))
    }
}

/// One edge's settings. The crowd comes from this machine and says who it is by `X-Forwarded-For`.
pub(crate) fn settings(
    site: u16,
    operator: u16,
    shop: u16,
    (store, timeout_ms): (&StoreTable, u64),
    secrets: &Secrets,
) -> String {
    let (ticket, pass) = (secrets.ticket.display(), secrets.pass.display());
    let Limits { per_minute, active } = FILE;
    let (session, claim) = (SESSION.as_secs(), CLAIM_WINDOW.as_secs());
    format!(
        r#"[server]
listen = "127.0.0.1:{site}"
trusted_proxies = ["127.0.0.0/8"]

[operator]
listen = "127.0.0.1:{operator}"

[[operator.tokens]]
name = "faults"
role = "operator"
sha256 = "{digest}"

[[keys]]
kid = "ticket-1"
kind = "ticket"
secret_file = "{ticket}"

[[keys]]
kid = "pass-1"
kind = "pass"
secret_file = "{pass}"

[telemetry]
log_level = "info"

[room.{ROOM}]
upstream = ["http://127.0.0.1:{shop}"]
new_users_per_minute = {per_minute}
total_active_users = {active}
session_duration = "{session}s"
claim_window = "{claim}s"

[store]
timeout = "{timeout_ms}ms"
{store}
"#,
        digest = secrets.operator_digest(),
        store = store.0,
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
