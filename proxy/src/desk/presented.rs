//! The tokens that came with a request: from cookies, from our headers, or as a bearer value of ours.

use std::sync::Arc;

use room::ids::RoomName;
use room::time::Micros;
use room::token::{Kind, Pass, Ticket, TokenError};

use crate::hall::Hall;
use crate::house::House;
use crate::limits::{Quota, Wait};
use crate::passes::Verified;
use crate::request::{Head, Known};

use super::cookies;

/// Unknown passes of one address.
const VERIFY_EACH: Quota = Quota::per_second(50, 200);
/// Unknown passes of all: about a fifth of a core.
const VERIFY_ALL: Quota = Quota::per_second(5000, 5000);

/// What a visitor shows, verified.
#[derive(Debug, Default)]
pub(super) struct Presented {
    pub(super) ticket: Option<Ticket>,
    pub(super) pass: Option<Shown>,
    /// Why the first token that was refused was refused. Pages treat it as none, calls answer 401 with the cause.
    pub(super) refused: Option<TokenError>,
    /// A pass came that was never seen, and too many such came lately: it was not looked at. Ask again after this.
    pub(super) unverified: Option<Wait>,
    /// Whether a token came outside of a cookie: then the client wants them back outside of cookies.
    pub(super) by_header: bool,
}

/// A pass whose text is forwarded as it is.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) pass: Arc<Pass>,
    pub(super) token: Arc<str>,
    /// This edge had not seen it before.
    pub(super) is_new: bool,
}

/// Tokens for one room; those of others do not count.
pub(super) fn of_room(house: &House, head: &Head, hall: &Hall, now: Micros) -> Presented {
    read(house, head, Some(&hall.name), now)
}

/// Tokens for whatever room they name.
pub(super) fn of_any(house: &House, head: &Head, now: Micros) -> Presented {
    read(house, head, None, now)
}

fn read(house: &House, head: &Head, room: Option<&RoomName>, now: Micros) -> Presented {
    let mut presented = Presented::default();
    let is_here = |named: &RoomName| room.is_none_or(|room| room == named);
    for token in candidates(head, Kind::Pass, room, &mut presented.by_header) {
        let known = house.passes.recall(token, now);
        let is_new = known.is_none();
        let pass = match known {
            Some(known) => known,
            None => match may_verify(house, head) {
                Ok(()) => house.passes.verify(&house.ring, token, now),
                Err(wait) => {
                    presented.unverified = Some(wait);
                    continue;
                }
            },
        };
        match pass {
            Ok(known) if is_here(&known.pass.room) && presented.pass.is_none() => {
                let Verified { pass, token } = known;
                presented.pass = Some(Shown { pass, token, is_new });
            }
            Ok(_) => {}
            Err(error) => presented.refused = presented.refused.or(Some(error)),
        }
    }
    for token in candidates(head, Kind::Ticket, room, &mut presented.by_header) {
        match house.ring.ticket(token, now) {
            // Of several the earliest wins: it is the better place.
            Ok(ticket) if is_here(&ticket.room) => {
                let earlier = presented.ticket.as_ref().is_none_or(|other| ticket.stamp < other.stamp);
                presented.ticket = if earlier { Some(ticket) } else { presented.ticket };
            }
            Ok(_) => {}
            Err(error) => presented.refused = presented.refused.or(Some(error)),
        }
    }
    presented
}

/// Looking at an unknown pass costs tens of microseconds: each address, and all together, have a share, so that a
/// flood of forged ones cannot starve the gate.
fn may_verify(house: &House, head: &Head) -> Result<(), Wait> {
    let now = house.steady();
    house.limiter.check_address("verify", head.client, VERIFY_EACH, now)?;
    house.limiter.check("verify", VERIFY_ALL, now).map(drop)
}

fn candidates<'a>(
    head: &'a Head,
    kind: Kind,
    room: Option<&'a RoomName>,
    by_header: &mut bool,
) -> impl Iterator<Item = &'a str> {
    let own_header = match kind {
        Kind::Ticket => Known::QueueTicket,
        Kind::Pass => Known::QueuePass,
    };
    let of = |known| head.fields.text(known).map(str::trim);
    let bearer = of(Known::Authorization)
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| Kind::claimed_by(token) == Some(kind));
    let own = of(own_header);
    *by_header |= own.is_some() || bearer.is_some();
    own.into_iter().chain(bearer).chain(cookies::values(&head.fields, kind, room))
}
