//! SIGTERM: what is under way is finished, nothing new begins, and then the process is gone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::process::{Setup, enter};
use crate::rig::{Client, Origin, UPGRADE, soon};

const OPEN: &str = "total_active_users = 100\nnew_users_per_minute = 60000";
const FULL: &str = "total_active_users = 1\nnew_users_per_minute = 60000\nsettle_window = \"0s\"";

/// An origin that takes its time: `/upload` answers once the body is there, `/download` sends its second half when
/// told, `/socket` echoes.
struct SlowOrigin {
    address: SocketAddr,
    go_on: watch::Sender<bool>,
}

impl SlowOrigin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (go_on, told) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Client::of(stream), told.clone()));
            }
        });
        Self { address, go_on }
    }
}

async fn serve(mut client: Client, mut told: watch::Receiver<bool>) {
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    let length = |bytes: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
    if head.starts_with("POST /upload") {
        let body = client.exactly(6).await;
        client.send([length(6).into_bytes(), body].concat()).await;
    } else if head.starts_with("GET /download") {
        client.send(length(6) + "one").await;
        told.wait_for(|told| *told).await.unwrap();
        client.send("two").await;
    } else if head.starts_with("GET /socket") {
        client
            .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            .await;
        while let Some(bytes) = client.some().await {
            client.send(bytes).await;
        }
    } else {
        client.send(length(0)).await;
    }
    client.rest().await;
}

#[tokio::test]
async fn readiness_goes_off_at_once_and_newcomers_are_served_a_little_longer() {
    let origin = Origin::start().await;
    let mut edge = Setup::new(origin.address, None, OPEN).start(&["--linger", "1500ms"]).await;
    assert_eq!(edge.readiness().await, (200, json!({"ready": true, "store": "here"})));
    let mut kept = Client::connect(edge.site).await;
    let before = kept.ask("GET /before", "").await;
    assert_eq!((before.status, before.header("connection")), (200, Some("keep-alive")));
    let pass = before.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let pass = format!("Cookie: {pass}\r\n");

    edge.signal("-TERM");
    let told = Instant::now();
    soon("readiness off", async { while edge.readiness().await.0 == 200 {} }).await;
    assert!(told.elapsed() < Duration::from_millis(1000), "only after {:?}", told.elapsed());
    let off = json!({"ready": false, "store": "here", "reasons": ["stopping"]});
    assert_eq!(edge.readiness().await, (503, off));
    assert_eq!(edge.probe("/livez").await.0, 200);
    // Forwarded answers and own ones say that their connection ends, old connections and new ones alike.
    let mut new = Client::connect(edge.site).await;
    for (client, path) in [(&mut kept, "GET /after"), (&mut new, "GET /_queue/rooms/e1")] {
        let answer = client.ask(path, &pass).await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{path}");
        assert!(client.is_closed().await);
    }
    assert_eq!(edge.exit().await.0, Some(0));
    assert!(told.elapsed() >= Duration::from_millis(1500), "it lingered only {:?}", told.elapsed());
}

#[tokio::test]
async fn an_idle_edge_ends_as_soon_as_it_has_lingered() {
    let origin = Origin::start().await;
    let mut edge =
        Setup::new(origin.address, None, OPEN).start(&["--linger", "300ms", "--drain", "1h"]).await;
    let mut idle = Client::connect(edge.site).await;
    assert_eq!(idle.ask("GET /", "").await.status, 200);
    edge.signal("-TERM");
    assert!(idle.is_closed().await);
    // Whoever asked in that very moment was not heard, but is not reset either: that could eat an unread answer.
    is_not_reset(&mut idle, b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n").await;
    drop(idle);
    let (code, took) = edge.exit().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "it took {took:?}");
}

#[tokio::test]
async fn a_probe_that_never_finishes_its_question_does_not_hold_up_the_end() {
    let origin = Origin::start().await;
    let mut edge = Setup::new(origin.address, None, OPEN).start(&["--linger", "100ms"]).await;
    let mut probe = Client::connect(edge.operator).await;
    assert_eq!(probe.ask("GET /livez", "").await.status, 200);
    probe.send("GET /metrics HTTP/1.1\r\nHost:").await;
    edge.signal("-TERM");
    let (code, took) = edge.exit().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "it took {took:?}");
}

/// Goes on writing for a while after the other side has ended its half.
async fn is_not_reset(client: &mut Client, bytes: &[u8]) {
    for _ in 0..5 {
        client.send(bytes).await;
        tokio::time::sleep(Duration::from_millis(20)).await; // the wait is the subject: a reset would be here by now
    }
}

