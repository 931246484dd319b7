//! What a script is given: `ARGV` as `prelude.lua` describes it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use room::ids::RoomName;
use room::queue::{Arrival, Change, Claim, Leave, Mode, Renewal, Restore, Session, Witness};
use room::time::{Micros, as_micros};

use super::scripts::{self, Script};
use crate::Call;

/// Beyond this a double is no longer exact; no clock moves that far.
const MOST_MICROS: u64 = 1 << 53;

/// Arguments that say what the caller knows.
const WITNESS: usize = 5;

/// Characters of an arrival.
const ARRIVAL: usize = 83;

/// One run of a script.
pub(super) struct Ask {
    pub(super) script: &'static Script,
    pub(super) keys: Vec<String>,
    pub(super) args: Vec<String>,
}

/// Something that a script works on.
pub(super) trait Item {
    fn write(&self, args: &mut Vec<String>);
}

impl Ask {
    pub(super) fn new(
        script: &'static Script,
        prefix: &str,
        call: &Call<'_>,
        now: Option<Micros>,
        publish: &str,
    ) -> Self {
        let mut args = Vec::with_capacity(48);
        write_caller(call, now, publish, &mut args);
        write_rules(call, &mut args);
        write_witness(call.caller.witness.as_deref(), &mut args);
        Self { script, keys: scripts::keys(prefix, call.room), args }
    }

    pub(super) fn missed(prefix: &str, room: &RoomName, seq: u64) -> Self {
        Self {
            script: &scripts::MISSED,
            keys: ["state", "ticks"].map(|name| scripts::key(prefix, room, name)).into(),
            args: vec![seq.to_string()],
        }
    }

    /// One argument that comes before the items.
    pub(super) fn led_by(mut self, argument: String) -> Self {
        self.args.push(argument);
        self
    }

    /// The tickets that are presented.
    pub(super) fn presenting(mut self, arrivals: &[Arrival]) -> Self {
        self.args.extend([flag(are_plain(arrivals)), pack(arrivals)]);
        self
    }

    pub(super) fn with<T: Item>(mut self, items: &[T]) -> Self {
        for item in items {
            item.write(&mut self.args);
        }
        self
    }
}

/// Whether these are as many visitors, all of whom may wait: then nobody's place depends on another's.
fn are_plain(arrivals: &[Arrival]) -> bool {
    let mut visitors = HashSet::with_capacity(arrivals.len());
    arrivals.iter().all(|arrival| arrival.may_wait && visitors.insert(arrival.visitor))
}

/// One text of [`ARRIVAL`] characters each, which costs Redis less than six arguments each.
fn pack(arrivals: &[Arrival]) -> String {
    let mut packed = String::with_capacity(arrivals.len() * ARRIVAL);
    for Arrival { visitor, ticket, score, confirmed_at, may_enter, may_wait, here } in arrivals {
        let (here, may_enter, may_wait) = (u8::from(*here), u8::from(*may_enter), u8::from(*may_wait));
        // Writing to a string cannot fail.
        let _written =
            write!(packed, "{visitor}{ticket}{here}{score:016}{:016}{may_enter}{may_wait}", confirmed_at.0);
    }
    packed
}

fn write_caller(call: &Call<'_>, now: Option<Micros>, publish: &str, args: &mut Vec<String>) {
    let caller = call.caller;
    args.extend([
        text(now.map(|now| now.0)),
        span(call.at_most),
        caller.node.to_string(),
        caller.fresh.to_string(),
        flag(caller.hold),
        flag(caller.alone),
        publish.into(),
    ]);
}

fn write_rules(call: &Call<'_>, args: &mut Vec<String>) {
    let rules = call.rules;
    args.extend([
        rules.new_users_per_minute.to_string(),
        rules.total_active_users.to_string(),
        text(rules.burst),
        rules.max_waiting.to_string(),
        span(rules.session_duration),
        span(rules.session_max),
        flag(!rules.disable_session_renewal),
        span(rules.confirm_window),
        span(rules.claim_window),
        span(rules.return_window),
        rules.missed_turns.to_string(),
    ]);
}

