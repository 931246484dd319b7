//! The live side of the page.

use axum::http::Method;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::office::Office;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

pub(crate) struct Socket(pub WebSocketStream<TcpStream>);

impl Socket {
    pub(crate) async fn open(office: &Office, user: &str, path: &str) -> Result<Self, Error> {
        let named = (!user.is_empty()).then_some(("x-user-id", user));
        Self::open_as(office, named, path).await
    }

    /// With this header.
    pub(crate) async fn open_as(
        office: &Office,
        header: Option<(&'static str, &str)>,
        path: &str,
    ) -> Result<Self, Error> {
        let mut request = format!("ws://{}{path}", office.address).into_client_request().unwrap();
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(&office.address).await.unwrap();
        tokio_tungstenite::client_async(request, stream).await.map(|(socket, _)| Self(socket))
    }

    /// The next message that is not the protocol's own; a close as `{"closed": code}`.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a message in time").expect("an open socket")
            {
                Ok(Message::Text(text)) => return serde_json::from_str(&text).unwrap(),
                Ok(Message::Close(frame)) => {
                    return json!({ "closed": frame.map(|frame| u16::from(frame.code)) });
                }
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Skips to the next message of this type.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Skips to a stock that has this many on hold and sold.
    pub(crate) async fn stock(&mut self, held: u64, sold: u64) -> Value {
        loop {
            let message = self.next_of("stock.update").await;
            if (message["inHold"].as_u64(), message["sold"].as_u64()) == (Some(held), Some(sold)) {
                return message;
            }
        }
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }
}

#[tokio::test]
async fn a_page_sees_the_stock_move_until_everything_is_sold() {
    let office = Office::selling(3).await;
    let mut page = Socket::open(&office, "", "/ws?eventId=e1").await.unwrap();
    assert_eq!(page.next().await, json!({ "type": "sale.open", "eventId": "e1" }));
    let first = json!({ "type": "stock.update", "eventId": "e1", "remaining": 3, "sold": 0, "inHold": 0 });
    assert_eq!(page.next().await, first);

    let order = office.hold("ann", "k", 3).await;
    assert_eq!(page.stock(3, 0).await["remaining"], 0);
    office.pay("ann", &order).await;
    assert_eq!(page.next().await, json!({ "type": "sale.closed", "eventId": "e1" }));
    page.stock(0, 3).await;

    let mut late = Socket::open(&office, "", "/ws").await.unwrap();
    assert_eq!(late.next().await["type"], "sale.closed", "of the event of this process, if none is named");
}

#[tokio::test]
async fn a_buyer_hears_of_own_orders_and_of_no_others() {
    let office = Office::with(9, &["--hold-ttl-sec", "3"]).await;
    let mut ann = Socket::open(&office, "ann", "/ws?eventId=e1").await.unwrap();
    let _of_bob = office.hold("bob", "k", 1).await;
    let paid = office.hold("ann", "k1", 1).await;
    let update = |order: &str, status| json!({ "type": "order.update", "orderId": order, "status": status });
    assert_eq!(ann.next_of("order.update").await, update(&paid, "HOLD"));
    office.pay("ann", &paid).await;
    assert_eq!(ann.next_of("order.update").await, update(&paid, "PAID"));
    let left = office.hold("ann", "k2", 1).await;
    assert_eq!(ann.next_of("order.update").await, update(&left, "HOLD"));
    assert_eq!(ann.next_of("order.update").await, update(&left, "EXPIRED"));
}

#[tokio::test]
async fn what_happens_in_another_process_is_heard_too() {
    let office = Office::selling(9).await;
    let other = office.another(&[]).await;
    let mut page = Socket::open(&office, "ann", "/ws?eventId=e1").await.unwrap();
    let order = other.hold("ann", "k", 2).await;
    let heard = page.next_of("order.update").await;
    assert_eq!((heard["orderId"].as_str(), heard["status"].as_str()), (Some(order.as_str()), Some("HOLD")));
    other.pay("ann", &order).await;
    assert_eq!(page.next_of("order.update").await["status"], "PAID");
}

#[tokio::test]
async fn a_ping_is_answered_and_nonsense_is_not() {
    let office = Office::selling(9).await;
    let mut page = Socket::open(&office, "", "/ws?eventId=e1").await.unwrap();
    page.stock(0, 0).await;
    page.say(r#"{"type":"client.ack"}"#).await;
    page.say("nonsense").await;
    page.say(r#"{"type":"client.dance"}"#).await;
    page.say(r#"{"type":"client.ping"}"#).await;
    assert_eq!(page.next().await, json!({ "type": "server.pong" }));
    let metrics = office.get("/metrics").await.text;
    for line in [
        "ws_connections 1",
        r#"ws_messages_total{direction="in",type="client.ping"} 1"#,
        r#"ws_messages_total{direction="in",type="unknown"} 2"#,
        r#"ws_messages_total{direction="out",type="sale.open"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    page.say(&"x".repeat(5000)).await;
    let end = timeout(PATIENCE, page.0.next()).await.expect("an end in time");
    assert!(
        matches!(end, None | Some(Err(_) | Ok(Message::Close(_)))),
        "too long a message ends it: {end:?}"
    );
}

#[tokio::test]
async fn an_end_is_announced_with_a_moment_to_come_back() {
    let mut office = Office::selling(9).await;
    let mut page = Socket::open(&office, "", "/ws?eventId=e1").await.unwrap();
    page.stock(0, 0).await;
    office.signal("-TERM");
    let bye = page.next_of("server.bye").await;
    assert!((1000..6000).contains(&bye["reconnect_in_ms"].as_u64().unwrap()));
    assert_eq!(page.next().await, json!({ "closed": 1012 }));
    assert!(office.end_by("-TERM").await.success());
}

#[tokio::test]
async fn a_socket_that_cannot_be_is_refused_before_it_opens() {
    let office = Office::with(9, &["--max-connections", "3"]).await;
    let unknown = Socket::open(&office, "", "/ws?eventId=nowhere").await.err().unwrap();
    assert!(matches!(unknown, Error::Http(answer) if answer.status() == 404));
    office.call(Method::GET, "/ws", &[], "").await.assert_problem(400, "not-a-websocket");
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(Socket::open(&office, "", "/ws").await.unwrap());
    }
    let full = Socket::open(&office, "", "/ws").await.err().unwrap();
    assert!(matches!(full, Error::Http(answer) if answer.status() == 503));
    open.pop();
    crate::support::eventually("a free seat", 10, async || Socket::open(&office, "", "/ws").await.ok()).await;
}
