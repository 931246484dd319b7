//! The fake's shop: holds and payments in memory.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Request, Response, header};
use axum::response::{Html, IntoResponse as _};
use serde_json::{Value, json};

use super::{Fault, House, Stamp, json_answer, status};

#[derive(Debug, Default)]
pub(crate) struct Shop {
    /// By visitor and key.
    orders: BTreeMap<(Stamp, String), Order>,
    made: u64,
    held: u64,
    sold: u64,
}

#[derive(Debug, Clone)]
struct Order {
    id: String,
    qty: u64,
    paid: bool,
}

pub(crate) fn answer(house: &House, visitor: Stamp, request: &Request<Body>, body: &[u8]) -> Response<Body> {
    let path = request.uri().path();
    let mut shop = house.shop.lock().unwrap();
    match (request.method().as_str(), path) {
        ("GET", "/api/events") => json_answer(200, &json!([{ "id": "e1", "name": "Concert" }])),
        ("GET", "/api/events/e1") => json_answer(200, &json!({ "id": "e1" })),
        ("GET", "/api/events/e1/availability") => json_answer(200, &shop.stock(house)),
        ("POST", "/purchase") => {
            let key = request.headers().get("idempotency-key").unwrap().to_str().unwrap();
            let body: Value = serde_json::from_slice(body).unwrap();
            shop.purchase(house, visitor, key, body["qty"].as_u64().unwrap())
        }
        ("POST", path) if path.starts_with("/pay/") => shop.pay(house, path.trim_start_matches("/pay/")),
        ("GET", "/") => ([(header::CACHE_CONTROL, "public")], Html("<h1>Shop</h1>")).into_response(),
        _ => status(404),
    }
}

impl Shop {
    fn stock(&self, house: &House) -> Value {
        json!({ "total": house.settings.stock, "held": self.held, "sold": self.sold })
    }

    fn purchase(&mut self, house: &House, visitor: Stamp, key: &str, qty: u64) -> Response<Body> {
        self.made += 1;
        let key = if house.has(Fault::IgnoresKeys) { format!("{key}-{}", self.made) } else { key.to_owned() };
        let left = house.settings.stock - self.held - self.sold;
        if let Some(order) = self.orders.get(&(visitor, key.clone())) {
            return json_answer(200, &json!({ "orderId": order.id, "status": "HOLD", "remaining": left }));
        }
        if qty > left {
            return json_answer(
                200,
                &json!({ "status": "REJECTED", "reason": "OUT_OF_STOCK", "remaining": 0 }),
            );
        }
        self.held += qty;
        let order = Order { id: format!("o{}", self.made), qty, paid: false };
        self.orders.insert((visitor, key), order.clone());
        json_answer(200, &json!({ "orderId": order.id, "status": "HOLD", "remaining": left - qty }))
    }

    fn pay(&mut self, house: &House, id: &str) -> Response<Body> {
        let Some(order) = self.orders.values_mut().find(|order| order.id == id) else {
            return status(404);
        };
        if !std::mem::replace(&mut order.paid, true) {
            self.held -= order.qty;
            let lost = house.has(Fault::LosesSales) && order.id.ends_with('7');
            self.sold += if lost { 0 } else { order.qty };
        }
        json_answer(200, &json!({ "ok": true, "status": "PAID" }))
    }
}