#[tokio::test]
async fn uploads_downloads_and_tunnels_are_finished() {
    let origin = SlowOrigin::start().await;
    let mut edge = Setup::new(origin.address, None, OPEN).start(&["--linger", "100ms"]).await;
    let (mut upload, mut download, mut tunnel) = (
        Client::connect(edge.site).await,
        Client::connect(edge.site).await,
        Client::connect(edge.site).await,
    );
    upload.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nslo").await;
    download.send("GET /download HTTP/1.1\r\nHost: a\r\n\r\n").await;
    download.head().await;
    assert_eq!(download.exactly(3).await, b"one");
    tunnel.send(format!("GET /socket HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n")).await;
    assert_eq!(tunnel.head().await.status, 101);

    edge.signal("-TERM");
    edge.refuses().await;
    upload.send("wly").await;
    let uploaded = upload.response(false).await;
    assert_eq!((uploaded.text().as_str(), uploaded.header("connection")), ("slowly", Some("close")));
    origin.go_on.send_replace(true);
    assert_eq!(download.exactly(3).await, b"two");
    tunnel.send("still here").await;
    assert_eq!(tunnel.exactly(10).await, b"still here");
    assert!(edge.runs(), "a tunnel is under way");
    drop((upload, download, tunnel));
    let (code, took) = edge.exit().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "it took {took:?}");
}

#[tokio::test]
async fn what_does_not_end_is_cut_after_the_drain() {
    let origin = SlowOrigin::start().await;
    let flags = ["--linger", "100ms", "--drain", "300ms"];
    let mut edge = Setup::new(origin.address, None, OPEN).start(&flags).await;
    let mut download = Client::connect(edge.site).await;
    download.send("GET /download HTTP/1.1\r\nHost: a\r\n\r\n").await;
    download.head().await;
    edge.signal("-TERM");
    let (code, took) = edge.exit().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    assert!(edge.said().contains("they did not end in time"), "{}", edge.said());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let origin = SlowOrigin::start().await;
    for second in ["-TERM", "-INT"] {
        let mut edge =
            Setup::new(origin.address, None, OPEN).start(&["--linger", "100ms", "--drain", "1h"]).await;
        let mut download = Client::connect(edge.site).await;
        download.send("GET /download HTTP/1.1\r\nHost: a\r\n\r\n").await;
        download.head().await;
        edge.signal("-TERM");
        edge.refuses().await;
        assert!(edge.runs());
        edge.signal(second);
        let (code, took) = edge.exit().await;
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(2), "it took {took:?}");
    }
}

#[tokio::test]
async fn waiters_are_told_when_to_come_back_each_at_another_moment() {
    const WAITERS: usize = 40;
    let origin = Origin::start().await;
    let mut edge = Setup::new(origin.address, None, FULL).start(&["--linger", "200ms"]).await;
    enter(edge.site).await;
    let mut screens = Vec::new();
    for _ in 0..WAITERS {
        let mut visitor = edge.visitor();
        visitor.join().await;
        screens.push(visitor.watch().await);
    }
    // This one is half-way through its question when the others are told.
    let mut late = edge.visitor();
    late.join().await;
    let mut slow = Client::connect(edge.site).await;
    let cookie = format!("Cookie: vestibule_ticket_e1={}\r\n", late.ticket().unwrap());
    slow.send(format!("GET /_queue/ws HTTP/1.1\r\nHost: shop.example\r\n{cookie}")).await;

    edge.signal("-TERM");
    let mut moments = Vec::new();
    for screen in &mut screens {
        moments.push(screen.next_of("server.bye").await["reconnect_in_ms"].as_u64().unwrap());
        assert_eq!(screen.closed().await, 1012);
    }
    drop(screens);
    assert!(moments.iter().all(|moment| (500..=5_500).contains(moment)), "{moments:?}");
    let together = |from: &u64| moments.iter().filter(|moment| (*from..from + 500).contains(*moment)).count();
    let herd = moments.iter().map(together).max().unwrap();
    assert!(
        herd <= WAITERS * 4 / 10,
        "{herd} of {WAITERS} would come back within half a second: {moments:?}"
    );

    slow.send(format!("{UPGRADE}\r\n")).await;
    assert_eq!(slow.head().await.status, 101);
    soon("the goodbye", slow.until(b"server.bye")).await;
    // The code 1012.
    soon("the end", slow.until(&[0x03, 0xf4])).await;
    is_not_reset(&mut slow, &[0x89, 0x80, 1, 2, 3, 4]).await;
    drop(slow);
    let (code, took) = edge.exit().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "it took {took:?}");
}
