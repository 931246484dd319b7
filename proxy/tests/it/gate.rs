//! Nothing gets past the gate: one meaning for every request, or none.

use std::net::SocketAddr;
use std::time::Duration;

use vestibule::request::Plan;

use crate::rig::{Client, Origin, Rig, answer, forward, soon, upstream};

/// Sends `bytes` on a connection of its own and returns the status of the first answer, with its problem code.
async fn refusal(edge: SocketAddr, bytes: &[u8]) -> (u16, String) {
    let mut client = Client::connect(edge).await;
    client.send(bytes).await;
    let response = client.response(false).await;
    assert_eq!(response.header("connection"), Some("close"), "{}", String::from_utf8_lossy(bytes));
    assert!(client.is_closed().await);
    (response.status, response.json()["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn heads_with_two_meanings_never_reach_the_origin() {
    let origin = Origin::start().await;
    let rig = Rig::forwarding(&[origin.address]);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (head, status) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded: 2\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\0: 1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /%2e%2e/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a/..;/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ] {
        let (refused, _) = refusal(rig.address, format!("{head}{smuggled}").as_bytes()).await;
        assert_eq!(refused, status, "{head:?}");
    }
    assert_eq!(origin.requests().len(), 0);
    assert!(rig.paths().is_empty());
}

#[tokio::test]
async fn a_body_that_is_chunked_loosely_ends_the_connection() {
    let origin = Origin::start().await;
    let rig = Rig::forwarding(&[origin.address]);
    for body in ["5\r\nab\r\n0\r\n\r\n", "0x2\r\nab\r\n0\r\n\r\n", "2\nab\n0\n\n", "2;\n\r\nab\r\n0\r\n\r\n"]
    {
        let mut client = Client::connect(rig.address).await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
            ))
            .await;
        let rest = client.rest().await;
        assert!(!String::from_utf8_lossy(&rest).contains("/smuggled"), "{body:?}");
    }
    assert!(!rig.paths().contains(&"/smuggled".to_owned()));
    assert!(origin.requests().iter().all(|request| request.target != "/smuggled"));
}

#[tokio::test]
async fn what_follows_a_request_meets_the_gate_like_every_other() {
    let origin = Origin::start().await;
    let to_origin = upstream(&[origin.address]);
    let rig = Rig::start(move |head, _| match head.path.as_str() {
        "/open" => Plan::Forward(forward(&to_origin)),
        _ => answer(403, "no"),
    });
    for first in [
        "GET /open HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n",
    ] {
        let mut client = Client::connect(rig.address).await;
        client.send(format!("{first}GET /secret HTTP/1.1\r\nHost: a\r\n\r\n{first}")).await;
        let statuses = [
            client.response(false).await.status,
            client.response(false).await.status,
            client.response(false).await.status,
        ];
        assert_eq!(statuses, [200, 403, 200], "{first:?}");
    }
    assert!(origin.requests().iter().all(|request| request.target == "/open"));
}

#[tokio::test]
async fn every_spelling_of_a_path_is_matched_as_the_same_place() {
    let rig =
        Rig::start(|head, _| if head.path == "/buy/now" { answer(200, "gated") } else { answer(404, "") });
    let mut client = Client::connect(rig.address).await;
    for target in [
        "/buy/now",
        "/BUY/now",
        "/%62uy/now",
        "/buy%2fnow",
        "//buy/now",
        "/buy//now",
        "/./buy/now",
        "/x/../buy/now",
        "/buy;v=1/now",
        "/buy/now?x=/../y",
        "http://shop.example/buy/now",
    ] {
        assert_eq!(client.ask(&format!("GET {target}"), "").await.text(), "gated", "{target}");
    }
    let hosts: Vec<_> = rig.script.seen.lock().unwrap().iter().map(|seen| seen.host.clone()).collect();
    assert!(hosts.iter().all(|host| host == "shop.example"), "{hosts:?}");
}

