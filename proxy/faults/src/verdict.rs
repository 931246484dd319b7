//! The zeros of a trial, from the visitors' stories alone.

mod bridged;
mod sockets;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crowd::clock::Span;
use crowd::proof::{Promises, facts, limits, order, places, sales};
use crowd::rates::Rates;
use crowd::story::{End, Part, Story};

use crate::fleet::config::CLAIM_WINDOW;
use crate::fleet::shop::Books;
use crate::report::Report;
use crate::stage::Played;
use crate::trouble::Trouble;
pub(crate) use sockets::{MOMENT, RESUMED_WITHIN, Sockets};

/// Judges a trial. Offenders' stories are written beside its logs.
pub(crate) fn judge(played: &Played, report: &mut Report) {
    let stories: Vec<&Story> = played.stories.iter().filter(|story| story.part == Part::Visitor).collect();
    let (mut facts, clock) = facts::establish(&stories, Some(CLAIM_WINDOW));
    bridged::widen(&stories, &mut facts, clock, &played.losses);
    let mut offenders = BTreeSet::new();

    let lost = lost(&stories, &facts);
    offenders.extend(lost.iter().map(|(id, _)| *id));
    let places = stories.iter().filter(|story| story.joined.is_some()).count() as u64;
    report.zero("places lost", lost.len() as u64, format!("{places} (all others got a turn)"));
    if let Some((id, why)) = lost.first() {
        report.note(format!("for example visitor {id}: {why}"));
    }

    let outside = stories.iter().filter(|story| never_got_a_place(story)).count();
    report.zero("visitors who never got a place", outside as u64, stories.len());

    let overtaken = order::inversions(&facts);
    offenders.extend(overtaken.iter().flat_map(|(late, early)| [*late, *early]));
    let compared = order::compared(&facts);
    report.zero("overtaken", overtaken.len() as u64, format!("{compared} compared"));

    let grew: Vec<u64> =
        stories.iter().filter(|story| story.position_grew > 0).map(|story| story.id).collect();
    report.zero("positions that grew", grew.len() as u64, stories.len());
    offenders.extend(grew);

    windows(played, report);
    active(played, report);
    if let Some(rate) = played.rate_at_the_end {
        let wanted = played.limits.per_minute;
        report.check("the operator's limits are kept", format!("{rate}/min"), rate == wanted);
    }

    books(played, &stories, report);
    report.note(format!("{} still waited when the line had been emptied", played.left_over));

    if !offenders.is_empty() {
        match write_stories(played, &offenders) {
            Ok(file) => report.note(format!("the stories of {} visitors are in {file}", offenders.len())),
            Err(trouble) => report.trouble(&trouble),
        }
    }
}

/// What the shop sold against what the visitors paid for, and its own sums.
fn books(played: &Played, stories: &[&Story], report: &mut Report) {
    let Books { before, after, sums } = &played.books;
    let promises = Promises { before: Some(*before), after: Some(*after), ..Promises::default() };
    let sales = sales::check(stories, &promises);
    let paid = format!("{} paid", sales.paid_qty);
    report.zero("tickets sold twice", sales.oversold(), &paid);
    report.zero("tickets sold and not paid, or paid and not sold", sales.mismatch, &paid);
    report.check("the shop's sums are right", sums.clone(), sums == Books::RIGHT_SUMS);
}

/// Requests of those inside that failed within `window`, by kind.
pub(crate) fn failures(played: &Played, window: Span) -> BTreeMap<String, u64> {
    let all = played.stories.iter().flat_map(|story| &story.visits.failures);
    let mut kinds = BTreeMap::new();
    for failure in all.filter(|failure| failure.span.to >= window.from && failure.span.from <= window.to) {
        *kinds.entry(failure.what.clone()).or_default() += 1;
    }
    kinds
}

/// Who lost a place: by what they were told, or because the line was emptied and they got nothing.
fn lost(stories: &[&Story], facts: &[facts::Facts]) -> Vec<(u64, String)> {
    let mut lost: Vec<(u64, String)> =
        places::lost(stories, facts).into_iter().map(|(id, why)| (id, why.to_owned())).collect();
    let known: BTreeSet<u64> = lost.iter().map(|(id, _)| *id).collect();
    let forgotten = stories.iter().filter(|story| {
        let waited = matches!(story.end, End::Cut | End::Failed | End::LostPlace | End::WentHome);
        let served = story.turn.is_some() || !story.entries.is_empty();
        waited && !served && story.joined.is_some() && !known.contains(&story.id)
    });
    lost.extend(forgotten.map(|story| (story.id, "no turn, although the line was emptied".to_owned())));
    lost
}

fn never_got_a_place(story: &Story) -> bool {
    story.joined.is_none() && story.entries.is_empty() && story.turn.is_none() && story.end != End::Left
}

/// Entries while the limits of the trial were in force: windows that held too many.
fn windows(played: &Played, report: &mut Report) {
    let entries: Vec<_> = played
        .stories
        .iter()
        .flat_map(|story| &story.entries)
        .map(|entry| entry.span)
        .filter(|span| span.from >= played.steady.from && span.to <= played.steady.to)
        .collect();
    let rate = played.limits.per_minute;
    let over = limits::over_limit_windows(&entries, &Rates::constant(rate), limits::default_burst(rate));
    report.zero("windows over the limit", over.windows, format!("{} entries", entries.len()));
    if let Some(worst) = over.worst {
        let seconds = worst.to.since(worst.from).as_secs_f64();
        report.note(format!("within {seconds:.2} s there were {:.1} entries too many", over.excess));
    }
}

/// Turns and sessions that certainly were at the same time, before the room was opened wide.
fn active(played: &Played, report: &mut Report) {
    let until = played.steady.to;
    let before: Vec<Story> = played
        .stories
        .iter()
        .map(|story| {
            let mut story = story.clone();
            story.turn = story.turn.filter(|turn| turn.seen < until);
            story.entries.retain(|entry| entry.span.to < until);
            story
        })
        .collect();
    let before: Vec<&Story> = before.iter().collect();
    let (_, clock) = facts::establish(&before, Some(CLAIM_WINDOW));
    let most = limits::most_active(&before, &clock);
    let limit = played.limits.active;
    report.check("most turns and sessions at once", format!("{most} of {limit}"), most <= limit);
}

fn write_stories(played: &Played, ids: &BTreeSet<u64>) -> Result<String, Trouble> {
    let mut text = String::new();
    for story in played.stories.iter().filter(|story| ids.contains(&story.id)) {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{story:#?}\n");
    }
    let file = played.folder.join("stories.txt");
    std::fs::write(&file, text).map_err(Trouble::io(file.display().to_string()))?;
    Ok(file.display().to_string())
}
