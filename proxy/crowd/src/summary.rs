//! What came of a run: one JSON object for machines, a page for people.

mod herd;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Serialize;

use crate::herd::tally::Tally;
use crate::histogram::Histogram;
use crate::proof::{Findings, Promises};
use crate::story::{End, Part, Story};
use crate::world::World;

pub use herd::{HerdFigures, Quantiles};

/// Figures and findings of one run.
#[derive(Debug, Clone)]
pub struct Summary {
    figures: Figures,
    findings: Findings,
    active_limit: Option<u64>,
    rate: Option<u64>,
}

/// The JSON object; the first eleven names are the contract's.
#[derive(Debug, Clone, Serialize)]
struct Figures {
    visitors: u64,
    admitted: u64,
    forwarded_ungated: u64,
    order_inversions: u64,
    over_limit_windows: Option<u64>,
    lost_places: u64,
    oversold: u64,
    purchases: u64,
    paid: u64,
    positions_error_max: f64,
    p95_ms: f64,
    ok: bool,
    seconds: f64,
    bots: u64,
    entries: u64,
    entries_per_minute: f64,
    most_active: u64,
    wait_p50_seconds: f64,
    wait_p90_seconds: f64,
    p50_ms: f64,
    requests: u64,
    limited_429: u64,
    order_compared: u64,
    positions_compared: u64,
    positions_wrong: u64,
    position_grew: u64,
    sold: Option<u64>,
    total: Option<u64>,
    paid_qty: u64,
    sales_mismatch: u64,
    clock_uncertainty_ms: f64,
    ends: BTreeMap<End, u64>,
    errors: BTreeMap<Cow<'static, str>, u64>,
    log_lines_dropped: u64,
    stories_forgotten: u64,
    off_cadence: Option<u64>,
    cadence_compared: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    herd: Option<HerdFigures>,
}

impl Summary {
    pub fn new(
        stories: &[&Story],
        findings: Findings,
        promises: &Promises,
        world: &World,
        took: Duration,
    ) -> Self {
        let figures = Figures::new(stories, &findings, world, took);
        let rate = promises.rates.latest();
        Self { figures, findings, active_limit: promises.active_limit, rate }
    }

    /// How many stories an endless run could not keep.
    #[must_use]
    pub fn with_forgotten(mut self, stories: u64) -> Self {
        self.figures.stories_forgotten = stories;
        self
    }

    /// What those on sockets met, if the run had a herd.
    #[must_use]
    pub fn with_herd(mut self, stories: &[&Story], promises: &Promises, tally: &Tally) -> Self {
        if tally.most_open > 0 {
            self.figures.herd = Some(HerdFigures::new(stories, promises, tally));
        }
        self
    }

    pub fn hold(&self) -> bool {
        self.findings.hold()
    }

    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// One line.
    pub fn json(&self) -> String {
        // Maps with enum keys and plain numbers: always representable.
        serde_json::to_string(&self.figures).unwrap_or_default()
    }

    pub fn for_people(&self) -> String {
        let mut page = String::from("\n");
        self.counts(&mut page);
        self.invariants(&mut page);
        for example in &self.findings.examples {
            line(&mut page, format_args!("      {example}"));
        }
        page
    }

    fn counts(&self, page: &mut String) {
        let f = &self.figures;
        line(page, format_args!("  {} visitors and {} bots in {:.1} s", f.visitors, f.bots, f.seconds));
        let per_minute = f.entries_per_minute;
        line(
            page,
            format_args!(
                "  {} admitted, {per_minute:.0} entries a minute, at most {} at once",
                f.admitted, f.most_active
            ),
        );
        line(page, format_args!("  {} purchases, {} paid ({} tickets)", f.purchases, f.paid, f.paid_qty));
        line(
            page,
            format_args!(
                "  wait {:.1} s median, {:.1} s for 9 of 10",
                f.wait_p50_seconds, f.wait_p90_seconds
            ),
        );
        let answers =
            format_args!("  {} answers, p50 {:.1} ms, p95 {:.1} ms", f.requests, f.p50_ms, f.p95_ms);
        line(page, answers);
        for figures in f.herd.iter().flat_map(HerdFigures::lines) {
            line(page, format_args!("  {figures}"));
        }
        let list = |counts: Vec<String>| {
            if counts.is_empty() { "none".into() } else { counts.join(", ") }
        };
        let ends = f.ends.iter().map(|(end, count)| format!("{count} {}", end.word())).collect();
        line(page, format_args!("  how it ended: {}", list(ends)));
        let mut errors: Vec<_> = f.errors.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        errors.extend((f.limited_429 > 0).then(|| format!("{} limited (429)", f.limited_429)));
        line(page, format_args!("  troubles: {}\n", list(errors)));
    }

