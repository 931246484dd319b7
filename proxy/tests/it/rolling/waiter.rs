//! Somebody who waits, as the waiting page does: a socket that comes back when told, or soon when it is lost.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use http::HeaderValue;
use room::wire::{SUBPROTOCOL, Standing};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::site::Visitor;

/// Between attempts, when the edge did not say.
const PAUSE: Duration = Duration::from_millis(200);

/// What one waiter has seen so far.
#[derive(Debug, Default, Clone)]
pub(super) struct Story {
    /// What the screen shows now.
    pub(super) position: Option<u64>,
    pub(super) turn: bool,
    /// Whether there is a socket, and a place was heard on it.
    pub(super) connected: bool,
    pub(super) losses: Vec<Loss>,
    /// Positions that a later one on the same screen exceeded.
    pub(super) grew: Vec<(u64, u64)>,
}

/// A socket that ended.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    pub(super) at: Instant,
    /// The edge said that it would end.
    pub(super) announced: bool,
    /// The moment of the next attempt.
    pub(super) tried: Option<Instant>,
    /// A place was heard again.
    pub(super) resumed: Option<Instant>,
}

pub(super) struct Waiter {
    pub(super) visitor: Visitor,
    story: Arc<Mutex<Story>>,
    task: JoinHandle<()>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Waiter {
    /// Keeps a socket open through `address`, for a visitor who has a place.
    pub(super) fn watch(visitor: Visitor, address: SocketAddr) -> Self {
        let story = Arc::new(Mutex::new(Story::default()));
        let ticket = visitor.ticket().unwrap().to_owned();
        let task = tokio::spawn(keep_watching(address, ticket, Arc::clone(&story)));
        Self { visitor, story, task }
    }

    pub(super) fn story(&self) -> Story {
        self.story.lock().unwrap().clone()
    }
}

async fn keep_watching(address: SocketAddr, ticket: String, story: Arc<Mutex<Story>>) {
    loop {
        let mut pause = PAUSE;
        if let Some(socket) = open(address, &ticket).await {
            pause = listen(socket, &story).await.unwrap_or(PAUSE);
        }
        sleep(pause).await;
        if let Some(loss) = story.lock().unwrap().losses.last_mut() {
            loss.tried.get_or_insert(Instant::now());
        }
    }
}

async fn open(address: SocketAddr, ticket: &str) -> Option<WebSocketStream<TcpStream>> {
    let mut request = "ws://shop.example/_queue/ws".into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
    headers.insert("cookie", format!("vestibule_ticket_e1={ticket}").parse().unwrap());
    let opened = async {
        let stream = TcpStream::connect(address).await.ok()?;
        Some(tokio_tungstenite::client_async(request, stream).await.ok()?.0)
    };
    timeout(Duration::from_secs(5), opened).await.ok()?
}

/// Until the socket ends; gives how long to stay away, if the edge said so.
async fn listen(mut socket: WebSocketStream<TcpStream>, story: &Mutex<Story>) -> Option<Duration> {
    let mut bye = None;
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        if message["type"] == "server.bye" {
            bye = Some(Duration::from_millis(message["reconnect_in_ms"].as_u64().unwrap()));
        }
        if let Ok(standing) = serde_json::from_value::<Standing>(message) {
            story.lock().unwrap().hear(&standing);
        }
    }
    let mut story = story.lock().unwrap();
    story.connected = false;
    let fresh = Loss { at: Instant::now(), announced: bye.is_some(), tried: None, resumed: None };
    story.losses.push(fresh);
    bye
}

impl Story {
    fn hear(&mut self, standing: &Standing) {
        self.turn |= standing.claim_expires_at.is_some();
        let Some(position) = standing.position else { return };
        if let Some(before) = self.position.filter(|before| *before < position) {
            self.grew.push((before, position));
        }
        self.position = Some(position);
        self.connected = true;
        let now = Instant::now();
        self.losses
            .iter_mut()
            .filter(|loss| loss.resumed.is_none())
            .for_each(|loss| loss.resumed = Some(now));
    }
}
