//! One visitor's HTTP/1.1 client: a connection that is kept, a cookie jar, a deadline for every call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::clock::Span;
use crate::jar::{Gained, Jar};
use crate::tls::Wire;
use crate::world::{CALL_DEADLINE, CONNECT_DEADLINE, Edge, World};

/// Answers beyond this are an error: nothing of ours or of the shop's is that long.
const MAX_BODY_BYTES: usize = 1 << 20;

/// One request to make.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub accept: Accept,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<Vec<u8>>,
    pub cookies: Cookies,
}

/// What the caller can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// A browser that opens a page.
    Page,
    Json,
}

/// Which cookies go along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cookies {
    Jar,
    /// None, or a made-up header; what the answer sets is not kept.
    Own(Option<String>),
}

impl Call {
    pub fn page(path: impl Into<String>) -> Self {
        Self { accept: Accept::Page, ..Self::json(Method::GET, path) }
    }

    pub fn json(method: Method, path: impl Into<String>) -> Self {
        let path = path.into();
        Self { method, path, accept: Accept::Json, headers: Vec::new(), body: None, cookies: Cookies::Jar }
    }

    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub fn with_body(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(body.to_string().into_bytes());
        self.with_header("content-type", "application/json")
    }

    #[must_use]
    pub fn with_cookies(self, cookies: Cookies) -> Self {
        Self { cookies, ..self }
    }
}

/// What came back, and when.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub span: Span,
    pub gained: Gained,
}

