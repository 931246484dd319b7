//! A client of one call, on a connection of its own.

use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// What came back; the body as JSON, or null if it is not.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Answer {
    /// The text of a field.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.json[name].as_str().unwrap_or_else(|| panic!("no text `{name}` in {self:?}"))
    }

    pub(crate) fn number(&self, name: &str) -> i64 {
        self.json[name].as_i64().unwrap_or_else(|| panic!("no number `{name}` in {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Panics unless this is a problem of this status and code, whole as RFC 9457 and our aliases want it.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.json["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.field("type"), format!("urn:vestibule:problem:{code}"));
        assert_eq!(self.number("status"), i64::from(status));
        assert_eq!(self.field("message"), self.field("detail"));
        assert_eq!(self.field("traceId"), self.field("trace_id"));
        assert_eq!(self.field("trace_id").len(), 32);
    }
}

/// `None` when the connection could not be made or broke.
pub(crate) async fn call(
    address: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Answer> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", address);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let answer = sender.send_request(request).await.ok()?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let bytes = answer.into_body().collect().await.ok()?.to_bytes();
    driver.abort();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let json = serde_json::from_str(&text).unwrap_or_default();
    Some(Answer { status, headers, text, json })
}
