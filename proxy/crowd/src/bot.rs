//! A machine that tries to get past the gate: forged tokens, imitated headers, crooked paths, many first contacts.

use std::sync::Arc;

use hyper::Method;

use crate::actor::{Actor, answer_pass};
use crate::args::Share;
use crate::client::{Answer, Call, CallError, Cookies};
use crate::jar::Jar;
use crate::plan::Person;
use crate::stop::Phase;
use crate::story::{End, Part, Story};
use crate::token;
use crate::world::World;

/// Attempts of one bot.
const ATTEMPTS: usize = 50;

/// Paths that a careless normaliser takes for something else than the gate does.
const CROOKED_PATHS: &[&str] = &[
    "/%2e%2e/api/events",
    "//api/events",
    "/api/..;/events",
    "/API/Events",
    "/api/events/",
    "/api/events?next=/_queue/status",
    "/_queue/../api/events",
    "/_queue/%2e%2e/api/events",
    "/_queue%2f..%2fapi/events",
    "/./api/./events",
    "/api%2fevents",
    "/api/events/%00",
    "/_queue;/../api/events",
    "/api/events.",
    "/%61pi/events",
];

const HEADERS_ALG_NONE: &[&str] = &[
    r#"{"alg":"none","typ":"vestibule-pass+jwt"}"#,
    r#"{"alg":"None","typ":"vestibule-pass+jwt","kid":"pass"}"#,
    r#"{"alg":"HS256","typ":"vestibule-pass+jwt","kid":"pass"}"#,
];

/// Attacks until it is tired or the run closes.
pub async fn attack(world: Arc<World>, person: Person) -> Story {
    let mut bot = Bot { actor: Actor::new(Arc::clone(&world), person, Part::Bot), ticket: None };
    tokio::select! {
        () = bot.life() => bot.actor.story.end = End::Tired,
        () = world.stop.reached(Phase::Over) => {}
    }
    bot.actor.story
}

struct Bot {
    actor: Actor,
    /// From a first contact, to be abused.
    ticket: Option<String>,
}

impl Bot {
    async fn life(&mut self) {
        for _ in 0..ATTEMPTS {
            let call = self.next_attack();
            if let Ok(answer) = self.actor.ask(&call).await {
                self.keep_ticket(&answer);
                self.give_back(&answer).await;
            }
            if self.actor.pause_briefly(20..250).await.is_err() {
                return;
            }
        }
    }

    fn next_attack(&mut self) -> Call {
        let anonymous = |call: Call| call.with_cookies(Cookies::Own(None));
        match self.actor.dice.below(7) {
            0 => anonymous(Call::page("/")),
            1 => anonymous(Call::json(Method::GET, self.actor.world.queue_path("status"))),
            2 => anonymous(Call::json(Method::GET, self.pick(CROOKED_PATHS))),
            3 => anonymous(Call::json(Method::GET, "/api/events"))
                .with_header("vestibule-pass", self.swapped())
                .with_header("vestibule-visitor", "0f0f0f0f0f0f0f0f0f0f0f0f"),
            4 => {
                let forged = self.swapped();
                let cookie = format!("{}={forged}", Jar::new(&self.actor.world.room).pass_name());
                Call::json(Method::GET, "/api/events").with_cookies(Cookies::Own(Some(cookie)))
            }
            5 => anonymous(Call::json(Method::GET, "/api/events")).with_header("queue-pass", self.swapped()),
            // Never a real ticket here: as a bearer value it is a ticket, and takes its place in the line.
            _ => anonymous(Call::json(Method::POST, "/purchase"))
                .with_header("authorization", format!("Bearer {}", self.forged()))
                .with_header("idempotency-key", self.actor.dice.key())
                .with_body(&serde_json::json!({ "eventId": "e1", "qty": 1 })),
        }
    }

    /// A real ticket where a pass belongs, or something made up.
    fn swapped(&mut self) -> String {
        self.ticket.clone().filter(|_| self.actor.dice.chance(Share(0.5))).unwrap_or_else(|| self.forged())
    }

    /// Something that looks like a pass.
    fn forged(&mut self) -> String {
        let ticket = self.ticket.clone().unwrap_or_default();
        match self.actor.dice.below(3) {
            0 => self.actor.dice.key(),
            1 => token::forge(&self.pick(HEADERS_ALG_NONE), &ticket, ""),
            _ => token::forge(
                &self.pick(HEADERS_ALG_NONE),
                &ticket,
                ticket.split('.').nth(2).unwrap_or("c2ln"),
            ),
        }
    }

    fn pick(&mut self, from: &[&str]) -> String {
        let index = self.actor.dice.below(from.len());
        from.get(index).copied().unwrap_or_default().to_owned()
    }

    fn keep_ticket(&mut self, answer: &Answer) {
        let mut jar = Jar::new(&self.actor.world.room);
        jar.absorb(&answer.headers);
        self.ticket = jar.ticket.or(self.ticket.take());
    }

    /// A room with space lets everybody in, bots too; they hand the slot back so that people find it.
    async fn give_back(&mut self, answer: &Answer) {
        let Some(pass) = answer_pass(answer, &self.actor.world) else {
            return;
        };
        let now = self.actor.now();
        self.actor.story.may_have_ended(now);
        let cookie = format!("{}={pass}", Jar::new(&self.actor.world.room).pass_name());
        let call = Call::json(Method::DELETE, self.actor.world.queue_path("leave"));
        let left: Result<Answer, CallError> =
            self.actor.ask(&call.with_cookies(Cookies::Own(Some(cookie)))).await;
        drop(left);
    }
}
