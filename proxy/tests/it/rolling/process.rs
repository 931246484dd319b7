//! An edge as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::rig::Client;
use crate::site::{RedisServer, Visitor, until_within};

/// For what a busy machine does in seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

/// What edges that replace each other have in common: settings, and a folder for the upgrade socket.
pub(crate) struct Setup {
    folder: TempDir,
    started: AtomicUsize,
}

impl Setup {
    /// One room `e1` before `origin`, with these lines; the queue in Redis, or else in memory.
    pub(crate) fn new(origin: SocketAddr, redis: Option<&RedisServer>, room: &str) -> Self {
        let store = redis.map(|redis| format!("[store]\nurl = \"{}\"\ntimeout = \"2s\"\n", redis.url()));
        Self::with_store(origin, &store.unwrap_or_default(), room)
    }

    pub(crate) fn with_store(origin: SocketAddr, store: &str, room: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[operator]\nlisten = \"127.0.0.1:0\"\n{store}\
             [[keys]]\nkid = \"t\"\nkind = \"ticket\"\nsecret = \"{}\"\n\
             [[keys]]\nkid = \"p\"\nkind = \"pass\"\nsecret = \"{}\"\n\
             [room.e1]\nupstream = [\"http://{origin}\"]\n{room}\n",
            "A".repeat(43),
            "Q".repeat(40) + "QEA",
        );
        std::fs::write(folder.path().join("vestibule.toml"), text).unwrap();
        Self { folder, started: AtomicUsize::new(0) }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("vestibule.toml")
    }

    /// Another edge with other settings, at the same upgrade socket.
    pub(crate) fn edited(&self, edit: impl FnOnce(String) -> String) -> PathBuf {
        let other = self.folder.path().join("edited.toml");
        std::fs::write(&other, edit(std::fs::read_to_string(self.config()).unwrap())).unwrap();
        other
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("upgrade.sock")
    }

    /// An edge that listens.
    pub(crate) async fn start(&self, flags: &[&str]) -> Edge {
        let mut edge = self.spawn(&self.config(), flags);
        edge.listens().await;
        edge
    }

    /// An edge that listens, started with these environment variables.
    pub(crate) async fn start_with(&self, variables: &[(&str, &str)]) -> Edge {
        let mut edge = self.spawn_with(&self.config(), &[], variables);
        edge.listens().await;
        edge
    }

    /// A process that may or may not come to listen.
    pub(crate) fn spawn(&self, config: &Path, flags: &[&str]) -> Edge {
        self.spawn_with(config, flags, &[])
    }

    fn spawn_with(&self, config: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Edge {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let report = self.folder.path().join(format!("report-{number}.json"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command
            .env_clear()
            .envs(variables.iter().copied())
            .arg("run")
            .arg("--config")
            .arg(config)
            .arg("--report")
            .arg(&report);
        command.arg("--upgrade-socket").arg(self.socket()).args(flags);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Edge { child, log, reader, report, site: nowhere, operator: nowhere }
    }
}

/// Somebody who was let in at once. A store that has just begun takes some seconds before it lets anybody in: it may be
/// one that forgot, and those who know better are heard first.
pub(crate) async fn enter(site: SocketAddr) -> Visitor {
    let entered = async {
        loop {
            let mut visitor = Visitor::new(site);
            if visitor.visit("/").await.shows() == "GET /" {
                return visitor;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, entered).await.expect("somebody is let in")
}

/// One process. Killed when dropped.
pub(crate) struct Edge {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// Ends with the last word of the process.
    reader: JoinHandle<()>,
    report: PathBuf,
    pub(crate) site: SocketAddr,
    pub(crate) operator: SocketAddr,
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Edge {
    /// Waits until the process says where it listens.
    pub(crate) async fn listens(&mut self) {
        let (log, report) = (Arc::clone(&self.log), self.report.clone());
        let child = &mut self.child;
        let listens = || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "ended with {ended:?}: {:#?}", log.lock().unwrap());
            report.exists()
        };
        until_within("an edge listens", PATIENCE, listens).await;
        let report: Value = serde_json::from_str(&std::fs::read_to_string(&self.report).unwrap()).unwrap();
        let address = |side: &str| report[side].as_str().unwrap().strip_prefix("http://").unwrap().parse();
        (self.site, self.operator) = (address("site").unwrap(), address("operator").unwrap());
    }

    pub(crate) fn visitor(&self) -> Visitor {
        Visitor::new(self.site)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The exit code, and how long it took to come. All that it wrote has been read then.
    pub(crate) async fn exit(&mut self) -> (Option<i32>, Duration) {
        let began = Instant::now();
        let (log, child) = (Arc::clone(&self.log), &mut self.child);
        let mut status = None;
        let deadline = began + PATIENCE;
        while status.is_none() || !self.reader.is_finished() {
            assert!(Instant::now() < deadline, "it does not end: {:#?}", log.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
            status = child.try_wait().unwrap();
        }
        (status.unwrap().code(), began.elapsed())
    }

    /// Everything it wrote.
    pub(crate) fn said(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits until `part` was written.
    pub(crate) async fn says(&self, part: &str) {
        until_within(&format!("the edge says {part:?}"), PATIENCE, || self.said().contains(part)).await;
    }

    /// What the operator's listener answers: status and body.
    pub(crate) async fn probe(&self, path: &str) -> (u16, String) {
        let mut client = Client::connect(self.operator).await;
        let answer = client.ask(&format!("GET {path}"), "Connection: close\r\n").await;
        (answer.status, answer.text())
    }

    /// The same of `/readyz`.
    pub(crate) async fn readiness(&self) -> (u16, Value) {
        let (status, body) = self.probe("/readyz").await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Waits until nobody can connect to the site any more.
    pub(crate) async fn refuses(&self) {
        let refused = async {
            while tokio::net::TcpStream::connect(self.site).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, refused).await.expect("the listener closes");
    }
}
