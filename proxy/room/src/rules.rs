//! One room's rules, valid by construction.

use std::ops::Deref;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Micros, as_micros};

/// What the operator asks for, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Hard limit on entries over any window, all edges together.
    pub new_users_per_minute: u32,
    /// Hard limit on turns and sessions together, at every instant.
    pub total_active_users: u32,
    /// Entries that may come at once; `None`: one second's worth, at least one more than a tick's.
    pub burst: Option<u32>,
    /// Length of the line beyond which newcomers are asked to come later.
    pub max_waiting: u32,
    /// A session ends this long after it was last used.
    pub session_duration: Duration,
    pub disable_session_renewal: bool,
    /// A session ends this long after it began, however much it is used.
    pub session_max: Duration,
    pub queueing_method: Method,
    /// Everybody waits: no turns, nobody is let in.
    pub queue_all: bool,
    /// The room stands aside: everybody is forwarded and nothing is counted.
    pub suspended: bool,
    /// How long an unconfirmed ticket keeps its stamp.
    pub confirm_window: Duration,
    /// A stamp younger than this has no position yet.
    pub settle_window: Duration,
    /// How long a turn stays open.
    pub claim_window: Duration,
    /// How long after the front passed it a ticket is still good.
    pub return_window: Duration,
    /// How many lapsed turns a ticket survives.
    pub missed_turns: u8,
    pub on_store_loss: OnStoreLoss,
    pub schedule: Schedule,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            new_users_per_minute: 600,
            total_active_users: 1000,
            burst: None,
            max_waiting: 1_000_000,
            session_duration: Duration::from_secs(10 * 60),
            disable_session_renewal: false,
            session_max: Duration::from_secs(2 * 60 * 60),
            queueing_method: Method::Fifo,
            queue_all: false,
            suspended: false,
            confirm_window: Duration::from_secs(2 * 60),
            settle_window: Duration::from_secs(5),
            claim_window: Duration::from_secs(60),
            return_window: Duration::from_secs(30 * 60),
            missed_turns: 2,
            on_store_loss: OnStoreLoss::Hold,
            schedule: Schedule::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// By arrival.
    #[default]
    Fifo,
    /// Those confirmed before the opening by lot, everybody later by arrival.
    Random,
    /// Everybody is forwarded, and counted.
    Passthrough,
    /// Everybody is refused.
    Reject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStoreLoss {
    /// No turns until the store is back.
    #[default]
    Hold,
    /// Each edge goes on with a share of the limits, which no longer bind the fleet.
    Open,
}

/// Moments of a sale; all optional, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Schedule {
    pub prequeue_at: Option<Micros>,
    pub opens_at: Option<Micros>,
    pub closes_at: Option<Micros>,
}

/// Where a schedule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before the pre-queue, or after the end.
    Closed,
    /// Visitors gather, nobody is admitted.
    Prequeue,
    Open,
}

impl Schedule {
    pub fn phase(&self, now: Micros) -> Phase {
        if self.closes_at.is_some_and(|at| now >= at) {
            Phase::Closed
        } else if self.opens_at.is_none_or(|at| now >= at) {
            Phase::Open
        } else if self.prequeue_at.is_none_or(|at| now >= at) {
            Phase::Prequeue
        } else {
            Phase::Closed
        }
    }
}

/// A setting that cannot be followed, by its name in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}` {reason}")]
pub struct RuleError {
    pub setting: &'static str,
    pub reason: String,
}

/// Ticks come this often while somebody waits: 600 a minute.
pub const TICK: Duration = Duration::from_millis(100);

/// A ticket is good for this long after its stamp, or after the opening of its room if that is later. Nobody is
/// admitted before either, so what was spent has to be remembered for as long.
pub const TICKET_LIFE: Duration = Duration::from_secs(24 * HOUR);

/// A [`Draft`] in which every value is in range and fits the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules(Draft);

impl Deref for Rules {
    type Target = Draft;

    fn deref(&self) -> &Draft {
        &self.0
    }
}

/// As many as one tick each tenth of a second can admit, and some to spare (see `queue::MAX_TURNS_A_TICK`).
const MAX_PER_MINUTE: u32 = 1_000_000;
const MAX_PEOPLE: u32 = 100_000_000;
const HOUR: u64 = 3600;

