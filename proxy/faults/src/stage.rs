//! One trial: a fleet with a line before it and people inside, to which things are done, and which is then judged.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crowd::clock::Span;
use crowd::stop::Phase;
use crowd::story::Story;
use crowd::visitor::Stock;
use room::time::Micros;
use tokio::time::sleep;

use crate::crew::Crew;
use crate::fleet::config::Limits;
use crate::fleet::shop::{Books, Shop};
use crate::fleet::{Fleet, Grounds, Plan};
use crate::report::Report;
use crate::trouble::Trouble;
use crate::wait::until;

/// How large the crowd is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// In the line, all through.
    pub waiting: u64,
    /// Inside, all through, asking for something every other second.
    pub inside: u64,
}

/// How a stage is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub fleet: Plan,
    pub scale: Scale,
    pub seed: u64,
    /// Write down every instant of every visitor.
    pub journal: bool,
}

/// What happens on stage.
#[derive(Debug)]
pub(crate) struct Stage {
    pub fleet: Fleet,
    pub crew: Crew,
    pub scale: Scale,
    pub dice: fastrand::Rng,
    /// From the loss of a store's data until turns were given again.
    pub losses: Vec<Span>,
    /// From when on the limits of the trial were in force.
    steady_since: Micros,
    /// What was sold before anybody came.
    stock: Stock,
}

/// What is left when the curtain falls.
#[derive(Debug)]
pub(crate) struct Played {
    pub stories: Vec<Story>,
    pub limits: Limits,
    /// Entries and sessions are judged within: before and after, other limits were in force.
    pub steady: Span,
    /// While a store gathered what it had forgotten.
    pub losses: Vec<Span>,
    /// Who still waited when the line had been given all the time it needs.
    pub left_over: u64,
    /// The rate that the room had in the end: the operator's, if nobody forgot it.
    pub rate_at_the_end: Option<u64>,
    pub books: Books,
    pub folder: PathBuf,
}

/// The limits of every trial: 10 entries a second, so that the line lasts, and room for some beside the regulars.
pub(crate) fn limits(scale: Scale) -> Limits {
    Limits { per_minute: 600, active: scale.inside + 100 }
}

