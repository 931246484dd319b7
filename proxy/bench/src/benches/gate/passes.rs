//! Passes of visitors who were let in, and what it costs to believe one.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use edge_bench::bench::{BenchError, Context};
use edge_bench::edge::{Edge, GATED, ROOM};
use edge_bench::row::Row;
use edge_bench::ticket;
use edge_bench::turns::median;
use room::ids::{Incarnation, TicketId, VisitorId};
use room::time::Micros;
use room::token::Pass;
use vestibule::passes::PassCache;

const PATIENCE: Duration = Duration::from_secs(15);

/// As many visitors, each let in by a request of its own; their cookies.
pub(in super::super) fn of_visitors(edge: &Edge, count: usize) -> Result<Vec<String>, BenchError> {
    let cookies = (0..count).map(|_| entered(edge)).collect::<Result<BTreeSet<_>, _>>()?;
    if cookies.len() == count {
        return Ok(cookies.into_iter().collect());
    }
    Err(BenchError::Invariant(format!("{count} visitors were given {} different passes", cookies.len())))
}

/// The first pass is short, until the visitor is seen to come back: the one of the second request counts.
fn entered(edge: &Edge) -> Result<String, BenchError> {
    let deadline = Instant::now() + PATIENCE;
    let first = loop {
        // An edge with a new store lets nobody in before it has waited for those who know more of it.
        match passed(edge, "")? {
            Some(cookie) => break cookie,
            None if Instant::now() < deadline => sleep(Duration::from_millis(50)),
            None => return Err(BenchError::Broken("visitors were not let in".into())),
        }
    };
    let renewed = passed(edge, &first)?.unwrap_or(first);
    match passed(edge, &renewed)? {
        None => Ok(renewed),
        Some(_) => Err(BenchError::Invariant("a pass that was just renewed was renewed again".into())),
    }
}

/// Asks with a cookie; the cookie of the pass that came back.
fn passed(edge: &Edge, cookie: &str) -> Result<Option<String>, BenchError> {
    let mut stream = TcpStream::connect(edge.site)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("GET {GATED} HTTP/1.1\r\nHost: tickets.example.com\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n")
            .as_bytes(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let name = format!("vestibule_pass_{ROOM}=");
    let cookie = answer.lines().find_map(|line| {
        let (field, value) = line.split_once(": ")?;
        let named = field.eq_ignore_ascii_case("set-cookie") && value.starts_with(&name);
        named.then(|| value.split(';').next())?
    });
    Ok(cookie.map(str::to_owned))
}

/// Tokens a round, each of another visitor.
const TOKENS: u64 = 1000;
/// How often each is looked up again.
const LOOKS: u32 = 50;

/// Signature and cache, each alone: nanoseconds a pass, the median of rounds.
pub(super) fn verification_rows(context: &Context) -> Result<Vec<Row>, BenchError> {
    let (ring, now) = (ticket::ring()?, Micros::from(SystemTime::now()));
    let tokens: Vec<String> = (0..TOKENS)
        .map(|number| pass(number, now).map(|pass| ring.sign_pass(&pass)))
        .collect::<Result<_, _>>()?;
    let cache = PassCache::default();
    let (mut verified, mut recalled) = (Vec::new(), Vec::new());
    for _ in 0..context.length.turns.max(5) {
        let began = Instant::now();
        for token in &tokens {
            black_box(cache.verify(&ring, token, now))
                .map_err(|error| BenchError::Invariant(error.to_string()))?;
        }
        verified.push(nanos_each(began.elapsed(), 1));
        let began = Instant::now();
        for token in (0..LOOKS).flat_map(|_| &tokens) {
            black_box(cache.recall(black_box(token), now));
        }
        recalled.push(nanos_each(began.elapsed(), LOOKS));
    }
    let (signature, recall) = (median(verified).unwrap_or(0.0), median(recalled).unwrap_or(0.0));
    Ok(vec![Row::new("a pass known from before, beside its signature", Some(signature), recall, "ns")])
}

fn nanos_each(span: Duration, looks: u32) -> f64 {
    span.as_secs_f64() * 1e9 / (TOKENS as f64 * f64::from(looks))
}

fn pass(number: u64, now: Micros) -> Result<Pass, BenchError> {
    let bytes = ticket::id(number);
    let expires_at_secs = now.as_secs() + 3600;
    Ok(Pass {
        room: ticket::room()?,
        visitor: VisitorId::from_random(bytes),
        ticket: TicketId::from_random(bytes),
        expires_at_secs,
        hard_cap_secs: expires_at_secs + 3600,
        incarnation: Incarnation::from_random(bytes),
        granted_secs: None,
    })
}
