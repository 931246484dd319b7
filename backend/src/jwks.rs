//! The public keys of passes, as the edge publishes them.
//!
//! Fetched at the start and every few minutes; at once, but rarely, when a pass names a key that is not known: a
//! rotation is followed within a request, and a flood of forged passes costs one fetch every few seconds.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use room::token::{KeyError, PassVerifier};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

/// A key that is rotated out stops being accepted after this.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// Requests cause no more than one fetch in this time.
const FETCH_AT_MOST_EVERY: Duration = Duration::from_secs(2);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_BYTES: usize = 64 * 1024;

/// `http://HOST[:PORT]/PATH`.
#[derive(Debug, Clone)]
pub struct JwksUrl {
    /// `HOST:PORT`.
    address: String,
    /// The `Host` header.
    authority: String,
    path: String,
}

#[derive(Debug, thiserror::Error)]
pub enum JwksUrlError {
    #[error("not a URL: {0}")]
    Malformed(#[from] axum::http::uri::InvalidUri),
    #[error("only http://HOST[:PORT]/PATH is supported; reach the edge directly, without TLS in between")]
    Scheme,
}

impl FromStr for JwksUrl {
    type Err = JwksUrlError;

    fn from_str(text: &str) -> Result<Self, JwksUrlError> {
        let uri: Uri = text.parse()?;
        let authority =
            uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or(JwksUrlError::Scheme)?;
        Ok(Self {
            address: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            authority: authority.as_str().into(),
            path: uri.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str).into(),
        })
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// The keys as last seen.
#[derive(Debug)]
pub struct Jwks {
    url: JwksUrl,
    current: ArcSwapOption<PassVerifier>,
    /// When the last fetch began; the lock lets only one run.
    last_fetch: Mutex<Option<Instant>>,
}

impl Jwks {
    pub fn new(url: JwksUrl) -> Self {
        Self { url, current: ArcSwapOption::empty(), last_fetch: Mutex::new(None) }
    }

    /// Where they come from.
    pub const fn url(&self) -> &JwksUrl {
        &self.url
    }

    /// `None` until the first fetch has succeeded.
    pub fn current(&self) -> Option<Arc<PassVerifier>> {
        self.current.load_full()
    }

    /// Fetches on behalf of a request, unless somebody just did. Who comes during a fetch waits for its result.
    pub async fn refresh_for_request(&self) {
        let mut last = self.last_fetch.lock().await;
        if last.is_none_or(|at| at.elapsed() >= FETCH_AT_MOST_EVERY) {
            *last = Some(Instant::now());
            self.fetch().await;
        }
    }

    /// Keeps the keys fresh for as long as the program runs.
    pub async fn keep_fresh(&self) {
        let mut retry = FIRST_RETRY;
        loop {
            if self.fetch().await {
                retry = FIRST_RETRY;
                sleep(REFRESH_EVERY).await;
            } else {
                sleep(retry).await;
                retry = (retry * 2).min(LAST_RETRY);
            }
        }
    }

    /// Replaces the keys, and says whether it could; a failed fetch keeps the old ones.
    async fn fetch(&self) -> bool {
        let fetched = timeout(FETCH_TIMEOUT, fetch(&self.url)).await.unwrap_or(Err(FetchError::Slow));
        match fetched {
            Ok(verifier) => {
                self.current.store(Some(Arc::new(verifier)));
                tracing::debug!(url = %self.url, "pass keys fetched");
                true
            }
            Err(error) => {
                tracing::warn!(url = %self.url, error = %error, "pass keys not fetched");
                false
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no answer within {} s", FETCH_TIMEOUT.as_secs())]
    Slow,
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("HTTP failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be built: {0}")]
    Request(#[from] axum::http::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the body is cut short or longer than {MAX_BYTES} bytes: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("the body is not UTF-8")]
    Text,
    #[error(transparent)]
    Keys(#[from] KeyError),
}

async fn fetch(url: &JwksUrl) -> Result<PassVerifier, FetchError> {
    let stream = TcpStream::connect(&url.address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::get(&url.path).header(header::HOST, &url.authority).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    let body =
        Limited::new(answer.into_body(), MAX_BYTES).collect().await.map_err(FetchError::Body)?.to_bytes();
    driver.abort();
    let text = std::str::from_utf8(&body).map_err(|_| FetchError::Text)?;
    Ok(PassVerifier::from_jwks(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_url_is_plain_http_with_or_without_a_port() {
        let url: JwksUrl = "http://127.0.0.1:8080/_queue/jwks.json".parse().unwrap();
        assert_eq!((url.address.as_str(), url.path.as_str()), ("127.0.0.1:8080", "/_queue/jwks.json"));
        assert_eq!("http://edge".parse::<JwksUrl>().unwrap().address, "edge:80");
        for bad in ["https://edge/", "edge:8080", "", "http://"] {
            assert!(bad.parse::<JwksUrl>().is_err(), "{bad}");
        }
    }
}
