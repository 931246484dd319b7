//! An edge of the release before this one: its scripts as they were, their arguments and answers, and the events as it
//! reads them.

use std::time::Duration;

use redis::{FromRedisValue, Value, from_redis_value};
use room::ids::{Incarnation, VisitorId};
use room::node::Heard;
use room::queue::{Arrival, Claim, Leave, Renewal, Session};
use room::time::{Micros, as_micros};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::site::{At, Edge, Standing};
use crate::support::world::{incarnation, node};

macro_rules! script {
    ($flags:literal, $($file:literal),+) => {
        concat!("#!lua", $flags, "\n", $(include_str!($file)),+)
    };
}

const ARRIVE: &str = script!("", "prelude.lua", "over.lua", "arrive.lua");
const TUNE: &str = script!("", "prelude.lua", "tune.lua");
const ADMIT: &str = script!(" flags=allow-oom", "prelude.lua", "over.lua", "admit.lua");
const CLAIM: &str = script!(" flags=allow-oom", "prelude.lua", "claim.lua");
const LEAVE: &str = script!(" flags=allow-oom", "prelude.lua", "leave.lua");
const RENEW: &str = script!(" flags=allow-oom", "prelude.lua", "renew.lua");
const SURVEY: &str = script!(" flags=allow-oom", "prelude.lua", "survey.lua");

const KEYS: [&str; 14] = [
    "state", "nodes", "queue", "returns", "turns", "active", "spent", "revoked", "missed", "misses", "owner",
    "ticks", "audit", "tick",
];

/// What it knew of where a room stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Head {
    pub(crate) incarnation: Incarnation,
    pub(crate) seq: u64,
    pub(crate) clock: Micros,
    front: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    #[serde(flatten)]
    pub(crate) head: Head,
    #[serde(rename = "counts")]
    _counts: Counts,
    #[serde(rename = "control")]
    _control: Control,
    #[serde(default)]
    pub(crate) turns: Vec<(VisitorId, Micros)>,
    #[serde(default)]
    pub(crate) lapsed: Vec<VisitorId>,
    #[serde(default)]
    pub(crate) absent: Vec<VisitorId>,
    #[serde(default, rename = "ruler")]
    _ruler: Option<Ruler>,
    #[serde(default, rename = "settling_until")]
    _settling_until: Option<Micros>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "all of them have to be there")]
struct Counts {
    waiting: u64,
    returning: u64,
    turns: u64,
    active: u64,
    admitted: u64,
    entered: u64,
    abandoned: u64,
    lapsed: u64,
    ended: u64,
    set_aside: u64,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "all of them have to be there")]
struct Control {
    version: u64,
    new_users_per_minute: u32,
    total_active_users: u32,
    #[serde(default)]
    paused: Option<IgnoredAny>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    mode: String,
    file: IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "all of them have to be there")]
struct Ruler {
    waiting: u64,
    scores: Vec<u64>,
}

/// One edge.
pub(crate) struct Previous {
    number: u32,
    knows: Option<Head>,
}

impl Previous {
    pub(crate) fn new(number: u32) -> Self {
        Self { number, knows: None }
    }

    fn run<T: FromRedisValue>(
        &mut self,
        at: &At<'_>,
        source: &str,
        items: impl IntoIterator<Item = String>,
    ) -> T {
        let script = redis::Script::new(source);
        let mut call = script.prepare_invoke();
        for name in KEYS {
            call.key(at.key(name));
        }
        for argument in self.arguments(at).into_iter().chain(items) {
            call.arg(argument);
        }
        let answer: Value = call.invoke(&mut *at.site.connection.borrow_mut()).expect("an answer");
        let (incarnation, seq, clock, front, _waiting, value): (String, u64, u64, u64, u64, T) =
            from_redis_value(answer).expect("an answer of this shape");
        let incarnation = incarnation.parse().expect("a name");
        self.knows = Some(Head { incarnation, seq, clock: Micros(clock), front });
        value
    }

    fn arguments(&self, at: &At<'_>) -> Vec<String> {
        let Self { number, knows } = self;
        let rules = &at.site.rules;
        let caller = [
            at.site.clock.now().0.to_string(),
            (1_u64 << 53).to_string(),
            node(*number).to_string(),
            incarnation(*number).to_string(),
            flag(false),
        ];
        let witness = knows.map_or([const { String::new() }; 4], |head| {
            [
                head.incarnation.to_string(),
                head.seq.to_string(),
                head.clock.0.to_string(),
                head.front.to_string(),
            ]
        });
        let rules = [
            rules.new_users_per_minute.to_string(),
            rules.total_active_users.to_string(),
            rules.burst.map_or_else(String::new, |burst| burst.to_string()),
            rules.max_waiting.to_string(),
            span(rules.session_duration),
            span(rules.session_max),
            flag(!rules.disable_session_renewal),
            span(rules.confirm_window),
            span(rules.claim_window),
            span(rules.return_window),
            rules.missed_turns.to_string(),
        ];
        caller.into_iter().chain(witness).chain(rules).chain(["PUBLISH".into()]).collect()
    }
}

