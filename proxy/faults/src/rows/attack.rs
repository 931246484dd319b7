//! Visitors who mean no good: floods, bad manners, tickets that are shared, spent and replayed.

use std::time::{Duration, Instant};

use crowd::token;
use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::fleet::Store;
use crate::fleet::config::ROOM;
use crate::http::Ask;
use crate::report::{GENEROSITY, Report};
use crate::stage::Stage;
use crate::trouble::Trouble;

const TURNS: Duration = Duration::from_secs(2);
/// Turns again, after a store that was emptied.
const FORGETFUL: Duration = Duration::from_secs(10);
/// First contacts of the flood, over so many connections.
const CONTACTS: usize = 10_000;
const CONNECTIONS: usize = 20;
/// Keys of one room, at most.
const ROOM_KEYS: u64 = 16;
/// Newcomers of the ordinary crowd take places meanwhile: so many at most.
const NEWCOMERS: u64 = 1000;
/// Of each kind of bad client.
const BAD: usize = 20;
/// A good client's answer beside them, at most, in 99 of 100.
const GOOD: Duration = Duration::from_millis(250);
/// Tickets that are shared between all edges.
const SHARED: usize = 15;
/// Until all of them had their turn: the line before them has to pass.
const SERVED: Duration = Duration::from_secs(150);

/// A flood without cookies while others wait costs the store nothing.
pub(super) async fn flood(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let before = stage.mark();
    let (keys, owners) = stored(stage).await?;
    let ports: Vec<u16> = stage.fleet.edges.iter().map(|edge| edge.port).collect();
    let mut flood = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let port = ports.get(connection % ports.len().max(1)).copied().unwrap_or_default();
        flood.spawn(first_contacts(port, CONTACTS / CONNECTIONS));
    }
    let mut pages = 0;
    while let Some(answered) = flood.join_next().await {
        pages += answered.ok().and_then(Result::ok).unwrap_or_default();
    }
    let (keys_after, owners_after) = stored(stage).await?;
    report.check("first contacts answered", format!("{pages} of {CONTACTS}"), pages == CONTACTS);
    // A room has so many keys, whoever waits; some of them come and go.
    let added = keys_after.saturating_sub(keys.max(ROOM_KEYS));
    report.zero("keys that the flood added", added, format!("{CONTACTS} first contacts"));
    let places = owners_after.saturating_sub(owners);
    report.check("places that were taken meanwhile", format!("{places} (by others)"), places < NEWCOMERS);
    let took = stage.turns_again(TURNS * GENEROSITY).await;
    report.time("turns go on", took, TURNS);
    stage.service(report, before);
    Ok(())
}

/// Keys of the store, and people it knows.
async fn stored(stage: &Stage) -> Result<(u64, u64), Trouble> {
    let Store::Linked { redis, .. } = &stage.fleet.store else {
        return Err(Trouble::Refused {
            command: "flood".into(),
            answer: "its trial has another store".into(),
        });
    };
    let owners = redis.cli(&["HLEN", &format!("vestibule:{{{ROOM}}}:owner")]).await?;
    Ok((redis.keys().await?, owners.parse().unwrap_or_default()))
}

/// Asks for the page again and again on one connection, each time as somebody new. How many were answered.
async fn first_contacts(port: u16, count: usize) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: text/html\r\n\r\n");
    let mut answered = 0;
    let mut bytes = Vec::new();
    for _ in 0..count {
        if stream.write_all(request.as_bytes()).await.is_err() || !answer(&mut stream, &mut bytes).await {
            // The edge ends a connection after so many requests: the next visitor has another.
            stream = TcpStream::connect(("127.0.0.1", port)).await?;
            bytes.clear();
            stream.write_all(request.as_bytes()).await?;
            if !answer(&mut stream, &mut bytes).await {
                continue;
            }
        }
        answered += 1;
    }
    Ok(answered)
}

/// Reads one answer with a length; what came behind it stays in `bytes`.
async fn answer(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    loop {
        if let Some(whole) = length(bytes) {
            bytes.drain(..whole);
            return true;
        }
        match timeout(Duration::from_secs(10), stream.read_buf(bytes)).await {
            Ok(Ok(read)) if read > 0 => {}
            _ => return false,
        }
    }
}

/// Of the first answer, if all of it is there.
fn length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(bytes.get(..head)?).ok()?.to_ascii_lowercase();
    let body =
        text.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse::<usize>().ok()?;
    (bytes.len() >= head + body).then_some(head + body)
}

/// Clients that hold on to what they got change nothing for others.
pub(super) async fn bad_clients(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let before = stage.mark();
    let port = stage.fleet.edges.first().map(|edge| edge.port).unwrap_or_default();
    let mut bad = JoinSet::new();
    for _ in 0..BAD {
        bad.spawn(stalled_reader(port));
        bad.spawn(slow_head(port));
        bad.spawn(huge_head(port));
        bad.spawn(endless_body(port));
    }
    let mut times = Vec::new();
    for _ in 0..100 {
        let asked = Instant::now();
        let (status, _) = Ask::get(port, format!("/_queue/rooms/{ROOM}")).send().await?;
        times.push(asked.elapsed());
        if status != StatusCode::OK {
            report.check("a good client is answered", status.to_string(), false);
        }
        sleep(Duration::from_millis(50)).await;
    }
    times.sort_unstable();
    let p99 = times.get(98).copied().unwrap_or_default();
    report.time("a good client's answer, in 99 of 100", Some(p99), GOOD);
    bad.shutdown().await;
    let took = stage.turns_again(TURNS * GENEROSITY).await;
    report.time("turns go on", took, TURNS);
    stage.service(report, before);
    Ok(())
}