    fn invariants(&self, page: &mut String) {
        let f = &self.findings;
        let mut show = |holds: bool, what: String| {
            line(page, format_args!("  {} {what}", if holds { '✓' } else { '✗' }));
        };
        show(
            f.forwarded_ungated == 0,
            format!("nothing past the gate without a pass ({} got past)", f.forwarded_ungated),
        );
        show(
            f.order_inversions == 0,
            format!("order by arrival ({} overtaken of {} compared)", f.order_inversions, f.order_compared),
        );
        show(f.over_limit_windows.unwrap_or(0) == 0, self.window_line());
        show(!f.over_active, self.active_line());
        show(f.lost_places == 0, format!("no lost place ({} lost)", f.lost_places));
        show(f.positions.hold(), self.position_line());
        if let Some(late) = f.off_cadence {
            let all = f.cadence_compared;
            show(late == 0, format!("everybody placed again in time ({late} of {all} were not)"));
        }
        show(f.sales.hold(), self.sales_line());
    }

    fn window_line(&self) -> String {
        match (self.findings.over_limit_windows, self.rate) {
            (Some(windows), Some(rate)) => {
                format!("never over {rate} entries a minute ({windows} windows over it)")
            }
            _ => "entries over the limit: not proved, the rate is not known (--rate-per-minute)".into(),
        }
    }

    fn active_line(&self) -> String {
        let most = self.findings.most_active;
        self.active_limit.map_or_else(
            || format!("active visitors: not proved, at most {most} were seen (--active-limit)"),
            |limit| format!("never more than {limit} turns and sessions (at most {most})"),
        )
    }

    fn position_line(&self) -> String {
        let p = &self.findings.positions;
        let known = if p.judged { "" } else { "; not judged, others may queue too" };
        format!(
            "positions were the ranks (error at most {:.2} % of {} shown, {} grew{known})",
            p.error_max * 100.0,
            p.compared,
            p.grew
        )
    }

    fn sales_line(&self) -> String {
        let s = &self.findings.sales;
        let stock = s.sold.zip(s.total).map_or_else(
            || "stock not read".into(),
            |(sold, total)| format!("{sold} of {total} sold, off by {}", s.mismatch),
        );
        format!("sold once, and exactly what was paid ({stock}, {} double orders)", s.double_orders)
    }
}

impl Figures {
    fn new(stories: &[&Story], found: &Findings, world: &World, took: Duration) -> Self {
        let visitors: Vec<&&Story> = stories.iter().filter(|story| story.part == Part::Visitor).collect();
        let entries = stories.iter().map(|story| story.entries.len() as u64).sum();
        let waits = waits(&visitors);
        let answers = &world.meter.latencies;
        let ms = |share| round(answers.quantile_ms(share).unwrap_or_default());
        let wait = |share| round(waits.quantile_ms(share).unwrap_or_default() / 1000.0);
        Self {
            visitors: visitors.len() as u64,
            admitted: visitors.iter().filter(|story| !story.entries.is_empty()).count() as u64,
            forwarded_ungated: found.forwarded_ungated,
            order_inversions: found.order_inversions,
            over_limit_windows: found.over_limit_windows,
            lost_places: found.lost_places,
            oversold: found.sales.oversold(),
            purchases: found.sales.purchases,
            paid: found.sales.paid,
            positions_error_max: (found.positions.error_max * 1e5).round() / 1e5,
            p95_ms: ms(0.95),
            ok: found.hold(),
            seconds: round(took.as_secs_f64()),
            bots: stories.iter().filter(|story| story.part == Part::Bot).count() as u64,
            entries,
            entries_per_minute: round(per_minute(stories)),
            most_active: found.most_active,
            wait_p50_seconds: wait(0.5),
            wait_p90_seconds: wait(0.9),
            p50_ms: ms(0.5),
            requests: answers.count(),
            limited_429: world.meter.limited.load(Relaxed),
            order_compared: found.order_compared,
            positions_compared: found.positions.compared,
            positions_wrong: found.positions.wrong,
            position_grew: found.positions.grew,
            sold: found.sales.sold,
            total: found.sales.total,
            paid_qty: found.sales.paid_qty,
            sales_mismatch: found.sales.mismatch,
            clock_uncertainty_ms: round(found.clock_uncertainty.as_secs_f64() * 1000.0),
            ends: ends(&visitors),
            errors: world.meter.errors(),
            log_lines_dropped: world.journal.dropped(),
            stories_forgotten: 0,
            off_cadence: found.off_cadence,
            cadence_compared: found.cadence_compared,
            herd: None,
        }
    }
}

/// From taking the place to the turn.
fn waits(visitors: &[&&Story]) -> Histogram {
    let mut waits = Histogram::default();
    for story in visitors {
        let served = story.turn.map(|turn| turn.seen).or(story.entries.first().map(|entry| entry.span.to));
        if let Some((joined, served)) = story.joined.zip(served) {
            waits.record(served.since(joined.from));
        }
    }
    waits
}

/// From the first entry to the last.
fn per_minute(stories: &[&Story]) -> f64 {
    let instants = || stories.iter().flat_map(|story| &story.entries).map(|entry| entry.span.to);
    let Some((first, last)) = instants().min().zip(instants().max()) else {
        return 0.0;
    };
    (instants().count() - 1) as f64 * 60.0 / last.since(first).as_secs_f64().max(1.0)
}

fn ends(visitors: &[&&Story]) -> BTreeMap<End, u64> {
    let mut ends = BTreeMap::new();
    for story in visitors {
        *ends.entry(story.end).or_default() += 1;
    }
    ends
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a string cannot fail.
    let _ = writeln!(page, "{text}");
}
