//! The queue discipline: the reference that every store follows step by step.
//!
//! A room's people are in exactly one of these sets: the *line* (ordered by score, usually the stamp), the
//! *returns* (places that the front passed while their visitors were away), the *turns* (admitted, not yet
//! claimed) and the *sessions*. Ended tickets are *spent*, ended sessions *revoked*, for as long as somebody could
//! still present them.
//!
//! Every operation takes the store's time and brings the logical clock forward; nothing here waits or reads a
//! clock. Operations work on batches and their work is bounded.

mod admit;
mod arrive;
mod check;
mod leave;
mod life;
mod session;
mod state;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::ids::{Incarnation, NodeId, TicketId, VisitorId};
use crate::ruler::Ruler;
use crate::rules::Rules;
use crate::time::Micros;

pub use leave::Leave;
pub use life::{Report, Restore};
pub use session::{Claim, Claimed, Renewal, Renewed};
pub use state::Queue;

/// Turns that one tick gives at most.
pub const MAX_TURNS_A_TICK: u64 = 2000;
/// Places that one tick passes over at most because their edge is silent.
pub const MAX_SET_ASIDE: usize = 200;
/// Ended sessions, lapsed turns and old records that one tick clears at most of each kind.
pub const MAX_ENDED_A_TICK: usize = 1000;
/// One turn in this many may go to `returns`.
pub const RETURNS_SHARE: u64 = 4;
/// An edge that was not heard for this long does not keep places at the front.
pub const SILENT_NODE: Duration = Duration::from_secs(10);
/// An edge that was not heard for this long may hear nothing either: it tells nobody of a turn, nor takes the claim.
/// Those that live speak every three seconds.
pub const MUTE_NODE: Duration = Duration::from_secs(5);
/// A slot stays taken this long after its pass expired: clocks differ, and requests take time.
pub const SLOT_GRACE: Duration = Duration::from_secs(2);
/// A given-back slot is free after this long: every edge has heard of it by then.
pub const LEAVE_GRACE: Duration = Duration::from_secs(1);
/// A longer silence between ticks is an outage: turns are extended by it.
pub const TICK_GAP: Duration = Duration::from_secs(1);
/// How often the line is measured.
pub const RULER_EVERY: Duration = Duration::from_secs(1);
/// How long a store that lost data gives no turns at most, so that the known edges can report first.
pub const SETTLE: Duration = Duration::from_secs(10);
/// How long a store that several edges share gives no turns when it begins without a witness: an edge that knows of
/// a former life speaks up by then.
pub const SETTLE_BLANK: Duration = Duration::from_secs(2);
/// When nobody called for longer, the store was away: edges may have extended sessions by themselves.
pub const OUTAGE: Duration = Duration::from_millis(2500);
/// After an outage the slots of sessions that ended meanwhile are kept so long, until the edges have reported those
/// that they extended.
pub const REPORT_WITHIN: Duration = Duration::from_secs(2);
/// Edges that one event names at most.
pub const MAX_NODES: usize = 256;

/// The caller's view of time: the store's clock, and how far it may have moved since this caller last called.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The wall clock of the store.
    pub time: Micros,
    /// The caller's own monotonic time since its last call, plus one second; unlimited on its first call. A wall
    /// clock that leaps cannot move the queue's clock further than this.
    pub at_most: Duration,
}

impl Now {
    /// Trusts the wall clock: for a single caller, and for tests.
    pub const fn at(time: Micros) -> Self {
        Self { time, at_most: Duration::MAX }
    }
}

/// Who calls, and what it knows: with this a store that lost data can be told from one that is new.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    pub node: NodeId,
    /// What a store without data calls its new life.
    pub fresh: Incarnation,
    /// The newest that this node heard; `None` before its first answer.
    pub witness: Option<Arc<Witness>>,
    /// The room gives no turns for a reason of the caller's rules (schedule, `queue_all`).
    pub hold: bool,
    /// No other edge can know this room: the store lives and dies with the caller.
    pub alone: bool,
}

/// The newest state of a room that a node knows: enough to go on from if the store forgets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Witness {
    pub head: Head,
    /// The edges that were alive lately.
    pub nodes: Vec<NodeId>,
    pub control: Control,
}

/// A ticket that is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub visitor: VisitorId,
    pub ticket: TicketId,
    /// The place: the stamp less any head start, or the draw.
    pub score: u64,
    pub confirmed_at: Micros,
    /// May be let in at once, if nobody is ahead.
    pub may_enter: bool,
    /// May take a place in the line.
    pub may_wait: bool,
    /// The caller sees the visitor at this moment. Else it only remembers them, and looks after them unless another
    /// edge does.
    pub here: bool,
}

/// Where a visitor stands after [`Queue::arrive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// Has a session already.
    Session(Session),
    /// Was let in at once.
    LetIn(Session),
    Turn(Turn),
    Waiting(Place),
    /// Could not be let in now, and was not to wait.
    Busy,
    /// The line is at `max_waiting`.
    Full,
    /// This ticket bought its session, was given back, or lapsed too often.
    Spent,
    /// The front passed the place too long ago.
    Void,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// When the pass ends; whole seconds.
    pub ends: Micros,
    /// No renewal goes beyond this; whole seconds.
    pub cap: Micros,
}

