//! What the proofs need of a message, read where it lies: no other field is looked at, nothing is allocated.

mod update;

use room::time::Micros;
use room::wire::State;
use serde::Deserialize;

/// A standing as an answer to `join`, or a message of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Glance<'a> {
    /// Empty in an answer to `join`.
    #[serde(default, rename = "type")]
    pub kind: &'a str,
    #[serde(default)]
    pub state: Option<State>,
    #[serde(default)]
    pub position: Option<u64>,
    #[serde(default)]
    pub next_update_seconds: u32,
    #[serde(default)]
    as_of: Option<&'a str>,
    #[serde(default)]
    claim_expires_at: Option<&'a str>,
    #[serde(default)]
    pub reconnect_in_ms: Option<u64>,
}

impl<'a> Glance<'a> {
    /// `None`: not of the protocol.
    pub fn at(text: &'a [u8]) -> Option<Self> {
        // Nearly all messages are updates as the edge writes them.
        update::read(text).or_else(|| serde_json::from_slice(text).ok())
    }

    pub fn claim_expires_at(&self) -> Option<Micros> {
        Micros::from_rfc3339(self.claim_expires_at?)
    }

    pub fn as_of(&self, dates: &mut Dates) -> Option<Micros> {
        dates.read(self.as_of?)
    }
}

/// Everybody placed by one tick is told the same instant: it is read once.
#[derive(Debug, Default)]
pub struct Dates {
    text: String,
    instant: Option<Micros>,
}

impl Dates {
    fn read(&mut self, text: &str) -> Option<Micros> {
        if text != self.text {
            self.instant = Micros::from_rfc3339(text);
            text.clone_into(&mut self.text);
        }
        self.instant
    }
}

#[cfg(test)]
mod tests {
    use room::wire::{ServerMessage, Standing};

    use super::*;

    fn standing() -> Standing {
        Standing {
            room: "e1".parse().unwrap(),
            state: State::Waiting,
            position: Some(1240),
            ahead: Some(1239),
            waiting: 51_873,
            estimate: None,
            progress: Some(0.4),
            rate_per_minute: 1600,
            paused: None,
            message: Some("\"position\":7,\\".into()),
            claim_expires_at: Some("2026-01-01T00:01:00.250Z".into()),
            opens_at: None,
            close_reason: None,
            next_update_seconds: 2,
            ticket: Some("e30.e30.sig".into()),
            as_of: "2026-01-01T00:00:00.250Z".into(),
        }
    }

    #[test]
    fn a_glance_sees_what_the_message_says_whatever_its_words_look_like() {
        for message in
            [ServerMessage::Update(Box::new(standing())), ServerMessage::Turn(Box::new(standing()))]
        {
            let text = serde_json::to_vec(&message).unwrap();
            let glance = Glance::at(&text).unwrap();
            assert_eq!((glance.state, glance.position), (Some(State::Waiting), Some(1240)));
            assert_eq!((glance.next_update_seconds, glance.reconnect_in_ms), (2, None));
            assert_eq!(glance.as_of(&mut Dates::default()), Some(Micros(1_767_225_600_250_000)));
            assert_eq!(glance.claim_expires_at(), Some(Micros(1_767_225_660_250_000)));
        }
    }

    #[test]
    fn messages_without_a_place_have_their_kind_and_what_they_carry() {
        let text = serde_json::to_vec(&ServerMessage::Bye { reconnect_in_ms: 1500 }).unwrap();
        let glance = Glance::at(&text).unwrap();
        assert_eq!((glance.kind, glance.reconnect_in_ms, glance.state), ("server.bye", Some(1500), None));
        assert_eq!(Glance::at(b"{\"type\":7}"), None);
    }

    #[test]
    fn instants_are_read_anew_when_they_change() {
        let mut dates = Dates::default();
        assert_eq!(dates.read("1970-01-01T00:00:01.000Z"), Some(Micros(1_000_000)));
        assert_eq!(dates.read("1970-01-01T00:00:01.000Z"), Some(Micros(1_000_000)));
        assert_eq!(dates.read("1970-01-01T00:00:02.000Z"), Some(Micros(2_000_000)));
        assert_eq!(dates.read("later"), None);
    }
}
