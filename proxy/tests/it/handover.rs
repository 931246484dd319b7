//! SIGQUIT: a running edge gives its listeners to its successor, and nobody who connects meanwhile notices.

use std::io::{IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::rig::{Origin, soon};
use crate::rolling::{Edge, Setup, enter};
use crate::site::{RedisServer, until};

const OPEN: &str = "total_active_users = 100\nnew_users_per_minute = 60000";
const FULL: &str = "total_active_users = 1\nnew_users_per_minute = 60000\nsettle_window = \"0s\"";
const UPGRADE: &[&str] = &["--upgrade", "--linger", "300ms"];

/// Connects and asks without a pause until it is told to stop; gives how often, and what went wrong.
struct Hammer {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(usize, Vec<String>)>>,
}

impl Hammer {
    fn start(site: SocketAddr, operator: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let targets = [(site, "/_queue/rooms/e1"), (site, "/_queue/jwks.json"), (operator, "/livez")];
        let threads = targets.map(|(address, path)| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let (mut asked, mut failed) = (0, Vec::new());
                while !over.load(Ordering::Relaxed) {
                    asked += 1;
                    failed.extend(ask(address, path).err());
                }
                (asked, failed)
            })
        });
        Self { over, threads: threads.into() }
    }

    fn stop(self) -> (usize, Vec<String>) {
        self.over.store(true, Ordering::Relaxed);
        let counts = self.threads.into_iter().map(|thread| thread.join().unwrap());
        counts.fold((0, Vec::new()), |(all, mut failures), (asked, failed)| {
            failures.extend(failed);
            (all + asked, failures)
        })
    }
}

fn ask(address: SocketAddr, path: &str) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{path}: {error}");
    let mut stream = TcpStream::connect(address).map_err(told)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(told)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").map_err(told)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(told)?;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(format!("{path}: {answer:?}")) }
}

