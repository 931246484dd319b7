//! Bytes through the edge: keep-alive, pipelining, streaming, tunnels, waiters, the end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use vestibule::request::{Plan, SocketPlan};

use crate::rig::{
    Client, DEADLINE, Origin, Rig, answer, forward, nobody, pass, quick, reply, soon, upstream, upstream_with,
};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn a_connection_carries_answers_and_forwarded_requests_in_turn() {
    let origin = Origin::start().await;
    let to_origin = upstream(&[origin.address]);
    let rig = Rig::start(move |head, _| match head.path.as_str() {
        "/wait" => answer(503, "queued"),
        _ => Plan::Forward(forward(&to_origin)),
    });
    let mut client = Client::connect(rig.address).await;
    for round in 0..3 {
        let waiting = client.ask("GET /wait", "").await;
        assert_eq!((waiting.status, waiting.text().as_str()), (503, "queued"));
        let shop = client.ask(&format!("GET /shop?round={round}"), "").await;
        assert_eq!(
            (shop.status, shop.text()),
            (200, format!("GET /shop?round={round}"))
        );
    }
}

/// Echoes, and says at first what it is.
fn echo() -> Plan {
    let run = |mut socket: vestibule::edge::websocket::WaiterSocket| {
        let work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            while let Some(Ok(message)) = socket.next().await {
                if !message.is_text() || socket.send(message).await.is_err() {
                    return;
                }
            }
        });
        work
    };
    Plan::Socket(SocketPlan {
        headers: vec![(http::header::SET_COOKIE, "t=1".parse().unwrap())],
        run: Box::new(run),
    })
}

