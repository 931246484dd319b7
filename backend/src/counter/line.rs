//! A line of requests that are served in groups.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};
use traces::{Context, Kind, Span};

use crate::db::DbError;
use crate::{metrics, trace};

/// Most requests in one transaction.
pub(super) const GROUP: usize = 128;
/// How long the first of a group waits for others to join while others are joining.
const GATHER: Duration = Duration::from_millis(5);
/// Most requests that wait; whoever comes then is sent away at once.
const MAX_WAITING: usize = 8192;
/// How long one request waits for its answer, retries in between included.
const PATIENCE: Duration = Duration::from_secs(3);
/// One group is being committed while the next takes its place in PostgreSQL's line for the row.
const AT_ONCE: usize = 2;
/// Between a failure and the next attempt.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// What is done for a group.
pub(super) trait Service: fmt::Debug + Send + Sync + 'static {
    type Ask: fmt::Debug + Send;
    type Answer: fmt::Debug + Send;
    /// The label of its metrics.
    const NAME: &'static str;
    /// What waiting in it is called in traces.
    const SPAN: &'static str;

    /// Answers those of the group that it can. After a failure, those that are left are served anew: whether the
    /// failed attempt was committed is found out then. `decided` is called as soon as the next group may begin.
    fn serve(
        &self,
        group: &mut Vec<Waiting<Self>>,
        decided: impl FnOnce() + Send,
    ) -> impl Future<Output = Result<(), DbError>> + Send;
}

/// One request in line.
#[derive(Debug)]
pub(super) struct Waiting<S: Service + ?Sized> {
    pub ask: S::Ask,
    answer: oneshot::Sender<Result<S::Answer, DbError>>,
    until: Instant,
    /// Its place: whoever came first is served first, after a failure too.
    place: u64,
    trace: Option<Context>,
}

impl<S: Service + ?Sized> Waiting<S> {
    /// Whoever went away meanwhile asks again with the same key.
    pub(super) fn answer(self, answer: S::Answer) {
        let _went_away = self.answer.send(Ok(answer));
    }

    fn refuse(self, error: DbError) {
        let _went_away = self.answer.send(Err(error));
    }

    /// The part of its trace in which the group is served.
    fn span(&self, size: usize) -> Option<Span> {
        let mut span = Span::part_of(self.trace?, Kind::Client, "commit of a group");
        span.set("db.system.name", "postgresql");
        span.set("box_office.group.size", i64::try_from(size).unwrap_or(i64::MAX));
        Some(span)
    }

    /// Whether somebody still waits for the answer.
    pub(super) fn is_worth_serving(&self) -> bool {
        !self.answer.is_closed() && Instant::now() < self.until
    }
}

/// The requests that wait for one [`Service`].
#[derive(Debug)]
pub(super) struct Line<S: Service> {
    service: S,
    state: Mutex<State<S>>,
}

#[derive(Debug)]
struct State<S: Service> {
    waiting: VecDeque<Waiting<S>>,
    /// Of the next who comes.
    place: u64,
    /// So many at the head of the line are served alone.
    one_by_one: usize,
    /// Groups whose end is open.
    at_once: usize,
    /// Whether one of them may still take more from the line or decide.
    deciding: bool,
    /// Why the last group failed, until one succeeds: the reason for those who wait too long.
    trouble: Option<Arc<DbError>>,
}

impl<S: Service> Line<S> {
    pub(super) fn new(service: S) -> Arc<Self> {
        let state = State {
            waiting: VecDeque::new(),
            place: 0,
            one_by_one: 0,
            at_once: 0,
            deciding: false,
            trouble: None,
        };
        Arc::new(Self { service, state: Mutex::new(state) })
    }