impl Answer {
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// How long the server asks to wait, within reason; one second when it does not say.
    pub fn retry_after(&self) -> Duration {
        let value = self.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let seconds = value.and_then(|text| text.parse().ok()).unwrap_or(1.0_f64);
        Duration::from_secs_f64(seconds.clamp(0.05, 120.0))
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("no connection: {0}")]
    Connect(#[source] std::io::Error),
    #[error("no connection within {CONNECT_DEADLINE:?}")]
    ConnectDeadline,
    #[error("no answer within {CALL_DEADLINE:?}")]
    Deadline,
    #[error("the connection broke before the answer was complete: {0}")]
    Lost(#[source] hyper::Error),
    #[error("the answer is longer than {MAX_BODY_BYTES} bytes")]
    TooLong,
    #[error("the request can't be written: {0}")]
    Malformed(#[from] hyper::http::Error),
}

impl CallError {
    /// The kind under which it is counted.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::ConnectDeadline => "connect-deadline",
            Self::Deadline => "deadline",
            Self::Lost(_) => "lost-answer",
            Self::TooLong => "too-long",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// Talks to one edge at a time.
#[derive(Debug)]
pub struct Client {
    world: Arc<World>,
    edge: usize,
    connection: Option<SendRequest<Full<Bytes>>>,
    forwarded_for: Option<HeaderValue>,
    pub jar: Jar,
}

impl Client {
    pub fn new(world: Arc<World>, edge: usize, forwarded_for: Option<std::net::Ipv4Addr>) -> Self {
        let forwarded_for = forwarded_for.and_then(|address| address.to_string().try_into().ok());
        let jar = Jar::new(&world.room);
        Self { world, edge, connection: None, forwarded_for, jar }
    }

    /// The same person on a second connection.
    #[must_use]
    pub fn twin(&self) -> Self {
        Self {
            world: Arc::clone(&self.world),
            edge: self.edge,
            connection: None,
            forwarded_for: self.forwarded_for.clone(),
            jar: self.jar.clone(),
        }
    }

    /// The next edge, as after a reconnect behind a load balancer.
    pub fn move_on(&mut self) {
        self.edge += 1;
        self.connection = None;
    }

    pub fn room(&self) -> &room::ids::RoomName {
        &self.world.room
    }

    pub fn edge(&self) -> Option<&Edge> {
        self.world.edge(self.edge)
    }

    /// The `X-Forwarded-For` of this visitor.
    pub fn forwarded_for(&self) -> Option<&HeaderValue> {
        self.forwarded_for.as_ref()
    }

    /// One request, one answer; what the answer sets is in the jar afterwards.
    pub async fn call(&mut self, call: &Call) -> Result<Answer, CallError> {
        let from = self.world.clock.now();
        let (parts, body) = match self.on_kept_connection(call).await? {
            Some(answer) => answer,
            None => self.on_new_connection(call).await?,
        };
        let span = Span::new(from, self.world.clock.now());
        self.world.meter.latencies.record(span.to.since(span.from));
        let gained = match call.cookies {
            Cookies::Jar => self.jar.absorb(&parts.headers),
            Cookies::Own(_) => Jar::new(&self.world.room).absorb(&parts.headers),
        };
        Ok(Answer { status: parts.status, headers: parts.headers, body, span, gained })
    }

    /// `None`: there is none, or it turned out to be closed and the request may be made again, as browsers do.
    async fn on_kept_connection(&mut self, call: &Call) -> Result<Option<Reply>, CallError> {
        let Some(mut kept) = self.connection.take().filter(|kept| !kept.is_closed()) else {
            return Ok(None);
        };
        let request = self.request(call)?;
        match exchange(&mut kept, request).await {
            Ok(reply) => {
                self.connection = Some(kept);
                Ok(Some(reply))
            }
            Err(CallError::Lost(lost)) if lost.is_canceled() || call.method.is_safe() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn on_new_connection(&mut self, call: &Call) -> Result<Reply, CallError> {
        let mut connection = self.connect().await?;
        let request = self.request(call)?;
        let reply = exchange(&mut connection, request).await?;
        self.connection = Some(connection);
        Ok(reply)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(self.dial().await?)).await.map_err(CallError::Lost)?;
        // Ends when the sender is dropped or the server closes; what went wrong, the sender reports.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    /// A bare connection to the present edge; where nobody listens, to the next one, as a load balancer would.
    pub async fn dial(&self) -> Result<Box<dyn Wire>, CallError> {
        let mut refused = std::io::ErrorKind::NotFound.into();
        let in_rotation = self.world.edges_from(self.edge).filter(|edge| edge.is_in());
        for edge in in_rotation.chain(self.edge()) {
            match timeout(CONNECT_DEADLINE, edge.connect()).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => refused = error,
                Ok(Err(error)) => return Err(CallError::Connect(error)),
                Err(_) => return Err(CallError::ConnectDeadline),
            }
        }
        Err(CallError::Connect(refused))
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, CallError> {
        let uri = Uri::builder().path_and_query(call.path.as_str()).build()?;
        let body = Full::new(Bytes::from(call.body.clone().unwrap_or_default()));
        let mut request = Request::builder().method(call.method.clone()).uri(uri).body(body)?;
        let headers = request.headers_mut();
        if let Some(edge) = self.edge() {
            headers.insert(header::HOST, value(&edge.target.authority)?);
        }
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("crowd/", env!("CARGO_PKG_VERSION"))),
        );
        match call.accept {
            Accept::Page => {
                headers.insert(
                    header::ACCEPT,
                    HeaderValue::from_static("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"),
                );
                headers.insert("sec-fetch-dest", HeaderValue::from_static("document"));
            }
            Accept::Json => {
                headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
                headers.insert("sec-fetch-dest", HeaderValue::from_static("empty"));
            }
        }
        let cookies = match &call.cookies {
            Cookies::Jar => self.jar.header(),
            Cookies::Own(own) => own.clone(),
        };
        if let Some(cookies) = cookies {
            headers.insert(header::COOKIE, value(&cookies)?);
        }
        if let Some(address) = &self.forwarded_for {
            headers.insert("x-forwarded-for", address.clone());
        }
        for (name, text) in &call.headers {
            headers.append(HeaderName::from_static(name), value(text)?);
        }
        Ok(request)
    }
}

fn value(text: &str) -> Result<HeaderValue, hyper::http::Error> {
    Ok(HeaderValue::from_str(text)?)
}

type Reply = (hyper::http::response::Parts, Bytes);

async fn exchange(
    connection: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Reply, CallError> {
    let exchange = async {
        connection.ready().await.map_err(CallError::Lost)?;
        let answer: Response<_> = connection.send_request(request).await.map_err(CallError::Lost)?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(body_error)?;
        Ok((parts, body.to_bytes()))
    };
    timeout(CALL_DEADLINE, exchange).await.map_err(|_| CallError::Deadline)?
}

fn body_error(error: Box<dyn std::error::Error + Send + Sync>) -> CallError {
    match error.downcast::<hyper::Error>() {
        Ok(lost) => CallError::Lost(*lost),
        Err(other) if other.is::<LengthLimitError>() => CallError::TooLong,
        Err(other) => CallError::Connect(std::io::Error::other(other)),
    }
}
