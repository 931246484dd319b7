//! The calls under the reserved prefix.

#![allow(clippy::unnecessary_box_returns, reason = "`Refused` is the error of a result wherever it is made")]

use std::time::Duration;

use http::{Method, StatusCode, header};
use room::ids::RoomName;
use room::queue::{Arrived, Place};
use room::time::Micros;
use room::token::{Kind, Ticket};
use room::wire::{Entered, Standing};

use crate::house::House;
use crate::metrics::{self, Verdict as Counted};
use crate::request::{Answer, Head, Plan};
use crate::standing::{Who, public};

use super::presented;
use super::turnstile::Outcome;
use super::{Visit, answers, socket_call};

/// A call that cannot be answered as asked: boxed, as the rare side of a result.
type Refused = Box<Answer>;

pub(super) async fn plan(house: &House, head: &Head, call: &str, body: &[u8]) -> Plan {
    match answer(house, head, call, body).await {
        Ok(plan) => plan,
        Err(refused) => {
            metrics::room(None).request(Counted::Rejected);
            Plan::Answer(*refused)
        }
    }
}

async fn answer(house: &House, head: &Head, call: &str, body: &[u8]) -> Result<Plan, Refused> {
    let (get, post): (&[Method], &[Method]) = (&[Method::GET, Method::HEAD], &[Method::POST]);
    match call {
        "jwks.json" => allow(head, get).map(|()| Plan::Answer(jwks(house))),
        "join" => {
            allow(head, post)?;
            let visit = visit(house, head, body)?;
            visit.join().await.map(Plan::Answer)
        }
        "status" => {
            allow(head, get)?;
            visit(house, head, &[])?.status().await.map(Plan::Answer)
        }
        "enter" => {
            allow(head, post)?;
            visit(house, head, body)?.enter().await.map(Plan::Answer)
        }
        "leave" => {
            allow(head, &[Method::DELETE, Method::POST])?;
            visit(house, head, &[])?.leave().await.map(Plan::Answer)
        }
        "ws" => {
            allow(head, &[Method::GET])?;
            let visit = visit(house, head, &[])?;
            socket_call::plan(visit).await
        }
        _ => match call.strip_prefix("rooms/") {
            Some(name) => allow(head, get).and_then(|()| public_room(house, head, name)),
            None => Err(no_such_call(head)),
        },
    }
}

/// The room of a call: as asked, as the token names it, or the only one of the host.
fn visit<'a>(house: &'a House, head: &'a Head, body: &[u8]) -> Result<Visit<'a>, Refused> {
    let asked = asked_room(head, body)?;
    let presented = presented::of_any(house, head, house.now());
    let by_token = || {
        let ticket = presented.ticket.as_ref().map(|ticket| ticket.room.clone());
        ticket.or_else(|| presented.pass.as_ref().map(|shown| shown.pass.room.clone()))
    };
    let by_host = || house.settings.routes.only_room(&head.host).map(|room| room.name.clone());
    let name = asked.or_else(by_token).or_else(by_host).ok_or_else(|| no_such_room(head))?;
    let hall = house.halls.get(&name).ok_or_else(|| no_such_room(head))?;
    // Once the room is known only its own tokens count.
    let now = hall.now();
    let presented = presented::of_room(house, head, hall, now);
    let visit = Visit { head, house, hall, settings: hall.settings(), presented, now };
    match visit.charge_client() {
        Ok(_) => Ok(visit),
        Err(wait) => Err(Box::new(visit.limited(wait))),
    }
}

fn asked_room(head: &Head, body: &[u8]) -> Result<Option<RoomName>, Refused> {
    #[derive(serde::Deserialize)]
    struct Body {
        room: Option<String>,
    }
    let parse = |name: &str| name.parse::<RoomName>().map_err(|_| no_such_room(head));
    let pairs = head.query.as_deref().unwrap_or_default().split('&');
    if let Some(name) = pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == "room") {
        return parse(name.1).map(Some);
    }
    if body.is_empty() {
        return Ok(None);
    }
    let body: Body = serde_json::from_slice(body).map_err(|error| bad_json(head, &error))?;
    body.room.as_deref().map(parse).transpose()
}

