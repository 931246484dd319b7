//! The fault link: a TCP relay whose network can be made bad while connections run over it, each direction by itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// One direction of the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Way {
    /// Bytes arrive this much later, in order.
    pub latency: Duration,
    /// Bytes stay where they are until the link is healed.
    pub stalled: bool,
    /// The end of the stream arrives this much later than its last byte.
    pub slow_close: Duration,
}

/// The state of the whole link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    pub to_server: Way,
    pub to_client: Way,
    /// Connections are reset and new ones refused.
    pub cut: bool,
    /// Counts up: connections of an earlier generation never hear anything again, as if the other host had vanished
    /// without a word. New ones work.
    pub ghosts: u64,
}

impl Weather {
    /// Half of a round trip each way.
    pub(crate) fn round_trip(time: Duration) -> Self {
        let way = Way { latency: time / 2, ..Way::default() };
        Self { to_server: way, to_client: way, ..Self::default() }
    }

    /// Nothing arrives on either side, nothing is closed.
    pub(crate) fn stalled() -> Self {
        let way = Way { stalled: true, ..Way::default() };
        Self { to_server: way, to_client: way, ..Self::default() }
    }
}

/// A relay from a port of its own to a server's.
#[derive(Debug)]
pub(crate) struct Link {
    port: u16,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

/// What is read at once, and how many such pieces may be under way: more, and the sender is slowed down.
const PIECE_BYTES: usize = 16 << 10;
const MOST_PIECES: usize = 256;
/// A server that takes longer to accept counts as away.
const CONNECT: Duration = Duration::from_secs(2);

impl Link {
    pub(crate) async fn open(port: u16, server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let port = listener.local_addr()?.port();
        let weather = watch::Sender::new(Weather::default());
        let task = tokio::spawn(accept(listener, (Ipv4Addr::LOCALHOST, server).into(), weather.subscribe()));
        Ok(Self { port, weather, task })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, weather: Weather) {
        let ghosts = self.weather.borrow().ghosts;
        self.weather.send_replace(Weather { ghosts, ..weather });
    }

    /// All present connections go dead without a word.
    pub(crate) fn haunt(&self) {
        self.weather.send_modify(|weather| weather.ghosts += 1);
    }

    pub(crate) fn heal(&self) {
        self.set(Weather::default());
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, weather: watch::Receiver<Weather>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if weather.borrow().cut {
            reset(&client);
            continue;
        }
        tokio::spawn(relay(client, server, weather.clone()));
    }
}

/// Closes with a reset instead of an end.
fn reset(stream: &TcpStream) {
    // Where it is not possible the ordinary end does.
    let _ = stream.set_zero_linger();
}

async fn relay(client: TcpStream, server: SocketAddr, mut weather: watch::Receiver<Weather>) {
    let Ok(Ok(upstream)) = timeout(CONNECT, TcpStream::connect(server)).await else {
        return reset(&client);
    };
    // Latency is ours to make.
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let born = weather.borrow().ghosts;
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = upstream.into_split();
    let there = Direction { weather: weather.clone(), way: |weather| weather.to_server, born };
    let back = Direction { weather: weather.clone(), way: |weather| weather.to_client, born };
    let both = async { tokio::join!(there.carry(client_in, server_out), back.carry(server_in, client_out)) };
    tokio::select! {
        _ = both => {}
        _ = weather.wait_for(|weather| weather.cut) => {}
    }
}

struct Direction {
    weather: watch::Receiver<Weather>,
    way: fn(&Weather) -> Way,
    born: u64,
}

impl Direction {
    /// From one side to the other until the stream ends; what was read arrives in order, each piece at its time.
    async fn carry(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (pieces, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(MOST_PIECES);
        let latency = self.weather.clone();
        let way = self.way;
        let read = async move {
            let mut buffer = vec![0; PIECE_BYTES];
            while let Ok(length @ 1..) = from.read(&mut buffer).await {
                let at = Instant::now() + way(&latency.borrow()).latency;
                let piece = buffer.get(..length).unwrap_or_default().to_vec();
                if pieces.send((at, piece)).await.is_err() {
                    return;
                }
            }
        };
        let write = async move {
            while let Some((at, piece)) = due.recv().await {
                sleep_until(at).await;
                self.passable().await;
                if to.write_all(&piece).await.is_err() {
                    return;
                }
            }
            self.passable().await;
            let slow_close = (self.way)(&self.weather.borrow()).slow_close;
            sleep(slow_close).await;
            // The other side may be gone already.
            let _ = to.shutdown().await;
        };
        tokio::join!(read, write);
    }

    /// Waits out a stall; a ghost waits for ever.
    async fn passable(&self) {
        let mut weather = self.weather.clone();
        let open = |weather: &Weather| weather.ghosts == self.born && !(self.way)(weather).stalled;
        // The link is gone when waiting fails, and everything with it.
        let _ = weather.wait_for(open).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        port
    }

    async fn client(link: &Link) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).await.unwrap()
    }

