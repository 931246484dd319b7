//! Bytes through the edge: keep-alive, pipelining, bodies, event streams.

use std::time::Duration;

use futures_util::StreamExt as _;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::io::AsyncReadExt as _;
use vestibule::request::Plan;

use crate::rig::{
    Client, DEADLINE, Origin, Rig, answer, forward, pass, quick, reply, soon, upstream, upstream_with,
};

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
        assert_eq!((shop.status, shop.text()), (200, format!("GET /shop?round={round}")));
    }
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
        let body = if number.is_multiple_of(2) { "" } else { "Content-Length: 4\r\n" };
        let bytes = if body.is_empty() { "" } else { "body" };
        (path, format!("{method} /{path}/{number} HTTP/1.1\r\nHost: a\r\n{body}\r\n{bytes}"))
    };
    // Number 9 is an answer to a body that nobody reads: it ends the connection.
    let numbers: Vec<u32> = (1..9).filter(|number| *number != 3).collect();
    client.send(numbers.iter().map(|number| one(*number).1).collect::<String>()).await;
    for number in numbers {
        let expected = if one(number).0 == "wait" { "waiting".to_owned() } else { format!("/shop/{number}") };
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
            if head.path == "/wait" { answer(200, "") } else { Plan::Forward(forward(&to_origin)) }
        },
    );
    for path in ["/wait", "/shop"] {
        let mut client = Client::connect(rig.address).await;
        let response = client.ask(&format!("GET {path}"), "Connection: close\r\n").await;
        assert_eq!(response.header("connection"), Some("close"), "{path}");
        assert!(client.is_closed().await, "{path}");

        let mut client = Client::connect(rig.address).await;
        client.send(format!("GET {path} HTTP/1.0\r\nHost: a\r\n\r\n")).await;
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
    assert_eq!(client.ask("HEAD /wait", "").await.header("content-length"), Some("7"));
    assert_eq!(client.ask("HEAD /shop", "").await.header("content-length"), Some("10"));
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
        let framing =
            if chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {SIZE}") };
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut writer, head.as_bytes()).await.unwrap();
        for piece in body.chunks(100_000) {
            let piece = if chunked {
                [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
            } else {
                piece.to_vec()
            };
            soon("the upload", tokio::io::AsyncWriteExt::write_all(&mut writer, &piece)).await.unwrap();
        }
        if chunked {
            tokio::io::AsyncWriteExt::write_all(&mut writer, b"0\r\n\r\n").await.unwrap();
        }
        let response = client.response(false).await;
        assert!(response.body == body, "{} bytes came back, chunked: {chunked}", response.body.len());
        assert_eq!(client.ask("GET /after", "").await.status, 200, "the connection is still good");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_never_cross() {
    let origin =
        Origin::with(
            |request| async move { reply(200, [request.target.as_bytes(), &request.body].concat()) },
        )
        .await;
    let to_origin = upstream(&[origin.address]);
    let rig = Rig::start(move |head, _| match head.path.as_str() {
        "/wait" => answer(503, "queued"),
        _ => Plan::Forward(forward(&to_origin)),
    });
    let edge = rig.address;
    let visitors = (0..8).map(|visitor| {
        tokio::spawn(async move {
            let mut client = Client::connect(edge).await;
            for round in 0..60 {
                let (target, body) = (format!("/{visitor}/{round}"), "x".repeat(round * 97));
                let request = match round % 4 {
                    0 => format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
                    1 => format!("HEAD {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
                    2 => format!(
                        "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    ),
                    _ => {
                        let head =
                            format!("PUT {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
                        format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
                    }
                };
                client.send(format!("{request}GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")).await;
                let answered = client.response(round % 4 == 1).await;
                let expected = if round % 4 > 1 { format!("{target}{body}") } else { target };
                match round % 4 {
                    1 => assert_eq!(
                        answered.header("content-length"),
                        Some(expected.len().to_string().as_str())
                    ),
                    _ => assert_eq!(answered.text(), expected),
                }
                assert_eq!(client.response(false).await.text(), "queued");
            }
        })
    });
    for visitor in visitors {
        visitor.await.unwrap();
    }
}

#[tokio::test]
async fn an_expected_100_comes_from_the_origin() {
    let origin = Origin::with(|request| async move { reply(200, request.body) }).await;
    let rig = Rig::forwarding(&[origin.address]);
    let mut client = Client::connect(rig.address).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.head().await.status, 100);
    client.send("body").await;
    assert_eq!(client.response(false).await.text(), "body");
}

#[tokio::test]
async fn an_old_client_gets_a_stream_without_chunks() {
    let origin = Origin::with(|_| async {
        let pieces = futures_util::stream::iter(["one ", "two"]).map(|piece| Ok(Frame::data(piece.into())));
        http::Response::new(http_body_util::BodyExt::boxed(StreamBody::new(pieces)))
    })
    .await;
    let rig = Rig::forwarding(&[origin.address]);
    let mut client = Client::connect(rig.address).await;
    client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!((head.header("transfer-encoding"), head.header("connection")), (None, Some("close")));
    assert_eq!(client.rest().await, b"one two");
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
        Plan::Forward(vestibule::request::Forward { pass: Some(pass(0.4)), ..forward(&to_origin) })
    });
    let mut client = Client::connect(rig.address).await;
    client.send("GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.chunk().await.unwrap(), b"data: 1\n\n");
    let started = std::time::Instant::now();
    assert!(client.is_closed().await);
    assert!(started.elapsed() < DEADLINE / 2, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_silent_event_stream_outlives_the_read_timeout() {
    let origin = event_origin().await;
    let settings =
        vestibule::edge::upstream::UpstreamSettings { read: Duration::from_millis(100), ..quick() };
    let to_origin = upstream_with(&[origin.address], settings);
    let rig = Rig::start(move |_, _| Plan::Forward(forward(&to_origin)));
    let mut client = Client::connect(rig.address).await;
    client.send("GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    client.chunk().await.unwrap();
    let more = tokio::time::timeout(Duration::from_millis(500), client.stream.read_u8()).await;
    assert!(more.is_err(), "{more:?}");
}