impl Visit<'_> {
    /// The ticket that a call presents. One that comes back too late starts anew. A new place needs a room that takes
    /// somebody, and is charged to the address: over that limit the stamp is kept for a later try.
    pub(super) fn charged(&self, ticket: Ticket) -> Result<Ticket, Refused> {
        let ticket = if ticket.stands(self.now) { ticket } else { self.fresh_ticket() };
        if ticket.confirmed_at.is_some() {
            return Ok(ticket);
        }
        if self.is_closed() {
            return Err(Box::new(self.closed()));
        }
        let Err(wait) = self.charge_join() else { return Ok(ticket) };
        let kept = ticket.deferred(self.now, self.settings.rules.confirm_window);
        Err(Box::new(self.limited_joins(wait).with_cookies([self.ticket_cookie(&kept)])))
    }

    /// Takes or re-reads the place.
    async fn join(&self) -> Result<Answer, Refused> {
        let shown = self.presented.ticket.clone();
        let ticket = self.charged(shown.unwrap_or_else(|| self.fresh_ticket()))?;
        let answer = match self.present_from_screen(ticket).await {
            Outcome::Waits { arrived: Arrived::Spent | Arrived::Void, .. } => {
                match self.present(self.fresh_ticket(), false, true).await {
                    Outcome::Waits { arrived, ticket, .. } => self.joined(&ticket, &arrived),
                    other => self.other(other),
                }
            }
            Outcome::Waits { arrived, ticket, .. } => self.joined(&ticket, &arrived),
            Outcome::Kept { ticket, changed } => {
                let status = if changed { StatusCode::CREATED } else { StatusCode::OK };
                self.placed(&ticket, self.told_kept(&ticket), status, None)
            }
            other => self.other(other),
        };
        Ok(answer)
    }

    fn joined(&self, ticket: &Ticket, arrived: &Arrived) -> Answer {
        let (status, code) = match arrived {
            Arrived::Full | Arrived::Busy => (StatusCode::SERVICE_UNAVAILABLE, Some("full")),
            Arrived::Waiting(Place { new: true, .. }) => (StatusCode::CREATED, None),
            _ => (StatusCode::OK, None),
        };
        self.placed(ticket, self.told(ticket, arrived), status, code)
    }

    fn placed(
        &self,
        ticket: &Ticket,
        mut standing: Standing,
        status: StatusCode,
        code: Option<&'static str>,
    ) -> Answer {
        let cookie = self.ticket_cookie(ticket);
        standing.ticket = Some(cookie.token.to_string());
        self.hall.metrics.request(if code.is_some() { Counted::Rejected } else { Counted::Queued });
        let answer = answers::standing(self.head, status, code, &standing).with_cookies([cookie]);
        if code.is_some() { answer.retry_after(Duration::from_secs(10)) } else { answer }
    }

    /// Where the visitor stands: from what this edge knows, else by presenting the ticket.
    async fn status(&self) -> Result<Answer, Refused> {
        let Some(ticket) = self.presented.ticket.clone() else {
            let pass = self.presented.pass.as_ref();
            if pass.is_some_and(|shown| !self.hall.is_revoked(shown.pass.ticket)) {
                return Ok(self.ok(&self.tell(Who::Admitted)));
            }
            return Err(self.no_ticket());
        };
        self.recall(ticket.visitor);
        let near = self.with_view(|view| self.hall.hub.look(ticket.visitor, view));
        if let Some(standing) = &near
            && self.hall.hub.looks_after(ticket.visitor, self.now)
        {
            return Ok(self.ok(standing));
        }
        Ok(match (self.present_from_screen(self.charged(ticket)?).await, near) {
            (Outcome::Waits { arrived, ticket, changed }, _) => {
                let standing = self.told(&ticket, &arrived);
                let cookie = changed.then(|| self.ticket_cookie(&ticket));
                self.ok(&standing).with_cookies(cookie)
            }
            (Outcome::Kept { ticket, changed }, _) => {
                let cookie = changed.then(|| self.ticket_cookie(&ticket));
                self.ok(&self.told_kept(&ticket)).with_cookies(cookie)
            }
            (Outcome::Unknown { .. }, Some(standing)) => self.ok(&standing),
            (other, _) => self.other(other),
        })
    }

    /// Claims the turn: the pass.
    async fn enter(&self) -> Result<Answer, Refused> {
        let Some(ticket) = self.presented.ticket.clone() else {
            return Err(self.no_ticket());
        };
        match self.present(self.charged(ticket)?, true, true).await {
            Outcome::In(minted) => {
                let entered = Entered {
                    token: minted.token.to_string(),
                    expires_at: Micros::from_secs(minted.pass.expires_at_secs).to_rfc3339(),
                };
                Ok(answers::json(StatusCode::OK, &entered).with_cookies([self.pass_cookie(&minted)]))
            }
            Outcome::Waits { arrived: Arrived::Spent | Arrived::Void, .. } => {
                Err(Box::new(answers::problem(
                    self.head,
                    StatusCode::GONE,
                    "gone",
                    "This place is over",
                    "The turn was not taken in time, or the ticket was used. Join again for a new place.",
                )))
            }
            Outcome::Waits { arrived: Arrived::Full, .. } | Outcome::Unknown { .. } => Ok(self.unavailable()),
            Outcome::Kept { ticket, changed } => {
                let cookie = changed.then(|| self.ticket_cookie(&ticket));
                Ok(self.unavailable().with_cookies(cookie))
            }
            Outcome::Waits { arrived, ticket, changed } => {
                let standing = self.told(&ticket, &arrived);
                let wait = Duration::from_secs(standing.next_update_seconds.into());
                let cookie = changed.then(|| self.ticket_cookie(&ticket));
                Err(Box::new(self.not_yet(wait).with_cookies(cookie)))
            }
            Outcome::Soon { retry_at, .. } => Err(Box::new(self.not_yet(retry_at.since(self.now)))),
        }
    }

    /// Gives the place or the session back.
    async fn leave(&self) -> Result<Answer, Refused> {
        let by_pass = self.presented.pass.as_ref().map(|shown| (shown.pass.visitor, shown.pass.ticket));
        let by_ticket = self.presented.ticket.as_ref().map(|ticket| (ticket.visitor, ticket.id));
        let by_ticket = by_ticket.filter(|_| by_ticket != by_pass);
        let leaving: Vec<_> = by_pass.into_iter().chain(by_ticket).collect();
        if leaving.is_empty() {
            return Err(self.no_ticket());
        }
        for (visitor, ticket) in leaving {
            if self.hall.end(visitor, Some(ticket)).await.is_err() {
                return Ok(self.unavailable());
            }
        }
        let cleared = [Kind::Ticket, Kind::Pass].map(|kind| self.cookie(kind, "".into(), 0));
        Ok(answers::empty(StatusCode::NO_CONTENT).with_cookies(cleared))
    }

    fn ok(&self, standing: &Standing) -> Answer {
        answers::standing(self.head, StatusCode::OK, None, standing)
    }

    /// What calls answer that did not end in the line.
    fn other(&self, outcome: Outcome) -> Answer {
        match outcome {
            Outcome::In(minted) => {
                let cookie = self.pass_cookie(&minted);
                self.ok(&self.tell(Who::Admitted)).with_cookies([cookie])
            }
            Outcome::Unknown { ticket } | Outcome::Kept { ticket, .. } => {
                self.unavailable().with_cookies([self.ticket_cookie(&ticket)])
            }
            Outcome::Waits { .. } | Outcome::Soon { .. } => self.unavailable(),
        }
    }

    fn not_yet(&self, wait: Duration) -> Answer {
        let title = "It is not your turn yet";
        let cure = "Wait for the turn; ask again after the time in Retry-After.";
        answers::problem(self.head, StatusCode::CONFLICT, "not-yet", title, cure).retry_after(wait)
    }

    pub(super) fn no_ticket(&self) -> Refused {
        let cause = self.presented.refused;
        let cause =
            cause.map_or_else(|| "The request carries no ticket of this room.".into(), |e| e.to_string());
        let cure = format!("{cause} POST join for a ticket.");
        let title = "A ticket is needed";
        Box::new(answers::problem(self.head, StatusCode::UNAUTHORIZED, "no-ticket", title, &cure))
    }

    pub(super) fn unavailable(&self) -> Answer {
        let title = "The queue cannot be reached";
        let cure = "Your place is kept by your ticket. Try again after the time in Retry-After.";
        answers::problem(self.head, StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", title, cure)
            .retry_after(Duration::from_secs(5))
    }
}

