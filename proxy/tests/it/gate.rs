//! Nothing gets past the gate, and nothing pretends to have passed it.

use std::net::SocketAddr;
use std::time::Duration;

use vestibule::edge::TrustedProxies;
use vestibule::request::{Command, Forward, Plan};

use crate::rig::{Client, Origin, Rig, VISITOR, answer, forward, nobody, reply, soon, until, upstream};

/// Sends `bytes` on a connection of its own and returns the status of the first answer, with its problem code.
async fn refusal(edge: SocketAddr, bytes: &[u8]) -> (u16, String) {
    let mut client = Client::connect(edge).await;
    client.send(bytes).await;
    let response = client.response(false).await;
    assert_eq!(
        response.header("connection"),
        Some("close"),
        "{}",
        String::from_utf8_lossy(bytes)
    );
    assert!(client.is_closed().await);
    (
        response.status,
        response.json()["code"].as_str().unwrap().to_owned(),
    )
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
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: 1\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
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
    for body in [
        "5\r\nab\r\n0\r\n\r\n",
        "0x2\r\nab\r\n0\r\n\r\n",
        "2\nab\n0\n\n",
        "2;\n\r\nab\r\n0\r\n\r\n",
    ] {
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
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| request.target != "/smuggled")
    );
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
        client
            .send(format!("{first}GET /secret HTTP/1.1\r\nHost: a\r\n\r\n{first}"))
            .await;
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
    let rig = Rig::start(|head, _| {
        if head.path == "/buy/now" {
            answer(200, "gated")
        } else {
            answer(404, "")
        }
    });
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
        assert_eq!(
            client.ask(&format!("GET {target}"), "").await.text(),
            "gated",
            "{target}"
        );
    }
    let hosts: Vec<_> = rig
        .script
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|seen| seen.host.clone())
        .collect();
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
        assert_eq!(
            client.ask(&format!("GET {target}"), "").await.text(),
            format!("GET {sent}"),
            "{target}"
        );
    }
}

#[tokio::test]
async fn headers_that_imitate_ours_are_taken_off() {
    let origin = Origin::start().await;
    let rig = Rig::forwarding(&[origin.address]);
    let mut client = Client::connect(rig.address).await;
    let lines = "Vestibule-Pass: forged\r\nVESTIBULE_PASS: forged\r\nVestibule-Visitor: forged\r\nVestibule-Admin: 1\r\n\
        Queue-Pass: forged\r\nQueue_Ticket: forged\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 6.6.6.6\r\n\
        Forwarded: for=6.6.6.6\r\nX-Request-Id: forged\r\nX-Kept: yes\r\n\
        Connection: keep-alive, X-Private\r\nX-Private: hop\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\n";
    assert_eq!(client.ask("GET /", lines).await.status, 200);
    let request = origin.only();
    assert_eq!(request.one("vestibule-pass"), "the.signed.pass");
    assert_eq!(request.one("vestibule-visitor"), VISITOR);
    assert_eq!(request.one("x-forwarded-for"), "127.0.0.1");
    assert_eq!(request.one("x-forwarded-proto"), "http");
    assert_eq!(request.one("x-forwarded-host"), "shop.example");
    assert_eq!(request.one("host"), "shop.example");
    assert_eq!(request.one("x-kept"), "yes");
    assert_eq!(request.one("x-request-id"), &request.one("traceparent")[3..35]);
    for gone in [
        "vestibule_pass",
        "vestibule-admin",
        "queue-pass",
        "queue_ticket",
        "x_forwarded_for",
        "x-forwarded-port",
        "x-real-ip",
        "forwarded",
        "x-private",
        "keep-alive",
        "proxy-connection",
        "te",
    ] {
        assert!(request.all(gone).is_empty(), "{gone}: {:?}", request.all(gone));
    }
}

#[tokio::test]
async fn our_cookies_are_taken_out_and_the_others_stay_byte_for_byte() {
    let origin = Origin::start().await;
    let rig = Rig::forwarding(&[origin.address]);
    let mut client = Client::connect(rig.address).await;
    let ours = "vestibule_pass_e1=x.y.z; __Host-vestibule_ticket_e1=t";
    let lines = format!("Cookie: a=\"1, 2\";b==;  c; {ours}; d=\u{e9}\r\nCookie: {ours}\r\nCookie: e=5\r\n");
    assert_eq!(client.ask("GET /", &lines).await.status, 200);
    let request = origin.only();
    let cookies: Vec<_> = request
        .headers
        .get_all("cookie")
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    assert_eq!(cookies, ["a=\"1, 2\";b==;  c; d=\u{e9}".as_bytes(), b"e=5"]);
}