/// Four arguments that every call compares, and one with what matters only to a store that lost data, a line each.
fn write_witness(witness: Option<&Witness>, args: &mut Vec<String>) {
    let Some(Witness { head, nodes, control }) = witness else {
        args.extend([const { String::new() }; WITNESS]);
        return;
    };
    let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let paused = control.paused.as_ref();
    let file = control.file;
    let rest = [
        head.clock.0.to_string(),
        head.taken.to_string(),
        Micros::from(head.entry).0.to_string(),
        Micros::from(head.offer).0.to_string(),
        nodes.join(","),
        control.version.to_string(),
        control.new_users_per_minute.to_string(),
        control.total_active_users.to_string(),
        paused.map_or(0, |pause| pause.since.0).to_string(),
        json(paused.and_then(|pause| pause.reason.as_deref())),
        json(control.message.as_deref()),
        mode(control.mode).into(),
        file.new_users_per_minute.to_string(),
        // The last line ends too.
        format!("{}\n", file.total_active_users),
    ];
    args.extend([
        head.incarnation.to_string(),
        head.seq.to_string(),
        head.step.to_string(),
        head.front.to_string(),
        rest.join("\n"),
    ]);
}

const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Open => "open",
        Mode::Drain => "drain",
        Mode::Closed => "closed",
    }
}

impl Item for Claim {
    fn write(&self, args: &mut Vec<String>) {
        args.extend([self.visitor.to_string(), self.ticket.to_string()]);
    }
}

impl Item for Leave {
    fn write(&self, args: &mut Vec<String>) {
        let (kind, visitor, ticket) = match self {
            Self::Absent(visitor) => ("absent", visitor, None),
            Self::Ended(visitor, ticket) => ("ended", visitor, *ticket),
        };
        args.extend([kind.into(), visitor.to_string(), text(ticket)]);
    }
}

impl Item for Renewal {
    fn write(&self, args: &mut Vec<String>) {
        args.extend([
            self.visitor.to_string(),
            self.ticket.to_string(),
            self.session.ends.0.to_string(),
            self.session.cap.0.to_string(),
        ]);
    }
}

impl Item for Restore {
    fn write(&self, args: &mut Vec<String>) {
        let number = |instant: Micros| Some(instant.0);
        let (kind, visitor, ticket, one, two) = match *self {
            Self::Session { visitor, ticket, session: Session { ends, cap } } => {
                ("session", Some(visitor), ticket, number(ends), number(cap))
            }
            Self::Turn { visitor, ticket } => ("turn", Some(visitor), ticket, None, None),
            Self::Spent { visitor, ticket } => ("spent", Some(visitor), ticket, None, None),
            Self::Revoked { ticket, until } => ("revoked", None, ticket, number(until), None),
        };
        args.extend([kind.into(), text(visitor), ticket.to_string(), text(one), text(two)]);
    }
}

impl Item for Change {
    fn write(&self, args: &mut Vec<String>) {
        let (pause, reason) = match &self.paused {
            None => ("", String::new()),
            Some(None) => ("resume", String::new()),
            Some(Some(request)) => ("pause", json(request.reason.as_deref())),
        };
        let (has_message, message) = match &self.message {
            None => ("", String::new()),
            Some(message) => ("message", json(message.as_deref())),
        };
        args.extend([
            text(self.if_version),
            text(self.new_users_per_minute),
            text(self.total_active_users),
            pause.into(),
            reason,
            has_message.into(),
            message,
            self.mode.map_or("", mode).into(),
            text(self.file.map(|file| file.new_users_per_minute)),
            text(self.file.map(|file| file.total_active_users)),
        ]);
    }
}

/// Scripts pass texts of people on as JSON, so that none of them has to read it.
fn json(text: Option<&str>) -> String {
    text.map_or_else(String::new, |text| serde_json::Value::from(text).to_string())
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

pub(super) fn flag(value: bool) -> String {
    u8::from(value).to_string()
}

fn span(span: Duration) -> String {
    as_micros(span).min(MOST_MICROS).to_string()
}