/// While the house fills: the regulars are all let in at once.
const FILLING_PER_MINUTE: u64 = 18_000;
const REGULARS_PER_SECOND: f64 = 120.0;
/// While the line is emptied.
const EMPTYING_PER_MINUTE: u64 = 60_000;
const NEWCOMERS_PER_SECOND: f64 = 220.0;
/// So many of them, and then a look at how far they got.
const AT_ONCE: u64 = 50;
/// So many may be about to open their sockets.
const OPENING: u64 = 100;
/// As many come as are let in.
const TRICKLE_PER_SECOND: f64 = 10.0;
/// A busy machine takes its time.
const FILL: Duration = Duration::from_secs(150);
const EMPTY: Duration = Duration::from_secs(90);
/// Nobody gets a turn for this long: the rest never will.
const STUCK: Duration = Duration::from_secs(15);
/// After a change of the limits every edge has heard of it.
const HEARD: Duration = Duration::from_millis(1500);
/// Half of what the rate allows: less are stragglers that were given before, or somebody who asks late.
const PACE_TURNS: u64 = 5;
const PACE_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Stage {
    /// A fleet, people inside, and a line whose sockets are open.
    pub(crate) async fn set(grounds: &mut Grounds, setting: Setting) -> Result<Self, Trouble> {
        let Setting { fleet, scale, seed, journal } = setting;
        let fleet = grounds.fleet(fleet).await?;
        let journal = journal.then(|| fleet.folder.join("visitors.ndjson"));
        let crew = Crew::gather(&fleet, seed, journal.as_deref())?;
        let dice = fastrand::Rng::with_seed(seed);
        let stock = grounds.shop.stock().await?;
        let mut stage =
            Self { fleet, crew, scale, dice, losses: Vec::new(), steady_since: Micros::ZERO, stock };
        stage.fill().await?;
        Ok(stage)
    }

    async fn fill(&mut self) -> Result<(), Trouble> {
        let limits = limits(self.scale);
        self.fleet.tune(Limits { per_minute: FILLING_PER_MINUTE, ..limits }).await?;
        self.crew.settle_in(self.scale.inside, REGULARS_PER_SECOND).await;
        let inside = async || self.crew.inside() >= self.scale.inside;
        until("the regulars are inside", FILL, inside).await?;
        self.fleet.tune(limits).await?;
        sleep(HEARD).await;
        self.steady_since = self.crew.world.clock.now();
        self.crew.trickle(TRICKLE_PER_SECOND);
        let waiting = async || {
            // Some of the line poll, leave or are just away: more are sent until there are enough.
            let sockets = self.crew.sockets();
            let missing = self.scale.waiting.saturating_sub(sockets);
            // Who has come is first given the time to open a socket: a slow machine would get ever more to do.
            if self.crew.waiting() <= sockets + sockets / 10 + OPENING {
                self.crew.line_up(missing.min(AT_ONCE), NEWCOMERS_PER_SECOND).await;
            }
            missing == 0
        };
        until(&format!("{} wait with open sockets", self.scale.waiting), FILL, waiting).await?;
        self.fleet.check()
    }

    /// Lets things run for a while.
    pub(crate) async fn breathe(&self, time: Duration) {
        sleep(time).await;
    }

    /// How long something is away: about five seconds, each time another.
    pub(crate) fn outage(&mut self) -> Duration {
        Duration::from_millis(self.dice.u64(4000..6000))
    }

    pub(crate) fn mark(&self) -> Mark {
        let meter = self.crew.meter();
        Mark {
            answered: meter.answered.load(Relaxed),
            failed: meter.failed.load(Relaxed),
            turns: meter.turns.load(Relaxed),
        }
    }

    /// How long after now turns are given at their pace again: the beginning of the first second with enough of them.
    pub(crate) async fn turns_again(&self, limit: Duration) -> Option<Duration> {
        let started = Instant::now();
        let mut seen: VecDeque<(Duration, u64)> = VecDeque::new();
        while started.elapsed() <= limit + PACE_WITHIN {
            let now = (started.elapsed(), self.mark().turns);
            seen.push_back(now);
            while let Some(&(at, turns)) = seen.front().filter(|(at, _)| now.0 >= *at + PACE_WITHIN) {
                if now.1 - turns >= PACE_TURNS {
                    // What was seen while nothing had happened yet does not count.
                    let first = seen.iter().find(|(_, later)| *later > turns);
                    return Some(first.map_or(at, |(at, _)| *at));
                }
                seen.pop_front();
            }
            sleep(LOOK_EVERY).await;
        }
        None
    }

    /// The same after a store forgot what it knew at `lost`.
    pub(crate) async fn turns_after_loss(&mut self, lost: Micros, limit: Duration) -> Option<Duration> {
        let healed = self.crew.world.clock.now();
        let took = self.turns_again(limit).await;
        self.losses.push(Span::new(lost, healed + took.unwrap_or(limit)));
        took
    }

    /// How long after now people pay again.
    pub(crate) async fn payments_again(&self, limit: Duration) -> Option<Duration> {
        const PAYMENTS: u64 = 3;
        let paid = || self.crew.meter().paid.load(Relaxed);
        let before = paid();
        until("people pay again", limit, async || paid() >= before + PAYMENTS).await.ok()
    }

    /// What those inside noticed since then: nothing, by every promise.
    pub(crate) fn service(&self, report: &mut Report, since: Mark) {
        let now = self.mark();
        let (answered, failed) = (now.answered - since.answered, now.failed - since.failed);
        report.zero("failed requests of those inside", failed, answered + failed);
    }

    /// Empties the line, so that everybody is seen to get a turn, and ends the trial.
    pub(crate) async fn finish(self, shop: &Shop) -> Result<Played, Trouble> {
        let rate_at_the_end = self.rate().await;
        let emptying = self.crew.world.clock.now();
        self.crew.world.stop.advance(Phase::Emptying);
        let all = Limits { per_minute: EMPTYING_PER_MINUTE, active: 50_000 };
        let tuned =
            until("the operator can open the room wide", FILL, async || self.fleet.tune(all).await.is_ok());
        tuned.await?;
        let left_over = self.empty().await;
        let Self { fleet, crew, scale, losses, steady_since, stock, .. } = self;
        let steady = Span::new(steady_since, emptying);
        let stories = crew.stories().await;
        let books = Books { before: stock, after: shop.stock().await?, sums: shop.sums().await? };
        Ok(Played {
            stories,
            books,
            limits: limits(scale),
            steady,
            losses,
            left_over,
            rate_at_the_end,
            folder: fleet.folder.clone(),
        })
    }

    async fn rate(&self) -> Option<u64> {
        for edge in &self.fleet.edges {
            if let Some(state) = self.fleet.public_state(edge).await {
                return state.get("rate_per_minute")?.as_u64();
            }
        }
        None
    }

    /// Who is left over when nothing moves any more.
    async fn empty(&self) -> u64 {
        let started = Instant::now();
        let (mut least, mut moved) = (u64::MAX, Instant::now());
        while started.elapsed() < EMPTY && moved.elapsed() < STUCK {
            let waiting = self.crew.waiting();
            if waiting == 0 {
                return 0;
            }
            if waiting < least {
                (least, moved) = (waiting, Instant::now());
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.crew.waiting()
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    answered: u64,
    failed: u64,
    turns: u64,
}
