//! In the shop: look, buy, think, pay.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Visitor, backoff};
use crate::client::{Answer, Call};
use crate::story::{End, Payment, Purchase};

/// Attempts at one call to the shop.
const MAX_ATTEMPTS: u32 = 12;

/// What the shop said to a purchase.
enum Bought {
    Order(String),
    SoldOut,
}

impl Visitor {
    pub(super) async fn shop(&mut self) -> Result<End, End> {
        let event = self.event().await?;
        self.shop_call(&Call::json(Method::GET, event_path(&event))).await?;
        self.think(100..600).await;
        let qty = if self.actor.dice.chance(crate::args::Share(0.3)) { 2 } else { 1 };
        self.actor.story.purchases.push(Purchase { qty, ..Purchase::default() });
        let Bought::Order(order) = self.buy(&event, qty).await? else {
            return Ok(End::SoldOut);
        };
        self.think(100..900).await;
        self.pay(&order).await
    }

    /// People look before they act; the end of the run does not hurry those inside.
    async fn think(&mut self, millis: std::ops::Range<u64>) {
        sleep(self.actor.dice.millis(millis)).await;
    }

    /// The event to buy from: told, or the first of the list.
    pub(super) async fn event(&mut self) -> Result<String, End> {
        if let Some(event) = self.actor.world.event.get() {
            return Ok(event.clone());
        }
        let answer = self.shop_call(&Call::json(Method::GET, "/api/events")).await?;
        let event = first_event(&answer).ok_or(End::NotServed)?;
        Ok(self.actor.world.event.get_or_init(|| event).clone())
    }

    async fn buy(&mut self, event: &str, qty: u64) -> Result<Bought, End> {
        let call = Call::json(Method::POST, "/purchase")
            .with_header("idempotency-key", self.actor.dice.key())
            .with_body(&json!({ "eventId": event, "qty": qty }));
        if self.habits.double_clicks {
            self.press_twice(&call).await;
        }
        let answer = self.shop_call(&call).await?;
        self.bought(&answer).ok_or_else(|| self.not_served("purchase-refused"))
    }

    /// The same purchase twice at the same time. Whatever comes back, there must be one order.
    async fn press_twice(&mut self, call: &Call) {
        let had_pass = self.actor.carries_pass(call);
        let mut twin = self.actor.client.twin();
        let (first, second) = tokio::join!(self.actor.client.call(call), twin.call(call));
        for answer in [first, second].into_iter().flatten() {
            self.actor.note(call, had_pass, &answer);
            self.bought(&answer);
        }
    }

    fn bought(&mut self, answer: &Answer) -> Option<Bought> {
        let body = answer.json::<Value>().filter(|_| answer.status.is_success())?;
        match body.get("status")?.as_str()? {
            "HOLD" | "PAID" | "PAYING" => {
                let order = text(body.get("orderId")?)?;
                if let Some(purchase) = self.actor.story.purchases.last_mut() {
                    purchase.ordered(&order);
                }
                Some(Bought::Order(order))
            }
            "REJECTED" => Some(Bought::SoldOut),
            _ => None,
        }
    }

    async fn pay(&mut self, order: &str) -> Result<End, End> {
        // The shop may release the slot with the payment, so from here on the session may be over.
        self.actor.story.may_have_ended(self.actor.world.clock.now());
        self.payment(Payment::Unknown);
        let answer = self.shop_call(&Call::json(Method::POST, format!("/pay/{order}"))).await?;
        let paid = answer
            .json::<Value>()
            .is_some_and(|body| body.get("status").is_some_and(|status| status == "PAID"));
        if answer.status.is_success() && paid {
            self.payment(Payment::Paid);
            self.actor.world.meter.paid.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Ok(End::Bought);
        }
        if answer.status.is_client_error() {
            self.payment(Payment::None);
        }
        Err(self.not_served("payment-refused"))
    }

    fn payment(&mut self, payment: Payment) {
        if let Some(purchase) = self.actor.story.purchases.last_mut() {
            purchase.payment = payment;
        }
    }

    /// A call to the shop: asked again, with the same key, when the answer is lost or says "later".
    async fn shop_call(&mut self, call: &Call) -> Result<Answer, End> {
        for attempt in 0..MAX_ATTEMPTS {
            let from = self.actor.now();
            let answer = self.actor.ask(call).await;
            self.count(call, from, &answer);
            let pause = match answer {
                Ok(answer) if says_later(&answer) => answer.retry_after(),
                Ok(answer) if is_queued(&answer) => return Err(self.not_served("pass-refused")),
                Ok(answer) => return Ok(answer),
                Err(_) => backoff(attempt),
            };
            sleep(pause.min(Duration::from_secs(5))).await;
        }
        Err(self.not_served("shop-unavailable"))
    }

    fn not_served(&mut self, kind: &'static str) -> End {
        self.actor.world.meter.error(kind);
        End::NotServed
    }
}

/// The event's page in the API.
pub(crate) fn event_path(event: &str) -> String {
    let segment: String = event.bytes().map(encoded).collect();
    format!("/api/events/{segment}")
}

fn encoded(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

/// The first of a list of events, bare or in an object.
pub(crate) fn first_event(answer: &Answer) -> Option<String> {
    let body: Value = answer.json()?;
    let list = body.as_array().or_else(|| body.get("events")?.as_array())?;
    text(list.first()?.get("id")?)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_i64().map(|number| number.to_string()))
}

fn says_later(answer: &Answer) -> bool {
    let later = [
        StatusCode::CONFLICT,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    later.contains(&answer.status) && !is_queued(answer)
}

/// The gate took us for a newcomer: the pass is no longer good.
fn is_queued(answer: &Answer) -> bool {
    answer.status == StatusCode::SERVICE_UNAVAILABLE
        && answer.json::<Value>().is_some_and(|body| body.get("code").is_some_and(|code| code == "queued"))
}
