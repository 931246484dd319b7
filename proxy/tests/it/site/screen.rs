//! One waiting screen: the client's end of the socket.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use room::wire::{SUBPROTOCOL, Standing};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::rig::soon;

/// Reads what the edge says, in order.
pub(crate) struct Screen {
    socket: WebSocketStream<TcpStream>,
}

impl Screen {
    /// The socket and the headers of the 101, or the status of a refusal.
    pub(super) async fn open(
        edge: SocketAddr,
        host: &str,
        lines: &[(String, String)],
    ) -> Result<(Self, HeaderMap), u16> {
        let mut request = format!("ws://{host}/_queue/ws").into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let stream = TcpStream::connect(edge).await.unwrap();
        match soon("a handshake", tokio_tungstenite::client_async(request, stream)).await {
            Ok((socket, response)) => Ok((Self { socket }, response.headers().clone())),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("no handshake: {error}"),
        }
    }

    /// The next object; the close code once nothing more comes.
    pub(crate) async fn next(&mut self) -> Result<Value, u16> {
        soon("a message on the socket", self.read()).await
    }

    /// The next object of a type, whatever else comes before.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        self.find(kind, |message| message["type"] == kind).await
    }

    /// The first object that is wanted, from now on.
    pub(crate) async fn find(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                match self.read().await {
                    Ok(message) if wanted(&message) => return message,
                    Ok(_) => {}
                    Err(code) => panic!("closed with {code} before {what}"),
                }
            }
        };
        soon(what, found).await
    }

    /// The first update or turn whose standing is wanted.
    pub(crate) async fn standing(&mut self, what: &str, wanted: impl Fn(&Standing) -> bool) -> Standing {
        let read = |message: &Value| serde_json::from_value::<Standing>(message.clone()).ok();
        let message =
            self.find(what, |message| read(message).is_some_and(|standing| wanted(&standing))).await;
        read(&message).unwrap()
    }

    /// The code with which the edge closes, whatever comes before.
    pub(crate) async fn closed(&mut self) -> u16 {
        soon("the end of the socket", async {
            loop {
                if let Err(code) = self.read().await {
                    return code;
                }
            }
        })
        .await
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Goes away as a closed tab does.
    pub(crate) async fn close(mut self) {
        // The edge may have gone first.
        let _ = self.socket.close(None).await;
    }

    async fn read(&mut self) -> Result<Value, u16> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                // RFC 6455 §7.1.5: closed without a close frame.
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }
}
