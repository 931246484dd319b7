//! `WebSocket`s: those of waiters, which the edge holds itself, and those of admitted visitors, which it tunnels.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use vestibule::mailbox::Mailbox;
use vestibule::metrics::WsType;
use vestibule::request::{Plan, SocketPlan};
use vestibule::socket;

use crate::rig::{Client, Origin, Rig, UPGRADE, echo, forward, nobody, pass, reply, soon, upstream};

/// One masked text frame.
fn frame(text: &str) -> Vec<u8> {
    let mask = [1_u8, 2, 3, 4];
    let payload = text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
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
    assert_eq!(switched.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(switched.header("sec-websocket-protocol"), Some("vestibule.v1"));
    assert_eq!(switched.header("set-cookie"), Some("t=1"));
    assert_eq!(client.exactly(7).await, b"\x81\x05early");
    client.send(frame("later")).await;
    assert_eq!(client.exactly(7).await, b"\x81\x05later");
}

#[tokio::test]
async fn a_waiter_without_a_whole_handshake_is_told_what_is_missing() {
    let rig = Rig::start(|_, _| echo());
    for lines in ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n", &UPGRADE.replace("13", "8")] {
        let response = Client::connect(rig.address).await.ask("GET /_queue/ws", lines).await;
        assert_eq!(
            (response.status, response.header("sec-websocket-version")),
            (426, Some("13")),
            "{lines:?}"
        );
    }
}

/// Waits, as a waiter does, for what is put into the mailbox.
fn waits(mailbox: &Arc<Mailbox>) -> Plan {
    let mailbox = Arc::clone(mailbox);
    Plan::Socket(SocketPlan {
        headers: Vec::new(),
        run: Box::new(|socket| Box::pin(socket::run(socket, mailbox))),
    })
}

/// A client behind its handshake.
async fn waiter(rig: &Rig) -> Client {
    let mut client = Client::connect(rig.address).await;
    client.send(format!("GET /_queue/ws HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n")).await;
    assert_eq!(client.head().await.status, 101);
    client
}

#[tokio::test]
async fn a_waiter_that_breaks_the_rules_is_told_which_and_closed() {
    for (what, said, code) in [
        ("a text frame that announces 8 KiB", vec![0x81, 0xfe, 0x20, 0x00, 1, 2, 3, 4], 1009_u16),
        ("a frame without a mask", vec![0x81, 0x01, b'x'], 1002),
        ("a binary message that is called text", vec![0x81, 0x81, 0, 0, 0, 0, 0xff], 1007),
    ] {
        let rig = Rig::start(|_, _| waits(&Arc::default()));
        let mut client = waiter(&rig).await;
        client.send(said).await;
        assert_eq!(client.exactly(4).await, [&[0x88, 2][..], &code.to_be_bytes()].concat(), "{what}");
        client.send([0x88, 0x80, 0, 0, 0, 0]).await;
        assert!(client.is_closed().await, "{what}");
    }
}

#[tokio::test]
async fn a_waiter_that_pings_is_answered_and_one_that_closes_is_closed_with_the_same_code() {
    let rig = Rig::start(|_, _| waits(&Arc::default()));
    let mut client = waiter(&rig).await;
    client.send([0x89, 0x82, 0, 0, 0, 0, b'h', b'i']).await;
    assert_eq!(client.exactly(4).await, b"\x8a\x02hi");
    client.send([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]).await;
    assert_eq!(client.exactly(4).await, [0x88, 2, 0x03, 0xe9]);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_waiter_that_talks_all_the_time_is_cut_off() {
    let rig = Rig::start(|_, _| waits(&Arc::default()));
    let mut client = waiter(&rig).await;
    client.send(frame("x").repeat(300)).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn what_is_said_to_a_waiter_arrives_while_the_client_is_silent_and_so_does_the_goodbye() {
    let mailbox = Arc::new(Mailbox::default());
    let plan = Arc::clone(&mailbox);
    let rig = Rig::start(move |_, _| waits(&plan));
    mailbox.urgent(WsType::Ticket, b"before the socket ");
    let mut client = waiter(&rig).await;
    assert_eq!(client.exactly(18).await, b"before the socket ");
    mailbox.update(b"an update");
    assert_eq!(client.exactly(9).await, b"an update");
    mailbox.close(1012);
    assert_eq!(client.exactly(4).await, [0x88, 2, 0x03, 0xf4]);
    client.send([0x88, 0x80, 0, 0, 0, 0]).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_waiter_whose_client_is_gone_is_over() {
    let mailbox = Arc::new(Mailbox::default());
    let plan = Arc::clone(&mailbox);
    let rig = Rig::start(move |_, _| waits(&plan));
    drop(waiter(&rig).await);
    // The plan and this test hold it, and as long as it lives the task.
    soon("the end of the task", async {
        while Arc::strong_count(&mailbox) > 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_costs_little() {
    // Two descriptors each: within the usual limit of 1024.
    const WAITERS: usize = 200;
    let rig = Rig::start(|_, _| waits(&Arc::default()));
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok()).unwrap_or_default()
    };
    let mut waiters = Vec::new();
    let mut open = async |count: usize| {
        for _ in 0..count {
            let mut client = Client::connect(rig.address).await;
            client.send(format!("GET /_queue/ws HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n")).await;
            assert_eq!(client.head().await.status, 101);
            // The client's own buffer must not be measured.
            waiters.push(client.stream);
        }
    };
    open(50).await;
    let before = resident();
    open(WAITERS).await;
    println!(
        "{:.1} KiB a waiter, its client included (rough, and only if run alone)",
        resident().saturating_sub(before) as f64 / WAITERS as f64
    );
    let mut last = Client::of(waiters.pop().unwrap());
    last.send([0x89, 0x80, 0, 0, 0, 0]).await;
    assert_eq!(last.exactly(2).await, [0x8a, 0]);
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
        assert!(!head.contains("forged") && head.contains("upgrade: websocket\r\n"), "{head}");
        assert!(head.contains("sec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n"), "{head}");
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
        client.send(format!("GET /live HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n")).await;
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
    assert_eq!((response.status, response.json()["code"].as_str()), (503, Some("upstream-unreachable")));
}
