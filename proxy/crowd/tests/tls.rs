//! A crowd against a real edge that speaks TLS itself, with a certificate that nobody else trusts.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // the edge's helpers, too, are only test code

use std::fs;
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use clap::Parser as _;
use crowd::args::{Cli, Command, RunArgs};
use crowd::run::{RunError, run};
use crowd::stop::Stop;
use crowd::summary::Summary;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vestibule::config::SettingsSource;
use vestibule::serve::{Order, RunOptions, serve};

/// An edge before a site that says `{}`, until it is dropped.
struct Edge {
    site: String,
    folder: TempDir,
    _orders: mpsc::Sender<Order>,
    tasks: [JoinHandle<()>; 2],
}

impl Edge {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = settings(&folder, &listener.local_addr().unwrap().to_string());
        let file = folder.path().join("edge.toml");
        fs::write(&file, settings).unwrap();
        let shop = Router::new().fallback(any(|| async { axum::Json(serde_json::json!({})) }));
        let shop = tokio::spawn(async move { axum::serve(listener, shop).await.unwrap() });
        let (orders, ordered) = mpsc::channel(1);
        let (told, address) = oneshot::channel();
        let edge = tokio::spawn(async move {
            let ready = |addresses: &vestibule::serve::Addresses| {
                told.send(addresses.site.clone()).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
            };
            serve(SettingsSource::file(file), RunOptions::default(), ready, ordered).await.unwrap();
        });
        let site = timeout(Duration::from_secs(10), address).await.unwrap().unwrap();
        let port = site.rsplit_once(':').unwrap().1.trim_end_matches('/');
        Self { site: format!("https://localhost:{port}"), folder, _orders: orders, tasks: [edge, shop] }
    }

    fn args(&self, more: &str) -> RunArgs {
        let line = format!("crowd run --target {} --event none {more}", self.site);
        let Command::Run(args) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("{line}")
        };
        *args
    }

    async fn visit(&self, more: &str) -> Result<Summary, RunError> {
        run(&self.args(more), Stop::default()).await
    }

    fn certificate(&self) -> String {
        self.folder.path().join("cert.pem").display().to_string()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn settings(folder: &TempDir, shop: &str) -> String {
    let pem = |name: &str| folder.path().join(name).display().to_string();
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
[server.tls]
cert_file = "{}"
key_file = "{}"
[operator]
listen = "127.0.0.1:0"
[[keys]]
kid = "ticket-1"
kind = "ticket"
secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
[[keys]]
kid = "pass-1"
kind = "pass"
secret = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
[telemetry]
log_level = "error"
[room.e1]
upstream = ["http://{shop}"]
new_users_per_minute = 240
total_active_users = 100
settle_window = "1s"
"#,
        pem("cert.pem"),
        pem("key.pem")
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_and_a_herd_wait_at_an_edge_that_speaks_tls_and_a_stranger_is_not_trusted() {
    let edge = Edge::start().await;
    let people = "--visitors 8 --arrive 6/s --herd 40 --herd-arrive 40/s --seconds 8 --no-show 0%";
    let trusting = edge.visit(&format!("--ca {} {people}", edge.certificate())).await.unwrap();
    let figures: Value = serde_json::from_str(&trusting.json()).unwrap();
    assert!(trusting.hold(), "{}{figures}", trusting.for_people());
    assert!(figures["admitted"].as_u64() > Some(15), "{figures}");
    assert!(figures["herd"]["most_open"].as_u64() > Some(10), "{figures}");
    assert!(figures["positions_compared"].as_u64() > Some(20), "{figures}");
    assert_eq!(figures["lost_places"], 0);

    let refused = edge.visit("--visitors 1").await;
    assert!(matches!(refused, Err(RunError::Unreachable { .. })), "a certificate of nobody's");
    let blind = edge.visit("--insecure --visitors 1 --seconds 1").await.unwrap();
    assert!(blind.hold(), "{}", blind.for_people());
}

#[tokio::test]
async fn authorities_that_are_not_there_are_named() {
    let line = "crowd run --target https://localhost:1 --ca /nowhere/ca.pem";
    let Command::Run(args) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
        panic!("{line}")
    };
    let failed = run(&args, Stop::default()).await.unwrap_err().to_string();
    assert!(failed.contains("/nowhere/ca.pem"), "{failed}");
    let both = "crowd run --target https://localhost:1 --ca a --insecure";
    assert!(Cli::try_parse_from(both.split_whitespace()).is_err());
}