impl Edge for Previous {
    fn survey(&mut self, at: &At<'_>) {
        let _: String = self.run(at, SURVEY, []);
    }

    fn arrive(&mut self, at: &At<'_>, arrivals: &[Arrival]) -> Vec<Option<Standing>> {
        let items = arrivals.iter().flat_map(|arrival| {
            [
                arrival.visitor.to_string(),
                arrival.ticket.to_string(),
                arrival.score.to_string(),
                arrival.confirmed_at.0.to_string(),
                flag(arrival.may_enter),
                flag(arrival.may_wait),
            ]
        });
        kinds(self.run(at, ARRIVE, items)).into_iter().map(standing).collect()
    }

    fn tick(&mut self, at: &At<'_>) {
        let event: String = self.run(at, ADMIT, []);
        serde_json::from_str::<Event>(&event).expect("its own event");
    }

    fn claim(&mut self, at: &At<'_>, claims: &[Claim]) -> Vec<Option<Session>> {
        let items = claims.iter().flat_map(|claim| [claim.visitor.to_string(), claim.ticket.to_string()]);
        kinds(self.run(at, CLAIM, items)).into_iter().map(session).collect()
    }

    fn renew(&mut self, at: &At<'_>, renewals: &[Renewal]) -> Vec<Option<Session>> {
        // Passes named the life that made them.
        let life = self.knows.map_or_else(String::new, |head| head.incarnation.to_string());
        let items = renewals.iter().flat_map(|renewal| {
            [
                renewal.visitor.to_string(),
                renewal.ticket.to_string(),
                renewal.session.ends.0.to_string(),
                renewal.session.cap.0.to_string(),
                life.clone(),
            ]
        });
        kinds(self.run(at, RENEW, items)).into_iter().map(session).collect()
    }

    fn leave(&mut self, at: &At<'_>, leave: Leave) {
        let item = match leave {
            Leave::Absent(visitor) => ["absent".into(), visitor.to_string(), String::new()],
            Leave::Ended(visitor, ticket) => {
                ["ended".into(), visitor.to_string(), ticket.map_or_else(String::new, |id| id.to_string())]
            }
        };
        let _: Value = self.run(at, LEAVE, item);
    }

    fn show_message(&mut self, at: &At<'_>, message: &str) {
        let message = serde_json::Value::from(message).to_string();
        let change = ["", "", "", "", "", "message", &message, "", "", ""].map(String::from);
        let _: Value = self.run(at, TUNE, change);
    }

    /// It follows the numbers that scripts answer with, and takes every event as the next.
    fn hear(&mut self, _: &room::queue::Event) -> Heard {
        Heard::Next
    }
}

fn standing((kind, numbers): (String, Vec<u64>)) -> Option<Standing> {
    match (kind.as_str(), numbers.as_slice()) {
        ("session" | "let_in", &[ends, cap]) => {
            Some(Standing::Inside(Session { ends: Micros(ends), cap: Micros(cap) }))
        }
        ("turn", [_]) => Some(Standing::Turn),
        ("waiting", [_, _, _]) => Some(Standing::Waiting),
        ("spent", []) => None,
        other => panic!("{other:?}"),
    }
}

fn session((kind, numbers): (String, Vec<u64>)) -> Option<Session> {
    match (kind.as_str(), numbers.as_slice()) {
        ("session", &[ends, cap]) => Some(Session { ends: Micros(ends), cap: Micros(cap) }),
        ("not_yet" | "gone" | "ended", _) => None,
        other => panic!("{other:?}"),
    }
}

fn kinds(items: Vec<Vec<Value>>) -> Vec<(String, Vec<u64>)> {
    let read = |item: Vec<Value>| {
        let mut fields = item.into_iter();
        let kind = from_redis_value(fields.next().expect("a kind")).expect("text");
        (kind, from_redis_value(Value::Array(fields.collect())).expect("numbers"))
    };
    items.into_iter().map(read).collect()
}

fn flag(value: bool) -> String {
    u8::from(value).to_string()
}

fn span(span: Duration) -> String {
    as_micros(span).to_string()
}
