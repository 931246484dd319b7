//! What one visitor saw, instant by instant: the evidence for the proofs. Bounded whatever the server does.

use std::collections::BTreeSet;

use room::ids::{TicketId, VisitorId};
use room::time::Micros;

use serde::{Deserialize, Serialize};

use crate::cadence::Cadence;
use crate::clock::Span;
use crate::token::TicketView;

/// All instants are of the crowd's own clock unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Story {
    pub id: u64,
    pub part: Part,
    /// Which edge saw the first contact.
    pub edge: usize,
    /// The request whose answer brought the ticket, or the session at once.
    pub arrival: Option<Span>,
    /// The stamp that came with the arrival, of the server's clock.
    pub first_stamp: Option<Micros>,
    /// The join that was answered with a place.
    pub joined: Option<Span>,
    pub place: Option<Place>,
    pub turn: Option<Turn>,
    /// The latest instant (server's clock, `as_of`) at which the server still said "waiting".
    pub last_waiting: Option<Micros>,
    /// Times without any sign of the visitor, by intent or by accident.
    pub absences: Vec<Span>,
    /// From when on a departure from the line may have taken effect.
    pub left_line: Option<Micros>,
    pub entries: Vec<Entry>,
    pub sightings: Vec<Sighting>,
    pub position_grew: u32,
    pub cadence: Cadence,
    pub losses: Vec<Loss>,
    /// Requests that reached the origin without a pass, and an example.
    pub ungated: u32,
    pub ungated_example: Option<String>,
    pub purchases: Vec<Purchase>,
    /// Sockets that broke against the visitor's will.
    pub breaks: Vec<Break>,
    pub visits: Visits,
    pub end: End,
}

/// A socket that was lost, and when there was one again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Break {
    pub lost: Micros,
    /// When the first attempt at a new one was made.
    pub tried: Option<Micros>,
    /// When the new one was open; `None`: never.
    pub back: Option<Micros>,
}

/// What somebody inside asked of the site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visits {
    pub answered: u64,
    pub failed: u64,
    /// The first few that failed.
    pub failures: Vec<Failure>,
}

/// A request of an admitted visitor that the site did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub span: Span,
    /// The kind of error, or the status; of a 503 also its code, and whether it says when to come back.
    pub what: String,
}

/// What somebody is here for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    #[default]
    Visitor,
    Bot,
    /// Reads the shop's stock before and after.
    Inspector,
}

/// The confirmed ticket's claim: who, which, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub visitor: VisitorId,
    pub ticket: TicketId,
    pub stamp: Micros,
}

/// The first turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// When the visitor learnt of it.
    pub seen: Micros,
    /// `claim_expires_at`, of the server's clock.
    pub expires: Option<Micros>,
}

/// A session that began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// First request that may have entered → the answer that brought the pass.
    pub span: Span,
    /// Nobody was ahead: no turn came before.
    pub at_once: bool,
    pub ticket: Option<TicketId>,
    /// When the pass runs out, of the server's clock.
    pub expires: Option<Micros>,
    /// First request that may have ended the session.
    pub ended: Option<Micros>,
}

/// A position that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Of the server's clock.
    pub as_of: Micros,
    pub position: u64,
    /// The same as before on this screen: possibly held down because positions never grow.
    pub held: bool,
}

/// How a place was lost, as seen by its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Loss {
    ToldExpired,
    ToldClosed,
    /// The confirmed ticket was not accepted.
    TicketRefused,
    /// The stamp moved to a later instant, or the place to another visitor.
    Restamped,
    /// The turn was over before its time.
    TurnRefused,
}

/// One purchase with one idempotency key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchase {
    pub qty: u64,
    /// Distinct orders that came back for the key.
    pub orders: BTreeSet<String>,
    pub payment: Payment,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payment {
    #[default]
    None,
    Paid,
    /// Asked for, answer lost: it may or may not have happened.
    Unknown,
}

/// How it ended for the visitor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Cut off at the end of the run.
    #[default]
    Cut,
    Bought,
    SoldOut,
    /// Gave the place back.
    Left,
    NoShow,
    /// Still waiting when the run closed.
    WentHome,
    LostPlace,
    /// Admitted, but the shop did not sell in the end.
    NotServed,
    /// The edge or the network failed too often.
    Failed,
    /// A bot is done.
    Tired,
    /// Stayed inside to the end of the run.
    Stayed,
    /// Got a turn while the line was emptied.
    Served,
}

