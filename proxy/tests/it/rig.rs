//! What the tests of the edge need: an edge with scripted decisions, a recording origin, a client that writes bytes.

mod client;
mod origin;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, StatusCode};
use room::ids::{RoomName, VisitorId};
use room::time::Micros;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use vestibule::edge::upstream::{Upstream, UpstreamSettings};
use vestibule::edge::websocket::WaiterSocket;
use vestibule::edge::{EdgeHandle, EdgeLimits, EdgeOptions, bind, serve};
use vestibule::request::{Answer, Command, Decide, Forward, ForwardPass, Head, Plan, SocketPlan};

pub(crate) use self::client::Client;
pub(crate) use self::origin::{Origin, nobody, reply};

/// Longer than anything takes, shorter than anybody's patience.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

type Planner = Box<dyn Fn(&Head, &[u8]) -> Plan + Send + Sync>;

/// Decides as the test says and remembers what it was asked.
pub(crate) struct Script {
    plan: Planner,
    pub(crate) seen: Mutex<Vec<Seen>>,
    pub(crate) commands: Mutex<Vec<(RoomName, VisitorId, Command)>>,
}

/// One head that reached the gate.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) client: String,
    pub(crate) secure: bool,
}

#[async_trait]
impl Decide for Script {
    async fn plan(&self, head: &Head, body: &[u8]) -> Plan {
        self.seen.lock().unwrap().push(Seen {
            host: head.host.clone(),
            path: head.path.clone(),
            client: head.client.to_string(),
            secure: head.secure,
        });
        (self.plan)(head, body)
    }

    async fn command(&self, room: &RoomName, pass: &ForwardPass, command: Command) {
        self.commands.lock().unwrap().push((room.clone(), pass.visitor, command));
    }

    fn is_reserved(&self, path: &str) -> bool {
        path == "/_queue" || path.starts_with("/_queue/")
    }

    fn now(&self) -> Micros {
        Micros::from(std::time::SystemTime::now())
    }
}

pub(crate) fn answer(status: u16, body: &'static str) -> Plan {
    let headers = [(http::header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))].into();
    Plan::Answer(Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Bytes::from_static(body.as_bytes()),
    })
}

/// The visitor of every [`pass`].
pub(crate) const VISITOR: &str = "0f0f0f0f0f0f0f0f0f0f0f0f";

/// The lines of an opening handshake.
pub(crate) const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Echoes, and says at first what it is.
pub(crate) fn echo() -> Plan {
    let run = |socket: WaiterSocket| {
        let work: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            let (stream, arrived) = socket.into_parts();
            let mut socket = WebSocketStream::from_partially_read(stream, arrived, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if !message.is_text() || socket.send(message).await.is_err() {
                    return;
                }
            }
        });
        work
    };
    Plan::Socket(SocketPlan {
        headers: vec![(http::header::SET_COOKIE, "t=1".parse().unwrap())],
        run: Box::new(run),
    })
}

/// A session that ends in `seconds`.
pub(crate) fn pass(seconds: f64) -> ForwardPass {
    let until = Micros::from(std::time::SystemTime::now()) + Duration::from_secs_f64(seconds);
    ForwardPass {
        token: "the.signed.pass".into(),
        visitor: VISITOR.parse().unwrap(),
        ticket: VISITOR.parse().unwrap(),
        until,
    }
}

pub(crate) fn forward(upstream: &Arc<Upstream>) -> Forward {
    Forward {
        upstream: Arc::clone(upstream),
        room: Some("e1".parse().unwrap()),
        pass: Some(pass(600.0)),
        set_cookies: Vec::new(),
        waited: None,
        trust_commands: false,
    }
}

/// Short times, so that tests of limits are short.
pub(crate) fn quick() -> UpstreamSettings {
    UpstreamSettings {
        connect: Duration::from_secs(1),
        read: Duration::from_secs(5),
        probe_every: Duration::from_millis(50),
        ..UpstreamSettings::default()
    }
}

pub(crate) fn upstream(origins: &[SocketAddr]) -> Arc<Upstream> {
    upstream_with(origins, quick())
}

pub(crate) fn upstream_with(origins: &[SocketAddr], settings: UpstreamSettings) -> Arc<Upstream> {
    let urls: Vec<_> = origins.iter().map(|origin| format!("http://{origin}").parse().unwrap()).collect();
    Upstream::with_settings(&urls, settings)
}

/// A running edge; dropping it stops it.
pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) script: Arc<Script>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) handle: EdgeHandle,
}

impl Rig {
    pub(crate) fn start(plan: impl Fn(&Head, &[u8]) -> Plan + Send + Sync + 'static) -> Self {
        Self::with(|_| {}, plan)
    }

    pub(crate) fn with(
        adjust: impl FnOnce(&mut EdgeOptions),
        plan: impl Fn(&Head, &[u8]) -> Plan + Send + Sync + 'static,
    ) -> Self {
        let script =
            Arc::new(Script { plan: Box::new(plan), seen: Mutex::default(), commands: Mutex::default() });
        let mut options = EdgeOptions::new(bind("127.0.0.1:0".parse().unwrap()).unwrap());
        options.limits = EdgeLimits { linger: Duration::ZERO, ..EdgeLimits::default() };
        adjust(&mut options);
        let (stop, stopped) = watch::channel(false);
        let decide: Arc<dyn Decide> = Arc::<Script>::clone(&script);
        let handle = serve(options, decide, stopped).unwrap();
        Self { address: handle.address, script, stop, handle }
    }

    /// Forwards everything to `origins`.
    pub(crate) fn forwarding(origins: &[SocketAddr]) -> Self {
        let upstream = upstream(origins);
        Self::start(move |_, _| Plan::Forward(forward(&upstream)))
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.script.seen.lock().unwrap().iter().map(|seen| seen.path.clone()).collect()
    }
}