#[tokio::test]
async fn only_a_bearer_of_ours_is_taken_off() {
    let origin = Origin::start().await;
    let rig = Rig::forwarding(&[origin.address]);
    let mut client = Client::connect(rig.address).await;
    // {"typ":"vestibule-pass+jwt","alg":"HS256"}
    let ours = "Bearer eyJ0eXAiOiJ2ZXN0aWJ1bGUtcGFzcytqd3QiLCJhbGciOiJIUzI1NiJ9.e30.AA";
    for value in ["Bearer site-token", "Basic dTpw", ours] {
        client.ask("GET /", &format!("Authorization: {value}\r\n")).await;
    }
    let sent: Vec<_> = origin
        .requests()
        .iter()
        .map(|request| request.all("authorization"))
        .collect();
    assert_eq!(sent, [vec!["Bearer site-token"], vec!["Basic dTpw"], vec![]]);
}

#[tokio::test]
async fn forwarding_headers_count_only_from_trusted_proxies() {
    let origin = Origin::start().await;
    let to_origin = upstream(&[origin.address]);
    let proxies = TrustedProxies::default();
    let known = proxies.clone();
    let rig = Rig::with(
        move |options| options.trusted_proxies = known,
        move |_, _| Plan::Forward(forward(&to_origin)),
    );
    let mut client = Client::connect(rig.address).await;
    let lines = "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\nX-Forwarded-Proto: https\r\n";
    client.ask("GET /", lines).await;
    proxies.replace(vec!["127.0.0.0/8".parse().unwrap()]);
    client.ask("GET /", lines).await;
    let seen = rig.script.seen.lock().unwrap().clone();
    assert_eq!((seen[0].client.as_str(), seen[0].secure), ("127.0.0.1", false));
    assert_eq!((seen[1].client.as_str(), seen[1].secure), ("192.0.2.1", true));
    let requests = origin.requests();
    assert_eq!(
        (
            requests[0].one("x-forwarded-for"),
            requests[0].one("x-forwarded-proto")
        ),
        ("127.0.0.1".into(), "http".into())
    );
    assert_eq!(
        (
            requests[1].one("x-forwarded-for"),
            requests[1].one("x-forwarded-proto")
        ),
        ("192.0.2.1, 127.0.0.1".into(), "https".into())
    );
}

#[tokio::test]
async fn a_trace_is_continued() {
    let origin = Origin::start().await;
    let rig = Rig::forwarding(&[origin.address]);
    let mut client = Client::connect(rig.address).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    client
        .ask("GET /", &format!("traceparent: {parent}\r\ntracestate: a=b\r\n"))
        .await;
    client
        .ask("GET /", "traceparent: nonsense\r\ntracestate: a=b\r\n")
        .await;
    let requests = origin.requests();
    assert_eq!(
        (
            requests[0].one("traceparent").as_str(),
            requests[0].one("tracestate").as_str()
        ),
        (parent, "a=b")
    );
    assert_ne!(requests[1].one("traceparent"), "nonsense");
    assert!(requests[1].all("tracestate").is_empty());
}

#[tokio::test]
async fn a_proxy_protocol_header_is_believed_from_trusted_peers_only() {
    let plan = |head: &vestibule::request::Head, _: &[u8]| {
        Plan::Answer(vestibule::request::Answer {
            status: http::StatusCode::OK,
            headers: Vec::new(),
            body: head.client.to_string().into(),
        })
    };
    let rig = |trusted: &str| {
        let proxies = TrustedProxies::new(vec![trusted.parse().unwrap()]);
        Rig::with(
            move |options| {
                options.proxy_protocol = true;
                options.trusted_proxies = proxies;
            },
            plan,
        )
    };
    let trusted = rig("127.0.0.0/8");
    for header in [
        b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\x12\x67\x01\xbb".to_vec(),
    ] {
        let mut client = Client::connect(trusted.address).await;
        client.send(header).await;
        assert_eq!(
            client.ask("GET /", "X-Forwarded-For: 6.6.6.6\r\n").await.text(),
            "192.0.2.1"
        );
    }
    let mut without = Client::connect(trusted.address).await;
    without.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(without.is_closed().await, "a trusted peer must send one");

    let stranger = rig("10.0.0.0/8");
    let mut client = Client::connect(stranger.address).await;
    client
        .send("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n")
        .await;
    assert_eq!(
        client.ask("GET /", "").await.status,
        505,
        "from a stranger it is a bad request line"
    );
    let mut client = Client::connect(stranger.address).await;
    assert_eq!(client.ask("GET /", "").await.text(), "127.0.0.1");
}

