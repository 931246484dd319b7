//! The update as it stands for the whole line, encoded once; only what differs is filled in for each who waits.

use std::sync::Arc;

use room::time::Micros;
use serde::Serialize;

use crate::socket::frames::{FrameBuffer, Opcode};
use crate::standing::{Facts, Who, compose};

use super::View;

/// Everything but [`Facts`], as the JSON of `queue.update` has it, in three pieces between them. Holds for those in the
/// line, as long as its view does.
#[derive(Debug)]
pub(crate) struct Sheet {
    /// Up to the state.
    start: Vec<u8>,
    /// From `waiting` to the estimate.
    waiting: Vec<u8>,
    /// From the rate to `next_update_seconds`.
    middle: Vec<u8>,
    end: Vec<u8>,
}

impl Sheet {
    pub(super) fn of(view: View<'_>) -> Self {
        let facts = Facts {
            state: room::wire::State::Waiting,
            position: None,
            estimate: None,
            progress: None,
            next_update_seconds: 0,
        };
        let standing = compose(&view, SOMEBODY, facts);
        let mut sheet = Self { start: Vec::new(), waiting: Vec::new(), middle: Vec::new(), end: Vec::new() };
        member(&mut sheet.start, "{\"type\":\"queue.update\",\"room\":", &standing.room);
        sheet.start.extend_from_slice(b",\"state\":");
        member(&mut sheet.waiting, ",\"waiting\":", &standing.waiting);
        sheet.waiting.extend_from_slice(b",\"estimate\":");
        member(&mut sheet.middle, ",\"rate_per_minute\":", &standing.rate_per_minute);
        member(&mut sheet.middle, ",\"paused\":", &standing.paused);
        member(&mut sheet.middle, ",\"message\":", &standing.message);
        member(&mut sheet.middle, ",\"claim_expires_at\":", &standing.claim_expires_at);
        member(&mut sheet.middle, ",\"opens_at\":", &standing.opens_at);
        member(&mut sheet.middle, ",\"close_reason\":", &standing.close_reason);
        sheet.middle.extend_from_slice(b",\"next_update_seconds\":");
        member(&mut sheet.end, ",\"as_of\":", &standing.as_of);
        sheet.end.push(b'}');
        sheet
    }

    /// Whether what this visitor is told differs from the rest of the line by facts only.
    pub(super) fn is_for(who: Who) -> bool {
        matches!(who, Who::InLine { returning: false, .. })
    }

    /// Appends the whole message.
    pub(super) fn fill(&self, facts: &Facts, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.start);
        json(bytes, &facts.state);
        member(bytes, ",\"position\":", &facts.position);
        member(bytes, ",\"ahead\":", &facts.position.map(|position| position - 1));
        bytes.extend_from_slice(&self.waiting);
        json(bytes, &facts.estimate);
        member(bytes, ",\"progress\":", &facts.progress);
        bytes.extend_from_slice(&self.middle);
        json(bytes, &facts.next_update_seconds);
        bytes.extend_from_slice(&self.end);
    }
}

/// An update for one of those for whom a sheet is. It is put into bytes when it is sent: a slow reader keeps two
/// pointers and a few numbers, not a frame that nobody may ever read.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    sheet: Arc<Sheet>,
    facts: Facts,
}

impl Update {
    pub(super) fn new(sheet: &Arc<Sheet>, facts: Facts) -> Self {
        Self { sheet: Arc::clone(sheet), facts }
    }

    pub(crate) fn frame<'a>(&self, buffer: &'a mut FrameBuffer) -> &'a [u8] {
        buffer.build(Opcode::Text, |bytes| self.sheet.fill(&self.facts, bytes))
    }
}

/// Any of those for whom the sheet is.
const SOMEBODY: Who = Who::InLine { score: 0, stamp: Micros::ZERO, returning: false };

fn member(bytes: &mut Vec<u8>, name: &str, value: &impl Serialize) {
    bytes.extend_from_slice(name.as_bytes());
    json(bytes, value);
}

/// Our own plain data: serialising it cannot fail. An empty frame would be ignored by every client.
pub(super) fn json(bytes: &mut Vec<u8>, value: &impl Serialize) {
    let _ = serde_json::to_writer(bytes, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use room::queue::{Mode, Pause};
    use room::rules::{Draft, Rules};
    use room::wire::ServerMessage;

    use super::super::tests::{START, known};
    use super::*;
    use crate::standing::{Shown, facts};

    proptest! {
        #[test]
        fn filled_in_it_is_to_the_byte_what_the_message_is_as_a_whole(
            waiting in 0_u64..5_000,
            score in START.0..START.0 + 40_000_000,
            first in prop::option::of(1_u64..10_000),
            reason in prop::option::of("[a-z\"ä]{0,9}"),
            message in prop::option::of("[a-z\"ä\\\\]{0,9}"),
            mode in prop::sample::select(vec![Mode::Open, Mode::Closed, Mode::Drain]),
            opens_at in prop::option::of(START.0..START.0 + 60_000_000),
            (away, is_known) in any::<(bool, bool)>(),
        ) {
            let mut draft = Draft::default();
            draft.schedule.opens_at = opens_at.map(Micros);
            let (rules, room) = (Rules::new(draft).unwrap(), "e1".parse().unwrap());
            let mut known = known(waiting, Micros(START.0 + 29_000_000));
            known.control.paused = reason.map(|reason| Pause { since: START, reason: Some(reason) });
            (known.control.message, known.control.mode) = (message, mode);
            let view = View {
                room: &room,
                rules: &rules,
                known: is_known.then_some(&known),
                away,
                now: Micros(START.0 + 31_000_000),
            };
            let who = Who::InLine { score, stamp: Micros(score), returning: false };
            let facts = facts(&view, who, &mut Shown::since(first));
            let mut filled = Vec::new();
            Sheet::of(view).fill(&facts, &mut filled);
            let whole = ServerMessage::Update(Box::new(compose(&view, who, facts)));
            prop_assert_eq!(String::from_utf8(filled).unwrap(), serde_json::to_string(&whole).unwrap());
        }
    }
}
