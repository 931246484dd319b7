//! `WebSocket`s of admitted visitors, tunnelled to the origin byte by byte.
//!
//! Not by Pingora: a proxied upgrade can die there when the origin speaks right behind its 101 (pingora #946). The
//! connection to the origin is Pingora's all the same.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use http::{HeaderName, HeaderValue, Method, header};
use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use pingora::{Error, ErrorType};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::connection::Connection;
use super::dress::dress;
use super::failure::Failure;
use super::forward::{COMMAND, parse_command};
use super::head::RawHead;
use super::trip::Trip;
use super::{Shared, answer};
use crate::metrics::Verdict;

const MAX_ANSWER_BYTES: usize = 64 * 1024;
const MAX_FIELDS: usize = 256;
/// Each way.
const BUFFER_BYTES: usize = 8 * 1024;

/// Forwards one upgrade request and then whatever both sides say, until one of them, silence, or the session ends it.
pub(super) async fn run(connection: Connection, raw: RawHead, trip: Trip) {
    let Connection { shared, stream: mut client, arrived, permit, .. } = connection;
    let opened = open(&shared, &raw, &trip).await;
    let (mut origin, rest, answered) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            trip.ended(Verdict::Error);
            return refuse(client, failure, &trip, shared.limits.write).await;
        }
    };
    trip.ended(Verdict::Forwarded);
    let greeting = async {
        client.write_all(&answered.head).await?;
        client.write_all(&rest).await?;
        client.flush().await?;
        origin.write_all(&arrived).await?;
        origin.flush().await
    };
    if !matches!(timeout(shared.limits.write, greeting).await, Ok(Ok(()))) {
        return;
    }
    drop((rest, arrived));
    let until = trip.until();
    let idle = shared.limits.tunnel;
    drop(trip);
    let relayed = async move {
        let ended = relay(client, origin, idle);
        match until {
            Some(until) => drop(tokio::select! { ended = ended => ended, () = sleep_until(until) => Ok(()) }),
            None => drop(ended.await),
        }
        drop(permit);
    };
    shared.spawn(relayed);
}

async fn refuse(mut client: Stream, failure: Failure, trip: &Trip, patience: Duration) {
    // Its page reads it, no person does.
    let mut refusal = failure.answer(false, trip.trace.id);
    for cookie in &trip.forward.set_cookies {
        refusal.headers.add(&header::SET_COOKIE, cookie);
    }
    if answer::write(&mut client, refusal, &Method::GET, false, patience).await.is_ok() {
        answer::close(client).await;
    }
}

/// The origin's answer to the upgrade, as the visitor gets it.
struct Answered {
    head: BytesMut,
}

/// Connects, asks, and reads the head of the answer. What came behind it is the second value.
async fn open(shared: &Shared, raw: &RawHead, trip: &Trip) -> Result<(Stream, BytesMut, Answered), Failure> {
    let settings = trip.forward.upstream.settings();
    let mut origin = connect(shared, trip).await?;
    let request = request(raw, trip).map_err(|_| Failure::Internal)?;
    let asked = async {
        origin.write_all(&request).await?;
        origin.flush().await
    };
    match timeout(settings.write, asked).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Err(Failure::Broken),
        Err(_) => return Err(Failure::Slow),
    }
    let deadline = Instant::now() + settings.read;
    let mut arrived = BytesMut::with_capacity(2048);
    loop {
        let head = read_head(&mut origin, &mut arrived, deadline).await?;
        if let Some(answered) = Answered::read(&head, trip).await? {
            return Ok((origin, arrived, answered));
        }
    }
}

/// To the next server that takes the connection: nothing has been sent yet.
async fn connect(shared: &Shared, trip: &Trip) -> Result<Stream, Failure> {
    let upstream = &trip.forward.upstream;
    let mut tried = Vec::new();
    while tried.len() < upstream.settings().attempts {
        let Some(backend) = upstream.pick(&tried).await else {
            break;
        };
        let connected = shared.connector.new_stream(&backend.peer(upstream.settings(), true)).await;
        if connected.is_ok() == backend.is_down() {
            backend.learn(connected.is_ok());
        }
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => tracing::warn!(upstream = ?backend, %error, "an upstream cannot be reached"),
        }
        tried.push(backend);
    }
    Err(Failure::Unreachable)
}

