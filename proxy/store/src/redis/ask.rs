//! What a script is given: `ARGV` as `prelude.lua` describes it.

use std::time::Duration;

use room::ids::RoomName;
use room::queue::{Arrival, Change, Claim, Leave, Mode, Renewal};
use room::time::{Micros, as_micros};

use super::scripts::{self, Script};
use crate::Call;

/// Beyond this a double is no longer exact; no clock moves that far.
const MOST_MICROS: u64 = 1 << 53;

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
        publish: &'static str,
    ) -> Self {
        let mut args = Vec::with_capacity(24);
        write_caller(call, now, &mut args);
        write_rules(call, &mut args);
        args.push(publish.into());
        Self { script, keys: scripts::keys(prefix, call.room), args }
    }

    pub(super) fn missed(prefix: &str, room: &RoomName, seq: u64) -> Self {
        Self {
            script: &scripts::MISSED,
            keys: ["state", "ticks"].map(|name| scripts::key(prefix, room, name)).into(),
            args: vec![seq.to_string()],
        }
    }

    pub(super) fn with<T: Item>(mut self, items: &[T]) -> Self {
        for item in items {
            item.write(&mut self.args);
        }
        self
    }
}

fn write_caller(call: &Call<'_>, now: Option<Micros>, args: &mut Vec<String>) {
    let caller = call.caller;
    args.extend([
        text(now.map(|now| now.0)),
        span(call.at_most),
        caller.node.to_string(),
        caller.fresh.to_string(),
        flag(caller.hold),
    ]);
    match &caller.witness {
        Some(known) => args.extend([
            known.head.incarnation.to_string(),
            known.head.seq.to_string(),
            known.head.clock.0.to_string(),
            known.head.front.to_string(),
        ]),
        None => args.extend([const { String::new() }; 4]),
    }
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

impl Item for Arrival {
    fn write(&self, args: &mut Vec<String>) {
        args.extend([
            self.visitor.to_string(),
            self.ticket.to_string(),
            self.score.to_string(),
            self.confirmed_at.0.to_string(),
            flag(self.may_enter),
            flag(self.may_wait),
        ]);
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
            String::new(),
        ]);
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
        let mode = match self.mode {
            None => "",
            Some(Mode::Open) => "open",
            Some(Mode::Drain) => "drain",
            Some(Mode::Closed) => "closed",
        };
        args.extend([
            text(self.if_version),
            text(self.new_users_per_minute),
            text(self.total_active_users),
            pause.into(),
            reason,
            has_message.into(),
            message,
            mode.into(),
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

fn flag(value: bool) -> String {
    u8::from(value).to_string()
}

fn span(span: Duration) -> String {
    as_micros(span).min(MOST_MICROS).to_string()
}
