//! Flaws put into the simulated edges and stores: each is found, so each judgement bites.

use crate::plan::Plan;
use crate::seeds;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// An edge does not report the sessions that it remembers.
    SessionsUnreported,
    SpentUnreported,
    TurnsUnreported,
    /// Half of the turns are not told to the screens.
    TurnsUntold,
    /// Calls carry nothing of what their edge knows: a store that lost data takes itself for new.
    WitnessUnsent,
    /// Calls do not carry what the operator set.
    ControlUnwitnessed,
    /// A line is shown that still gathers.
    GatheringShown,
    /// The store allows eight times the burst.
    BurstTooLarge,
    /// The store loses a place that it just told.
    PlaceDropped,
    /// An edge refuses good passes.
    PassesRefused,
}

/// A flaw is found in one of the first worlds, as a breach of this promise.
fn is_found(flaw: Flaw, promise: &str) {
    let found = (0..3000).find_map(|seed| {
        let (breach, _) = seeds::world(&Plan::of(seed), Some(flaw), false).err()?;
        (breach.promise == promise).then_some(seed)
    });
    assert!(found.is_some(), "{flaw:?} breaks \"{promise}\" in none of 3,000 worlds");
}

#[test]
fn sessions_that_are_not_reported_exceed_the_limit() {
    is_found(Flaw::SessionsUnreported, "turns and sessions stay within the limit");
}

#[test]
fn spent_tickets_that_are_not_reported_buy_again() {
    is_found(Flaw::SpentUnreported, "a ticket buys one session");
}

#[test]
fn turns_that_are_not_reported_are_lost() {
    is_found(Flaw::TurnsUnreported, "a turn that was told can be claimed");
}

#[test]
fn turns_that_are_not_told_lapse() {
    is_found(Flaw::TurnsUntold, "a turn that was told can be claimed");
}

#[test]
fn a_store_that_takes_itself_for_new_breaks_the_order() {
    is_found(Flaw::WitnessUnsent, "turns go by arrival");
}

#[test]
fn an_operators_change_that_is_not_witnessed_is_undone() {
    is_found(Flaw::ControlUnwitnessed, "the operator's newest change lasts");
}

#[test]
fn a_line_that_still_gathers_shows_places_that_are_too_good() {
    is_found(Flaw::GatheringShown, "a place is not shown better than it is");
}

#[test]
fn a_burst_that_is_too_large_exceeds_the_rate() {
    is_found(Flaw::BurstTooLarge, "entries stay within the rate");
}

#[test]
fn a_place_that_is_dropped_is_missed() {
    is_found(Flaw::PlaceDropped, "who keeps coming back is let in");
}

#[test]
fn a_pass_that_is_refused_is_noticed() {
    is_found(Flaw::PassesRefused, "a pass in use is honoured");
}
