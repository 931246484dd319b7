//! The claims of a ticket as text, written without a serializer: everybody in a crowd gets a ticket, and serde took
//! longer over its seven fields than their signature takes (1.3 of 2.2 µs).

use std::io::Write as _;

use super::Ticket;

impl Ticket {
    /// The fields of the JSON object, each with a comma before it, as serde writes them.
    pub(super) fn write_claims(&self, json: &mut Vec<u8>) {
        // Names of rooms and identifiers have no character that JSON escapes.
        put_text(json, "room", self.room.as_str());
        put_display(json, "sub", self.visitor);
        put_display(json, "jti", self.id);
        put_number(json, "stamp", self.stamp.0);
        if self.head_start_micros != 0 {
            put_number(json, "ahead", self.head_start_micros);
        }
        if let Some(confirmed_at) = self.confirmed_at {
            put_number(json, "cat", confirmed_at.0);
        }
        put_number(json, "cby", self.confirm_by.0);
        put_number(json, "exp", self.expires_at_secs);
    }
}

fn put_name(json: &mut Vec<u8>, name: &str) {
    json.extend_from_slice(b",\"");
    json.extend_from_slice(name.as_bytes());
    json.extend_from_slice(b"\":");
}

fn put_text(json: &mut Vec<u8>, name: &str, value: &str) {
    put_name(json, name);
    json.push(b'"');
    json.extend_from_slice(value.as_bytes());
    json.push(b'"');
}

fn put_display(json: &mut Vec<u8>, name: &str, value: impl std::fmt::Display) {
    put_name(json, name);
    // Writing to memory does not fail.
    let _ = write!(json, "\"{value}\"");
}

fn put_number(json: &mut Vec<u8>, name: &str, number: u64) {
    put_name(json, name);
    let mut digits = [b'0'; 20];
    let (mut rest, mut first) = (number, digits.len());
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
        first -= 1;
        if rest == 0 {
            break;
        }
    }
    json.extend_from_slice(digits.get(first..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{TicketId, VisitorId};
    use crate::time::Micros;

    proptest! {
        #[test]
        fn claims_are_written_as_serde_writes_them(
            room in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
            ids in any::<[[u8; 12]; 2]>(),
            numbers in any::<[u64; 3]>(),
            ahead in prop_oneof![Just(0), any::<u64>()],
            confirmed in proptest::option::of(any::<u64>()),
        ) {
            let ticket = Ticket {
                room: room.parse().unwrap(),
                visitor: VisitorId::from_random(ids[0]),
                id: TicketId::from_random(ids[1]),
                stamp: Micros(numbers[0]),
                head_start_micros: ahead,
                confirmed_at: confirmed.map(Micros),
                confirm_by: Micros(numbers[1]),
                expires_at_secs: numbers[2],
            };
            let mut written = Vec::new();
            ticket.write_claims(&mut written);
            written.push(b'}');
            if let Some(comma) = written.first_mut() {
                *comma = b'{';
            }
            prop_assert_eq!(String::from_utf8(written).unwrap(), serde_json::to_string(&ticket).unwrap());
        }
    }
}
