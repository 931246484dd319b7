//! What an onlooker saw, in order.

use room::ids::TicketId;
use room::queue::Session;

/// A person's number.
pub(crate) type Who = usize;

/// Microseconds of true time since the world began.
pub(crate) type At = u64;

#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    pub(crate) notes: Vec<Seen>,
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: At,
    /// What the queue took the time for: its logical clock.
    pub(crate) clock: u64,
    pub(crate) note: Note,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    /// The limits from now on.
    Limits {
        rate: u32,
        burst: u32,
        active: u32,
    },
    /// First contact. An honest person stays, returns if cut off, and claims.
    Came {
        who: Who,
        honest: bool,
    },
    /// Stands in the ordinary line, online.
    InLine {
        who: Who,
        score: u64,
    },
    /// Stands among the returns, online.
    Returning {
        who: Who,
    },
    /// Went offline; the place may last a while.
    Offline {
        who: Who,
    },
    /// The place was taken out of the line by the edge that saw the person go.
    PlaceGone {
        who: Who,
    },
    Turn {
        who: Who,
    },
    Lapsed {
        who: Who,
    },
    /// A session that this person had not before.
    Entered {
        who: Who,
        ticket: TicketId,
        session: Session,
        at_once: bool,
    },
    /// The same session, extended or told again.
    Holds {
        who: Who,
        ticket: TicketId,
        session: Session,
    },
    /// Gave back place, turn or session.
    Left {
        who: Who,
    },
    /// The ticket is no good any more.
    Refused {
        who: Who,
    },
    /// The line was measured; what is shown next was read off this measurement.
    Measured,
    /// The ruler's place for a person, and the position that the screen shows.
    Shown {
        who: Who,
        place: u64,
        position: u64,
    },
}

impl Journal {
    pub(crate) fn write(&mut self, at: At, clock: u64, note: Note) {
        self.notes.push(Seen { at, clock, note });
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Note) -> bool) -> usize {
        self.notes.iter().filter(|seen| wanted(&seen.note)).count()
    }

    /// Instants of all entries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (At, Who)> {
        self.notes.iter().filter_map(|seen| match seen.note {
            Note::Entered { who, .. } => Some((seen.at, who)),
            _ => None,
        })
    }
}
