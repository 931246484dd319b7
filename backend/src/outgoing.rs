//! Calls that the box office makes itself: to the gateway, and as the mock gateway to the webhook. Plain HTTP on the
//! inner network, one connection a call, everything bounded.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use traces::context::TRACEPARENT;
use traces::{Context, Kind, Span};

const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// `http://HOST[:PORT]`, to which paths are appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `HOST:PORT`.
    address: String,
    /// The `Host` header.
    authority: String,
    /// Before every path; without a slash at the end.
    prefix: String,
}

#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    #[error("not a URL: {0}")]
    Malformed(#[from] axum::http::uri::InvalidUri),
    #[error("only http://HOST[:PORT] is supported")]
    Scheme,
}

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("no answer within {} ms", .0.as_millis())]
    Slow(Duration),
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("HTTP failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be built: {0}")]
    Request(#[from] axum::http::Error),
    #[error("the answer is cut short or longer than {MAX_ANSWER_BYTES} bytes: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// One JSON request.
#[derive(Debug)]
pub struct Call<'a> {
    pub method: Method,
    pub path: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: String,
    /// The work that it is part of.
    pub trace: Option<Context>,
}

impl Origin {
    /// The whole answer, or an error within `limit`.
    pub async fn call(&self, call: Call<'_>, limit: Duration) -> Result<(StatusCode, Bytes), CallError> {
        let mut span = call.trace.map(|context| self.span(context, &call));
        let trace = span.as_ref().map(Span::context);
        let answered =
            timeout(limit, self.exchange(call, trace)).await.unwrap_or(Err(CallError::Slow(limit)));
        if let Some(span) = &mut span {
            match &answered {
                Ok((status, _)) => span.set("http.response.status_code", i64::from(status.as_u16())),
                Err(error) => span.fail(error.to_string()),
            }
        }
        answered
    }

    fn span(&self, context: Context, call: &Call<'_>) -> Span {
        let mut span = Span::part_of(context, Kind::Client, call.method.to_string());
        if span.is_told() {
            span.set("http.request.method", call.method.to_string());
            span.set("url.full", format!("{self}{}", call.path));
        }
        span
    }

    async fn exchange(
        &self,
        call: Call<'_>,
        trace: Option<Context>,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("{}{}", self.prefix, call.path))
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        if let Some(trace) = trace {
            request = request.header(TRACEPARENT, trace.traceparent());
        }
        let request = request.body(Full::new(Bytes::from(call.body)))?;
        let stream = TcpStream::connect(&self.address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        driver.abort();
        Ok((status, body.map_err(CallError::Body)?.to_bytes()))
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let uri: Uri = text.parse()?;
        let authority =
            uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or(OriginError::Scheme)?;
        Ok(Self {
            address: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            authority: authority.as_str().into(),
            prefix: uri.path().trim_end_matches('/').into(),
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_plain_http_and_keeps_its_prefix() {
        let origin: Origin = "http://127.0.0.1:9000/v1/".parse().unwrap();
        assert_eq!((origin.address.as_str(), origin.prefix.as_str()), ("127.0.0.1:9000", "/v1"));
        assert_eq!("http://gateway".parse::<Origin>().unwrap().address, "gateway:80");
        for bad in ["https://gateway", "gateway:80", "", "http://"] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