impl Rules {
    pub fn new(draft: Draft) -> Result<Self, RuleError> {
        counted("new_users_per_minute", draft.new_users_per_minute, 1, MAX_PER_MINUTE)?;
        counted("total_active_users", draft.total_active_users, 1, MAX_PEOPLE)?;
        counted("max_waiting", draft.max_waiting, 1, MAX_PEOPLE)?;
        counted("missed_turns", u32::from(draft.missed_turns), 0, 10)?;
        if let Some(burst) = draft.burst {
            counted("burst", burst, 1, MAX_PER_MINUTE)?;
        }
        lasting("session_duration", draft.session_duration, 1, 24 * HOUR)?;
        lasting("session_max", draft.session_max, 1, 7 * 24 * HOUR)?;
        lasting("confirm_window", draft.confirm_window, 5, HOUR)?;
        lasting("settle_window", draft.settle_window, 0, 60)?;
        lasting("claim_window", draft.claim_window, 1, HOUR)?;
        lasting("return_window", draft.return_window, 0, 24 * HOUR)?;
        if draft.session_max < draft.session_duration {
            return Err(RuleError {
                setting: "session_max",
                reason: "is shorter than `session_duration`: no session could last that long".into(),
            });
        }
        in_order(&draft.schedule)?;
        Ok(Self(draft))
    }

    /// Entries that may come at once at `rate`, the rate now in force.
    pub fn burst_at(&self, rate: u32) -> u32 {
        let a_ticks_worth = rate.div_ceil(600);
        self.burst.unwrap_or_else(|| rate.div_ceil(60)).max(1 + a_ticks_worth)
    }

    /// Turns that may be open at once at `rate`: as many as one claim window could use.
    pub fn max_turns_at(&self, rate: u32) -> u64 {
        let window_secs = as_micros(self.claim_window) as f64 / 1e6;
        ((f64::from(rate) / 60.0 * window_secs).floor() as u64).max(1)
    }
}

fn counted(setting: &'static str, value: u32, least: u32, most: u32) -> Result<(), RuleError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(RuleError { setting, reason: format!("is {value}; it must be from {least} to {most}") })
}

fn lasting(setting: &'static str, value: Duration, least_secs: u64, most_secs: u64) -> Result<(), RuleError> {
    if value >= Duration::from_secs(least_secs) && value <= Duration::from_secs(most_secs) {
        return Ok(());
    }
    let shown = |secs| humantime::format_duration(Duration::from_secs(secs));
    let value = humantime::format_duration(value);
    let reason = format!("is {value}; it must be from {} to {}", shown(least_secs), shown(most_secs));
    Err(RuleError { setting, reason })
}

fn in_order(schedule: &Schedule) -> Result<(), RuleError> {
    let after = |late: Option<Micros>, early: Option<Micros>| late.zip(early).is_none_or(|(l, e)| l > e);
    let fail = |setting, reason: &str| Err(RuleError { setting, reason: reason.into() });
    if schedule.prequeue_at.is_some() && schedule.opens_at.is_none() {
        return fail("schedule.prequeue_at", "needs `opens_at`: a pre-queue ends with the opening");
    }
    if !after(schedule.opens_at, schedule.prequeue_at) {
        return fail("schedule.opens_at", "must be later than `prequeue_at`");
    }
    if !after(schedule.closes_at, schedule.opens_at) {
        return fail("schedule.closes_at", "must be later than `opens_at`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Rules::new(Draft::default()), Ok(Rules::default()));
    }

    #[test]
    fn a_refusal_names_the_setting_and_its_range() {
        let error = Rules::new(Draft { new_users_per_minute: 0, ..Draft::default() }).unwrap_err();
        assert_eq!(error.to_string(), "`new_users_per_minute` is 0; it must be from 1 to 1000000");
        let error =
            Rules::new(Draft { session_max: Duration::from_secs(5), ..Draft::default() }).unwrap_err();
        assert_eq!(error.setting, "session_max");
    }

    #[test]
    fn the_default_burst_is_one_second_and_always_more_than_a_tick() {
        let rules = Rules::default();
        assert_eq!(rules.burst_at(1800), 30);
        assert_eq!(rules.burst_at(1), 2);
        let tight = Rules::new(Draft { burst: Some(1), ..Draft::default() }).unwrap();
        assert_eq!(tight.burst_at(6000), 11);
    }

    #[test]
    fn a_schedule_walks_through_its_phases() {
        let at = |secs| Some(Micros::from_secs(secs));
        let schedule = Schedule { prequeue_at: at(10), opens_at: at(20), closes_at: at(30) };
        let phases = [5, 10, 20, 30].map(|secs| schedule.phase(Micros::from_secs(secs)));
        assert_eq!(phases, [Phase::Closed, Phase::Prequeue, Phase::Open, Phase::Closed]);
        assert_eq!(Schedule::default().phase(Micros::ZERO), Phase::Open);
    }
}