    /// Waits in line for the answer, but no longer than [`PATIENCE`].
    pub(super) async fn serve(self: &Arc<Self>, ask: S::Ask) -> Result<S::Answer, DbError> {
        let _standing = Standing::at(S::NAME);
        let span = trace::current().map(|context| Span::part_of(context, Kind::Internal, S::SPAN));
        let until = Instant::now() + PATIENCE;
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.state();
            if state.waiting.len() >= MAX_WAITING {
                return Err(state.reason());
            }
            state.place += 1;
            let place = state.place;
            let trace = span.as_ref().map(Span::context);
            state.waiting.push_back(Waiting { ask, answer, until, place, trace });
        }
        self.next_group();
        match timeout_at(until, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(self.state().reason()),
        }
    }

    /// Begins a group if somebody waits and nobody is deciding.
    fn next_group(self: &Arc<Self>) {
        let mut state = self.state();
        if state.deciding || state.at_once >= AT_ONCE || state.waiting.is_empty() {
            return;
        }
        state.deciding = true;
        state.at_once += 1;
        drop(state);
        let line = Arc::clone(self);
        tokio::spawn(async move { line.serve_group().await });
    }

    async fn serve_group(self: Arc<Self>) {
        let _turn = Turn(&self);
        let decision = Decision(&self);
        let mut group = self.gather().await;
        if group.is_empty() {
            return;
        }
        metrics::group_served(S::NAME, group.len());
        let size = group.len();
        let mut spans: Vec<Span> = group.iter().filter_map(|waiting| waiting.span(size)).collect();
        let result = self.service.serve(&mut group, || drop(decision)).await;
        if let Err(error) = &result {
            for span in &mut spans {
                span.fail(error.to_string());
            }
        }
        drop(spans);
        let may_pass = result.as_ref().err().is_none_or(DbError::may_pass);
        let trouble = result.err().map(|error| {
            tracing::warn!(error = %error, left = group.len(), line = S::NAME, "a group failed");
            Arc::new(error)
        });
        self.state().trouble.clone_from(&trouble);
        match trouble {
            Some(trouble) if !may_pass && (group.len() == 1 || trouble.concerns_all()) => {
                for waiting in group {
                    waiting.refuse(DbError::OfGroup(Arc::clone(&trouble)));
                }
            }
            Some(_) if !may_pass => self.put_back_one_by_one(group),
            _ => self.put_back(group).await,
        }
    }

    /// What fails for good is the fault of one of them: each is served alone, so that only that one hears of it.
    fn put_back_one_by_one(&self, group: Vec<Waiting<S>>) {
        let mut state = self.state();
        state.one_by_one += group.len();
        state.take_back(group);
    }

    /// Those who are left stand at their places again, after a pause.
    async fn put_back(&self, group: Vec<Waiting<S>>) {
        if group.is_empty() {
            return;
        }
        sleep(AFTER_FAILURE).await;
        self.state().take_back(group);
    }

    /// Takes a group from the line. As long as every look at it finds more, it is worth another look.
    async fn gather(&self) -> Vec<Waiting<S>> {
        let since = Instant::now();
        let mut seen = 0;
        loop {
            let waiting = self.state().waiting.len();
            if waiting >= GROUP || waiting == seen || since.elapsed() >= GATHER {
                break;
            }
            seen = waiting;
            // Whoever is about to join is let through.
            yield_now().await;
        }
        let mut state = self.state();
        let most = if state.one_by_one > 0 { 1 } else { GROUP };
        state.one_by_one = state.one_by_one.saturating_sub(1);
        let size = state.waiting.len().min(most);
        state.waiting.drain(..size).filter(Waiting::is_worth_serving).collect()
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Service> State<S> {
    fn take_back(&mut self, group: Vec<Waiting<S>>) {
        self.waiting.extend(group);
        self.waiting.make_contiguous().sort_unstable_by_key(|waiting| waiting.place);
    }

    /// Why nobody is served in time.
    fn reason(&self) -> DbError {
        self.trouble.as_ref().map_or(DbError::Crowded, |error| DbError::OfGroup(Arc::clone(error)))
    }
}

/// A group that is deciding: when it has, the next one begins.
struct Decision<'a, S: Service>(&'a Arc<Line<S>>);

impl<S: Service> Drop for Decision<'_, S> {
    fn drop(&mut self) {
        self.0.state().deciding = false;
        self.0.next_group();
    }
}

/// A group that is being served.
struct Turn<'a, S: Service>(&'a Arc<Line<S>>);

impl<S: Service> Drop for Turn<'_, S> {
    fn drop(&mut self) {
        self.0.state().at_once -= 1;
        self.0.next_group();
    }
}

/// One who waits, as the metrics see it.
struct Standing(&'static str);

impl Standing {
    fn at(line: &'static str) -> Self {
        metrics::joined_line(line);
        Self(line)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        metrics::left_line(self.0);
    }
}

#[cfg(test)]
mod tests;