/// Asks for much and reads nothing.
async fn stalled_reader(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request =
        format!("GET / HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: text/html\r\n\r\n").repeat(200);
    stream.write_all(request.as_bytes()).await?;
    std::future::pending().await
}

/// A byte of the head now and then.
async fn slow_head(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nx: ").await?;
    loop {
        stream.write_all(b"a").await?;
        sleep(Duration::from_millis(100)).await;
    }
}

/// A head without an end.
async fn huge_head(port: u16) -> std::io::Result<()> {
    loop {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET / HTTP/1.1\r\n").await?;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        sleep(Duration::from_millis(500)).await;
    }
}

/// A body without an end, to the queue itself.
async fn endless_body(port: u16) -> std::io::Result<()> {
    loop {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let head = format!(
            "POST /_queue/join?room={ROOM} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        while stream.write_all(b"5\r\nhello\r\n").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// A ticket buys one session, however many hold it, and however often it is shown again: also to a store that forgot.
pub(super) async fn tickets(stage: &mut Stage, report: &mut Report) -> Result<(), Trouble> {
    let before = stage.mark();
    let ports: Vec<u16> = stage.fleet.edges.iter().map(|edge| edge.port).collect();
    let mut shared = Vec::new();
    for number in 0..SHARED {
        let port = ports.get(number % ports.len().max(1)).copied().unwrap_or_default();
        let (_, body) = call(Method::POST, port, "join", None, number).await?;
        shared.push(
            text(&body, "ticket")
                .ok_or_else(|| Trouble::Refused { command: "join".into(), answer: body.to_string() })?,
        );
    }
    let mut passes: Vec<Option<String>> = vec![None; SHARED];
    let mut several = 0;
    let started = Instant::now();
    while passes.iter().any(Option::is_none) && started.elapsed() < SERVED {
        for (number, (ticket, pass)) in shared.iter().zip(&mut passes).enumerate() {
            // All edges at once, by three people with the same ticket.
            let mut at_once = JoinSet::new();
            for &port in &ports {
                let ticket = ticket.clone();
                at_once.spawn(async move { call(Method::POST, port, "enter", Some(&ticket), number).await });
            }
            let mut got = Vec::new();
            while let Some(answer) = at_once.join_next().await {
                if let Ok(Ok((StatusCode::OK, body))) = answer {
                    got.extend(text(&body, "token"));
                }
            }
            got.extend(pass.take());
            got.sort_unstable();
            got.dedup();
            // A session claimed again is the same one, so its pass is the same text.
            several += u64::from(got.len() > 1);
            *pass = got.pop();
        }
        sleep(Duration::from_millis(500)).await;
    }
    let served = passes.iter().flatten().count();
    report.check("shared tickets that bought a session", format!("{served} of {SHARED}"), served == SHARED);
    report.zero("second sessions by tickets that three people hold", several, served);
    give_back(&ports, &passes).await?;
    let again = replay(&ports, &shared).await?;
    report.zero("second sessions by spent tickets", again, served);
    let Store::Linked { redis, .. } = &stage.fleet.store else {
        return Err(Trouble::Refused {
            command: "FLUSHALL".into(),
            answer: "its trial has another store".into(),
        });
    };
    let lost = stage.crew.world.clock.now();
    redis.cli(&["FLUSHALL"]).await?;
    let again = replay(&ports, &shared).await?;
    report.zero("second sessions by spent tickets, right after FLUSHALL", again, served);
    let took = stage.turns_after_loss(lost, FORGETFUL * GENEROSITY).await;
    report.time("turns again", took, FORGETFUL);
    let again = replay(&ports, &shared).await?;
    report.zero("second sessions by spent tickets, when the store had settled", again, served);
    stage.service(report, before);
    Ok(())
}

async fn give_back(ports: &[u16], passes: &[Option<String>]) -> Result<(), Trouble> {
    for (pass, &port) in passes.iter().flatten().zip(ports.iter().cycle()) {
        let mut ask = Ask::get(port, format!("/_queue/leave?room={ROOM}"));
        ask.method = Method::DELETE;
        ask.headers.push(("queue-pass", pass.clone()));
        ask.send().await?;
    }
    Ok(())
}

/// Shows every ticket at every edge, by both calls that could sell it a session again. To join with a spent ticket gives
/// the visitor another one, with a place behind all: that is given back, or its turn would be taken for the old one's.
async fn replay(ports: &[u16], tickets: &[String]) -> Result<u64, Trouble> {
    let mut second = 0;
    for (number, ticket) in tickets.iter().enumerate() {
        let spent = token::ticket(ticket).map(|spent| spent.id);
        for &port in ports {
            let (_, body) = call(Method::POST, port, "join", Some(ticket), number).await?;
            let told = text(&body, "ticket");
            if let Some(other) = told.filter(|told| token::ticket(told).map(|told| told.id) != spent) {
                call(Method::DELETE, port, "leave", Some(&other), number).await?;
            }
            let (status, _) = call(Method::POST, port, "enter", Some(ticket), number).await?;
            second += u64::from(status == StatusCode::OK);
        }
    }
    Ok(second)
}

/// A call of an app: what it holds, it sends in a header.
async fn call(
    method: Method,
    port: u16,
    name: &str,
    ticket: Option<&str>,
    number: usize,
) -> Result<(StatusCode, Value), Trouble> {
    let mut ask = Ask::get(port, format!("/_queue/{name}?room={ROOM}"));
    ask.method = method;
    ask.headers.push(("x-forwarded-for", format!("198.18.0.{number}")));
    ask.headers.extend(ticket.map(|ticket| ("queue-ticket", ticket.to_owned())));
    let (status, body) = ask.send().await?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

fn text(body: &Value, name: &str) -> Option<String> {
    body.get(name)?.as_str().map(str::to_owned)
}