impl Session {
    /// This session as an edge may extend it by itself while the store is away: never beyond one `session_duration`
    /// after what the store granted, nor beyond the cap. `None` where that gains nothing.
    pub fn extended_alone(self, granted: Micros, rules: &Rules, now: Micros) -> Option<Self> {
        if rules.disable_session_renewal {
            return None;
        }
        let span = rules.session_duration;
        let most = (granted + span).min(self.cap).as_secs();
        let ends = Micros::from_secs((now + span).as_secs().min(most));
        (ends > self.ends).then_some(Self { ends, ..self })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    pub deadline: Micros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub score: u64,
    /// The front has passed this place: it waits among the returns.
    pub returning: bool,
    /// It was not in the line before this call.
    pub new: bool,
}

/// Numbers of a room, carried by every answer and event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// In the line.
    pub waiting: u64,
    pub returning: u64,
    pub turns: u64,
    pub active: u64,
    /// Since the life of this store began: turns given and visitors let in at once.
    pub admitted: u64,
    /// Turns claimed and visitors let in at once.
    pub entered: u64,
    /// Places given back or lost by absence.
    pub abandoned: u64,
    /// Turns not claimed in time.
    pub lapsed: u64,
    /// Sessions that ended.
    pub ended: u64,
    /// Places passed over because their edge was silent.
    pub set_aside: u64,
}

/// Where a room stands: what every answer of the store carries beside its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub incarnation: Incarnation,
    /// Number of the newest event.
    pub seq: u64,
    /// Number of this call. A store that is at a lower one than it told somebody has lost data.
    #[serde(default)]
    pub step: u64,
    pub clock: Micros,
    /// The highest score that got a turn from the line.
    pub front: u64,
    /// Slots in use: turns, sessions, and those of a former life that may still be in use.
    #[serde(default)]
    pub taken: u64,
    #[serde(default)]
    pub entry: Budget,
    #[serde(default)]
    pub offer: Budget,
}

/// Something that every edge has to know, in order: numbered without gaps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    #[serde(flatten)]
    pub head: Head,
    /// Not flattened: `turns` and `lapsed` are numbers in there and lists here.
    pub counts: Counts,
    pub control: Control,
    /// Turns given, with their deadlines.
    #[serde(default)]
    pub turns: Vec<(VisitorId, Micros)>,
    /// Turns that ended unclaimed.
    #[serde(default)]
    pub lapsed: Vec<VisitorId>,
    /// Sessions that were ended before their time, by the ticket that bought them, and until when their passes
    /// could still be shown.
    #[serde(default)]
    pub revoked: Vec<(TicketId, Micros)>,
    /// Places given up because their edge had not seen the visitor for a while, or was itself not heard: another edge
    /// may still see them.
    #[serde(default)]
    pub absent: Vec<VisitorId>,
    /// The line, once a second.
    #[serde(default)]
    pub ruler: Option<Ruler>,
    /// Until when a store that started anew gives no turns.
    #[serde(default)]
    pub settling_until: Option<Micros>,
    /// The edges that were heard lately, once a second; else empty.
    #[serde(default)]
    pub nodes: Vec<NodeId>,
}

impl Event {
    /// Whether this puts off the next tick. News of departures do not; nor does a tick that passed places over.
    /// (News of a changed room look like a tick that gave nothing.)
    pub fn is_tick(&self) -> bool {
        self.revoked.is_empty() && self.absent.is_empty()
    }
}

/// What the operator has set on the running room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Grows with every change: the `ETag` of the room.
    pub version: u64,
    pub new_users_per_minute: u32,
    pub total_active_users: u32,
    #[serde(default)]
    pub paused: Option<Pause>,
    /// Shown to those who wait.
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub mode: Mode,
    /// What the configuration file said last: a file value changed later wins over the operator's.
    pub file: FileValues,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub since: Micros,
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Open,
    /// No turns; sessions end by themselves.
    Drain,
    /// Nobody is taken.
    Closed,
}

/// The limits as the configuration file has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileValues {
    pub new_users_per_minute: u32,
    pub total_active_users: u32,
}

/// A change of [`Control`]: what is `None` stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    pub new_users_per_minute: Option<u32>,
    pub total_active_users: Option<u32>,
    /// `Some(None)` resumes.
    pub paused: Option<Option<PauseRequest>>,
    pub message: Option<Option<String>>,
    pub mode: Option<Mode>,
    /// Refused unless the room is still at this version (`If-Match`).
    pub if_version: Option<u64>,
    /// The file's values, offered at start and after each reload: applied where they differ from what the file
    /// said before.
    pub file: Option<FileValues>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PauseRequest {
    pub reason: Option<String>,
}

/// The room has changed since the caller looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the room is at version {current} by now; read it again and repeat the change")]
pub struct VersionConflict {
    pub current: u64,
}

/// A room at one glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    #[serde(flatten)]
    pub head: Head,
    #[serde(flatten)]
    pub counts: Counts,
    pub control: Control,
    /// Every session that was ended before its time and whose pass could still be shown, by its ticket. Only in a
    /// survey of the whole: who knows the room already hears of them by events.
    #[serde(default)]
    pub revoked: Vec<(TicketId, Micros)>,
    #[serde(default)]
    pub settling_until: Option<Micros>,
    /// The edges that were heard lately.
    #[serde(default)]
    pub nodes: Vec<NodeId>,
}
