//! Calls to what we started: probes, the operator's side, raw bytes. Visitors have a client of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::trouble::Trouble;

/// Longer than any answer of a program on this machine takes, however busy it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// One request to a port of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub method: Method,
    pub port: u16,
    pub path: String,
    pub bearer: Option<String>,
    pub json: Option<Value>,
    pub headers: Vec<(&'static str, String)>,
}

impl Ask {
    pub(crate) fn get(port: u16, path: impl Into<String>) -> Self {
        Self { method: Method::GET, port, path: path.into(), bearer: None, json: None, headers: Vec::new() }
    }

    /// Status and body.
    pub(crate) async fn send(&self) -> Result<(StatusCode, Bytes), Trouble> {
        let exchange = timeout(PATIENCE, self.exchange());
        let cause = match exchange.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        Err(Trouble::Call { url: format!("http://127.0.0.1:{}{}", self.port, self.path), cause })
    }

    async fn exchange(&self) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, self.port).into();
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
        tokio::spawn(async move { drop(connection.await) });
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(header::HOST, address.to_string());
        if let Some(token) = &self.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let body = self.json.as_ref().map(Value::to_string).unwrap_or_default();
        if self.json.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/merge-patch+json");
        }
        let answer = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        let (head, body) = answer.into_parts();
        Ok((head.status, body.collect().await?.to_bytes()))
    }
}

/// Whether `GET path` is answered 200.
pub(crate) async fn is_ok(port: u16, path: &str) -> bool {
    matches!(Ask::get(port, path).send().await, Ok((StatusCode::OK, _)))
}
