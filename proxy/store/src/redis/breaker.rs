//! Leaves a server alone that does not answer, so that a dead store costs its callers microseconds, not a deadline
//! each.
//!
//! ```text
//!            3 failures on end                 the pause is over
//!   closed ────────────────────▶ open ────────────────────────────▶ probing
//!     ▲                           ▲                                  │   │
//!     │                           └── it fails: twice the pause ─────┘   │
//!     └────────────────────────────── any answer ────────────────────────┘
//! ```
//!
//! Only silence counts as a failure; a server that answers with an error is there. While it is open one call at a
//! time goes through as a probe.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::StoreError;

/// Failures on end after which a server is left alone.
const LIMIT: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// With the deadline of a probe that began too early: a server that is back is used again within a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(700);

#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: State,
    /// Counts changes of state: what a call from before one reports says nothing about what is after it.
    epoch: u64,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { trouble: Trouble, until: Instant },
    Probing { trouble: Trouble },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

#[derive(Debug, Clone)]
struct Trouble {
    since: Instant,
    pause: Duration,
    cause: Arc<StoreError>,
}

/// Leave to make one call, whose end is to be reported.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    epoch: u64,
}

/// Why a call is not even tried.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) since: Instant,
    pub(super) retry_in: Duration,
    /// How the last call failed.
    pub(super) cause: Arc<StoreError>,
}

impl Breaker {
    pub(super) fn admit(&mut self, now: Instant) -> Result<Pass, Refusal> {
        match &self.state {
            State::Closed { .. } => {}
            State::Open { trouble, until } if *until <= now => {
                let trouble = trouble.clone();
                self.turn(State::Probing { trouble });
            }
            State::Open { trouble, until } => return Err(trouble.refuse(*until - now)),
            State::Probing { trouble } => return Err(trouble.refuse(FIRST_PAUSE)),
        }
        Ok(Pass { epoch: self.epoch })
    }

    /// The server answered, whatever it said and whenever it was asked. True when it had been left alone.
    pub(super) fn answered(&mut self) -> bool {
        match &mut self.state {
            State::Closed { failures } => {
                *failures = 0;
                false
            }
            State::Open { .. } | State::Probing { .. } => {
                self.turn(State::default());
                true
            }
        }
    }

