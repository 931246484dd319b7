//! One rival: waits for a window, reacts, buys, pays, looks at the ranking, and again.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use room::time::Micros;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Record, RivalArgs, Run};
use crate::client::{Answer, Call, Client};
use crate::plan::{Dice, Habits, Person, Quirk, Role};
use crate::stop::Phase;
use crate::visitor::{self, event_path};
use crate::world::World;

/// Lost answers and "later" in a row before a window is given up.
const MAX_TRIES: u32 = 20;
/// Between two tries at the door of a window whose stock is not there yet.
const KNOCK: Duration = Duration::from_millis(50);
/// Other pauses, whatever the server asks for: a window is short.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A payment takes half as long to be thought of as a purchase.
const PAYING: u32 = 2;

/// Why a window ends without a ticket.
enum Miss {
    SoldOut,
    /// Refused, out of reach, or not an event that is practised.
    NotServed,
}

#[derive(Deserialize)]
struct Event {
    practice: Hours,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hours {
    next_opens_at: String,
    as_of: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Standing {
    elapsed_ms: i64,
    rank: i64,
    percentile: f64,
}

struct Rival {
    world: Arc<World>,
    client: Client,
    args: RivalArgs,
    number: u32,
    /// For keys, and for getting in.
    dice: Dice,
    /// For reactions.
    luck: fastrand::Rng,
}

/// Competes in as many windows as there are to be.
pub(super) async fn compete(world: Arc<World>, args: RivalArgs, number: u32) -> Record {
    let name = format!("rival-{}-{number}", args.skill.get());
    let mut record = Record { name, ..Record::default() };
    let mut rival = Rival::new(Arc::clone(&world), args, number);
    for _ in 0..rival.args.windows {
        let window = tokio::select! {
            window = rival.window(&record.name) => window,
            () = world.stop.reached(Phase::Closing) => break,
        };
        match window {
            Ok(run) => record.runs.push(run),
            Err(Miss::SoldOut) => record.sold_out += 1,
            Err(Miss::NotServed) => {
                record.failed += 1;
                sleep(LONGEST_PAUSE).await;
            }
        }
    }
    record
}

impl Rival {
    fn new(world: Arc<World>, args: RivalArgs, number: u32) -> Self {
        let client = Client::new(Arc::clone(&world), 0, None);
        // Each of its own, and none like its neighbour.
        let luck =
            fastrand::Rng::with_seed(args.seed ^ (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Keys are never those of an earlier run with the same seed: the shop would answer what it answered then.
        let dice = Dice::new(fastrand::u64(..), u64::from(number));
        Self { world, client, args, number, dice, luck }
    }

    async fn window(&mut self, name: &str) -> Result<Run, Miss> {
        let opens = self.next_opening(name).await?;
        sleep_until(opens + self.reaction()).await;
        let order = self.order(name).await?;
        sleep(self.reaction() / PAYING).await;
        self.call(name, &Call::json(Method::POST, format!("/pay/{order}"))).await?;
        let path = format!("{}/practice/result", event_path(&self.args.event));
        let standing = self.call(name, &Call::json(Method::GET, path)).await?.json::<Standing>();
        let Standing { elapsed_ms, rank, percentile } = standing.ok_or(Miss::NotServed)?;
        Ok(Run { elapsed_ms, rank, percentile })
    }

    fn reaction(&mut self) -> Duration {
        self.args.skill.reaction(&mut self.luck)
    }

    /// By the clock of the shop; the answer was half a round trip under way.
    async fn next_opening(&mut self, name: &str) -> Result<Instant, Miss> {
        let answer = if let Some(answer) = self.hours(name).await {
            answer
        } else {
            self.get_in().await?;
            self.hours(name).await.ok_or(Miss::NotServed)?
        };
        let asked = Instant::now();
        let hours = answer.json::<Event>().ok_or(Miss::NotServed)?.practice;
        let instant = |text: &str| Micros::from_rfc3339(text).ok_or(Miss::NotServed);
        let wait = instant(&hours.next_opens_at)?.since(instant(&hours.as_of)?);
        Ok(asked + wait - (answer.span.to.since(answer.span.from) / 2).min(wait))
    }

    /// `None` before a gate, and where the event is not practised.
    async fn hours(&mut self, name: &str) -> Option<Answer> {
        let call = Call::json(Method::GET, event_path(&self.args.event));
        let answer = self.call(name, &call).await.ok()?;
        answer.json::<Event>().is_some().then_some(answer)
    }

    /// Through the waiting room, like a visitor.
    async fn get_in(&mut self) -> Result<(), Miss> {
        let habits = Habits {
            quirk: Quirk::None,
            polls: false,
            double_clicks: false,
            enters_by_call: true,
            stays: false,
        };
        let (id, seed) = (u64::from(self.number), self.luck.u64(..));
        let person = Person { id, role: Role::Visitor(habits), address: None, dice: Dice::new(seed, id) };
        let within = visitor::get_in(Arc::clone(&self.world), person, habits).await;
        self.client = within.map_err(|_| Miss::NotServed)?;
        Ok(())
    }

    /// One ticket, or the best seat that is left.
    async fn order(&mut self, name: &str) -> Result<String, Miss> {
        let call = Call::json(Method::POST, "/api/orders")
            .with_header("idempotency-key", self.dice.key())
            .with_body(&json!({ "eventId": self.args.event, "qty": 1 }));
        let answer = self.call(name, &call).await?;
        Ok(answer.json::<Order>().ok_or(Miss::NotServed)?.order_id)
    }

    /// Asked again, with the same key, when the answer is lost or says "later".
    async fn call(&mut self, name: &str, call: &Call) -> Result<Answer, Miss> {
        // Who is who without a waiting room; behind one nobody looks at it.
        let call = call.clone().with_header("x-user-id", name);
        for _ in 0..MAX_TRIES {
            let pause = match self.client.call(&call).await {
                Ok(answer) if answer.status.is_success() => return Ok(answer),
                Ok(answer) => pause_after(&answer)?,
                Err(_) => KNOCK * 4,
            };
            sleep(pause).await;
        }
        Err(Miss::NotServed)
    }
}

/// How long to wait before the same is asked again, if that helps.
fn pause_after(answer: &Answer) -> Result<Duration, Miss> {
    #[derive(Deserialize)]
    struct Problem {
        code: String,
    }
    let code = answer.json::<Problem>().map(|problem| problem.code).unwrap_or_default();
    match (answer.status, code.as_str()) {
        (_, "out-of-stock" | "RESERVATION_CONFLICT") => Err(Miss::SoldOut),
        // A little too early, or the stock is a little late.
        (StatusCode::CONFLICT, "sale-closed") => Ok(KNOCK),
        (_, "queued" | "visitor-limit") => Err(Miss::NotServed),
        (StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS, _) => Ok(later(answer)),
        (status, _) if status.is_server_error() => Ok(later(answer)),
        _ => Err(Miss::NotServed),
    }
}

fn later(answer: &Answer) -> Duration {
    answer.retry_after().min(LONGEST_PAUSE)
}
