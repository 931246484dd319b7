//! Plain requests take a short way to the origin, all others Pingora's. Whoever looks from outside sees no difference:
//! every case here goes both ways, and what visitors and origins get is compared.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use vestibule::edge::upstream::UpstreamSettings;
use vestibule::request::{Forward, Plan};

use crate::rig::{Client, Rig, answer, forward, pass, quick, soon, upstream_with};

/// An origin that reads one head after the other and answers with the bytes of a script.
struct Scripted {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Scripted {
    /// `say` gives the bytes for a head; `None` ends the connection. A `~` in them is a moment's pause.
    async fn start(say: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heads, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<usize>>::default());
        let (log, count, say) = (Arc::clone(&heads), Arc::clone(&connections), Arc::new(say));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().unwrap() += 1;
                let (log, say) = (Arc::clone(&log), Arc::clone(&say));
                tokio::spawn(async move {
                    stream.set_nodelay(true).unwrap();
                    let mut client = Client::of(stream);
                    while let Some(head) = client.next_head().await {
                        let head = String::from_utf8_lossy(&head).into_owned();
                        log.lock().unwrap().push(head.clone());
                        let length = field(&head, "content-length").and_then(|length| length.parse().ok());
                        client.exactly(length.unwrap_or(0)).await;
                        if field(&head, "transfer-encoding").is_some() {
                            client.until(b"0\r\n\r\n").await;
                        }
                        let Some(said) = say(&head) else { return };
                        for piece in said.split_inclusive('~') {
                            client.send(piece.trim_end_matches('~')).await;
                            tokio::time::sleep(Duration::from_millis(if piece.ends_with('~') {
                                20
                            } else {
                                0
                            }))
                            .await;
                        }
                        if said.ends_with('~') {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, heads, connections }
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The fields of a head, without what differs from one request to the next.
fn fields(head: &str) -> Vec<String> {
    let mut fields: Vec<String> = head
        .lines()
        .map(|line| match line.split_once(':').filter(|(name, _)| !name.contains(' ')) {
            Some((name, _))
                if ["date", "x-request-id", "traceparent"].contains(&name.to_lowercase().as_str()) =>
            {
                name.to_lowercase()
            }
            Some((name, value)) => format!("{}: {}", name.to_lowercase(), value.trim()),
            None => line.to_owned(),
        })
        .collect();
    // The first line stays first.
    fields[1..].sort();
    fields
}

/// What the visitor and the origin of one request get.
#[derive(Debug, PartialEq)]
struct Outcome {
    status: u16,
    headers: BTreeMap<String, Vec<String>>,
    body: Vec<u8>,
    /// Whether the visitor's connection took another request.
    goes_on: bool,
    asked: Vec<Vec<String>>,
    connections: usize,
}

fn both() -> [bool; 2] {
    [true, false]
}

fn settings() -> UpstreamSettings {
    UpstreamSettings { read: Duration::from_millis(400), ..quick() }
}

/// Sends `request` to an edge in front of an origin that says `said`, then asks once more.
async fn play(short_way: bool, request: &str, said: &'static str, adjust: fn(&mut Forward)) -> Outcome {
    let again = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain";
    let origin = Scripted::start(move |head| {
        Some(if head.contains(" /again ") { again.to_owned() } else { said.to_owned() })
    })
    .await;
    let to_origin = upstream_with(&[origin.address], settings());
    let rig = Rig::with(
        |options| options.short_way = short_way,
        move |_, _| {
            let mut to = forward(&to_origin);
            adjust(&mut to);
            Plan::Forward(to)
        },
    );
    println!("{request:?} answered by {said:?}, short: {short_way}");
    let mut client = Client::connect(rig.address).await;
    client.send(request).await;
    let mut response = client.response(request.starts_with("HEAD ")).await;
    while response.status < 200 {
        response = client.response(request.starts_with("HEAD ")).await;
    }
    let asked = origin.heads.lock().unwrap().iter().map(|head| fields(head)).collect();
    let says_close = response.header("connection") == Some("close");
    let again = "GET /again HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    // Where it is closed already nobody hears it.
    let _ = client.stream.write_all(again.as_bytes()).await;
    let goes_on = soon("the next answer or the end", client.next_head()).await.is_some();
    assert!(!goes_on || !says_close, "{request:?} answered by {said:?}, short: {short_way}");
    let mut headers: BTreeMap<_, _> = response.headers.into_iter().collect();
    assert_eq!(headers.remove("date").map(|dates| dates.len()), Some(1), "{request:?}");
    headers.remove("retry-after");
    let connections = *origin.connections.lock().unwrap();
    Outcome {
        status: response.status,
        headers,
        body: without_trace(&response.body),
        goes_on,
        asked,
        connections,
    }
}

/// Problems carry the id of their trace.
fn without_trace(body: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(serde_json::Value::Object(mut problem)) => {
            problem.remove("trace_id");
            serde_json::to_vec(&problem).unwrap()
        }
        _ => body.to_vec(),
    }
}

async fn compare(request: &str, said: &'static str, adjust: fn(&mut Forward)) -> Outcome {
    let (short, mut long) =
        (play(true, request, said, adjust).await, play(false, request, said, adjust).await);
    if request != GET {
        // Requests that are not plain go Pingora's way always; the next one brings its own connection then.
        long.connections = short.connections;
    }
    assert_eq!(short, long, "{request:?} answered by {said:?}");
    short
}

const GET: &str = "GET /a?b=1 HTTP/1.1\r\nHost: shop.example\r\nX-Own: 1\r\nAccept: */*\r\n\r\n";

#[tokio::test]
async fn every_framing_of_an_answer_means_the_same_both_ways() {
    for (said, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-A: 1\r\nX-A: 2\r\n\r\nbody", "body"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbo~dy", "body"),
        ("HTTP/1.1 200 OK\r\nConte~nt-Length: 4\r\n\r~\nbody", "body"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "body"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo~\r~\n2;x=y\r\n~dy\r\n0\r~\n\r\n",
            "body",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Trailer: 1\r\n\r\n",
            "body",
        ),
        ("HTTP/1.1 200 OK\r\nX: 1\r\n\r\nuntil the end~", "until the end"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody", "body"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody~", "body"),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n", ""),
        ("HTTP/1.1 404 No such thing\r\nContent-Length: 2\r\nVestibule-Command: release\r\n\r\nno", "no"),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "ok",
        ),
        ("HTTP/1.1 102 Processing\r\n\r\n~HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nok", "ok"),
    ] {
        let outcome = compare(GET, said, |_| {}).await;
        assert_eq!(String::from_utf8_lossy(&outcome.body), body, "{said:?}");
        assert!(outcome.goes_on, "{said:?}");
    }
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_both_ways() {
    let head = "HEAD / HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ] {
        let outcome = compare(head, said, |_| {}).await;
        assert!(outcome.goes_on && outcome.body.is_empty(), "{said:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn answers_that_cannot_be_understood_are_told_the_same_both_ways() {
    for said in [
        "no HTTP at all\r\n\r\n~",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody~",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nbody~",
        "HTTP/1.1 200 OK\r\nContent-Len~",
        "~",
    ] {
        let outcome = compare(GET, said, |_| {}).await;
        assert_eq!((outcome.status, outcome.goes_on), (502, false), "{said:?}");
    }
}

#[tokio::test]
async fn the_short_way_is_clear_where_pingora_just_hangs_up() {
    let list = "HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nbody";
    let outcome = play(true, GET, list, |_| {}).await;
    assert_eq!((outcome.status, outcome.body.as_slice(), outcome.goes_on), (200, &b"body"[..], true));
    assert_eq!(outcome.headers["content-length"], ["4"]);
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n~";
    assert_eq!(play(true, GET, upgrade, |_| {}).await.status, 502);
    let both =
        "HTTP/1.1 200 OK\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    let outcome = play(true, GET, both, |_| {}).await;
    assert_eq!(
        (outcome.body.as_slice(), outcome.connections),
        (&b"body"[..], 2),
        "it is not trusted further"
    );
    for said in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nbody~",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n~",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n~",
    ] {
        assert_eq!(play(true, GET, said, |_| {}).await.status, 502, "{said:?}");
    }
}

#[tokio::test]
async fn every_request_reaches_the_origin_the_same_both_ways() {
    let said = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let ours = "vestibule_pass_e1=x; a=1; vestibule_ticket_e1=y";
    let bearer = "eyJ0eXAiOiJ2ZXN0aWJ1bGUtcGFzcytqd3QiLCJhbGciOiJIUzI1NiJ9.e30.AA";
    for lines in [
        String::new(),
        format!("Cookie: {ours}\r\nCookie: vestibule_pass_e1=x\r\nCookie: b=\"2, 3\";c\r\n"),
        format!("Authorization: Bearer {bearer}\r\n"),
        "Authorization: Bearer of-the-site\r\nAuthorization: Basic dTpw\r\n".into(),
        "Vestibule-Pass: forged\r\nVESTIBULE_PASS: forged\r\nX_Forwarded_For: 1\r\nx-real-ip: 1\r\nForwarded: for=1\r\n"
            .into(),
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Request-Id: forged\r\nQueue-Pass: forged\r\n".into(),
        "Connection: keep-alive\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nTE: gzip\r\n".into(),
        "Connection: close\r\n".into(),
        "Connection: X-Private, keep-alive\r\nX-Private: 1\r\n".into(),
        "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n".into(),
        "Upgrade: h2c\r\nTrailer: x\r\n".into(),
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=b\r\n".into(),
        "traceparent: nonsense\r\ntracestate: a=b\r\n".into(),
        "X-Latin: \u{e9}\r\nX-Empty:\r\nX-Blank:   a  b  \r\n".into(),
    ] {
        for (line, body) in [
            ("GET /x/../a?b", ""),
            ("POST http://shop.example/a", "Content-Length: 4\r\n\r\nbody"),
            ("PUT /a", "Content-Length: 0\r\n\r\n"),
            ("DELETE //a", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ] {
            let body = if body.is_empty() { "\r\n" } else { body };
            let request = format!("{line} HTTP/1.1\r\nHost: shop.example\r\n{lines}{body}");
            let outcome = compare(&request, said, |_| {}).await;
            assert_eq!((outcome.status, outcome.asked.len()), (200, 1), "{request}");
        }
    }
}

#[tokio::test]
async fn what_the_plan_adds_is_added_both_ways() {
    let cookies: fn(&mut Forward) = |to| to.set_cookies = vec!["pass=2".parse().unwrap()];
    let said = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: public\r\nSet-Cookie: a=1\r\n\r\nok";
    let outcome = compare(GET, said, cookies).await;
    assert_eq!(outcome.headers["set-cookie"], ["a=1", "pass=2"]);
    let failed = compare(GET, "~", cookies).await;
    assert_eq!((failed.status, &failed.headers["set-cookie"]), (502, &vec!["pass=2".to_owned()]));
    let aside: fn(&mut Forward) = |to| (to.pass, to.room) = (None, None);
    let outcome = compare(GET, said, aside).await;
    assert!(!outcome.asked[0].iter().any(|line| line.starts_with("vestibule-")), "{:?}", outcome.asked);
}

#[tokio::test]
async fn a_silent_origin_is_given_up_both_ways() {
    for short_way in both() {
        let outcome = play(short_way, GET, "", |_| {}).await;
        assert_eq!((outcome.status, outcome.goes_on), (504, false), "short: {short_way}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_on_as_whole() {
    for short_way in both() {
        for said in [
            "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n~only so much~",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n~4\r\nbody\r\n~",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n~4\r\nbody\r\n~nonsense\r\n",
        ] {
            let origin = Scripted::start(move |_| Some(said.to_owned())).await;
            let to_origin = upstream_with(&[origin.address], settings());
            let rig = Rig::with(
                |options| options.short_way = short_way,
                move |_, _| Plan::Forward(forward(&to_origin)),
            );
            println!("{said:?}, short: {short_way}");
            let mut client = Client::connect(rig.address).await;
            client.send(GET).await;
            assert_eq!(client.head().await.status, 200);
            let rest = client.rest().await;
            assert!(
                !rest.ends_with(b"0\r\n\r\n") && rest.len() < 40,
                "{said:?}, short: {short_way}: {rest:?}"
            );
        }
    }
}

#[tokio::test]
async fn more_than_the_answer_is_never_the_answer_to_the_next_request() {
    for short_way in both() {
        let said =
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        let outcome = play(short_way, GET, said, |_| {}).await;
        assert_eq!((outcome.status, outcome.body.as_slice(), outcome.goes_on), (200, &b"ok"[..], true));
        assert_eq!(outcome.connections, 2, "short: {short_way}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_lets_go_of_the_origin() {
    for short_way in both() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to_origin = upstream_with(&[listener.local_addr().unwrap()], quick());
        let rig = Rig::with(
            |options| options.short_way = short_way,
            move |_, _| Plan::Forward(forward(&to_origin)),
        );
        let mut client = Client::connect(rig.address).await;
        client.send(GET).await;
        let mut origin = Client::of(listener.accept().await.unwrap().0);
        origin.until(b"\r\n\r\n").await;
        drop(client);
        assert!(origin.is_closed().await, "short: {short_way}");
    }
}

#[tokio::test]
async fn an_answer_may_come_before_the_body_has_gone_up() {
    for short_way in both() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to_origin = upstream_with(&[listener.local_addr().unwrap()], quick());
        let rig = Rig::with(
            |options| options.short_way = short_way,
            move |_, _| Plan::Forward(forward(&to_origin)),
        );
        let mut client = Client::connect(rig.address).await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await;
        let mut origin = Client::of(listener.accept().await.unwrap().0);
        origin.until(b"abc").await;
        origin.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsee").await;
        assert_eq!(client.head().await.status, 200);
        assert_eq!(client.exactly(3).await, b"see");
        client.send("defghi").await;
        origin.until(b"defghi").await;
        origin.send("you").await;
        assert_eq!(client.exactly(3).await, b"you", "short: {short_way}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_waited_for_no_longer_than_allowed() {
    for short_way in both() {
        let origin = Scripted::start(|_| None).await;
        let to_origin = upstream_with(&[origin.address], quick());
        let rig = Rig::with(
            |options| {
                options.short_way = short_way;
                options.limits.body = Duration::from_millis(200);
            },
            move |_, _| Plan::Forward(forward(&to_origin)),
        );
        let mut client = Client::connect(rig.address).await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await;
        let response = client.response(false).await;
        assert_eq!(
            (response.status, response.header("connection")),
            (408, Some("close")),
            "short: {short_way}"
        );
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn events_end_with_the_session_whether_they_were_asked_for_or_not() {
    for (short_way, accept) in both().into_iter().flat_map(|way| [(way, "text/event-stream"), (way, "*/*")]) {
        let said = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
            9\r\ndata: 1\n\n\r\n";
        let origin = Scripted::start(move |_| Some(said.to_owned())).await;
        let to_origin = upstream_with(&[origin.address], quick());
        let rig = Rig::with(
            |options| options.short_way = short_way,
            move |_, _| Plan::Forward(Forward { pass: Some(pass(0.4)), ..forward(&to_origin) }),
        );
        let mut client = Client::connect(rig.address).await;
        client.send(format!("GET /events HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n")).await;
        assert_eq!(client.head().await.status, 200);
        assert_eq!(client.chunk().await.unwrap(), b"data: 1\n\n");
        let ended = tokio::time::timeout(Duration::from_secs(3), client.rest()).await;
        assert_eq!(ended.expect("the stream goes on"), b"", "short: {short_way}, {accept}");
    }
}

#[tokio::test]
async fn an_edge_that_stops_says_so_in_answers_of_both_ways() {
    for short_way in both() {
        let (asked, was_asked) = tokio::sync::oneshot::channel();
        let asked = Mutex::new(Some(asked));
        let origin = Scripted::start(move |_| {
            asked.lock().unwrap().take().map(|asked| asked.send(()));
            Some("~~~~~HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into())
        })
        .await;
        let to_origin = upstream_with(&[origin.address], quick());
        let rig = Rig::with(
            |options| options.short_way = short_way,
            move |head, _| {
                if head.path == "/wait" { answer(200, "") } else { Plan::Forward(forward(&to_origin)) }
            },
        );
        let mut client = Client::connect(rig.address).await;
        client.send(GET).await;
        soon("the request at the origin", was_asked).await.unwrap();
        rig.stop.send(true).unwrap();
        let response = client.response(false).await;
        assert_eq!((response.text().as_str(), response.header("connection")), ("ok", Some("close")));
        assert!(client.is_closed().await, "short: {short_way}");
    }
}
