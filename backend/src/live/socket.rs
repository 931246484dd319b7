//! One socket: a `select!` over what the other side says, what is to be told, and the time.

use std::time::Duration;

use axum::extract::ws::{self, CloseFrame, WebSocket, close_code};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, timeout};

use super::mailbox::Overflown;
use super::message::{Encoded, StockNews};
use super::{Message, Seat, stopping};
use crate::metrics;

/// A ping of the protocol this often; it keeps middleboxes from forgetting the connection.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Who is not heard for this long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// Who takes longer for one message is gone.
const SEND: Duration = Duration::from_secs(10);
/// Clients come back at a moment up to this late, so that they do not come at once.
const RECONNECT_SPREAD_MS: u64 = 5000;

/// From the page, one JSON object a frame.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Said {
    #[serde(rename = "client.ping")]
    Ping,
    #[serde(rename = "client.ack")]
    Ack,
    #[serde(other)]
    Unknown,
}

/// Why a conversation ends.
enum End {
    /// The other side closed, or is gone.
    Gone,
    /// The program stops.
    Stopping,
    /// Updates would have been lost.
    TooSlow,
}

/// Talks until one side ends.
pub async fn converse(mut socket: WebSocket, mut seat: Seat) {
    let end = talk(&mut socket, &mut seat).await;
    let (code, reason) = match end {
        End::Gone => return,
        End::Stopping => {
            let bye = Message::Bye { reconnect_in_ms: reconnect_in_ms() };
            let _gone_meanwhile = send(&mut socket, bye.encode()).await;
            (close_code::RESTART, "restart")
        }
        End::TooSlow => (close_code::AGAIN, "too slow for its order updates"),
    };
    let frame = ws::Message::Close(Some(CloseFrame { code, reason: reason.into() }));
    let _gone_meanwhile = timeout(SEND, socket.send(frame)).await;
}

async fn talk(socket: &mut WebSocket, seat: &mut Seat) -> End {
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    let mut heard = Instant::now();
    let mut told = Told::default();
    let (mailbox, stock, queue, closing) =
        (&seat.mailbox, &mut seat.stock, &mut seat.queue, &mut seat.closing);
    loop {
        let outcome = tokio::select! {
            biased;
            () = stopping(closing) => return End::Stopping,
            taken = mailbox.take() => match taken {
                Ok(messages) => send_all(socket, &messages).await,
                Err(Overflown) => return End::TooSlow,
            },
            said = socket.recv() => match said {
                Some(Ok(ws::Message::Close(_)) | Err(_)) | None => return End::Gone,
                Some(Ok(said)) => {
                    heard = Instant::now();
                    answer(socket, &said).await
                }
            },
            changed = stock.changed() => match changed {
                Ok(()) => told.tell(socket, stock).await,
                // The hub is gone: the program stops.
                Err(_) => return End::Stopping,
            },
            changed = queue.changed() => match changed {
                Ok(()) => tell_queue(socket, queue).await,
                Err(_) => return End::Stopping,
            },
            _ = pings.tick() => {
                if heard.elapsed() > SILENCE {
                    return End::Gone;
                }
                within(socket.send(ws::Message::Ping(ws::Message::text("").into_data()))).await
            }
        };
        if outcome.is_err() {
            return End::Gone;
        }
    }
}

struct Gone;

/// What the other side was told of the stock last.
#[derive(Default)]
struct Told {
    number: Option<u64>,
    open: Option<bool>,
}

impl Told {
    /// Sends the newest stock; what came and went while the last message was under way is left out.
    async fn tell(
        &mut self,
        socket: &mut WebSocket,
        stock: &mut watch::Receiver<StockNews>,
    ) -> Result<(), Gone> {
        let news = stock.borrow_and_update().clone();
        let replaced = self.number.map_or(0, |number| news.number.saturating_sub(number + 1));
        metrics::messages_replaced("stock.update", replaced);
        self.number = Some(news.number);
        if self.open.replace(news.is_open()) != Some(news.is_open()) {
            send(socket, news.sale).await?;
        }
        send(socket, news.update).await
    }
}

/// Only the newest is there to be sent.
async fn tell_queue(
    socket: &mut WebSocket,
    queue: &mut watch::Receiver<Option<Encoded>>,
) -> Result<(), Gone> {
    let news = queue.borrow_and_update().clone();
    match news {
        Some(news) => send(socket, news).await,
        None => Ok(()),
    }
}

async fn answer(socket: &mut WebSocket, said: &ws::Message) -> Result<(), Gone> {
    let ws::Message::Text(text) = said else {
        return Ok(());
    };
    match serde_json::from_str(text) {
        Ok(Said::Ping) => {
            metrics::message_received("client.ping");
            send(socket, Message::Pong.encode()).await
        }
        Ok(Said::Ack) => {
            metrics::message_received("client.ack");
            Ok(())
        }
        Ok(Said::Unknown) | Err(_) => {
            metrics::message_received("unknown");
            Ok(())
        }
    }
}

async fn send_all(socket: &mut WebSocket, messages: &[Message]) -> Result<(), Gone> {
    for message in messages {
        send(socket, message.encode()).await?;
    }
    Ok(())
}

async fn send(socket: &mut WebSocket, message: Encoded) -> Result<(), Gone> {
    within(socket.send(ws::Message::Text(message.text))).await?;
    metrics::message_sent(message.kind);
    Ok(())
}

async fn within(sending: impl Future<Output = Result<(), axum::Error>>) -> Result<(), Gone> {
    timeout(SEND, sending).await.map_err(|_| Gone)?.map_err(|_| Gone)
}

fn reconnect_in_ms() -> u64 {
    let mut bytes = [0; 2];
    // Without randomness everybody comes back after the same second.
    let _zero_on_failure = getrandom::fill(&mut bytes);
    1000 + u64::from(u16::from_le_bytes(bytes)) % RECONNECT_SPREAD_MS
}
