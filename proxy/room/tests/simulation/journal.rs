//! What an onlooker saw, in order.

use room::ids::{Incarnation, TicketId};
use room::queue::Session;
use room::time::Micros;

use crate::fault::Fault;
use crate::time::At;

/// A person's number.
pub(crate) type Who = usize;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    Fault(Fault),
    /// The store published that these hold from now on. `serial` counts the operator's changes.
    Limits {
        rate: u32,
        active: u32,
        serial: u64,
    },
    /// The life of the store that published is another than before; `blank` if nobody told it of one.
    Life {
        life: Incarnation,
        blank: bool,
    },
    /// First contact.
    Came {
        who: Who,
    },
    /// An edge was told of a place at the instant `told`.
    Stands {
        who: Who,
        edge: usize,
        score: u64,
        returning: bool,
        told: At,
        /// The edge sees the visitor; else it only remembers them.
        here: bool,
    },
    /// The confirmed ticket reached the browser.
    Confirmed {
        who: Who,
        score: u64,
    },
    /// The store gave a turn.
    Given {
        who: Who,
        deadline: Micros,
    },
    /// The store ended a turn unclaimed.
    Lapsed {
        who: Who,
    },
    /// The store took a place out of the line: its edge had not seen the visitor.
    Absent {
        who: Who,
    },
    /// The visitor was told that it is their turn.
    Told {
        who: Who,
        edge: usize,
        deadline: Micros,
    },
    /// The store made a session, as this edge asked.
    Sold {
        who: Who,
        ticket: TicketId,
        edge: usize,
        session: Session,
        at_once: bool,
    },
    /// An edge saw a session, by the store's word or its own.
    Holds {
        who: Who,
        edge: usize,
        ticket: TicketId,
        session: Session,
        /// As an edge extended it alone.
        lent: bool,
    },
    /// The ticket was refused.
    Refused {
        who: Who,
        edge: usize,
    },
    /// Gives back place, turn or session.
    Leaves {
        who: Who,
    },
    /// The store took it back.
    Left {
        who: Who,
    },
    Offline {
        who: Who,
    },
    Online {
        who: Who,
    },
    /// An edge heard of this many operator's changes.
    HeardControl {
        edge: usize,
        serial: u64,
    },
}

impl Note {
    pub(crate) fn who(&self) -> Option<Who> {
        match *self {
            Self::Came { who }
            | Self::Stands { who, .. }
            | Self::Confirmed { who, .. }
            | Self::Given { who, .. }
            | Self::Lapsed { who }
            | Self::Absent { who }
            | Self::Told { who, .. }
            | Self::Sold { who, .. }
            | Self::Holds { who, .. }
            | Self::Refused { who, .. }
            | Self::Leaves { who }
            | Self::Left { who }
            | Self::Offline { who }
            | Self::Online { who } => Some(who),
            Self::Fault(_) | Self::Limits { .. } | Self::Life { .. } | Self::HeardControl { .. } => None,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    notes: Vec<(At, Note)>,
    /// Prints while it happens.
    pub(crate) aloud: bool,
}

impl Journal {
    pub(crate) fn write(&mut self, at: At, note: Note) {
        if self.aloud {
            println!("{}", line(at, &note));
        }
        self.notes.push((at, note));
    }

    /// What only helps to understand.
    pub(crate) fn mutter(&self, at: At, what: impl FnOnce() -> String) {
        if self.aloud {
            println!("{:>11.6}      {}", at as f64 / 1e6, what());
        }
    }

    /// The last that happened to some people and to the world.
    pub(crate) fn last_of(&self, people: &[Who]) -> String {
        let concerns = |note: &Note| note.who().is_none_or(|who| people.contains(&who));
        let lines: Vec<String> = self
            .notes
            .iter()
            .filter(|(_, note)| concerns(note) && !matches!(note, Note::HeardControl { .. }))
            .map(|(at, note)| line(*at, note))
            .collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

fn line(at: At, note: &Note) -> String {
    format!("{:>11.6}  {note:?}", at as f64 / 1e6)
}
