//! The link that the tests make bad does what it says.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::fault_link::{FaultLink, Flow, Mode};

const SOON: Duration = Duration::from_secs(5);
/// Nothing that is to come takes as long.
const A_WHILE: Duration = Duration::from_millis(150);

/// Answers whatever it hears with the same.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn linked() -> (FaultLink, TcpStream) {
    let link = FaultLink::start(echo().await).await;
    let mut stream = TcpStream::connect(link.address()).await.unwrap();
    assert_eq!(said(&mut stream, b"one").await.unwrap(), b"one");
    (link, stream)
}

async fn said(stream: &mut TcpStream, what: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(what).await?;
    heard(stream, what.len()).await
}

async fn heard(stream: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    timeout(SOON, stream.read_exact(&mut bytes)).await.expect("an answer or an end")?;
    Ok(bytes)
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(A_WHILE, stream.read_u8()).await.is_err()
}

#[tokio::test]
async fn bytes_pass_in_order_and_an_end_is_an_end() {
    let (_link, mut stream) = linked().await;
    let many: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let (mut from, mut to) = stream.split();
    let mut back = vec![0; many.len()];
    let (there, here) = tokio::join!(to.write_all(&many), from.read_exact(&mut back));
    there.unwrap();
    here.unwrap();
    assert!(back == many);
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(SOON, stream.read(&mut [0])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn latency_counts_each_way_and_not_each_piece() {
    let (link, mut stream) = linked().await;
    link.set(Mode::latency(Duration::from_millis(100)));
    let began = Instant::now();
    for _ in 0..20 {
        stream.write_all(b"x").await.unwrap();
    }
    heard(&mut stream, 20).await.unwrap();
    let took = began.elapsed();
    assert!((Duration::from_millis(200)..Duration::from_secs(1)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_stall_holds_bytes_and_lets_them_go_later() {
    let (link, mut stream) = linked().await;
    link.set(Mode::STALL);
    stream.write_all(b"held").await.unwrap();
    assert!(is_silent(&mut stream).await);
    // New connections come up, as the kernel of a stalled machine accepts them.
    let mut other = TcpStream::connect(link.address()).await.unwrap();
    other.write_all(b"too").await.unwrap();
    assert!(is_silent(&mut other).await);
    link.set(Mode::PASS);
    assert_eq!(heard(&mut stream, 4).await.unwrap(), b"held");
    assert_eq!(heard(&mut other, 3).await.unwrap(), b"too");
}

#[tokio::test]
async fn one_direction_can_be_bad_by_itself() {
    let (link, mut stream) = linked().await;
    link.set(Mode::Link { there: Flow::Pass, back: Flow::Stall });
    stream.write_all(b"late").await.unwrap();
    assert!(is_silent(&mut stream).await);
    // What came through before is not held by the other direction.
    link.set(Mode::Link { there: Flow::Stall, back: Flow::Pass });
    assert_eq!(heard(&mut stream, 4).await.unwrap(), b"late");
    stream.write_all(b"held").await.unwrap();
    assert!(is_silent(&mut stream).await);
}

#[tokio::test]
async fn a_cut_resets_old_and_new_connections_until_it_is_mended() {
    let (link, mut stream) = linked().await;
    link.set(Mode::Cut);
    assert_eq!(heard(&mut stream, 1).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let refused = async {
        let mut stream = TcpStream::connect(link.address()).await?;
        said(&mut stream, b"new").await
    };
    assert!(refused.await.is_err());
    link.set(Mode::PASS);
    let mut stream = TcpStream::connect(link.address()).await.unwrap();
    assert_eq!(said(&mut stream, b"new").await.unwrap(), b"new");
}

#[tokio::test]
async fn a_half_open_connection_says_nothing_and_never_comes_back() {
    let (link, mut stream) = linked().await;
    link.set(Mode::HALF_OPEN);
    stream.write_all(b"lost").await.unwrap();
    assert!(is_silent(&mut stream).await);
    link.set(Mode::PASS);
    // What was lost would be a hole in the stream.
    assert_eq!(heard(&mut stream, 1).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn present_connections_can_be_bad_while_new_ones_pass() {
    let (link, mut stream) = linked().await;
    link.set_present(Mode::HALF_OPEN);
    let mut other = TcpStream::connect(link.address()).await.unwrap();
    assert_eq!(said(&mut other, b"new").await.unwrap(), b"new");
    stream.write_all(b"lost").await.unwrap();
    assert!(is_silent(&mut stream).await);
    assert_eq!(link.accepted(), 2);
}

#[tokio::test]
async fn an_end_can_be_heard_late() {
    let (link, mut stream) = linked().await;
    link.close_after(Duration::from_millis(200));
    let began = Instant::now();
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(SOON, stream.read(&mut [0])).await.unwrap().unwrap(), 0);
    // Once there and once back.
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}