/// The request head for the origin: as it came, but for what belongs to one hop and what is ours.
fn request(raw: &RawHead, trip: &Trip) -> pingora::Result<BytesMut> {
    let line = raw.bytes.as_ref().split(|byte: &u8| *byte == b' ').nth(1).unwrap_or(b"/");
    let mut request = RequestHeader::build(raw.method.clone(), line, Some(raw.fields.len() + 8))?;
    for (name, value) in raw.fields.iter() {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else {
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, "a field cannot be forwarded"));
        };
        request.append_header(name, value)?;
    }
    strip_hop_by_hop(&mut request);
    dress(&mut request, trip)?;
    request.insert_header(header::CONNECTION, "Upgrade")?;
    request.insert_header(header::UPGRADE, "websocket")?;
    let mut bytes = BytesMut::with_capacity(raw.bytes.len() + 1024);
    bytes.put_slice(b"GET ");
    bytes.put_slice(line);
    bytes.put_slice(b" HTTP/1.1\r\n");
    request.header_to_h1_wire(&mut bytes);
    bytes.put_slice(b"\r\n");
    Ok(bytes)
}

/// RFC 9110 §7.6.1.
fn strip_hop_by_hop(request: &mut RequestHeader) {
    let lines = request.headers.get_all(header::CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let named: Vec<HeaderName> =
        lines.flat_map(|line| line.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    for name in named {
        request.remove_header(&name);
    }
    for name in
        ["connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer", "expect"]
    {
        request.remove_header(name);
    }
}

async fn read_head(
    origin: &mut Stream,
    arrived: &mut BytesMut,
    deadline: Instant,
) -> Result<BytesMut, Failure> {
    loop {
        if let Some(end) = arrived.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(arrived.split_to(end + 4));
        }
        if arrived.len() >= MAX_ANSWER_BYTES {
            return Err(Failure::Broken);
        }
        match timeout_at(deadline, origin.read_buf(arrived)).await {
            Ok(Ok(read)) if read > 0 => {}
            Ok(_) => return Err(Failure::Broken),
            Err(_) => return Err(Failure::Slow),
        }
    }
}

impl Answered {
    /// `None` for an interim answer.
    async fn read(bytes: &[u8], trip: &Trip) -> Result<Option<Self>, Failure> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        response.parse(bytes).map_err(|_| Failure::Broken)?;
        let code = response.code.unwrap_or_default();
        let switched = code == 101;
        if !switched && (100..200).contains(&code) {
            return Ok(None);
        }
        let mut head = BytesMut::with_capacity(bytes.len() + 512);
        head.put_slice(format!("HTTP/1.1 {code} {}\r\n", response.reason.unwrap_or_default()).as_bytes());
        let mut command = None;
        for field in response.headers.iter() {
            if field.name.eq_ignore_ascii_case(COMMAND) {
                command = parse_command(field.value);
            } else if switched || !field.name.eq_ignore_ascii_case("connection") {
                put_field(&mut head, field.name, field.value);
            }
        }
        // An origin that refuses answers like any other. Its connection was for this request alone, and so is the
        // visitor's.
        if !switched {
            put_field(&mut head, "Connection", b"close");
        }
        for cookie in &trip.forward.set_cookies {
            put_field(&mut head, "Set-Cookie", cookie.as_bytes());
        }
        head.put_slice(b"\r\n");
        if let Some(command) = command {
            trip.obey(command).await;
        }
        Ok(Some(Self { head }))
    }
}

fn put_field(head: &mut BytesMut, name: &str, value: &[u8]) {
    head.put_slice(name.as_bytes());
    head.put_slice(b": ");
    head.put_slice(value);
    head.put_slice(b"\r\n");
}

/// Copies both ways until both sides have ended, or nothing has moved for `idle`.
async fn relay(client: Stream, origin: Stream, idle: Duration) -> io::Result<()> {
    let moved = Arc::new(AtomicU64::new(0));
    let (from_client, to_client) = tokio::io::split(client);
    let (from_origin, to_origin) = tokio::io::split(origin);
    tokio::select! {
        ended = async {
            tokio::try_join!(pump(from_client, to_origin, &moved), pump(from_origin, to_client, &moved))
        } => ended.map(|_| ()),
        () = silence(&moved, idle) => Ok(()),
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
    while from.read_buf(&mut buffer).await? > 0 {
        to.write_all(&buffer).await?;
        to.flush().await?;
        buffer.clear();
        moved.fetch_add(1, Ordering::Relaxed);
    }
    to.shutdown().await
}

async fn silence(moved: &AtomicU64, idle: Duration) {
    let mut seen = moved.load(Ordering::Relaxed);
    loop {
        sleep(idle).await;
        match moved.load(Ordering::Relaxed) {
            now if now == seen => return,
            now => seen = now,
        }
    }
}