/// One masked text frame.
fn frame(text: &str) -> Vec<u8> {
    let mask = [1_u8, 2, 3, 4];
    let payload = text
        .bytes()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask);
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap()];
    frame.extend(mask);
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn a_waiter_is_heard_even_right_behind_its_head() {
    let rig = Rig::start(|_, _| echo());
    let mut client = Client::connect(rig.address).await;
    let head = format!(
        "GET /_queue/ws HTTP/1.1\r\nHost: a\r\n{UPGRADE}Sec-WebSocket-Protocol: vestibule.v1\r\n\r\n"
    );
    client.send([head.into_bytes(), frame("early")].concat()).await;
    let switched = client.head().await;
    assert_eq!(switched.status, 101);
    assert_eq!(
        switched.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(switched.header("sec-websocket-protocol"), Some("vestibule.v1"));
    assert_eq!(switched.header("set-cookie"), Some("t=1"));
    assert_eq!(client.exactly(7).await, b"\x81\x05early");
    client.send(frame("later")).await;
    assert_eq!(client.exactly(7).await, b"\x81\x05later");
}

#[tokio::test]
async fn a_waiter_without_a_whole_handshake_is_told_what_is_missing() {
    let rig = Rig::start(|_, _| echo());
    for lines in [
        "",
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        &UPGRADE.replace("13", "8"),
    ] {
        let response = Client::connect(rig.address)
            .await
            .ask("GET /_queue/ws", lines)
            .await;
        assert_eq!(
            (response.status, response.header("sec-websocket-version")),
            (426, Some("13")),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn a_waiter_that_says_too_much_is_closed() {
    let rig = Rig::start(|_, _| echo());
    let mut client = Client::connect(rig.address).await;
    client
        .send(format!("GET /_queue/ws HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n"))
        .await;
    assert_eq!(client.head().await.status, 101);
    // A text frame that announces 8 KiB.
    client.send([0x81, 0xfe, 0x20, 0x00, 1, 2, 3, 4]).await;
    client.rest().await;
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_order() {
    let origin = Origin::with(|request| async move {
        // The later a request, the faster its answer.
        let number: u64 = request.target.trim_start_matches("/shop/").parse().unwrap();
        tokio::time::sleep(Duration::from_millis(20 - number)).await;
        reply(200, request.target)
    })
    .await;
    let to_origin = upstream(&[origin.address]);
    let rig = Rig::start(move |head, _| match head.path.strip_prefix("/wait") {
        Some(_) => answer(200, "waiting"),
        None => Plan::Forward(forward(&to_origin)),
    });
    let mut client = Client::connect(rig.address).await;
    let one = |number: u32| {
        let path = if number.is_multiple_of(3) { "wait" } else { "shop" };
        let method = if number.is_multiple_of(2) { "GET" } else { "POST" };
        let body = if number.is_multiple_of(2) {
            ""
        } else {
            "Content-Length: 4\r\n"
        };
        let bytes = if body.is_empty() { "" } else { "body" };
        (
            path,
            format!("{method} /{path}/{number} HTTP/1.1\r\nHost: a\r\n{body}\r\n{bytes}"),
        )
    };
    // Number 9 is an answer to a body that nobody reads: it ends the connection.
    let numbers: Vec<u32> = (1..9).filter(|number| *number != 3).collect();
    client
        .send(numbers.iter().map(|number| one(*number).1).collect::<String>())
        .await;
    for number in numbers {
        let expected = if one(number).0 == "wait" {
            "waiting".to_owned()
        } else {
            format!("/shop/{number}")
        };
        assert_eq!(client.response(false).await.text(), expected, "{number}");
    }
}

#[tokio::test]
async fn a_connection_ends_when_either_side_says_so() {
    let origin = Origin::start().await;
    let to_origin = upstream(&[origin.address]);
    let rig = Rig::with(
        |options| options.limits.keep_alive = Duration::from_millis(100),
        move |head, _| {
            if head.path == "/wait" {
                answer(200, "")
            } else {
                Plan::Forward(forward(&to_origin))
            }
        },
    );
    for path in ["/wait", "/shop"] {
        let mut client = Client::connect(rig.address).await;
        let response = client.ask(&format!("GET {path}"), "Connection: close\r\n").await;
        assert_eq!(response.header("connection"), Some("close"), "{path}");
        assert!(client.is_closed().await, "{path}");

        let mut client = Client::connect(rig.address).await;
        client
            .send(format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(client.response(false).await.status, 200);
        assert!(client.is_closed().await, "{path} over HTTP/1.0");

        let mut idle = Client::connect(rig.address).await;
        assert_eq!(idle.ask(&format!("GET {path}"), "").await.status, 200);
        assert!(idle.is_closed().await, "{path}, then silence");
    }
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let origin = Origin::start().await;
    let to_origin = upstream(&[origin.address]);
    let rig = Rig::start(move |head, _| match head.path.as_str() {
        "/wait" => answer(200, "waiting"),
        _ => Plan::Forward(forward(&to_origin)),
    });
    let mut client = Client::connect(rig.address).await;
    assert_eq!(
        client.ask("HEAD /wait", "").await.header("content-length"),
        Some("7")
    );
    assert_eq!(
        client.ask("HEAD /shop", "").await.header("content-length"),
        Some("10")
    );
    assert_eq!(client.ask("GET /shop", "").await.text(), "GET /shop");
}

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    const SIZE: usize = 8 * 1024 * 1024;
    let origin = Origin::with(|request| async move { reply(200, request.body) }).await;
    let rig = Rig::forwarding(&[origin.address]);
    let body: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    for chunked in [false, true] {
        let mut client = Client::connect(rig.address).await;
        let (reader, mut writer) = client.stream.split();
        let _ = reader;
        let framing = if chunked {
            "Transfer-Encoding: chunked".into()
        } else {
            format!("Content-Length: {SIZE}")
        };
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut writer, head.as_bytes())
            .await
            .unwrap();
        for piece in body.chunks(100_000) {
            let piece = match chunked {
                true => [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat(),
                false => piece.to_vec(),
            };
            soon(
                "the upload",
                tokio::io::AsyncWriteExt::write_all(&mut writer, &piece),
            )
            .await
            .unwrap();
        }
        if chunked {
            tokio::io::AsyncWriteExt::write_all(&mut writer, b"0\r\n\r\n")
                .await
                .unwrap();
        }
        let response = client.response(false).await;
        assert!(
            response.body == body,
            "{} bytes came back, chunked: {chunked}",
            response.body.len()
        );
        assert_eq!(
            client.ask("GET /after", "").await.status,
            200,
            "the connection is still good"
        );
    }
}

#[tokio::test]
async fn an_expected_100_comes_from_the_origin() {
    let origin = Origin::with(|request| async move { reply(200, request.body) }).await;
    let rig = Rig::forwarding(&[origin.address]);
    let mut client = Client::connect(rig.address).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status, 100);
    client.send("body").await;
    assert_eq!(client.response(false).await.text(), "body");
}

/// An origin that sends one event and then keeps the stream open.
async fn event_origin() -> Origin {
    Origin::with(|_| async {
        let first = futures_util::stream::once(async { Ok(Frame::data("data: 1\n\n".into())) });
        let endless = first.chain(futures_util::stream::pending());
        http::Response::builder()
            .header("content-type", "text/event-stream; charset=utf-8")
            .body(http_body_util::BodyExt::boxed(StreamBody::new(endless)))
            .unwrap()
    })
    .await
}

#[tokio::test]
async fn events_come_at_once_and_end_with_the_session() {
    let origin = event_origin().await;
    let to_origin = upstream(&[origin.address]);
    let rig = Rig::start(move |_, _| {
        Plan::Forward(vestibule::request::Forward {
            pass: Some(pass(0.4)),
            ..forward(&to_origin)
        })
    });
    let mut client = Client::connect(rig.address).await;
    client
        .send("GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.chunk().await.unwrap(), b"data: 1\n\n");
    let started = std::time::Instant::now();
    assert!(client.is_closed().await);
    assert!(started.elapsed() < DEADLINE / 2, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_silent_event_stream_outlives_the_read_timeout() {
    let origin = event_origin().await;
    let settings = vestibule::edge::upstream::UpstreamSettings {
        read: Duration::from_millis(100),
        ..quick()
    };
    let to_origin = upstream_with(&[origin.address], settings);
    let rig = Rig::start(move |_, _| Plan::Forward(forward(&to_origin)));
    let mut client = Client::connect(rig.address).await;
    client
        .send("GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status, 200);
    client.chunk().await.unwrap();
    let more = tokio::time::timeout(Duration::from_millis(500), client.stream.read_u8()).await;
    assert!(more.is_err(), "{more:?}");
}

/// An origin that upgrades, sends `greeting` in the same write as its 101, and echoes.
async fn tunnel_origin(greeting: &'static str) -> (std::net::SocketAddr, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut client = Client::of(stream);
                let head = client.until(b"\r\n\r\n").await;
                log.lock().unwrap().push(String::from_utf8(head).unwrap());
                let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Vestibule-Command: release\r\n\r\n";
                client.send(format!("{switched}{greeting}")).await;
                while let Some(bytes) = client.some().await {
                    client.send(bytes).await;
                }
            });
        }
    });
    (address, heads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_loses_nothing_however_fast_the_origin_speaks() {
    let (origin, heads) = tunnel_origin("greetings").await;
    let to_origin = upstream(&[origin]);
    let rig = Rig::start(move |_, _| Plan::Forward(forward(&to_origin)));
    let edge = rig.address;
    let visits = (0..8).map(|visitor| {
        tokio::spawn(async move {
            for round in 0..100 {
                let mut client = Client::connect(edge).await;
                let early = format!("early {visitor}/{round}");
                client
                    .send(format!("GET /live?{round} HTTP/1.1\r\nHost: a\r\nVestibule-Pass: forged\r\n{UPGRADE}\r\n{early}"))
                    .await;
                let head = client.head().await;
                assert_eq!((head.status, head.header("vestibule-command")), (101, None));
                assert_eq!(client.exactly(9).await, b"greetings");
                assert_eq!(client.exactly(early.len()).await, early.as_bytes());
                client.send("later").await;
                assert_eq!(client.exactly(5).await, b"later");
            }
        })
    });
    for visit in visits {
        visit.await.unwrap();
    }
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 800);
    for head in heads.iter() {
        let head = head.to_ascii_lowercase();
        assert!(
            head.starts_with("get /live?") && head.contains("vestibule-pass: the.signed.pass\r\n"),
            "{head}"
        );
        assert!(
            !head.contains("forged") && head.contains("upgrade: websocket\r\n"),
            "{head}"
        );
        assert!(
            head.contains("sec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_tunnel_ends_with_its_session_and_with_silence() {
    let (origin, _) = tunnel_origin("").await;
    for (seconds, idle) in [(0.3, Duration::from_secs(60)), (60.0, Duration::from_millis(150))] {
        let to_origin = upstream(&[origin]);
        let rig = Rig::with(
            |options| options.limits.tunnel = idle,
            move |_, _| {
                Plan::Forward(vestibule::request::Forward {
                    pass: Some(pass(seconds)),
                    ..forward(&to_origin)
                })
            },
        );
        let mut client = Client::connect(rig.address).await;
        client
            .send(format!("GET /live HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n"))
            .await;
        assert_eq!(client.head().await.status, 101);
        client.send("hello").await;
        assert_eq!(client.exactly(5).await, b"hello");
        assert!(client.is_closed().await, "{seconds} s, {idle:?}");
    }
}

#[tokio::test]
async fn an_origin_that_refuses_the_upgrade_is_heard() {
    let origin = Origin::with(|_| async { reply(403, "not you") }).await;
    let rig = Rig::forwarding(&[origin.address]);
    let response = Client::connect(rig.address).await.ask("GET /live", UPGRADE).await;
    assert_eq!((response.status, response.text().as_str()), (403, "not you"));
    assert_eq!(response.header("connection"), Some("close"));

    let rig = Rig::forwarding(&[nobody().await]);
    let response = Client::connect(rig.address).await.ask("GET /live", UPGRADE).await;
    assert_eq!(
        (response.status, response.json()["code"].as_str()),
        (503, Some("upstream-unreachable"))
    );
}

#[tokio::test]
async fn a_dead_origin_is_told_as_a_problem_or_a_page() {
    let rig = Rig::forwarding(&[nobody().await]);
    let api = Client::connect(rig.address)
        .await
        .ask("POST /buy", "Accept: application/json\r\nContent-Length: 0\r\n")
        .await;
    assert_eq!(
        (api.status, api.header("content-type")),
        (503, Some("application/problem+json"))
    );
    assert_eq!(api.json()["type"], "urn:vestibule:problem:upstream-unreachable");
    assert_eq!(api.json()["trace_id"].as_str().unwrap().len(), 32);
    assert_eq!(
        (api.header("retry-after"), api.header("cache-control")),
        (Some("5"), Some("no-store"))
    );
    let page = Client::connect(rig.address)
        .await
        .ask("GET /", "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n")
        .await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (503, Some("text/html; charset=utf-8"))
    );
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
    let settings = vestibule::edge::upstream::UpstreamSettings {
        read: Duration::from_millis(200),
        ..quick()
    };
    let to_origin = upstream_with(&[address], settings);
    let rig = Rig::start(move |_, _| Plan::Forward(forward(&to_origin)));
    for (path, status, code) in [
        ("/sleep", 504, "upstream-timeout"),
        ("/babble", 502, "upstream-failed"),
        ("/close", 502, "upstream-failed"),
    ] {
        let response = Client::connect(rig.address)
            .await
            .ask(&format!("GET {path}"), "")
            .await;
        assert_eq!(
            (response.status, response.json()["code"].as_str()),
            (status, Some(code)),
            "{path}"
        );
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
async fn a_request_in_flight_survives_the_stop() {
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = Arc::clone(&gate);
    let origin = Origin::with(move |_| {
        let (started, opened) = (started.clone(), Arc::clone(&opened));
        async move {
            started.send(()).unwrap();
            opened.notified().await;
            reply(200, "finished")
        }
    })
    .await;
    let to_origin = upstream(&[origin.address]);
    let (off, mut is_off) = tokio::sync::oneshot::channel();
    let rig = Rig::with(
        move |options| options.on_stop = Box::new(move || off.send(()).unwrap()),
        move |head, _| {
            if head.path == "/wait" {
                answer(200, "")
            } else {
                Plan::Forward(forward(&to_origin))
            }
        },
    );
    let mut idle = Client::connect(rig.address).await;
    assert_eq!(idle.ask("GET /wait", "").await.status, 200);
    let mut busy = Client::connect(rig.address).await;
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    soon("the request at the origin", starts.recv()).await.unwrap();
    assert!(is_off.try_recv().is_err());

    rig.stop.send(true).unwrap();
    soon("readiness off", is_off).await.unwrap();
    assert!(idle.is_closed().await, "an idle connection ends at once");
    assert!(!rig.handle.done.is_finished());
    gate.notify_one();
    let response = busy.response(false).await;
    assert_eq!(response.text(), "finished");
    assert!(busy.is_closed().await);
    soon("the end of the edge", rig.handle.done).await.unwrap();
    assert!(tokio::net::TcpStream::connect(rig.address).await.is_err());
}

#[tokio::test]
async fn while_it_lingers_the_edge_still_serves() {
    let rig = Rig::with(
        |options| options.limits.linger = Duration::from_millis(500),
        |_, _| answer(200, "still here"),
    );
    rig.stop.send(true).unwrap();
    assert_eq!(
        Client::connect(rig.address).await.ask("GET /", "").await.text(),
        "still here"
    );
    soon("the end of the edge", rig.handle.done).await.unwrap();
}

#[tokio::test]
async fn sessions_that_do_not_end_are_cut_in_the_end() {
    let rig = Rig::with(
        |options| options.limits.drain = Duration::from_millis(100),
        |_, _| echo(),
    );
    let mut client = Client::connect(rig.address).await;
    client
        .send(format!("GET /_queue/ws HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n"))
        .await;
    assert_eq!(client.head().await.status, 101);
    rig.stop.send(true).unwrap();
    soon("the end of the edge", rig.handle.done).await.unwrap();
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_edge_that_is_full_says_so() {
    let rig = Rig::with(|options| options.limits.connections = 1, |_, _| answer(200, "ok"));
    let mut first = Client::connect(rig.address).await;
    assert_eq!(first.ask("GET /", "").await.status, 200);
    let mut second = Client::connect(rig.address).await;
    let turned_away = second.response(false).await;
    assert_eq!(
        (turned_away.status, turned_away.json()["code"].as_str()),
        (503, Some("edge-full"))
    );
    drop(first);
    soon("a free place", async {
        loop {
            let mut third = Client::connect(rig.address).await;
            third.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            if third.response(false).await.status == 200 {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_costs_little() {
    const WAITERS: usize = 2000;
    let rig = Rig::start(|_, _| echo());
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok())
            .unwrap_or_default()
    };
    let mut waiters = Vec::new();
    let mut open = async |count: usize| {
        for _ in 0..count {
            let mut client = Client::connect(rig.address).await;
            client
                .send(format!("GET /_queue/ws HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n"))
                .await;
            assert_eq!(client.head().await.status, 101);
            // The client's own buffer must not be measured.
            waiters.push(client.stream);
        }
    };
    open(200).await;
    let before = resident();
    open(WAITERS).await;
    println!(
        "{:.1} KiB a waiter, its client included",
        (resident() - before) as f64 / WAITERS as f64
    );
    let last = tokio_tungstenite::WebSocketStream::from_raw_socket(
        waiters.pop().unwrap(),
        Role::Client,
        Some(WebSocketConfig::default()),
    );
    let mut last = last.await;
    last.send(Message::text("there")).await.unwrap();
    assert_eq!(
        soon("the echo", last.next()).await.unwrap().unwrap(),
        Message::text("there")
    );
}
