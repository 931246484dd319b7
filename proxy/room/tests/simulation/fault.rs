//! What may go wrong.

use crate::time::At;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// The store stops (SIGSTOP) for so long: calls that reached it are carried out afterwards.
    Pause(At),
    /// Nobody reaches the store for so long.
    CutAll(At),
    /// One edge does not reach the store for so long.
    Cut(usize, At),
    /// The store loses everything, and is away for so long.
    Empty(At),
    /// A replica takes over that misses the last `lag` microseconds, after so long.
    FailOver { lag: At, away: At },
    /// Memory is full for so long.
    Full(At),
    /// The wall clock of the store leaps by so many microseconds.
    Leap(i64),
    /// So many of a thousand requests, answers and events get lost, for so long.
    Lossy { share: u64, span: At },
    /// Events come late by up to so long, some of them twice, for a span.
    Late { by: At, span: At },
    /// An edge is killed (SIGKILL) and starts anew after so long.
    Kill(usize, At),
    /// An edge stops (SIGSTOP) for so long.
    Freeze(usize, At),
    /// An edge is told to stop (SIGTERM), says goodbye, and starts anew.
    Restart(usize),
    /// The operator changes the limits.
    Tune { rate: u32, active: u32 },
    /// The operator stops turns for so long.
    Hold(At),
}

impl Fault {
    /// The store loses something.
    pub(crate) fn forgets(&self) -> bool {
        matches!(self, Self::Empty(_) | Self::FailOver { .. })
    }
}
