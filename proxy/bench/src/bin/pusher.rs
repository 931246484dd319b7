//! Pushes updates to all who are connected, round after round. `pusher hub|send LISTEN PEOPLE ROUND_MS`
//!
//! `hub`: an edge with its hub and the sockets of its waiters. `send`: the yardstick, a loop of `send` calls of the
//! same bytes. Both begin once so many people are connected.

use std::io::{self, ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::sleep;
use std::time::Duration;

use async_trait::async_trait;
use edge_bench::bench::BenchError;
use edge_bench::usage::raise_descriptor_limit;
use edge_bench::waiting::Waiting;
use room::ids::RoomName;
use room::time::Micros;
use tokio::sync::{Notify, watch};
use vestibule::edge::{self, EdgeOptions};
use vestibule::hub::Hub;
use vestibule::mailbox::{Mail, Mailbox};
use vestibule::request::{Command, Decide, ForwardPass, Head, Plan, SocketPlan};
use vestibule::socket;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Longer than the longest time between two updates: everybody is due.
const ALL_DUE: Duration = Duration::from_secs(61);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((mode, listen, people, round)) = read(&args) else {
        eprintln!("usage: pusher hub|send LISTEN PEOPLE ROUND_MS");
        return ExitCode::from(64);
    };
    raise_descriptor_limit();
    let result = if mode == "hub" { serve(listen, people, round) } else { send(listen, people, round) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pusher: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(args: &[String]) -> Option<(&str, SocketAddr, u64, Duration)> {
    let [mode, listen, people, round_ms] = args else { return None };
    let round = Duration::from_millis(round_ms.parse().ok()?);
    Some((mode, listen.parse().ok()?, people.parse().ok()?, round))
}

fn send(listen: SocketAddr, people: u64, round: Duration) -> Result<(), BenchError> {
    let listener = TcpListener::bind(listen)?;
    let mut sockets = Vec::new();
    for _ in 0..people {
        let socket = listener.accept()?.0;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    let frame = an_update(people)?;
    loop {
        for socket in &sockets {
            send_one(socket, &frame)?;
        }
        sleep(round);
    }
}

fn send_one(mut socket: &TcpStream, frame: &[u8]) -> io::Result<()> {
    match socket.write(frame) {
        Ok(sent) if sent == frame.len() => Ok(()),
        Ok(_) => Err(ErrorKind::WriteZero.into()),
        Err(error) => Err(error),
    }
}

/// The bytes that the hub sends to somebody in the middle of the line.
fn an_update(people: u64) -> Result<Box<[u8]>, BenchError> {
    let (waiting, hub, mailbox) = (Waiting::of(people)?, Hub::of_parts(1), Arc::new(Mailbox::default()));
    hub.attach(waiting.keep(&hub, people / 2), &mailbox, waiting.view());
    match mailbox.poll_mail(&Context::from_waker(Waker::noop())) {
        Poll::Ready(Mail::Frame(frame)) => Ok(frame),
        other => Err(BenchError::Broken(format!("no update, but {other:?}"))),
    }
}

/// What all connections share.
struct Room {
    hub: Hub,
    waiting: Mutex<Waiting>,
    came: AtomicU64,
    people: u64,
    full: Notify,
}

impl Room {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets everybody wait.
struct Doorkeeper(Arc<Room>);

#[async_trait]
impl Decide for Doorkeeper {
    async fn plan(&self, _: &Head, _: &[u8]) -> Plan {
        let room = Arc::clone(&self.0);
        let run = move |stream| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            let place = room.came.fetch_add(1, Ordering::Relaxed);
            let mailbox = Arc::new(Mailbox::default());
            {
                let waiting = room.waiting();
                room.hub.attach(waiting.keep(&room.hub, place), &mailbox, waiting.view());
            }
            if place + 1 == room.people {
                room.full.notify_one();
            }
            Box::pin(socket::run(stream, mailbox))
        };
        Plan::Socket(SocketPlan { headers: Vec::new(), run: Box::new(run) })
    }

    async fn command(&self, _: &RoomName, _: &ForwardPass, _: Command) {}

    fn is_reserved(&self, _: &str) -> bool {
        true
    }

    fn now(&self) -> Micros {
        Micros::ZERO
    }
}

fn serve(listen: SocketAddr, people: u64, round: Duration) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let room = Arc::new(Room {
            hub: Hub::default(),
            waiting: Mutex::new(Waiting::of(people)?),
            came: AtomicU64::new(0),
            people,
            full: Notify::new(),
        });
        let (_stop, stopped) = watch::channel(false);
        let decide = Arc::new(Doorkeeper(Arc::clone(&room)));
        let _edge = edge::serve(EdgeOptions::new(edge::bind(listen)?), decide, stopped)?;
        room.full.notified().await;
        loop {
            tokio::time::sleep(round).await;
            room.waiting().measure_after(ALL_DUE, &room.hub);
        }
    })
}