fn jwks(house: &House) -> Answer {
    let answer = answers::json(StatusCode::OK, house.ring.jwks());
    cacheable(answer, "public, max-age=60")
}

fn public_room(house: &House, head: &Head, name: &str) -> Result<Plan, Refused> {
    let name: RoomName = name.parse().map_err(|_| no_such_room(head))?;
    let hall = house.halls.get(&name).ok_or_else(|| no_such_room(head))?;
    let public = public(&name, &hall.settings().rules, hall.known().as_deref(), hall.now());
    Ok(Plan::Answer(cacheable(answers::json(StatusCode::OK, &public), "public, max-age=1")))
}

fn cacheable(mut answer: Answer, control: &'static str) -> Answer {
    answer.headers.replace(&header::CACHE_CONTROL, control);
    answer
}

fn allow(head: &Head, methods: &[Method]) -> Result<(), Refused> {
    if methods.contains(&head.method) {
        return Ok(());
    }
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let (allowed, title) = (names.join(", "), "This method is not for this call");
    let cure = format!("Use {allowed}.");
    let refused = answers::problem(head, StatusCode::METHOD_NOT_ALLOWED, "method", title, &cure);
    Err(Box::new(refused.with(&header::ALLOW, allowed)))
}

fn no_such_room(head: &Head) -> Refused {
    let cure = "Name a room of this site with ?room=NAME.";
    Box::new(answers::problem(head, StatusCode::NOT_FOUND, "unknown-room", "There is no such room", cure))
}

fn no_such_call(head: &Head) -> Refused {
    let cure = "The calls are join, status, ws, enter, leave, rooms/NAME and jwks.json.";
    Box::new(answers::problem(head, StatusCode::NOT_FOUND, "unknown-call", "There is no such call", cure))
}

fn bad_json(head: &Head, error: &serde_json::Error) -> Refused {
    let cure = format!("The body must be empty or an object like {{\"room\": \"NAME\"}}: {error}.");
    Box::new(answers::problem(head, StatusCode::BAD_REQUEST, "bad-json", "The body is not valid JSON", &cure))
}
