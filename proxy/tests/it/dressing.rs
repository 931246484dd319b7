//! What the origin sees of a request and the visitor of an answer: nothing imitated, nothing of ours lost.

use vestibule::edge::TrustedProxies;
use vestibule::request::{Command, Forward, Plan};

use crate::rig::{Client, Origin, Rig, VISITOR, forward, nobody, reply, upstream};

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
    let cookies: Vec<_> = request.headers.get_all("cookie").iter().map(http::HeaderValue::as_bytes).collect();
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
    let sent: Vec<_> = origin.requests().iter().map(|request| request.all("authorization")).collect();
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
        (requests[0].one("x-forwarded-for"), requests[0].one("x-forwarded-proto")),
        ("127.0.0.1".into(), "http".into())
    );
    assert_eq!(
        (requests[1].one("x-forwarded-for"), requests[1].one("x-forwarded-proto")),
        ("192.0.2.1, 127.0.0.1".into(), "https".into())
    );
}

#[tokio::test]
async fn a_trace_is_continued() {
    let origin = Origin::start().await;
    let rig = Rig::forwarding(&[origin.address]);
    let mut client = Client::connect(rig.address).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    client.ask("GET /", &format!("traceparent: {parent}\r\ntracestate: a=b\r\n")).await;
    client.ask("GET /", "traceparent: nonsense\r\ntracestate: a=b\r\n").await;
    let requests = origin.requests();
    assert_eq!(
        (requests[0].one("traceparent").as_str(), requests[0].one("tracestate").as_str()),
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
            headers: vestibule::request::Lines::default(),
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
        assert_eq!(client.ask("GET /", "X-Forwarded-For: 6.6.6.6\r\n").await.text(), "192.0.2.1");
    }
    let mut without = Client::connect(trusted.address).await;
    without.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(without.is_closed().await, "a trusted peer must send one");

    let stranger = rig("10.0.0.0/8");
    let mut client = Client::connect(stranger.address).await;
    client.send("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n").await;
    assert_eq!(client.ask("GET /", "").await.status, 505, "from a stranger it is a bad request line");
    let mut client = Client::connect(stranger.address).await;
    assert_eq!(client.ask("GET /", "").await.text(), "127.0.0.1");
}

#[tokio::test]
async fn the_word_of_an_origin_is_always_stripped_and_obeyed_when_trusted() {
    let origin = Origin::with(|request| async move {
        let mut reply = reply(200, "done");
        let headers = reply.headers_mut();
        headers.insert(
            "vestibule-command",
            if request.target.contains("revoke") { "revoke" } else { "release" }.parse().unwrap(),
        );
        if request.target.contains("cached") {
            headers.insert("age", "10".parse().unwrap());
        }
        reply
    })
    .await;
    let to_origin = upstream(&[origin.address]);
    let rig = Rig::start(move |head, _| {
        Plan::Forward(Forward { trust_commands: head.path.starts_with("/trusted"), ..forward(&to_origin) })
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
    let commands: Vec<_> =
        rig.script.commands.lock().unwrap().iter().map(|(_, _, command)| *command).collect();
    assert_eq!(commands, [Command::Release, Command::Revoke]);
}

#[tokio::test]
async fn the_cookies_of_the_plan_reach_the_visitor_and_no_cache() {
    let origin = Origin::with(|_| async {
        let mut reply = reply(200, "ok");
        reply.headers_mut().insert("set-cookie", "site=1".parse().unwrap());
        reply.headers_mut().insert("cache-control", "public, max-age=60".parse().unwrap());
        reply
    })
    .await;
    let (up, down) = (upstream(&[origin.address]), upstream(&[nobody().await]));
    let rig = Rig::start(move |head, _| {
        let upstream = if head.path == "/up" { &up } else { &down };
        Plan::Forward(Forward { set_cookies: vec!["pass=2".parse().unwrap()], ..forward(upstream) })
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
}
