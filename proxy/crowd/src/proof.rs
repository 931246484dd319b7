//! From what visitors saw to what must have happened: pure functions over the stories of a run.
//!
//! Everything here errs on the side of the accused: an instant on the server is only known as an interval, and a
//! promise counts as broken only when it is broken wherever in their intervals the instants lie.
//!
//! | module | proves |
//! |---|---|
//! | [`facts`] | brings all instants onto the server's clock, as intervals |
//! | [`order`] | nobody who came later got a turn earlier |
//! | [`limits`] | entries never over rate and burst in any window; sessions never over the limit |
//! | [`places`] | nobody lost a confirmed place |
//! | [`positions`] | the positions shown were the ranks |
//! | [`sales`] | sold = paid, nothing twice, never more than there is |

pub mod facts;
pub mod limits;
pub mod order;
pub mod places;
pub mod positions;
pub mod sales;

use std::time::Duration;

use crate::rates::Rates;
use crate::story::Story;
use crate::visitor::Stock;
use facts::Facts;

/// What the run is held to.
#[derive(Debug, Clone, Default)]
pub struct Promises {
    pub rates: Rates,
    /// `None`: one second's worth, as a room's settings have it.
    pub burst: Option<u64>,
    pub active_limit: Option<u64>,
    /// `None`: inferred from the turns.
    pub claim_window: Option<Duration>,
    /// By how much a place on a socket may come later than promised; `None`: not proved.
    pub cadence: Option<Duration>,
    pub before: Option<Stock>,
    pub after: Option<Stock>,
    /// People outside this crowd may queue and buy too: then what depends on knowing everybody is only reported.
    pub others: bool,
}

/// What was found. All counts are of certain violations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// Visitors overtaken by somebody who came later.
    pub order_inversions: u64,
    /// Visitors whose order could be judged.
    pub order_compared: u64,
    /// Ends of windows that held more entries than allowed; `None` when no rate is known.
    pub over_limit_windows: Option<u64>,
    /// Most turns and sessions that certainly were at the same time.
    pub most_active: u64,
    pub over_active: bool,
    pub lost_places: u64,
    pub forwarded_ungated: u64,
    pub positions: positions::Positions,
    /// Those who waited for a place on a socket for longer than promised and allowed; `None`: not proved.
    pub off_cadence: Option<u64>,
    /// Those who were placed on a socket.
    pub cadence_compared: u64,
    pub sales: sales::Sales,
    /// How far server and crowd clocks may differ, once brought together.
    pub clock_uncertainty: Duration,
    /// The first few violations in words.
    pub examples: Vec<String>,
}

/// Examples kept of all violations together.
const MAX_EXAMPLES: usize = 20;

impl Findings {
    /// Holds every story of the run against the promises.
    pub fn prove(stories: &[&Story], promises: &Promises) -> Self {
        let (facts, clock) = facts::establish(stories, promises.claim_window);
        let mut found = Self { clock_uncertainty: clock.uncertainty(), ..Self::default() };
        found.order(&facts);
        found.windows(stories, promises);
        found.active(stories, &clock, promises);
        found.places(stories, &facts);
        found.gate(stories);
        found.positions(stories, &facts, promises);
        found.cadence(stories, promises);
        found.sales = sales::check(stories, promises);
        found.examples.truncate(MAX_EXAMPLES);
        found
    }

    /// Whether every invariant holds.
    pub fn hold(&self) -> bool {
        self.order_inversions == 0
            && self.over_limit_windows.unwrap_or(0) == 0
            && !self.over_active
            && self.lost_places == 0
            && self.forwarded_ungated == 0
            && self.positions.hold()
            && self.off_cadence.unwrap_or(0) == 0
            && self.sales.hold()
    }

    fn order(&mut self, facts: &[Facts]) {
        let overtaken = order::inversions(facts);
        self.order_inversions = overtaken.len() as u64;
        self.order_compared = order::compared(facts);
        self.examples.extend(overtaken.iter().take(5).map(|(late, early)| {
            format!("visitor {late} came before visitor {early} but got the turn after")
        }));
    }

    fn windows(&mut self, stories: &[&Story], promises: &Promises) {
        let Some(highest) = promises.rates.highest() else {
            return;
        };
        let burst = promises.burst.unwrap_or_else(|| limits::default_burst(highest));
        let entries: Vec<_> =
            stories.iter().flat_map(|story| &story.entries).map(|entry| entry.span).collect();
        let over = limits::over_limit_windows(&entries, &promises.rates, burst);
        self.over_limit_windows = Some(over.windows);
        self.examples.extend(over.worst.map(|worst| {
            let seconds = worst.to.since(worst.from).as_secs_f64();
            format!("within {seconds:.3} s there were {:.1} entries more than allowed", over.excess)
        }));
    }

    fn active(&mut self, stories: &[&Story], clock: &facts::ServerClock, promises: &Promises) {
        self.most_active = limits::most_active(stories, clock);
        self.over_active = promises.active_limit.is_some_and(|limit| self.most_active > limit);
        if self.over_active {
            self.examples.push(format!("{} turns and sessions at the same time", self.most_active));
        }
    }

    fn places(&mut self, stories: &[&Story], facts: &[Facts]) {
        let lost = places::lost(stories, facts);
        self.lost_places = lost.len() as u64;
        self.examples
            .extend(lost.iter().take(5).map(|(id, why)| format!("visitor {id} lost the place: {why}")));
    }

    fn positions(&mut self, stories: &[&Story], facts: &[Facts], promises: &Promises) {
        self.positions = positions::check(stories, facts);
        self.positions.judged = !promises.others;
        self.examples.extend(self.positions.worst.map(|wrong| {
            let positions::Wrong { visitor, as_of, shown, least, most } = wrong;
            let at = as_of.to_rfc3339();
            format!("visitor {visitor} was shown {shown} at {at}, but stood between {least} and {most}")
        }));
    }

    fn cadence(&mut self, stories: &[&Story], promises: &Promises) {
        self.cadence_compared = stories.iter().filter(|story| story.cadence.updates > 0).count() as u64;
        let Some(tolerance) = promises.cadence else { return };
        let late = || stories.iter().filter(|story| story.cadence.worst_late > tolerance);
        self.off_cadence = Some(late().count() as u64);
        self.examples.extend(late().max_by_key(|story| story.cadence.worst_late).map(|story| {
            let late = story.cadence.worst_late.as_secs_f64();
            format!("visitor {} was told its place {late:.1} s later than promised", story.id)
        }));
    }

    fn gate(&mut self, stories: &[&Story]) {
        self.forwarded_ungated = stories.iter().map(|story| u64::from(story.ungated)).sum();
        let examples = stories.iter().filter_map(|story| story.ungated_example.as_ref());
        self.examples
            .extend(examples.take(5).map(|path| format!("the origin answered without a pass: {path}")));
    }
}
