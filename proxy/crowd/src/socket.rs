//! The waiting room's WebSocket, from the visitor's side.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::HeaderMap;
use room::wire::{ClientMessage, SUBPROTOCOL, ServerMessage};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::{ClientRequestBuilder, IntoClientRequest as _};
use tokio_tungstenite::tungstenite::http::{StatusCode, Uri, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::client::{CallError, Client};
use crate::tls::Wire;
use crate::world::CALL_DEADLINE;

/// One open socket.
#[derive(Debug)]
pub struct Socket(WebSocketStream<Box<dyn Wire>>);

/// Why no socket opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The edge answered, but not with 101.
    #[error("the edge refused the socket: {status}")]
    Refused { status: StatusCode, retry_after: Duration },
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the handshake failed: {0}")]
    Handshake(#[source] Box<WsError>),
}

/// What came over the socket.
#[derive(Debug)]
pub enum Heard {
    Message(ServerMessage),
    /// The server closed it, with a code if it gave one.
    Closed(Option<u16>),
    /// It broke without a word.
    Broken,
    /// A frame that is not of the protocol.
    Unknown,
}

impl Socket {
    /// Presents the ticket and opens the socket; also gives the headers of the 101, which may set cookies.
    pub async fn open(client: &Client, path: &str) -> Result<(Self, HeaderMap), OpenError> {
        let stream = client.dial().await?;
        let request = handshake(client, path)?.into_client_request().map_err(failed)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(2048)
            .write_buffer_size(0)
            .max_message_size(Some(64 << 10))
            .max_frame_size(Some(64 << 10));
        let opening = client_async_with_config(request, stream, Some(config));
        match timeout(CALL_DEADLINE, opening).await.map_err(|_| CallError::Deadline)? {
            Ok((socket, answer)) => Ok((Self(socket), answer.into_parts().0.headers)),
            Err(WsError::Http(answer)) => Err(OpenError::Refused {
                status: answer.status(),
                retry_after: retry_after(answer.headers()),
            }),
            Err(other) => Err(failed(other)),
        }
    }

    pub async fn hear(&mut self) -> Heard {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).map_or(Heard::Unknown, Heard::Message);
                }
                Some(Ok(Message::Close(frame))) => {
                    return Heard::Closed(frame.map(|frame| frame.code.into()));
                }
                // Pings are answered by the library with the next flush.
                Some(Ok(Message::Ping(_))) => {
                    if self.0.flush().await.is_err() {
                        return Heard::Broken;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Broken,
            }
        }
    }

    /// Shows that somebody is there.
    pub async fn ping(&mut self) {
        if let Ok(text) = serde_json::to_string(&ClientMessage::Ping) {
            // A broken socket shows itself at the next `hear`.
            drop(timeout(CALL_DEADLINE, self.0.send(Message::text(text))).await);
        }
    }
}

fn handshake(client: &Client, path: &str) -> Result<ClientRequestBuilder, OpenError> {
    let target =
        &client.edge().ok_or_else(|| CallError::Connect(std::io::ErrorKind::NotFound.into()))?.target;
    let scheme = if target.secure { "wss" } else { "ws" };
    let uri: Uri = format!("{scheme}://{}{path}", target.authority)
        .parse()
        .map_err(|error: tokio_tungstenite::tungstenite::http::uri::InvalidUri| failed(error.into()))?;
    let mut request = ClientRequestBuilder::new(uri)
        .with_sub_protocol(SUBPROTOCOL)
        .with_header(header::ORIGIN.as_str(), target.origin());
    if let Some(cookies) = client.jar.header() {
        request = request.with_header(header::COOKIE.as_str(), cookies);
    }
    if let Some(address) = client.forwarded_for().and_then(|value| value.to_str().ok()) {
        request = request.with_header("x-forwarded-for", address);
    }
    Ok(request)
}

fn failed(error: WsError) -> OpenError {
    OpenError::Handshake(Box::new(error))
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(1.0_f64).clamp(0.05, 120.0))
}
