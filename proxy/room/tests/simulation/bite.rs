//! Flaws put into the simulated edges and stores: each is found, so each judgement bites.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// An edge does not report the sessions that it remembers.
    SessionsUnreported,
    SpentUnreported,
    TurnsUnreported,
    /// Half of the turns are not told to the screens.
    TurnsUntold,
}
