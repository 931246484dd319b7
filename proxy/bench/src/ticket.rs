//! Tickets and passes signed with the keys of the benches' edges.

use std::time::{Duration, SystemTime};

use room::ids::{IdError, RoomName, TicketId, VisitorId};
use room::time::Micros;
use room::token::{Alg, Key, KeyRing, Kind, Ticket, Use, secret_from_text};

use crate::bench::BenchError;
use crate::edge::{PASS_SECRET, ROOM, TICKET_SECRET};

/// Longer than any run.
const LIFE_SECS: u64 = 24 * 3600;

/// The keys of every edge that a bench starts.
pub fn ring() -> Result<KeyRing, BenchError> {
    let key = |kid: &str, kind, alg, secret| Key {
        kid: kid.into(),
        kind,
        alg,
        use_: Use::Sign,
        secret: secret_from_text(secret).unwrap_or_default(),
    };
    let keys = [
        key("ticket-1", Kind::Ticket, Alg::Hs256, TICKET_SECRET),
        key("pass-1", Kind::Pass, Alg::EdDsa, PASS_SECRET),
    ];
    KeyRing::new(&keys).map_err(|error| BenchError::Broken(error.to_string()))
}

/// The room of the benches' edges.
pub fn room() -> Result<RoomName, BenchError> {
    ROOM.parse().map_err(|error: IdError| BenchError::Broken(error.to_string()))
}

/// 96 bits that differ with the number.
pub fn id(number: u64) -> [u8; 12] {
    let mut bytes = [7; 12];
    if let Some(end) = bytes.last_chunk_mut::<8>() {
        *end = number.to_be_bytes();
    }
    bytes
}

/// Tickets of first contacts a moment ago, in the order of their numbers.
pub fn tickets(numbers: std::ops::Range<u64>) -> Result<Vec<String>, BenchError> {
    let (ring, room, now) = (ring()?, room()?, Micros::from(SystemTime::now()));
    let ticket = |number: u64| Ticket {
        room: room.clone(),
        visitor: VisitorId::from_random(id(number)),
        id: TicketId::from_random(id(number)),
        stamp: now,
        head_start_micros: 0,
        confirmed_at: None,
        confirm_by: now + Duration::from_secs(120),
        expires_at_secs: now.as_secs() + LIFE_SECS,
    };
    Ok(numbers.map(|number| ring.sign_ticket(&ticket(number))).collect())
}