impl End {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cut => "cut off",
            Self::Bought => "bought",
            Self::SoldOut => "found it sold out",
            Self::Left => "left the line",
            Self::NoShow => "never used the turn",
            Self::WentHome => "went home waiting",
            Self::LostPlace => "lost the place",
            Self::NotServed => "not served by the shop",
            Self::Failed => "gave up",
            Self::Tired => "tired",
            Self::Stayed => "stayed inside",
            Self::Served => "got a turn when the line was emptied",
        }
    }
}

/// More than this is kept of nothing.
const MAX_ENTRIES: usize = 64;
const MAX_ORDERS: usize = 8;
const MAX_BREAKS: usize = 32;
const MAX_FAILURES: usize = 8;

impl Story {
    /// A position that a screen shows, after what it showed before. At most `most` are kept: when there are too many,
    /// every second one is forgotten.
    pub fn show(&mut self, screen: &mut Option<u64>, as_of: Micros, position: u64, most: usize) {
        if screen.is_some_and(|shown| position > shown) {
            self.position_grew += 1;
        }
        // Who was away may stand in another line now: only its growth is judged.
        if self.absences.is_empty() {
            if self.sightings.len() >= most {
                let mut keep = false;
                self.sightings.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            self.sightings.push(Sighting { as_of, position, held: *screen == Some(position) });
        }
        *screen = Some(position);
    }

    /// A session that began; one that is already known only gets its new expiry.
    pub fn enter(&mut self, entry: Entry) -> bool {
        let known = |old: &&mut Entry| old.ticket.is_some() && old.ticket == entry.ticket;
        if let Some(old) = self.entries.iter_mut().find(known) {
            old.expires = entry.expires.max(old.expires);
            return false;
        }
        if self.entries.len() < MAX_ENTRIES {
            self.entries.push(entry);
        }
        true
    }

    /// From now on the session may be over.
    pub fn may_have_ended(&mut self, now: Micros) {
        for entry in &mut self.entries {
            entry.ended.get_or_insert(now);
        }
    }

    /// A confirmed ticket was seen; the first one is the place, a later stamp is a loss.
    pub fn hold(&mut self, ticket: &TicketView) {
        let place = Place { visitor: ticket.visitor, ticket: ticket.id, stamp: ticket.stamp };
        match self.place {
            None => self.place = Some(place),
            Some(held) if held.visitor != place.visitor || held.stamp < place.stamp => {
                self.lose(Loss::Restamped);
            }
            Some(_) => {}
        }
    }

    /// The socket is gone; told again before there is a new one, nothing changes.
    pub fn broke(&mut self, now: Micros) {
        let open = self.breaks.last().is_some_and(|last| last.back.is_none());
        if !open && self.breaks.len() < MAX_BREAKS {
            self.breaks.push(Break { lost: now, tried: None, back: None });
        }
    }

    /// A new socket is tried.
    pub fn tries(&mut self, now: Micros) {
        if let Some(last) = self.breaks.last_mut().filter(|last| last.back.is_none()) {
            last.tried.get_or_insert(now);
        }
    }

    /// There is a socket again.
    pub fn resumed(&mut self, now: Micros) {
        if let Some(last) = self.breaks.last_mut() {
            last.back.get_or_insert(now);
        }
    }

    pub fn lose(&mut self, loss: Loss) {
        if !self.losses.contains(&loss) {
            self.losses.push(loss);
        }
    }

    pub fn ungated(&mut self, path: &str) {
        self.ungated += 1;
        self.ungated_example.get_or_insert_with(|| path.chars().take(120).collect());
    }
}

impl Visits {
    pub fn fail(&mut self, span: Span, what: impl Into<String>) {
        self.failed += 1;
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(Failure { span, what: what.into() });
        }
    }
}

impl Purchase {
    /// Another order for the same key; more than one is a double sale.
    pub fn ordered(&mut self, order: &str) {
        if self.orders.len() < MAX_ORDERS {
            self.orders.insert(order.chars().take(64).collect());
        }
    }
}
