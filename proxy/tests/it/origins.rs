//! Origins that are dead, slow, broken, encrypted, or back again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use vestibule::edge::tls::{TlsIdentity, install_crypto};
use vestibule::edge::upstream::Upstream;
use vestibule::request::Plan;

use crate::rig::{Client, Origin, Rig, answer, forward, nobody, quick, soon, upstream_with};

#[tokio::test]
async fn a_dead_origin_is_told_as_a_problem_or_a_page() {
    let rig = Rig::forwarding(&[nobody().await]);
    let api = Client::connect(rig.address)
        .await
        .ask("POST /buy", "Accept: application/json\r\nContent-Length: 0\r\n")
        .await;
    assert_eq!((api.status, api.header("content-type")), (503, Some("application/problem+json")));
    assert_eq!(api.json()["type"], "urn:vestibule:problem:upstream-unreachable");
    assert_eq!(api.json()["trace_id"].as_str().unwrap().len(), 32);
    assert_eq!((api.header("retry-after"), api.header("cache-control")), (Some("5"), Some("no-store")));
    let page = Client::connect(rig.address)
        .await
        .ask("GET /", "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n")
        .await;
    assert_eq!((page.status, page.header("content-type")), (503, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("Try again"));
}

#[tokio::test]
async fn an_origin_that_breaks_off_or_sleeps_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            let mut client = Client::of(stream);
            let head = client.until(b"\r\n\r\n").await;
            if head.starts_with(b"GET /sleep") {
                kept.push(client);
            } else if head.starts_with(b"GET /babble") {
                client.send("no HTTP at all\r\n\r\n").await;
            }
        }
    });
    let settings =
        vestibule::edge::upstream::UpstreamSettings { read: Duration::from_millis(200), ..quick() };
    let to_origin = upstream_with(&[address], settings);
    let rig = Rig::start(move |_, _| Plan::Forward(forward(&to_origin)));
    for (path, status, code) in [
        ("/sleep", 504, "upstream-timeout"),
        ("/babble", 502, "upstream-failed"),
        ("/close", 502, "upstream-failed"),
    ] {
        let response = Client::connect(rig.address).await.ask(&format!("GET {path}"), "").await;
        assert_eq!((response.status, response.json()["code"].as_str()), (status, Some(code)), "{path}");
    }
}

#[tokio::test]
async fn another_origin_takes_over_at_once() {
    let (first, second) = (Origin::start().await, Origin::start().await);
    let dead = nobody().await;
    let rig = Rig::forwarding(&[dead, first.address, second.address]);
    let mut client = Client::connect(rig.address).await;
    for _ in 0..20 {
        assert_eq!(client.ask("POST /buy", "Content-Length: 0\r\n").await.status, 200);
    }
    let (to_first, to_second) = (first.requests().len(), second.requests().len());
    assert_eq!(to_first + to_second, 20);
    assert!(to_first.abs_diff(to_second) <= 2, "{to_first} and {to_second}");
}

#[tokio::test]
async fn an_origin_that_comes_back_is_used_again() {
    let other = Origin::start().await;
    let place = nobody().await;
    let rig = Rig::forwarding(&[place, other.address]);
    let mut client = Client::connect(rig.address).await;
    for _ in 0..4 {
        assert_eq!(client.ask("GET /", "").await.status, 200);
    }
    let back = TcpListener::bind(place).await.unwrap();
    let reached = soon("a connection to the origin that is back", back.accept()).await;
    drop(reached);
}

#[tokio::test]
async fn a_kept_connection_that_died_is_made_up_for_unless_it_could_buy_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut client = Client::of(stream);
                client.until(b"\r\n\r\n").await;
                client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                // It promised to stay, and leaves when the next request comes.
                client.until(b"\r\n\r\n").await;
            });
        }
    });
    let rig = Rig::forwarding(&[address]);
    let mut client = Client::connect(rig.address).await;
    for _ in 0..3 {
        assert_eq!(client.ask("GET /", "").await.status, 200);
    }
    let bought = client.ask("POST /buy", "Content-Length: 0\r\n").await;
    assert_eq!((bought.status, bought.json()["code"].as_str()), (502, Some("upstream-failed")));
}

/// A certificate for `localhost` that vouches for itself, as PEM files.
struct Certificate {
    folder: tempfile::TempDir,
}

impl Certificate {
    fn new() -> Self {
        install_crypto();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn identity(&self) -> TlsIdentity {
        TlsIdentity::load(&self.file("cert.pem"), &self.file("key.pem")).unwrap()
    }

    /// For clients that believe this certificate and no other.
    fn connector(&self) -> TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("cert.pem")).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    /// Decrypts for `origin`.
    async fn in_front_of(&self, origin: SocketAddr) -> SocketAddr {
        let chain = vec![CertificateDer::from_pem_file(self.file("cert.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.file("key.pem")).unwrap();
        let config =
            rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut encrypted) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut plain = tokio::net::TcpStream::connect(origin).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut encrypted, &mut plain).await;
                });
            }
        });
        address
    }
}

#[tokio::test]
async fn visitors_may_come_encrypted_behind_a_proxy_header_or_not() {
    let certificate = Certificate::new();
    let identity = certificate.identity();
    let rig = Rig::with(
        |options| {
            options.tls = Some(identity);
            options.proxy_protocol = true;
            options.trusted_proxies =
                vestibule::edge::TrustedProxies::new(vec!["127.0.0.0/8".parse().unwrap()]);
        },
        |_, _| answer(200, "encrypted"),
    );
    let mut plain = Client::connect(rig.address).await;
    plain.send("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n").await;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = soon("the handshake", certificate.connector().connect(name, plain.stream)).await.unwrap();
    let mut client = Client::of(stream);
    for _ in 0..2 {
        assert_eq!(client.ask("GET /", "").await.text(), "encrypted");
    }
    let seen = rig.script.seen.lock().unwrap().clone();
    assert!(seen.iter().all(|seen| seen.secure && seen.client == "192.0.2.1"), "{seen:?}");
}

#[tokio::test]
async fn an_encrypted_origin_must_prove_who_it_is() {
    let (certificate, stranger) = (Certificate::new(), Certificate::new());
    let origin = Origin::start().await;
    for (shown, status) in [(&certificate, 200), (&stranger, 503)] {
        let front = shown.in_front_of(origin.address).await;
        let url = format!("https://localhost:{}", front.port()).parse().unwrap();
        let upstream = Upstream::with_settings(&[url], quick());
        let believed = certificate.file("cert.pem").to_str().unwrap().to_owned();
        let rig = Rig::with(
            |options| options.upstream_ca_file = Some(believed),
            move |_, _| Plan::Forward(forward(&upstream)),
        );
        assert_eq!(Client::connect(rig.address).await.ask("GET /", "").await.status, status);
    }
    assert_eq!(origin.requests().len(), 1);
}
