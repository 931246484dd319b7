//! Bytes through the edge: keep-alive, pipelining, streaming, tunnels, waiters, the end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use vestibule::request::{Plan, SocketPlan};

use crate::rig::{Client, DEADLINE, Origin, Rig, answer, forward, nobody, pass, quick, reply, soon, until, upstream, upstream_with};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn a_connection_carries_answers_and_forwarded_requests_in_turn() {
    let origin = Origin::start().await;
    let to_origin = upstream(&[origin.address]);
    let rig = Rig::start(move |head, _| match head.path.as_str() {
        "/wait" => answer(503, "queued"),
        _ => Plan::Forward(forward(&to_origin)),
    });
    let mut client = Client::connect(rig.address).await;
    for round in 0..3 {
        let waiting = client.ask("GET /wait", "").await;
        assert_eq!((waiting.status, waiting.text().as_str()), (503, "queued"));
        let shop = client.ask(&format!("GET /shop?round={round}"), "").await;
        assert_eq!((shop.status, shop.text()), (200, format!("GET /shop?round={round}")));
    }
}

/// Echoes, and says at first what it is.
fn echo() -> Plan {
    let run = |mut socket: vestibule::edge::websocket::WaiterSocket| {
        let work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
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

/// One masked text frame.
fn frame(text: &str) -> Vec<u8> {
    let mask = [1_u8, 2, 3, 4];
    let payload = text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap()];
    frame.extend(mask);
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn a_waiter_is_heard_even_right_behind_its_head() {
    let rig = Rig::start(|_, _| echo());
    let mut client = Client::connect(rig.address).await;
    let head = format!(
        "GET /_queue/ws HTTP/1.1\r\nHost: a\r\n{UPGRADE}Sec-WebSocket-Protocol: vestibule.v1\r\n\r\n"
    );
    client.send([head.into_bytes(), frame("early")].concat()).await;
    let switched = client.head().await;
    assert_eq!(switched.status, 101);
    assert_eq!(switched.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(switched.header("sec-websocket-protocol"), Some("vestibule.v1"));
    assert_eq!(switched.header("set-cookie"), Some("t=1"));
    assert_eq!(client.exactly(7).await, b"\x81\x05early");
    client.send(frame("later")).await;
    assert_eq!(client.exactly(7).await, b"\x81\x05later");
}
