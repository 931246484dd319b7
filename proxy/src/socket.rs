//! One waiter's WebSocket: listens to the client, sends what the mailbox could not, closes in order.
//!
//! What waiters are told is written by those who tell it (see [`crate::mailbox`]). The task of a socket is asleep
//! until the client speaks or there is room again for what is kept, so it holds no buffer and no timer.

pub mod frames;
mod sealed;
mod shared;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use room::wire::ClientMessage;

use crate::edge::websocket::WaiterSocket;
use crate::mailbox::{Farewell, Mailbox};
use crate::metrics::{self, Direction, WsType};

use self::frames::{Heard, Opcode, Reader, close_frame, frame};

/// A connection that takes nothing for so long belongs to a reader who does not read.
const SEND_PATIENCE: Duration = Duration::from_secs(10);
/// How long the client's half of the closing handshake is waited for.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// Frames that a client may send a minute; a waiter has nothing to say.
const MAX_FRAMES_A_MINUTE: u32 = 240;

/// Serves the socket until either side closes it.
pub async fn run(socket: WaiterSocket, mailbox: Arc<Mailbox>) {
    let _counted = Counted::new();
    let _ended = Ended(&mailbox);
    mailbox.hears(now_secs());
    match socket {
        WaiterSocket::Plain(line, arrived) => shared::run(line, arrived, &mailbox).await,
        WaiterSocket::Sealed(stream, arrived) => Box::pin(sealed::run(stream, arrived, &mailbox)).await,
    }
}

/// Seconds that this process has run: the clock of silence.
pub fn now_secs() -> u32 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_secs() as u32
}

/// The socket is over.
struct Over;

/// What is kept of a client between two of its frames.
#[derive(Default)]
struct Client {
    reader: Reader,
    minute_secs: u32,
    frames: u32,
}

impl Client {
    /// Takes in what the client sent. A client that closes, or breaks the rules, is parted from by the mailbox.
    fn take(&mut self, bytes: &mut [u8], mailbox: &Mailbox) -> Result<(), Over> {
        let now = now_secs();
        mailbox.hears(now);
        if now.saturating_sub(self.minute_secs) > 60 {
            (self.minute_secs, self.frames) = (now, 0);
        }
        let frames = &mut self.frames;
        let taken = self.reader.take(bytes, |heard| {
            *frames += 1;
            match heard {
                Heard::Text(text) => metrics::edge().ws_message(Direction::In, kind(text)),
                Heard::Ping(payload) => mailbox.pong(payload),
                Heard::Close(code) => mailbox.close_now(Farewell::Answer(code)),
                Heard::Binary | Heard::Fragment | Heard::Pong => {}
            }
        });
        if let Err(violation) = taken {
            mailbox.close_now(Farewell::Ours(violation.close_code()));
        }
        if self.frames > MAX_FRAMES_A_MINUTE { Err(Over) } else { Ok(()) }
    }
}

fn kind(text: &str) -> WsType {
    match serde_json::from_str(text) {
        Ok(ClientMessage::Ping) => WsType::Ping,
        Ok(ClientMessage::Ack) => WsType::Ack,
        Err(_) => WsType::Unknown,
    }
}

impl Farewell {
    fn frame(self) -> Box<[u8]> {
        match self {
            Self::Ours(code) | Self::Answer(Some(code)) => close_frame(code),
            Self::Answer(None) => frame(Opcode::Close, b""),
        }
    }

    /// Closed before the client has done the same, the connection could be reset, and the last words lost with it.
    fn awaits_answer(self) -> bool {
        matches!(self, Self::Ours(_))
    }
}

/// Reads on until the client has closed.
#[derive(Default)]
struct LastWords(Reader);

impl LastWords {
    /// Whether these bytes were the last.
    fn end_with(&mut self, bytes: &mut [u8]) -> bool {
        let mut is_over = bytes.is_empty();
        let taken = self.0.take(bytes, |heard| is_over |= matches!(heard, Heard::Close(_)));
        is_over || taken.is_err()
    }
}

/// One open socket, in the metrics.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::edge().ws_connections.increment(1);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::edge().ws_connections.decrement(1);
    }
}

/// However the task of a socket ends, nothing is written any more.
struct Ended<'a>(&'a Mailbox);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