#[tokio::test]
async fn the_origin_sees_the_place_that_was_matched() {
    let origin = Origin::start().await;
    let rig = Rig::forwarding(&[origin.address]);
    let mut client = Client::connect(rig.address).await;
    for (target, sent) in [
        ("/a%20b?c=%2F", "/a%20b?c=%2F"),
        ("/x/../buy?y", "/buy?y"),
        ("//evil/buy", "/evil/buy"),
        ("http://shop.example/buy?y", "/buy?y"),
        ("http://shop.example", "/"),
    ] {
        assert_eq!(client.ask(&format!("GET {target}"), "").await.text(), format!("GET {sent}"), "{target}");
    }
}

#[tokio::test]
async fn empty_lines_before_a_request_are_passed_over() {
    let origin = Origin::start().await;
    let rig = Rig::forwarding(&[origin.address]);
    let mut client = Client::connect(rig.address).await;
    for (first, then) in [("", "\r\n\r\n"), ("\r", "\n"), ("\r\n\r", "\n\r\n")] {
        client.send(first).await;
        // Let the edge read what is there. It must make no difference if it does not.
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.send(format!("{then}GET /x/../y HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(client.response(false).await.text(), "GET /y", "{first:?} {then:?}");
    }
}

#[tokio::test]
async fn slow_and_huge_heads_are_ended() {
    let rig = Rig::with(|options| options.limits.head = Duration::from_millis(200), |_, _| answer(200, "ok"));
    let mut slow = Client::connect(rig.address).await;
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    let drip = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if tokio::io::AsyncWriteExt::write_all(&mut slow.stream, b"X: 1\r\n").await.is_err() {
                return;
            }
        }
    };
    // One deadline for the whole head: a byte now and then does not buy time.
    soon("the end of a dripping head", async {
        tokio::select! { () = drip => {}, () = tokio::time::sleep(Duration::from_millis(600)) => {} }
    })
    .await;
    assert_eq!(slow.head().await.status, 408);

    let silent = Client::connect(rig.address).await;
    assert!({ silent }.is_closed().await, "nothing asked, nothing answered");

    let huge = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    assert_eq!(refusal(rig.address, huge.as_bytes()).await, (431, "head-too-large".into()));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(120));
    assert_eq!(refusal(rig.address, many.as_bytes()).await, (431, "head-too-large".into()));
    assert!(rig.paths().is_empty());
}

#[tokio::test]
async fn bodies_of_our_own_calls_are_small_and_counted() {
    let rig = Rig::start(
        |_, body| {
            if body == b"{\"room\":\"e1\"}" { answer(201, "joined") } else { answer(400, "") }
        },
    );
    let mut client = Client::connect(rig.address).await;
    let head = "POST /_queue/join HTTP/1.1\r\nHost: a\r\n";
    client.send(format!("{head}Content-Length: 13\r\n\r\n{{\"room\":\"e1\"}}")).await;
    assert_eq!(client.response(false).await.status, 201);
    client.send(format!("{head}Content-Length: 13\r\nExpect: 100-continue\r\n\r\n")).await;
    assert_eq!(client.head().await.status, 100);
    client.send("{\"room\":\"e1\"}").await;
    assert_eq!(client.response(false).await.status, 201, "the connection is still good");

    let large = format!("{head}Content-Length: 4097\r\n\r\n");
    assert_eq!(refusal(rig.address, large.as_bytes()).await, (413, "body-too-large".into()));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(refusal(rig.address, chunked.as_bytes()).await, (411, "length-required".into()));
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_not_taken_for_a_request() {
    let rig = Rig::start(|_, _| answer(503, "queued"));
    let mut client = Client::connect(rig.address).await;
    let body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    client
        .send(format!("POST /buy HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
        .await;
    let response = client.response(false).await;
    assert_eq!((response.status, response.header("connection")), (503, Some("close")));
    assert!(client.is_closed().await);
    assert_eq!(rig.paths(), ["/buy"]);
}
