//! What the core costs where it is called often, or where a line is long.
//!
//! `cargo bench -p room` measures; `cargo bench -p room -- tick` only those of a name. Under `cargo test --benches` each
//! runs once, with short lines.

#![allow(clippy::unwrap_used, reason = "benches: a failure here is the failure of the bench")]
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use room::estimate::{Forecast, Limits};
use room::ids::{Incarnation, NodeId, TicketId, VisitorId};
use room::queue::{Arrival, Caller, Claim, Counts, Now, Queue, RULER_EVERY};
use room::ruler::Ruler;
use room::rules::{Draft, Rules, TICK};
use room::time::Micros;
use room::token::{Alg, Key, KeyRing, Kind, Pass, Ticket, Use};

const START: Micros = Micros(1_767_225_600_000_000);
/// Items of one call of the store.
const BATCH: usize = 500;

criterion_group! {
    name = core;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).sample_size(20);
    targets = ticks, arrivals, claims, ruler, estimate, tokens
}
criterion_main!(core);

/// A million waiters, but a hundred where only a test of the benches is wanted.
fn lengths() -> &'static [u64] {
    if std::env::args().any(|argument| argument == "--test") { &[100] } else { &[10_000, 100_000, 1_000_000] }
}

fn rules() -> Rules {
    Rules::new(Draft {
        new_users_per_minute: 60_000,
        total_active_users: 10_000_000,
        max_waiting: 10_000_000,
        ..Draft::default()
    })
    .unwrap()
}

fn caller(hold: bool) -> Caller {
    Caller {
        node: NodeId::from_random([1; 12]),
        fresh: Incarnation::from_random([1; 12]),
        witness: None,
        hold,
        alone: true,
    }
}

/// Scattered, as random ids are.
fn id(number: u64) -> [u8; 12] {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&scattered);
    bytes[8..].copy_from_slice(&(number as u32).to_be_bytes());
    bytes
}

fn arrival(number: u64) -> Arrival {
    Arrival {
        visitor: VisitorId::from_random(id(number)),
        ticket: TicketId::from_random(id(number)),
        score: START.0 + number * 100,
        confirmed_at: START,
        may_enter: false,
        may_wait: true,
        here: true,
    }
}

/// The next so many who come.
fn newcomers(next: &Cell<u64>, count: u64) -> Vec<Arrival> {
    let first = next.replace(next.get() + count);
    (first..first + count).map(arrival).collect()
}

/// A room with so many in its line.
fn line(waiting: u64) -> (Rules, Queue, Micros) {
    let (rules, now) = (rules(), START + Duration::from_secs(600));
    let mut queue = Queue::open(&rules, Now::at(now), &caller(true));
    let arrivals: Vec<Arrival> = (0..waiting).map(arrival).collect();
    for batch in arrivals.chunks(BATCH) {
        queue.arrive(&rules, Now::at(now), &caller(true), batch);
    }
    (rules, queue, now)
}