#[tokio::test]
async fn slow_and_huge_heads_are_ended() {
    let rig = Rig::with(
        |options| options.limits.head = Duration::from_millis(200),
        |_, _| answer(200, "ok"),
    );
    let mut slow = Client::connect(rig.address).await;
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    let drip = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if tokio::io::AsyncWriteExt::write_all(&mut slow.stream, b"X: 1\r\n")
                .await
                .is_err()
            {
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
    assert_eq!(
        refusal(rig.address, huge.as_bytes()).await,
        (431, "head-too-large".into())
    );
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(120));
    assert_eq!(
        refusal(rig.address, many.as_bytes()).await,
        (431, "head-too-large".into())
    );
    assert!(rig.paths().is_empty());
}

#[tokio::test]
async fn bodies_of_our_own_calls_are_small_and_counted() {
    let rig = Rig::start(|_, body| {
        if body == b"{\"room\":\"e1\"}" {
            answer(201, "joined")
        } else {
            answer(400, "")
        }
    });
    let mut client = Client::connect(rig.address).await;
    let head = "POST /_queue/join HTTP/1.1\r\nHost: a\r\n";
    client
        .send(format!("{head}Content-Length: 13\r\n\r\n{{\"room\":\"e1\"}}"))
        .await;
    assert_eq!(client.response(false).await.status, 201);
    client
        .send(format!(
            "{head}Content-Length: 13\r\nExpect: 100-continue\r\n\r\n"
        ))
        .await;
    assert_eq!(client.head().await.status, 100);
    client.send("{\"room\":\"e1\"}").await;
    assert_eq!(
        client.response(false).await.status,
        201,
        "the connection is still good"
    );

    let large = format!("{head}Content-Length: 4097\r\n\r\n");
    assert_eq!(
        refusal(rig.address, large.as_bytes()).await,
        (413, "body-too-large".into())
    );
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(
        refusal(rig.address, chunked.as_bytes()).await,
        (411, "length-required".into())
    );
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_not_taken_for_a_request() {
    let rig = Rig::start(|_, _| answer(503, "queued"));
    let mut client = Client::connect(rig.address).await;
    let body = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    client
        .send(format!(
            "POST /buy HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    let response = client.response(false).await;
    assert_eq!(
        (response.status, response.header("connection")),
        (503, Some("close"))
    );
    assert!(client.is_closed().await);
    assert_eq!(rig.paths(), ["/buy"]);
}

#[tokio::test]
async fn the_word_of_an_origin_is_always_stripped_and_obeyed_when_trusted() {
    let origin = Origin::with(|request| async move {
        let mut reply = reply(200, "done");
        let headers = reply.headers_mut();
        headers.insert(
            "vestibule-command",
            if request.target.contains("revoke") {
                "revoke"
            } else {
                "release"
            }
            .parse()
            .unwrap(),
        );
        if request.target.contains("cached") {
            headers.insert("age", "10".parse().unwrap());
        }
        reply
    })
    .await;
    let to_origin = upstream(&[origin.address]);
    let rig = Rig::start(move |head, _| {
        Plan::Forward(Forward {
            trust_commands: head.path.starts_with("/trusted"),
            ..forward(&to_origin)
        })
    });
    let mut client = Client::connect(rig.address).await;
    for target in ["/doubted", "/trusted/cached", "/trusted", "/trusted/revoke"] {
        let response = client.ask(&format!("GET {target}"), "").await;
        assert_eq!(
            (response.text().as_str(), response.header("vestibule-command")),
            ("done", None),
            "{target}"
        );
    }
    let commands: Vec<_> = rig
        .script
        .commands
        .lock()
        .unwrap()
        .iter()
        .map(|(_, _, command)| *command)
        .collect();
    assert_eq!(commands, [Command::Release, Command::Revoke]);
}

#[tokio::test]
async fn the_cookies_of_the_plan_reach_the_visitor_and_no_cache() {
    let origin = Origin::with(|_| async {
        let mut reply = reply(200, "ok");
        reply
            .headers_mut()
            .insert("set-cookie", "site=1".parse().unwrap());
        reply
            .headers_mut()
            .insert("cache-control", "public, max-age=60".parse().unwrap());
        reply
    })
    .await;
    let (up, down) = (upstream(&[origin.address]), upstream(&[nobody().await]));
    let rig = Rig::start(move |head, _| {
        let upstream = if head.path == "/up" { &up } else { &down };
        Plan::Forward(Forward {
            set_cookies: vec!["pass=2".parse().unwrap()],
            ..forward(upstream)
        })
    });
    let up = Client::connect(rig.address).await.ask("GET /up", "").await;
    assert_eq!(up.headers["set-cookie"], ["site=1", "pass=2"]);
    assert_eq!(up.header("cache-control"), Some("private, no-store"));
    let down = Client::connect(rig.address).await.ask("GET /down", "").await;
    assert_eq!(
        (down.status, &down.headers["set-cookie"]),
        (503, &vec!["pass=2".to_owned()]),
        "the place is not lost"
    );
    until("both requests were seen", || rig.paths().len() == 2).await;
}
