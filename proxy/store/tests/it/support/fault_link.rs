//! A TCP link that can be made bad while it is in use. Needs only the standard library and tokio, so that other test
//! binaries can take this file in by `#[path]`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Pieces of one direction that are on their way; more are not read from the sender.
const ON_THE_WAY: usize = 256;
const PIECE: usize = 16 * 1024;

/// What happens to the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Pass,
    /// They arrive this much later.
    Latency(Duration),
    /// They are held until the mode changes.
    Stall,
    /// They vanish, as when the peer went away without a word.
    Drop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Link {
        /// From who connected.
        there: Flow,
        /// To who connected.
        back: Flow,
    },
    /// All connections are reset, and new ones as well.
    Cut,
}

impl Mode {
    pub(crate) const PASS: Self = Self::both(Flow::Pass);
    pub(crate) const STALL: Self = Self::both(Flow::Stall);
    pub(crate) const HALF_OPEN: Self = Self::both(Flow::Drop);

    pub(crate) const fn both(flow: Flow) -> Self {
        Self::Link { there: flow, back: flow }
    }

    pub(crate) const fn latency(each_way: Duration) -> Self {
        Self::both(Flow::Latency(each_way))
    }
}

/// What holds for which connections.
#[derive(Debug, Clone, Copy)]
struct Rule {
    mode: Mode,
    /// The first connection that `mode` is for; those before are in `before`.
    since: usize,
    before: Mode,
    close_after: Duration,
}

/// A loopback port whose connections lead to another address.
pub(crate) struct FaultLink {
    address: SocketAddr,
    rule: watch::Sender<Rule>,
    accepted: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl FaultLink {
    /// Must be called in a tokio runtime, and ends with the value.
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let rule = Rule { mode: Mode::PASS, since: 0, before: Mode::PASS, close_after: Duration::ZERO };
        let (rule, accepted) = (watch::Sender::new(rule), Arc::<AtomicUsize>::default());
        let serve = serve(listener, to, rule.subscribe(), Arc::clone(&accepted));
        Self { address, rule, accepted, task: tokio::spawn(serve).abort_handle() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, for all connections.
    pub(crate) fn set(&self, mode: Mode) {
        self.rule.send_modify(|rule| (rule.mode, rule.since) = (mode, 0));
    }

    /// For the connections that there are now; new ones pass.
    pub(crate) fn set_present(&self, mode: Mode) {
        self.set_oldest(self.accepted(), mode);
    }

    /// For so many of the connections ever accepted; the others pass.
    pub(crate) fn set_oldest(&self, count: usize, mode: Mode) {
        self.rule.send_modify(|rule| (rule.mode, rule.since, rule.before) = (Mode::PASS, count, mode));
    }

    /// A peer that ends a connection is heard this much later.
    pub(crate) fn close_after(&self, span: Duration) {
        self.rule.send_modify(|rule| rule.close_after = span);
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for FaultLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    to: SocketAddr,
    rule: watch::Receiver<Rule>,
    accepted: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = listener.accept() => if let Ok((stream, _)) = stream {
                let number = accepted.fetch_add(1, Ordering::SeqCst);
                connections.spawn(join(stream, to, Link { number, is_there: true, rule: rule.clone() }));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One direction of one connection, or both, under the rule.
#[derive(Clone)]
struct Link {
    number: usize,
    is_there: bool,
    rule: watch::Receiver<Rule>,
}

/// What is on its way: bytes, or none at the end.
struct Piece {
    sent: Instant,
    bytes: Vec<u8>,
}

/// Bytes were lost, so the connection can never be whole again.
struct Lost;

/// Carries bytes both ways until both sides are closed or the link is cut.
async fn join(mut client: TcpStream, to: SocketAddr, link: Link) {
    let Ok(mut server) = TcpStream::connect(to).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let mut cut = link.clone();
    let carried = tokio::select! {
        biased;
        () = cut.until(|mode| mode == Mode::Cut) => Err(Lost),
        outcome = carry_both(&mut client, &mut server, link) => outcome,
    };
    if carried.is_err() {
        // Reset, not closed.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

async fn carry_both(client: &mut TcpStream, server: &mut TcpStream, link: Link) -> Result<(), Lost> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let back = Link { is_there: false, ..link.clone() };
    tokio::try_join!(carry(from_client, to_server, link), carry(from_server, to_client, back))?;
    Ok(())
}

async fn carry(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut link: Link) -> Result<(), Lost> {
    let (sender, mut pieces) = mpsc::channel(ON_THE_WAY);
    let read = async move {
        loop {
            let mut bytes = vec![0; PIECE];
            let length = from.read(&mut bytes).await.unwrap_or(0);
            bytes.truncate(length);
            if sender.send(Piece { sent: Instant::now(), bytes }).await.is_err() || length == 0 {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some(piece) = pieces.recv().await {
            if !link.arrives(&piece).await {
                link.swallow(&mut pieces).await;
                return Err(Lost);
            }
            let written =
                if piece.bytes.is_empty() { to.shutdown().await } else { to.write_all(&piece.bytes).await };
            written.map_err(|_| Lost)?;
        }
        Ok(())
    };
    tokio::try_join!(read, write)?;
    Ok(())
}

impl Link {
    fn mode(&self) -> Mode {
        let rule = *self.rule.borrow();
        if self.number < rule.since { rule.before } else { rule.mode }
    }

    fn flow(&self) -> Flow {
        match self.mode() {
            Mode::Link { there, .. } if self.is_there => there,
            Mode::Link { back, .. } => back,
            Mode::Cut => Flow::Drop,
        }
    }

    async fn until(&mut self, is_wanted: impl Fn(Mode) -> bool) {
        while !is_wanted(self.mode()) {
            if self.rule.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits for the time that a piece takes, and says whether it arrives.
    async fn arrives(&mut self, piece: &Piece) -> bool {
        if piece.bytes.is_empty() {
            let span = self.rule.borrow().close_after;
            sleep_until(piece.sent + span).await;
        }
        loop {
            match self.flow() {
                Flow::Pass => return true,
                Flow::Drop => return false,
                Flow::Latency(span) => {
                    sleep_until(piece.sent + span).await;
                    return true;
                }
                Flow::Stall => {
                    if self.rule.changed().await.is_err() {
                        return false;
                    }
                }
            }
        }
    }

    /// Takes what comes and gives nothing on, as long as the rule says so.
    async fn swallow(&mut self, pieces: &mut mpsc::Receiver<Piece>) {
        while self.flow() == Flow::Drop {
            tokio::select! {
                changed = self.rule.changed() => if changed.is_err() { return },
                Some(_) = pieces.recv() => {}
            }
        }
    }
}
