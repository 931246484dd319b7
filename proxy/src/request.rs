//! One request as the edge reads it, and what is to be done with it: the seam between `edge` (bytes) and `desk`
//! (decisions). Neither knows how the other works.

mod digits;
mod fields;
mod lines;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use room::ids::{RoomName, TicketId, VisitorId};
use room::time::Micros;

pub(crate) use self::digits::Digits;
pub use self::fields::{Fields, Known, plain_text};
pub use self::lines::Lines;
use crate::edge::upstream::Upstream;
use crate::edge::websocket::WaiterSocket;
pub use crate::trace::TraceId;

/// The head of a request after the edge's own checks: sizes, framing, one valid `Host`, hops that are trusted.
#[derive(Debug)]
pub struct Head {
    pub method: Method,
    /// Lower case, without port and trailing dot.
    pub host: String,
    /// For matching only, see [`crate::edge::path`]: decoded once, lower case, without `;params`, empty segments and dot
    /// segments.
    pub path: String,
    /// As it came, without the `?`.
    pub query: Option<String>,
    pub fields: Fields,
    /// The visitor's address: the peer, or what trusted proxies say.
    pub client: IpAddr,
    /// Whether the visitor speaks TLS, to us or to a trusted proxy.
    pub secure: bool,
    /// Taken from `traceparent` or made new.
    pub trace_id: TraceId,
}

/// What is to be done with a request.
pub enum Plan {
    /// Written by the edge itself.
    Answer(Answer),
    /// Streamed to an origin.
    Forward(Forward),
    /// A waiter's WebSocket: 101 with these headers, then the socket is handed over.
    Socket(SocketPlan),
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(answer) => write!(f, "Answer({})", answer.status),
            Self::Forward(forward) => write!(f, "Forward({:?})", forward.pass.as_ref().map(|p| p.visitor)),
            Self::Socket(_) => f.write_str("Socket"),
        }
    }
}

/// A complete answer. `Content-Length`, `Date` and `Connection` are the edge's to add.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Lines,
    pub body: Bytes,
}

/// How to forward a request.
#[derive(Debug)]
pub struct Forward {
    pub upstream: Arc<Upstream>,
    pub room: Option<RoomName>,
    /// The session it belongs to; `None` for paths without a room.
    pub pass: Option<ForwardPass>,
    /// `Set-Cookie` values for the visitor, added to the origin's answer.
    pub set_cookies: Vec<HeaderValue>,
    /// How long the visitor had waited, if this request lets them in.
    pub waited: Option<Duration>,
    /// Whether the origin's `Vestibule-Command` is obeyed (it is always stripped).
    pub trust_commands: bool,
}

/// The session of a forwarded request.
#[derive(Debug, Clone)]
pub struct ForwardPass {
    /// The signed pass, for `Vestibule-Pass`.
    pub token: Arc<str>,
    /// For `Vestibule-Visitor`.
    pub visitor: VisitorId,
    /// The ticket that bought the session.
    pub ticket: TicketId,
    /// When tunnels and streams of this session are cut.
    pub until: Micros,
}

/// Takes the upgraded socket of one waiter and returns when it is closed.
pub type RunSocket = Box<dyn FnOnce(WaiterSocket) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

pub struct SocketPlan {
    /// Added to the 101, `Set-Cookie` among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub run: RunSocket,
}

impl fmt::Debug for SocketPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocketPlan")
    }
}

/// What an origin may say of the session it just served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Done: free the slot.
    Release,
    /// Throw out.
    Revoke,
}

/// A plan, or the way to it.
pub enum Planned<'a> {
    /// Nearly always: what is known here is enough.
    Now(Plan),
    /// Somebody has to be asked.
    Later(Pin<Box<dyn Future<Output = Plan> + Send + 'a>>),
}

impl fmt::Debug for Planned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(plan) => plan.fmt(f),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// Decides about requests. One implementation: `desk::Desk`; tests of the edge bring their own.
#[async_trait]
pub trait Decide: Send + Sync + 'static {
    /// `body` is empty except for calls of the reserved prefix, whose bodies the edge reads (at most 4 KiB).
    async fn plan(&self, head: &Head, body: &[u8]) -> Plan;

    /// The same, without a future where nothing has to be waited for.
    fn planned<'a>(&'a self, head: &'a Head, body: &'a [u8]) -> Planned<'a> {
        Planned::Later(self.plan(head, body))
    }

    /// Obeys the origin's word on the session that a request was forwarded with.
    async fn command(&self, room: &RoomName, pass: &ForwardPass, command: Command);

    /// Whether `path` (normalised) is one of the edge's own calls.
    fn is_reserved(&self, path: &str) -> bool;

    /// The instant by the store's clock.
    fn now(&self) -> Micros;
}