fn waits_for_sockets(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// Replaces the edge by one that is already there; ends with the old one.
async fn hand_over(setup: &Setup, mut old: Edge) -> Edge {
    let mut new = setup.spawn(&setup.config(), UPGRADE);
    until("the successor waits", || waits_for_sockets(&setup.socket())).await;
    old.signal("-QUIT");
    new.listens().await;
    assert_eq!((new.site, new.operator), (old.site, old.operator));
    assert_eq!(old.exit().await.0, Some(0));
    assert!(!setup.socket().exists(), "nobody waits any more");
    new
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_thousands_who_connect_all_the_time_nobody_is_refused_or_reset() {
    let origin = Origin::start().await;
    let redis = RedisServer::start();
    let setup = Setup::new(origin.address, Some(&redis), OPEN);
    let mut edge = setup.start(&["--linger", "300ms"]).await;
    let mut inside = enter(edge.site).await;
    let hammer = Hammer::start(edge.site, edge.operator);
    for _ in 0..3 {
        edge = hand_over(&setup, edge).await;
        assert_eq!(inside.visit("/inside").await.shows(), "GET /inside");
    }
    // However fast the machine is, the last edge has had its share.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (asked, failed) = hammer.stop();
    assert!(failed.is_empty(), "{} of {asked} failed: {:#?}", failed.len(), &failed[..failed.len().min(5)]);
    assert!(asked > 1000, "only {asked} asked");
    println!("{asked} connections through three hand-overs, none failed");
}

#[tokio::test]
async fn waiters_come_back_to_the_successor_at_the_same_place() {
    let origin = Origin::start().await;
    let redis = RedisServer::start();
    let setup = Setup::new(origin.address, Some(&redis), FULL);
    let edge = setup.start(&["--linger", "300ms"]).await;
    enter(edge.site).await;
    let mut waiters = Vec::new();
    for place in 1..=5 {
        let mut visitor = edge.visitor();
        visitor.join().await;
        let mut screen = visitor.watch().await;
        screen.standing("a place", |standing| standing.position == Some(place)).await;
        waiters.push((visitor, screen, place));
    }
    let new = hand_over(&setup, edge).await;
    for (visitor, screen, place) in &mut waiters {
        assert!(screen.next_of("server.bye").await["reconnect_in_ms"].is_u64());
        assert_eq!(screen.closed().await, 1012);
        assert_eq!(visitor.edge, new.site);
        let mut again = visitor.watch().await;
        again.standing("the same place", |standing| standing.position == Some(*place)).await;
    }
}

#[tokio::test]
async fn without_a_successor_the_edge_goes_on_and_says_so() {
    let origin = Origin::start().await;
    let setup = Setup::new(origin.address, None, OPEN);
    // What a successor that crashed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(setup.socket()).unwrap());
    let mut edge = setup.start(&["--linger", "100ms"]).await;
    edge.signal("-QUIT");
    edge.says("no successor waits at").await;
    assert!(edge.said().contains("this edge goes on"), "{}", edge.said());
    assert!(edge.runs());
    assert_eq!(edge.readiness().await.0, 200);
    assert_eq!(edge.visitor().visit("/").await.shows(), "GET /");
    // Later one comes, and the file that was left behind is no obstacle.
    let _new = hand_over(&setup, edge).await;
}

#[tokio::test]
async fn a_successor_that_could_not_serve_never_asks_for_the_listeners() {
    let origin = Origin::start().await;
    let setup = Setup::new(origin.address, None, OPEN);
    let mut edge = setup.start(&[]).await;
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let no_store = format!("[store]\nurl = \"redis://{nobody}\"\n[room.e1]");
    let edits: [(&str, &str, i32); 4] = [
        ("[room.e1]", "[room.e1]\nno_such_setting = 1", 78),
        ("[[keys]]", "[[no_keys]]", 78),
        ("new_users_per_minute = 60000", "new_users_per_minute = 0", 78),
        ("[room.e1]", &no_store, 69),
    ];
    for (from, to, code) in edits {
        let config = setup.edited(|text| text.replace(from, to));
        let mut new = setup.spawn(&config, UPGRADE);
        while new.runs() {
            assert!(!waits_for_sockets(&setup.socket()), "{to:?} asks for the listeners");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(new.exit().await.0, Some(code), "{to:?}: {}", new.said());
    }
    assert!(edge.runs());
}

#[tokio::test]
async fn a_successor_with_another_address_is_told_why_it_gets_nothing() {
    let origin = Origin::start().await;
    let setup = Setup::new(origin.address, None, OPEN);
    let mut edge = setup.start(&[]).await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lines = [
        ("server.listen", format!("[server]\nlisten = \"{elsewhere}\"")),
        ("operator.listen", format!("[operator]\nlisten = \"{elsewhere}\"")),
    ];
    for (setting, line) in lines {
        let (section, _) = line.split_once('\n').unwrap();
        let from = format!("{section}\nlisten = \"127.0.0.1:0\"");
        let mut new = setup.spawn(&setup.edited(|text| text.replace(&from, &line)), UPGRADE);
        until("the successor waits", || waits_for_sockets(&setup.socket())).await;
        edge.signal("-QUIT");
        assert_eq!(new.exit().await.0, Some(78), "{}", new.said());
        let running = if setting == "server.listen" { edge.site } else { edge.operator };
        for part in [setting.to_owned(), elsewhere.to_string(), running.to_string()] {
            assert!(new.said().contains(&part), "{part} is not in {}", new.said());
        }
        edge.says(&format!("`{setting}` is {elsewhere}")).await;
        assert!(edge.runs());
        assert_eq!(edge.visitor().visit("/").await.status, 200);
    }
}

#[tokio::test]
async fn the_upgrade_socket_is_for_one_successor_and_its_own_user_only() {
    let origin = Origin::start().await;
    let setup = Setup::new(origin.address, None, OPEN);
    std::fs::write(setup.socket(), "somebody's notes").unwrap();
    let mut refused = setup.spawn(&setup.config(), UPGRADE);
    assert_eq!(refused.exit().await.0, Some(70));
    assert!(refused.said().contains("is no socket"), "{}", refused.said());
    assert_eq!(std::fs::read_to_string(setup.socket()).unwrap(), "somebody's notes");
    std::fs::remove_file(setup.socket()).unwrap();

    let mut first = setup.spawn(&setup.config(), UPGRADE);
    until("the successor waits", || waits_for_sockets(&setup.socket())).await;
    let mode = std::fs::metadata(setup.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut second = setup.spawn(&setup.config(), UPGRADE);
    assert_eq!(second.exit().await.0, Some(70));
    assert!(second.said().contains("another successor waits"), "{}", second.said());
    // A rival's look at the door, and noise, are passed over.
    let mut noise = UnixStream::connect(setup.socket()).unwrap();
    noise.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    first.says("an offer of listeners was passed over").await;
    assert!(first.runs());
    first.signal("-TERM");
    assert_eq!(first.exit().await.0, Some(0));
    assert!(!setup.socket().exists());
}

#[tokio::test]
async fn a_process_of_another_user_gets_nothing() {
    let origin = Origin::start().await;
    let setup = Setup::new(origin.address, None, OPEN);
    let mut edge = setup.start(&[]).await;
    let folder = setup.socket().parent().unwrap().to_owned();
    // Only root can be somebody else; the rule itself is the same for all.
    if !is_root() {
        return;
    }
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut stranger = Command::new("redis-server");
    stranger.args(["--port", "0", "--save", "", "--unixsocket"]).arg(setup.socket());
    let stranger = stranger.current_dir(&folder).uid(65_534).gid(65_534).stdout(Stdio::null()).spawn();
    let _stranger = Killed(stranger.unwrap());
    until("the stranger waits", || waits_for_sockets(&setup.socket())).await;
    edge.signal("-QUIT");
    edge.says("runs as user 65534").await;
    assert!(edge.runs());
}

/// Ends with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Plays a running edge that offers these sockets and is gone at once.
fn offer(setup: &Setup, sockets: &[BorrowedFd<'_>]) {
    let stream = UnixStream::connect(setup.socket()).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(sockets)));
    let words = IoSlice::new(b"vestibule listeners 1: site, operator\n");
    sendmsg(&stream, &[words], &mut control, SendFlags::empty()).unwrap();
}

#[tokio::test]
async fn a_successor_takes_listeners_only_and_serves_even_if_the_one_before_is_gone() {
    let origin = Origin::start().await;
    let setup = Setup::new(origin.address, None, OPEN);
    let mut new = setup.spawn(&setup.config(), UPGRADE);
    until("the successor waits", || waits_for_sockets(&setup.socket())).await;
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (site, operator) = (listen(), listen());
    let talks = TcpStream::connect(site.local_addr().unwrap()).unwrap();
    offer(&setup, &[site.as_fd()]);
    offer(&setup, &[site.as_fd(), talks.as_fd()]);
    until("both offers are passed over", || new.said().matches("was passed over").count() == 2).await;
    assert!(new.runs());

    let addresses = (site.local_addr().unwrap(), operator.local_addr().unwrap());
    offer(&setup, &[site.as_fd(), operator.as_fd()]);
    drop((site, operator, talks));
    new.listens().await;
    assert_eq!((new.site, new.operator), addresses);
    assert_eq!(new.visitor().visit("/").await.shows(), "GET /");
    assert_eq!(new.readiness().await.0, 200);
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t0"))
}

#[tokio::test]
async fn a_request_under_way_at_the_old_edge_is_finished_there() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let (opened, (started, mut starts)) = (Arc::clone(&gate), tokio::sync::mpsc::unbounded_channel());
    let origin = Origin::with(move |request| {
        let (started, opened) = (started.clone(), Arc::clone(&opened));
        async move {
            if request.target == "/slow" {
                started.send(()).unwrap();
                opened.notified().await;
            }
            crate::rig::reply(200, request.target)
        }
    })
    .await;
    let setup = Setup::new(origin.address, None, OPEN);
    let mut old = setup.start(&["--linger", "100ms"]).await;
    let mut visitor = old.visitor();
    let slow = tokio::spawn(async move { visitor.visit("/slow").await.shows() });
    soon("the request at the origin", starts.recv()).await.unwrap();
    let mut new = setup.spawn(&setup.config(), UPGRADE);
    until("the successor waits", || waits_for_sockets(&setup.socket())).await;
    old.signal("-QUIT");
    new.listens().await;
    let began = Instant::now();
    // The successor answers for the address at once, probes too.
    assert_eq!(new.visitor().visit("/fast").await.shows(), "/fast");
    assert_eq!(new.readiness().await.0, 200);
    assert!(began.elapsed() < Duration::from_secs(5) && old.runs());
    gate.notify_one();
    assert_eq!(slow.await.unwrap(), "/slow");
    assert_eq!(old.exit().await.0, Some(0));
}