    /// How long an echo takes; `None` when there is none within `limit`.
    async fn asked(stream: &mut TcpStream, limit: Duration) -> Option<Duration> {
        let started = Instant::now();
        stream.write_all(b"hello").await.ok()?;
        let mut answer = [0; 5];
        timeout(limit, stream.read_exact(&mut answer)).await.ok()?.ok()?;
        assert_eq!(&answer, b"hello");
        Some(started.elapsed())
    }

    const SOON: Duration = Duration::from_secs(5);
    const NOT: Duration = Duration::from_millis(200);

    async fn link() -> Link {
        Link::open(0, echo().await).await.unwrap()
    }

    #[tokio::test]
    async fn a_link_in_good_weather_carries_both_ways_and_ends_with_its_sides() {
        let link = link().await;
        let mut stream = client(&link).await;
        assert!(asked(&mut stream, SOON).await.is_some());
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn latency_counts_each_way() {
        let link = link().await;
        let mut stream = client(&link).await;
        link.set(Weather::round_trip(Duration::from_millis(100)));
        assert!(asked(&mut stream, SOON).await.unwrap() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn a_stall_keeps_everything_until_it_is_over() {
        let link = link().await;
        let mut stream = client(&link).await;
        link.set(Weather::stalled());
        assert_eq!(asked(&mut stream, NOT).await, None);
        link.heal();
        let mut late = [0; 5];
        timeout(SOON, stream.read_exact(&mut late)).await.unwrap().unwrap();
        assert_eq!(&late, b"hello");
    }

    #[tokio::test]
    async fn a_cut_resets_what_is_there_and_refuses_what_comes() {
        let link = link().await;
        let mut stream = client(&link).await;
        assert!(asked(&mut stream, SOON).await.is_some());
        link.set(Weather { cut: true, ..Weather::default() });
        assert!(!matches!(timeout(SOON, stream.read(&mut [0; 1])).await.unwrap(), Ok(1..)));
        assert_eq!(asked(&mut client(&link).await, SOON).await, None);
        link.heal();
        assert!(asked(&mut client(&link).await, SOON).await.is_some());
    }

    #[tokio::test]
    async fn ghosts_stay_silent_while_new_connections_work() {
        let link = link().await;
        let mut old = client(&link).await;
        assert!(asked(&mut old, SOON).await.is_some());
        link.haunt();
        assert_eq!(asked(&mut old, NOT).await, None);
        assert!(asked(&mut client(&link).await, SOON).await.is_some());
        link.heal();
        assert_eq!(asked(&mut old, NOT).await, None, "who has vanished does not come back");
    }

    #[tokio::test]
    async fn a_slow_close_ends_later_than_its_last_byte() {
        let link = link().await;
        let mut stream = client(&link).await;
        let slow_close = Duration::from_millis(150);
        link.set(Weather { to_client: Way { slow_close, ..Way::default() }, ..Weather::default() });
        assert!(asked(&mut stream, SOON).await.is_some());
        let started = Instant::now();
        stream.shutdown().await.unwrap();
        assert_eq!(timeout(SOON, stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
        assert!(started.elapsed() >= slow_close);
    }
}
