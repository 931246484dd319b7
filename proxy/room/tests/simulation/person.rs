//! Who comes, and how they behave.

use room::ids::VisitorId;
use room::token::{Pass, Ticket};

use crate::time::{At, MS, SECOND};

#[allow(clippy::struct_excessive_bools, reason = "habits are independent: any may come with any other")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Temper {
    /// How long after hearing of the turn the page is loaded, at most; `None`: never.
    pub(crate) claims_within: Option<At>,
    /// Shows the ticket again when a turn was missed.
    pub(crate) comes_back: bool,
    /// Goes offline so long after the first page, for so long, and comes back at any edge.
    pub(crate) absent: Option<(At, At)>,
    /// Presses "leave" so long after the first page, if still waiting.
    pub(crate) leaves_after: Option<At>,
    /// Uses the session so long; `None`: never shows the pass again.
    pub(crate) stays: Option<At>,
    /// Gives the session back at the end of the stay.
    pub(crate) releases: bool,
    /// Windows at different edges.
    pub(crate) tabs: usize,
    /// Goes on showing the ticket after the session.
    pub(crate) replays: bool,
}

impl Temper {
    pub(crate) const PATIENT: Self = Self {
        claims_within: Some(3 * SECOND),
        comes_back: true,
        absent: None,
        leaves_after: None,
        stays: Some(5 * SECOND),
        releases: true,
        tabs: 1,
        replays: false,
    };
    pub(crate) const BRIEF: Self = Self { stays: Some(500 * MS), ..Self::PATIENT };
    pub(crate) const STAYER: Self = Self { stays: Some(14 * SECOND), releases: false, ..Self::PATIENT };
    pub(crate) const NO_SHOW: Self = Self { claims_within: None, comes_back: false, ..Self::PATIENT };
    pub(crate) const BOT: Self = Self { comes_back: true, ..Self::NO_SHOW };
    pub(crate) const LEAVER: Self = Self { leaves_after: Some(10 * SECOND), ..Self::PATIENT };
    pub(crate) const TABS: Self = Self { tabs: 3, ..Self::PATIENT };
    pub(crate) const REPLAYER: Self = Self { replays: true, tabs: 2, ..Self::PATIENT };
    pub(crate) const COOKIE_DROPPER: Self = Self { stays: None, releases: false, ..Self::PATIENT };

    pub(crate) const fn away(after: At, span: At) -> Self {
        Self { absent: Some((after, span)), ..Self::PATIENT }
    }

    /// Stays until let in, comes back when cut off, and claims.
    pub(crate) const fn is_honest(&self) -> bool {
        self.claims_within.is_some() && self.leaves_after.is_none()
    }

    /// Never goes away before being let in.
    pub(crate) const fn is_steady(&self) -> bool {
        self.is_honest() && self.absent.is_none()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) temper: Temper,
    pub(crate) visitor: Option<VisitorId>,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) pass: Option<Pass>,
    pub(crate) online: bool,
    pub(crate) tabs: Vec<Tab>,
    /// Set when let in.
    pub(crate) stay_ends: Option<At>,
    pub(crate) done: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Tab {
    /// The edge that the browser reaches; another after a failure.
    pub(crate) edge: Option<usize>,
    /// Counts pages: replies to a former one are lost.
    pub(crate) page: u32,
    /// A socket is open.
    pub(crate) open: bool,
}

impl Person {
    pub(crate) fn new(temper: Temper) -> Self {
        Self {
            temper,
            visitor: None,
            ticket: None,
            pass: None,
            online: true,
            tabs: vec![Tab::default(); temper.tabs],
            stay_ends: None,
            done: false,
        }
    }
}

/// What a browser asks of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    Page,
    Socket,
    Leave,
}

/// What a browser is told.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Forwarded, with this pass.
    In(Pass),
    /// The waiting page.
    Waits(Ticket),
    /// The socket is open, and this is the place.
    Attached(Ticket),
    Turn,
    /// It is the turn, but no entry is free this moment.
    Soon(At),
    /// The place or the turn is over; the ticket may still be good.
    Expired,
    /// The ticket is no good any more.
    Refused,
    /// The edge goes away: come back after so long.
    Bye(At),
    /// The connection broke.
    Broken,
}
