//! Who comes, and how they behave. Spans are milliseconds.

use room::ids::{TicketId, VisitorId};
use room::queue::Session;

#[allow(
    clippy::struct_excessive_bools,
    reason = "habits are independent: any of them may come with any other"
)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Temper {
    /// How long after hearing of the turn it is claimed, at most; `None`: never.
    pub(crate) claims_within: Option<u64>,
    /// Shows the ticket again when a turn was missed.
    pub(crate) comes_back: bool,
    /// Goes offline so long after arriving, for so long, and returns at any edge.
    pub(crate) absent: Option<(u64, u64)>,
    /// Presses "leave" so long after arriving, if still waiting.
    pub(crate) leaves_after: Option<u64>,
    /// Uses the session so long; `None`: never shows the pass again.
    pub(crate) stays: Option<u64>,
    /// Gives the session back at the end of the stay.
    pub(crate) releases: bool,
    /// Does everything a second time at another edge.
    pub(crate) doubles: bool,
    /// Shows the old ticket each ten seconds, whatever happened.
    pub(crate) replays: bool,
}

impl Temper {
    pub(crate) const PATIENT: Self = Self {
        claims_within: Some(3_000),
        comes_back: true,
        absent: None,
        leaves_after: None,
        stays: Some(5_000),
        releases: true,
        doubles: false,
        replays: false,
    };
    pub(crate) const NO_SHOW: Self = Self { claims_within: None, comes_back: false, ..Self::PATIENT };
    /// Takes turns again and again and never claims.
    pub(crate) const BOT: Self = Self { comes_back: true, ..Self::NO_SHOW };
    pub(crate) const LEAVER: Self = Self { leaves_after: Some(10_000), ..Self::PATIENT };
    pub(crate) const DOUBLER: Self = Self { doubles: true, ..Self::PATIENT };
    pub(crate) const REPLAYER: Self = Self { replays: true, ..Self::PATIENT };
    pub(crate) const COOKIE_DROPPER: Self = Self { stays: None, releases: false, ..Self::PATIENT };

    pub(crate) const fn away(after: u64, span: u64) -> Self {
        Self { absent: Some((after, span)), ..Self::PATIENT }
    }

    pub(crate) const fn is_honest(&self) -> bool {
        self.claims_within.is_some() && self.leaves_after.is_none()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) temper: Temper,
    pub(crate) visitor: VisitorId,
    pub(crate) ticket: TicketId,
    pub(crate) stamp: u64,
    pub(crate) confirmed_at: Option<u64>,
    /// The edge that this person's browser is connected to.
    pub(crate) node: usize,
    pub(crate) online: bool,
    pub(crate) state: State,
    /// The position on the screen.
    pub(crate) shown: Option<u64>,
    pub(crate) pass: Option<Session>,
    pub(crate) stay_ends: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Coming,
    InLine,
    Returning,
    Turn,
    Inside,
    Done,
}
