//! One waiter's WebSocket: sends what the mailbox holds, answers pings, notices when nobody is there.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use room::wire::ClientMessage;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::edge::websocket::WaiterSocket;
use crate::mailbox::{Mail, Mailbox};
use crate::metrics::{self, Direction, WsType};

/// A phone that fell off the network does not say so: it is asked this often, and gone after two questions.
const PING_EVERY: Duration = Duration::from_secs(25);
const SILENT_FOR: Duration = Duration::from_secs(60);
/// A send that takes longer meets a reader who does not read.
const SEND_PATIENCE: Duration = Duration::from_secs(10);
/// How long the client's half of the closing handshake is waited for.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// Frames that a client may send a minute; a waiter has nothing to say.
const MAX_FRAMES_A_MINUTE: u32 = 240;

/// Serves the socket until either side closes it.
pub async fn run(socket: WaiterSocket, mailbox: Arc<Mailbox>) {
    metrics::edge().ws_connections.increment(1);
    Session { socket, heard: Instant::now(), minute: Instant::now(), frames: 0 }.serve(&mailbox).await;
    metrics::edge().ws_connections.decrement(1);
}

struct Session {
    socket: WaiterSocket,
    heard: Instant,
    minute: Instant,
    frames: u32,
}

/// The socket is over.
struct Over;

impl Session {
    async fn serve(mut self, mailbox: &Mailbox) {
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        loop {
            let step = tokio::select! {
                mail = mailbox.next() => self.send(mail).await,
                message = self.socket.next() => self.receive(message),
                _ = ping.tick() => self.ask().await,
            };
            if let Err(Over) = step {
                return;
            }
        }
    }

    async fn send(&mut self, mail: Mail) -> Result<(), Over> {
        match mail {
            Mail::Text(kind, text) => {
                metrics::edge().ws_message(Direction::Out, kind);
                self.write(Message::Text(text)).await
            }
            Mail::Close(code) => {
                self.close(code).await;
                Err(Over)
            }
        }
    }

    /// Says goodbye and reads on until the client has done the same: closed before, the connection could be reset,
    /// and the last words lost with it.
    async fn close(&mut self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        // The connection ends either way.
        if let Ok(Ok(())) = timeout(SEND_PATIENCE, self.socket.close(Some(frame))).await {
            let answered = async { while let Some(Ok(_)) = self.socket.next().await {} };
            let _ = timeout(CLOSE_PATIENCE, answered).await;
        }
    }

    fn receive(&mut self, message: Option<Result<Message, tungstenite::Error>>) -> Result<(), Over> {
        let Some(Ok(message)) = message else {
            return Err(Over);
        };
        self.heard = Instant::now();
        if self.heard - self.minute > Duration::from_secs(60) {
            (self.minute, self.frames) = (self.heard, 0);
        }
        self.frames += 1;
        if self.frames > MAX_FRAMES_A_MINUTE {
            return Err(Over);
        }
        if let Message::Text(text) = message {
            let kind = match serde_json::from_str(&text) {
                Ok(ClientMessage::Ping) => WsType::Ping,
                Ok(ClientMessage::Ack) => WsType::Ack,
                Err(_) => WsType::Unknown,
            };
            metrics::edge().ws_message(Direction::In, kind);
        }
        Ok(())
    }

    async fn ask(&mut self) -> Result<(), Over> {
        if self.heard.elapsed() > SILENT_FOR {
            return Err(Over);
        }
        self.write(Message::Ping(Vec::new().into())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), Over> {
        match timeout(SEND_PATIENCE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Over),
        }
    }
}