    /// The server was silent. `share`, from 0 to 1, spreads the pauses of a fleet. True when it is left alone from now
    /// on.
    pub(super) fn failed(&mut self, pass: Pass, now: Instant, cause: &StoreError, share: f64) -> bool {
        if pass.epoch != self.epoch {
            return false;
        }
        match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                let is_enough = *failures >= LIMIT;
                if is_enough {
                    self.open(Trouble::new(now, cause), now, share);
                }
                is_enough
            }
            State::Probing { trouble } => {
                let trouble = trouble.again(cause);
                self.open(trouble, now, share);
                false
            }
            State::Open { .. } => false,
        }
    }

    /// The call was given up before anything could be told from it.
    pub(super) fn abandoned(&mut self, pass: Pass, now: Instant) {
        if let State::Probing { trouble } = &self.state
            && pass.epoch == self.epoch
        {
            let trouble = trouble.clone();
            self.turn(State::Open { trouble, until: now });
        }
    }

    fn open(&mut self, trouble: Trouble, now: Instant, share: f64) {
        let until = now + trouble.pause.mul_f64(0.5 + share.clamp(0.0, 1.0) / 2.0);
        self.turn(State::Open { trouble, until });
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

impl Trouble {
    fn new(since: Instant, cause: &StoreError) -> Self {
        Self { since, pause: FIRST_PAUSE, cause: Arc::new(cause.clone()) }
    }

    fn again(&self, cause: &StoreError) -> Self {
        let pause = (self.pause * 2).min(LONGEST_PAUSE);
        Self { since: self.since, pause, cause: Arc::new(cause.clone()) }
    }

    fn refuse(&self, retry_in: Duration) -> Refusal {
        Refusal { since: self.since, retry_in, cause: Arc::clone(&self.cause) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: StoreError = StoreError::TimedOut(Duration::from_millis(250));

    /// A breaker that opened at the instant it is returned with.
    fn opened() -> (Breaker, Instant) {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..LIMIT {
            fail(&mut breaker, now);
        }
        (breaker, now)
    }

    fn fail(breaker: &mut Breaker, now: Instant) {
        let pass = breaker.admit(now).unwrap();
        breaker.failed(pass, now, &SILENT, 1.0);
    }

    #[test]
    fn failures_on_end_open_it_and_an_answer_between_them_does_not() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            fail(&mut breaker, now);
            fail(&mut breaker, now);
            breaker.answered();
        }
        for _ in 0..LIMIT {
            fail(&mut breaker, now);
        }
        let refusal = breaker.admit(now + Duration::from_millis(40)).unwrap_err();
        assert_eq!((refusal.since, refusal.retry_in), (now, Duration::from_millis(60)));
        assert_eq!(refusal.cause.kind(), "timeout");
    }

    #[test]
    fn one_probe_at_a_time_goes_through_and_its_answer_closes_it() {
        let (mut breaker, now) = opened();
        let later = now + FIRST_PAUSE;
        assert!(breaker.admit(later - Duration::from_micros(1)).is_err());
        breaker.admit(later).unwrap();
        for _ in 0..100 {
            assert!(breaker.admit(later).is_err());
        }
        breaker.answered();
        for _ in 0..100 {
            breaker.admit(later).unwrap();
        }
    }

    #[test]
    fn the_pause_doubles_with_each_probe_that_fails_and_stays_below_a_second() {
        let (mut breaker, mut now) = opened();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let pause = breaker.admit(now).unwrap_err().retry_in;
            pauses.push(pause.as_millis());
            now += pause;
            fail(&mut breaker, now);
        }
        assert_eq!(pauses, [100, 200, 400, 700, 700, 700]);
    }

    #[test]
    fn a_fleet_does_not_probe_at_one_instant() {
        for (share, expected) in [(0.0, 50), (0.5, 75), (1.0, 100)] {
            let (mut breaker, now) = (Breaker::default(), Instant::now());
            for _ in 0..LIMIT {
                let pass = breaker.admit(now).unwrap();
                breaker.failed(pass, now, &SILENT, share);
            }
            assert_eq!(breaker.admit(now).unwrap_err().retry_in, Duration::from_millis(expected));
        }
    }

    #[test]
    fn calls_that_began_before_it_opened_do_not_make_the_pause_longer() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        let passes: Vec<_> = (0..50).map(|_| breaker.admit(now).unwrap()).collect();
        for pass in &passes {
            breaker.failed(*pass, now, &SILENT, 1.0);
        }
        assert_eq!(breaker.admit(now).unwrap_err().retry_in, FIRST_PAUSE);
        // Nor do they fail the probe of somebody else.
        breaker.admit(now + FIRST_PAUSE).unwrap();
        breaker.failed(passes[0], now + FIRST_PAUSE, &SILENT, 1.0);
        breaker.answered();
        breaker.admit(now + FIRST_PAUSE).unwrap();
    }

    #[test]
    fn a_probe_that_is_given_up_leaves_room_for_the_next() {
        let (mut breaker, now) = opened();
        let pass = breaker.admit(now + FIRST_PAUSE).unwrap();
        breaker.abandoned(pass, now + FIRST_PAUSE);
        breaker.admit(now + FIRST_PAUSE).unwrap();
        // What is given up later says nothing about that one.
        breaker.abandoned(pass, now + FIRST_PAUSE);
        assert!(breaker.admit(now + FIRST_PAUSE).is_err());
    }

    #[test]
    fn an_answer_to_an_earlier_call_closes_it_too() {
        let (mut breaker, now) = opened();
        assert!(breaker.answered());
        assert!(!breaker.answered());
        fail(&mut breaker, now);
        breaker.admit(now).unwrap();
    }

    #[test]
    fn the_last_cause_is_told() {
        let (mut breaker, now) = opened();
        let pass = breaker.admit(now + FIRST_PAUSE).unwrap();
        let away = StoreError::Unreachable { address: "a:1".into(), cause: "refused".into() };
        breaker.failed(pass, now + FIRST_PAUSE, &away, 1.0);
        let refusal = breaker.admit(now + FIRST_PAUSE).unwrap_err();
        assert_eq!((refusal.since, refusal.cause.kind()), (now, "unreachable"));
    }
}
