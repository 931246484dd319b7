//! Practice: when the sale opens, who was how fast, and nothing sold outside the hours.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use room::time::Micros;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Segment, Shop};
use crate::db::practice::{Fastest, Place, Ranking};
use crate::error::Error;
use crate::passes::Caller;
use crate::practice::names::{is_rival, pseudonym};
use crate::practice::{Millis, Rule};
use crate::sale::{EventId, IdempotencyKey};

/// The hours of an event that is practised. Instants are RFC 3339, by the clock that decides.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Practice)]
pub(super) struct PracticeView {
    /// The window that is open, else the one that comes.
    opens_at: String,
    closes_at: String,
    /// Always later than `asOf`.
    next_opens_at: String,
    window_seconds: f64,
    every_seconds: f64,
    /// What the time is.
    as_of: String,
}

/// The caller's run of the latest window among all runs of the event.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PracticeResult)]
struct ResultView {
    /// From the opening to the payment; null without a run in this window.
    elapsed_ms: Option<i64>,
    /// 1 is the fastest; who is equally fast has the same.
    rank: Option<i64>,
    /// How many there are.
    runs: i64,
    /// How many percent of all runs were not faster than this one.
    percentile: Option<f64>,
    /// The ten fastest.
    best: Vec<BestView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PracticeRun)]
struct BestView {
    /// Made up, the same for the same visitor.
    name: String,
    elapsed_ms: i64,
    /// A bot that trains people.
    rival: bool,
}

#[utoipa::path(
    get,
    path = "/api/events/{id}/practice/result",
    operation_id = "showPracticeResult",
    tag = "events",
    description = "How fast the caller was in the latest window, among all runs.",
    params(("id" = String, Path, description = "of the event")),
    responses((status = 200, description = "Done", body = ResultView), super::openapi::Problems),
)]
pub(super) async fn result(
    State(shop): State<Arc<Shop>>,
    caller: Caller,
    id: Segment,
) -> Result<impl IntoResponse, Error> {
    let user_id = caller.buyer()?;
    let event = shop.find(&id?.0).await?;
    let (rule, now) = shop.practice.of(&event.id).ok_or(Error::NotPractised)?;
    let ranking = shop.db.ranking(&event.id, rule.latest(now).opens_at, &user_id).await?;
    let view = ResultView::of(ranking, &event.id);
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)))
}

/// Who practises is not done with a payment: there are the ranking and the next window. So while the event of this
/// process is practised, the edge is never told to take a pass back.
pub(super) async fn keep_visitors(State(shop): State<Arc<Shop>>, mut answer: Response) -> Response {
    if shop.practice.of(shop.event_id.as_str()).is_some() {
        answer.headers_mut().remove("vestibule-command");
    }
    answer
}

impl Shop {
    /// Nobody buys outside the hours; who asks again for what was answered before hears that answer.
    pub(super) async fn within_hours(
        &self,
        event_id: &EventId,
        user_id: &str,
        key: Option<&IdempotencyKey>,
    ) -> Result<(), Error> {
        let Some((rule, now)) = self.practice.of(event_id.as_str()) else { return Ok(()) };
        let Some(opens_in) = rule.closed_for(now) else { return Ok(()) };
        if let Some(key) = key
            && self.db.has_answer(event_id, user_id, key).await?
        {
            return Ok(());
        }
        Err(Error::SaleClosed { opens_in })
    }

    /// `None` for an ordinary sale.
    pub(super) fn hours(&self, event_id: &str) -> Option<PracticeView> {
        self.practice.of(event_id).map(|(rule, now)| PracticeView::of(rule, now))
    }
}

impl PracticeView {
    fn of(rule: Rule, now: Millis) -> Self {
        let next = rule.next(now);
        let shown = if rule.is_open(now) { rule.latest(now) } else { next };
        Self {
            opens_at: rfc3339(shown.opens_at),
            closes_at: rfc3339(shown.closes_at),
            next_opens_at: rfc3339(next.opens_at),
            window_seconds: seconds(rule.window_length()),
            every_seconds: seconds(rule.every()),
            as_of: rfc3339(now),
        }
    }
}

impl ResultView {
    fn of(ranking: Ranking, event_id: &str) -> Self {
        let Ranking { own, runs, best } = ranking;
        Self {
            elapsed_ms: own.map(|own| own.elapsed_ms),
            rank: own.map(Place::rank),
            runs,
            percentile: own.map(|own| own.percentile(runs)),
            best: best.into_iter().map(|run| BestView::of(&run, event_id)).collect(),
        }
    }
}

impl Place {
    const fn rank(self) -> i64 {
        self.faster + 1
    }

    /// With one decimal.
    fn percentile(self, runs: i64) -> f64 {
        let not_faster = runs.saturating_sub(self.faster).max(0);
        (not_faster as f64 * 1000.0 / runs.max(1) as f64).round() / 10.0
    }
}

impl BestView {
    fn of(run: &Fastest, event_id: &str) -> Self {
        let Fastest { user_id, elapsed_ms } = run;
        Self { name: pseudonym(event_id, user_id), elapsed_ms: *elapsed_ms, rival: is_rival(user_id) }
    }
}

fn rfc3339(at: Millis) -> String {
    Micros(u64::try_from(at).unwrap_or(0).saturating_mul(1000)).to_rfc3339()
}

fn seconds(span: Millis) -> f64 {
    span as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_equally_fast_has_the_same_rank_and_percentile() {
        let place = |faster| Place { elapsed_ms: 0, faster };
        assert_eq!((place(0).rank(), place(0).percentile(1)), (1, 100.0), "alone");
        // 100, 200, 200, 300 ms
        let shown = [0, 1, 1, 3].map(|faster| (place(faster).rank(), place(faster).percentile(4)));
        assert_eq!(shown, [(1, 100.0), (2, 75.0), (2, 75.0), (4, 25.0)]);
        assert_eq!(format!("{}", place(1).percentile(3)), "66.7");
    }
}
