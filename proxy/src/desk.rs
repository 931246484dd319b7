//! Carries out verdicts: lets in, claims, mints passes, keeps people waiting, refuses. Everything that a visitor is
//! told is decided here; how it travels is the edge's business.

pub mod answers;
mod calls;
mod cookies;
mod gated;
mod presented;
mod screen;
mod socket_call;
mod turnstile;

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::StatusCode;
use room::ids::RoomName;
use room::time::Micros;

use crate::hall::Hall;
use crate::house::House;
use crate::metrics::{self, Verdict as Counted};
use crate::request::{Command, Decide, Forward, ForwardPass, Head, Plan, Planned};

use self::presented::Presented;

/// Decides about every request, by the settings of the moment.
#[derive(Debug)]
pub struct Desk {
    house: Arc<ArcSwap<House>>,
}

/// One request to one room.
struct Visit<'a> {
    head: &'a Head,
    house: &'a House,
    hall: &'a Arc<Hall>,
    settings: Arc<crate::config::settings::RoomSettings>,
    presented: Presented,
    now: Micros,
}

impl Desk {
    pub fn new(house: Arc<ArcSwap<House>>) -> Self {
        Self { house }
    }
}

#[async_trait]
impl Decide for Desk {
    async fn plan(&self, head: &Head, body: &[u8]) -> Plan {
        match self.planned(head, body) {
            Planned::Now(plan) => plan,
            Planned::Later(plan) => plan.await,
        }
    }

    fn planned<'a>(&'a self, head: &'a Head, body: &'a [u8]) -> Planned<'a> {
        let house = self.house.load();
        if house.reserved(&head.path).is_some() {
            let house = Arc::clone(&house);
            return Planned::Later(Box::pin(async move {
                let call = house.reserved(&head.path).unwrap_or_default();
                calls::plan(&house, head, call, body).await
            }));
        }
        let Some(hall) = house.hall_at(&head.host, &head.path) else {
            return Planned::Now(unroomed(&house, head));
        };
        let now = hall.now();
        let presented = presented::of_room(&house, head, hall, now);
        let settings = hall.settings();
        let mut visit = Visit { head, house: &house, hall, settings, presented, now };
        let task = match gated::begin(&mut visit) {
            Ok(plan) => return Planned::Now(plan),
            Err(task) => task,
        };
        // The same snapshot, owned: the store is asked now.
        let Visit { settings, presented, now, .. } = visit;
        let (house, hall) = (Arc::clone(&house), Arc::clone(hall));
        Planned::Later(Box::pin(async move {
            let visit = Visit { head, house: &house, hall: &hall, settings, presented, now };
            gated::finish(visit, *task).await
        }))
    }

    async fn command(&self, room: &RoomName, pass: &ForwardPass, command: Command) {
        let visitor = pass.visitor;
        let house = self.house.load_full();
        let Some(hall) = house.halls.get(room) else { return };
        tracing::info!(%room, %visitor, ?command, "the origin ended a session");
        if let Err(error) = hall.end(visitor, Some(pass.ticket)).await {
            tracing::warn!(%room, %visitor, %error, "the session ends by its time");
        }
    }

    fn is_reserved(&self, path: &str) -> bool {
        self.house.load().reserved(path).is_some()
    }

    fn now(&self) -> Micros {
        self.house.load().now()
    }
}

/// A path that belongs to no room.
fn unroomed(house: &House, head: &Head) -> Plan {
    let counts = metrics::room(None);
    let Some(upstream) = &house.default_upstream else {
        counts.request(Counted::Rejected);
        return Plan::Answer(answers::problem(
            head,
            StatusCode::NOT_FOUND,
            "no-room",
            "Nothing is served here",
            "No room has this host and path, and there is no default upstream.",
        ));
    };
    counts.request(Counted::Forwarded);
    Plan::Forward(Forward {
        upstream: Arc::clone(upstream),
        room: None,
        pass: None,
        set_cookies: Vec::new(),
        waited: None,
        trust_commands: false,
    })
}
