//! The update as the edge writes it: its fields in their order, nothing between them. Several times faster than a
//! reader of any JSON; what is written otherwise is left to that one.

use room::wire::State;

use super::Glance;

/// `None`: something else, or written otherwise.
pub(super) fn read(text: &[u8]) -> Option<Glance<'_>> {
    let mut scan = Scan(text);
    scan.pass(b"{\"type\":\"queue.update\",\"room\":")?;
    scan.string()?;
    scan.pass(b",\"state\":")?;
    let state = state(scan.string()?)?;
    scan.pass(b",\"position\":")?;
    let position = scan.number_or_null().ok()?;
    scan.pass(b",\"ahead\":")?;
    scan.number_or_null().ok()?;
    scan.pass(b",\"waiting\":")?;
    scan.number()?;
    scan.pass(b",\"estimate\":")?;
    scan.estimate()?;
    scan.pass(b",\"progress\":")?;
    scan.fraction_or_null()?;
    scan.pass(b",\"rate_per_minute\":")?;
    scan.number()?;
    scan.pass(b",\"paused\":null,\"message\":")?;
    scan.string_or_null()?;
    scan.pass(b",\"claim_expires_at\":null,\"opens_at\":")?;
    scan.string_or_null()?;
    scan.pass(b",\"close_reason\":null,\"next_update_seconds\":")?;
    let next_update_seconds = u32::try_from(scan.number()?).ok()?;
    scan.pass(b",\"as_of\":")?;
    let as_of = Some(scan.string()?);
    scan.pass(b"}")?;
    scan.0.is_empty().then_some(Glance {
        kind: "queue.update",
        state: Some(state),
        position,
        next_update_seconds,
        as_of,
        claim_expires_at: None,
        reconnect_in_ms: None,
    })
}

fn state(word: &str) -> Option<State> {
    match word {
        "waiting" => Some(State::Waiting),
        "securing" => Some(State::Securing),
        "prequeue" => Some(State::Prequeue),
        _ => None,
    }
}

/// Neither a number nor null.
struct Otherwise;

/// The rest of the message.
struct Scan<'a>(&'a [u8]);

/// More digits may be more than a number holds.
const MOST_DIGITS: usize = 18;

impl<'a> Scan<'a> {
    fn pass(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Of plain ASCII without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.pass(b"\"")?;
        let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        let length = self.0.iter().position(|byte| !plain(byte))?;
        let text = self.take(length)?;
        self.pass(b"\"")?;
        std::str::from_utf8(text).ok()
    }

    fn string_or_null(&mut self) -> Option<()> {
        self.pass(b"null").or_else(|| self.string().map(drop))
    }

    /// As JSON writes whole numbers: no zero stands before other digits.
    fn number(&mut self) -> Option<u64> {
        let length = self.0.iter().position(|byte| !byte.is_ascii_digit())?;
        let digits = self.take(length).filter(|digits| (1..=MOST_DIGITS).contains(&digits.len()))?;
        if digits.len() > 1 && digits.first() == Some(&b'0') {
            return None;
        }
        Some(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }

    fn number_or_null(&mut self) -> Result<Option<u64>, Otherwise> {
        match self.pass(b"null") {
            Some(()) => Ok(None),
            None => self.number().map(Some).ok_or(Otherwise),
        }
    }

    fn fraction_or_null(&mut self) -> Option<()> {
        if self.pass(b"null").is_some() {
            return Some(());
        }
        self.number()?;
        if self.pass(b".").is_some() {
            let length =
                self.0.iter().position(|byte| !byte.is_ascii_digit()).filter(|length| *length > 0)?;
            self.take(length)?;
        }
        Some(())
    }

    fn estimate(&mut self) -> Option<()> {
        if self.pass(b"null").is_some() {
            return Some(());
        }
        self.pass(b"{\"p50_seconds\":")?;
        self.number()?;
        self.pass(b",\"p90_seconds\":")?;
        self.number()?;
        self.pass(b"}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use room::wire::{Estimate, Paused, ServerMessage, Standing};

    use super::*;

    fn standing() -> impl Strategy<Value = Standing> {
        let states = vec![State::Waiting, State::Securing, State::Prequeue, State::Closed];
        let text = prop::option::of("[ -~ä]{0,12}");
        let place = (prop::sample::select(states), prop::option::of(any::<u64>()), any::<u64>());
        let wait = (prop::option::of(any::<(u64, u64)>()), prop::option::of(0.0..=1.0_f64));
        (place, wait, (text.clone(), text, any::<bool>()), any::<u32>()).prop_map(
            |((state, position, waiting), (estimate, progress), (message, opens_at, is_paused), next)| {
                let estimate =
                    estimate.map(|(p50_seconds, p90_seconds)| Estimate { p50_seconds, p90_seconds });
                Standing {
                    room: "e1".parse().unwrap(),
                    state,
                    position,
                    ahead: position.map(|position| position.saturating_sub(1)),
                    waiting,
                    estimate,
                    progress: progress.map(|share| (share * 1e4).round() / 1e4),
                    rate_per_minute: 1600,
                    paused: is_paused.then(|| Paused { since: "now".into(), reason: None }),
                    message,
                    claim_expires_at: None,
                    opens_at,
                    close_reason: None,
                    next_update_seconds: next,
                    ticket: None,
                    as_of: "2026-01-01T00:00:00.250Z".into(),
                }
            },
        )
    }

    fn by_serde(text: &[u8]) -> Option<Glance<'_>> {
        serde_json::from_slice(text).ok()
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_reader_of_any_json_reads(standing in standing()) {
            let plain = standing.paused.is_none() && standing.state != State::Closed;
            let all_plain = [&standing.message, &standing.opens_at].into_iter().flatten().all(|text| {
                text.is_ascii() && !text.contains(['"', '\\'])
            });
            let small = |number: u64| number < 10_u64.pow(18);
            let all_small = small(standing.waiting)
                && standing.position.is_none_or(small)
                && standing.estimate.is_none_or(|wait| small(wait.p50_seconds) && small(wait.p90_seconds));
            let text = serde_json::to_vec(&ServerMessage::Update(Box::new(standing))).unwrap();
            let read = read(&text);
            prop_assert_eq!(read.is_some(), plain && all_plain && all_small);
            prop_assert!(read.is_none() || read == by_serde(&text));
        }

        #[test]
        fn of_bytes_that_were_changed_nothing_is_read_that_the_other_would_not_read(
            standing in standing(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut text = serde_json::to_vec(&ServerMessage::Update(Box::new(standing))).unwrap();
            let at = at.index(text.len());
            text[at] = byte;
            for text in [&text[..], &text[..cut.index(text.len())]] {
                let read = read(text);
                prop_assert!(read.is_none() || read == by_serde(text), "{}", String::from_utf8_lossy(text));
            }
        }
    }
}