/// A tick that gives nothing, one a second that measures the line, and one with a hundred turns; those of a minute ago
/// lapse meanwhile.
fn ticks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tick");
    for &waiting in lengths() {
        let (rules, mut queue, mut now) = line(waiting);
        now = now + RULER_EVERY;
        group.bench_function(BenchmarkId::new("gives nothing", waiting), |bencher| {
            bencher.iter(|| black_box(queue.admit(&rules, Now::at(now), &caller(true))));
        });
        group.bench_function(BenchmarkId::new("measures", waiting), |bencher| {
            bencher.iter(|| {
                now = now + RULER_EVERY;
                black_box(queue.admit(&rules, Now::at(now), &caller(true)))
            });
        });
        let next = Cell::new(waiting);
        group.throughput(Throughput::Elements(100));
        group.bench_function(BenchmarkId::new("gives 100 turns", waiting), |bencher| {
            bencher.iter_batched(
                || newcomers(&next, 100),
                |newcomers| {
                    // As many come as go: the line keeps its length.
                    now = now + TICK;
                    queue.arrive(&rules, Now::at(now), &caller(false), &newcomers);
                    black_box(queue.admit(&rules, Now::at(now), &caller(false)))
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// A batch of five hundred joins, and the same presented again.
fn arrivals(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("arrive");
    group.throughput(Throughput::Elements(BATCH as u64));
    for &waiting in lengths() {
        let (rules, mut queue, now) = line(waiting);
        let next = Cell::new(waiting);
        group.bench_function(BenchmarkId::new("500 new", waiting), |bencher| {
            bencher.iter_batched(
                || newcomers(&next, BATCH as u64),
                |batch| black_box(queue.arrive(&rules, Now::at(now), &caller(true), &batch)),
                BatchSize::PerIteration,
            );
        });
        let known: Vec<Arrival> =
            (0..waiting).step_by((waiting as usize / BATCH).max(1)).map(arrival).collect();
        group.bench_function(BenchmarkId::new("500 known", waiting), |bencher| {
            bencher.iter(|| black_box(queue.arrive(&rules, Now::at(now), &caller(true), &known)));
        });
    }
    group.finish();
}

/// Somebody enters by a turn.
fn claims(criterion: &mut Criterion) {
    let rules = rules();
    criterion.bench_function("claim", |bencher| {
        bencher.iter_batched(
            || {
                let mut queue = Queue::open(&rules, Now::at(START), &caller(false));
                queue.arrive(&rules, Now::at(START), &caller(true), &[arrival(1)]);
                queue.admit(&rules, Now::at(START), &caller(false));
                queue
            },
            |mut queue| {
                let Arrival { visitor, ticket, .. } = arrival(1);
                black_box(queue.claim(&rules, Now::at(START), &caller(false), &[Claim { visitor, ticket }]));
                queue
            },
            BatchSize::SmallInput,
        );
    });
}

/// What an edge does once a second for those who wait at it.
fn ruler(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ruler");
    for &waiting in lengths() {
        let scores = || (0..waiting).map(|number| START.0 + number * 100);
        let ruler = Ruler::measure(waiting, scores());
        let mine: Vec<u64> = scores().step_by((waiting as usize / 100_000).max(1)).collect();
        group.throughput(Throughput::Elements(mine.len() as u64));
        group.bench_function(BenchmarkId::new(format!("places {}", mine.len()), waiting), |bencher| {
            bencher.iter(|| mine.iter().map(|&score| black_box(ruler.place(score))).sum::<u64>());
        });
    }
    group.finish();
}

fn estimate(criterion: &mut Criterion) {
    let limits =
        Limits { rate_per_minute: 6000, slots: 10_000, taken: 10_000, session: Duration::from_secs(600) };
    let counts = |admitted| Counts { waiting: 100_000, active: 10_000, admitted, ..Counts::default() };
    let mut forecast = Forecast::default();
    let mut tick = 0;
    criterion.bench_function("estimate/observe", |bencher| {
        bencher.iter(|| {
            tick += 1;
            forecast.observe(START + TICK * tick, counts(u64::from(tick) * 10));
        });
    });
    criterion.bench_function("estimate/wait", |bencher| {
        bencher.iter(|| black_box(forecast.wait(black_box(50_000), limits)));
    });
}

fn key(name: &str, kind: Kind, alg: Alg) -> Key {
    Key { kid: name.into(), kind, alg, use_: Use::Sign, secret: name.repeat(32).into() }
}

fn tokens(criterion: &mut Criterion) {
    let ring = |alg| KeyRing::new(&[key("t", Kind::Ticket, Alg::Hs256), key("p", Kind::Pass, alg)]);
    let (eddsa, hmac) = (ring(Alg::EdDsa).unwrap(), ring(Alg::Hs256).unwrap());
    let Arrival { visitor, ticket: id, .. } = arrival(1);
    let room: room::ids::RoomName = "e1".parse().unwrap();
    let expires_at_secs = START.as_secs() + 600;
    let ticket = Ticket {
        room: room.clone(),
        visitor,
        id,
        stamp: START,
        head_start_micros: 0,
        confirmed_at: Some(START),
        confirm_by: START + Duration::from_secs(120),
        expires_at_secs,
    };
    let pass = Pass {
        room,
        visitor,
        ticket: id,
        expires_at_secs,
        hard_cap_secs: expires_at_secs,
        incarnation: Incarnation::from_random([1; 12]),
        granted_secs: None,
    };
    let text = eddsa.sign_ticket(&ticket);
    criterion.bench_function("token/ticket mint", |bencher| {
        bencher.iter(|| eddsa.sign_ticket(black_box(&ticket)));
    });
    criterion.bench_function("token/ticket verify", |bencher| {
        bencher.iter(|| eddsa.ticket(black_box(&text), START));
    });
    for (name, ring) in [("EdDSA", &eddsa), ("HS256", &hmac)] {
        let text = ring.sign_pass(&pass);
        criterion.bench_function(&format!("token/pass mint {name}"), |bencher| {
            bencher.iter(|| ring.sign_pass(black_box(&pass)));
        });
        criterion.bench_function(&format!("token/pass verify {name}"), |bencher| {
            bencher.iter(|| ring.pass(black_box(&text), START));
        });
    }
}
