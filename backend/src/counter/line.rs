//! A line of requests that are served in groups.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};

use crate::db::DbError;
use crate::metrics;

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
}

impl<S: Service + ?Sized> Waiting<S> {
    /// Whoever went away meanwhile asks again with the same key.
    pub(super) fn answer(self, answer: S::Answer) {
        let _went_away = self.answer.send(Ok(answer));
    }

    fn refuse(self, error: DbError) {
        let _went_away = self.answer.send(Err(error));
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
    /// Groups whose end is open.
    at_once: usize,
    /// Whether one of them may still take more from the line or decide.
    deciding: bool,
    /// Why the last group failed, until one succeeds: the reason for those who wait too long.
    trouble: Option<Arc<DbError>>,
}

impl<S: Service> Line<S> {
    pub(super) fn new(service: S) -> Arc<Self> {
        let state = State { waiting: VecDeque::new(), place: 0, at_once: 0, deciding: false, trouble: None };
        Arc::new(Self { service, state: Mutex::new(state) })
    }

    /// Waits in line for the answer, but no longer than [`PATIENCE`].
    pub(super) async fn serve(self: &Arc<Self>, ask: S::Ask) -> Result<S::Answer, DbError> {
        let _standing = Standing::at(S::NAME);
        let until = Instant::now() + PATIENCE;
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.state();
            if state.waiting.len() >= MAX_WAITING {
                return Err(state.reason());
            }
            state.place += 1;
            let place = state.place;
            state.waiting.push_back(Waiting { ask, answer, until, place });
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
        let result = self.service.serve(&mut group, || drop(decision)).await;
        let serve_again = result.as_ref().err().is_none_or(DbError::may_pass);
        let trouble = result.err().map(|error| {
            tracing::warn!(error = %error, left = group.len(), line = S::NAME, "a group failed");
            Arc::new(error)
        });
        self.state().trouble.clone_from(&trouble);
        if serve_again {
            self.put_back(group).await;
        } else if let Some(trouble) = trouble {
            for waiting in group {
                waiting.refuse(DbError::OfGroup(Arc::clone(&trouble)));
            }
        }
    }

    /// Those who are left stand at their places again, after a pause.
    async fn put_back(&self, group: Vec<Waiting<S>>) {
        if group.is_empty() {
            return;
        }
        sleep(AFTER_FAILURE).await;
        let mut state = self.state();
        state.waiting.extend(group);
        state.waiting.make_contiguous().sort_unstable_by_key(|waiting| waiting.place);
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
        let size = state.waiting.len().min(GROUP);
        state.waiting.drain(..size).filter(Waiting::is_worth_serving).collect()
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Service> State<S> {
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
mod tests {
    use tokio::sync::Semaphore;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    /// Answers twice the number, when it is allowed to.
    #[derive(Debug)]
    struct Doubling {
        groups: Mutex<Vec<Vec<u32>>>,
        allowed: Semaphore,
        /// What the next groups meet.
        failures: Mutex<Vec<DbError>>,
    }

    impl Service for Doubling {
        type Ask = u32;
        type Answer = u32;
        const NAME: &'static str = "doubling";

        async fn serve(
            &self,
            group: &mut Vec<Waiting<Self>>,
            decided: impl FnOnce() + Send,
        ) -> Result<(), DbError> {
            self.groups.lock().unwrap().push(group.iter().map(|waiting| waiting.ask).collect());
            self.allowed.acquire().await.unwrap().forget();
            decided();
            if let Some(failure) = self.failures.lock().unwrap().pop() {
                return Err(failure);
            }
            for waiting in group.drain(..) {
                let answer = waiting.ask * 2;
                waiting.answer(answer);
            }
            Ok(())
        }
    }

    fn doubling(allowed: usize, failures: Vec<DbError>) -> Arc<Line<Doubling>> {
        let allowed = Semaphore::new(allowed);
        Line::new(Doubling { groups: Mutex::default(), allowed, failures: Mutex::new(failures) })
    }

    /// The answers, in the order of the numbers.
    type Answers = JoinSet<(u32, Result<u32, DbError>)>;

    /// Puts these in line, one after the other.
    async fn ask(line: &Arc<Line<Doubling>>, numbers: std::ops::Range<u32>, answers: &mut Answers) {
        for number in numbers {
            let line = Arc::clone(line);
            answers.spawn(async move { (number, line.serve(number).await) });
            yield_now().await;
        }
    }

    async fn all(answers: Answers) -> Vec<Result<u32, DbError>> {
        let mut answers = answers.join_all().await;
        answers.sort_by_key(|(number, _)| *number);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    async fn groups(line: &Line<Doubling>, count: usize) -> Vec<Vec<u32>> {
        let begun = async {
            while line.service.groups.lock().unwrap().len() < count {
                yield_now().await;
            }
        };
        timeout(Duration::from_secs(1), begun).await.expect("as many groups");
        line.service.groups.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_one_is_served_alone_and_those_who_come_meanwhile_together_in_their_order() {
        let line = doubling(0, vec![]);
        let mut answers = JoinSet::new();
        ask(&line, 0..1, &mut answers).await;
        assert_eq!(groups(&line, 1).await, [[0]]);
        ask(&line, 1..50, &mut answers).await;
        line.service.allowed.add_permits(2);
        let numbers: Vec<u32> = all(answers).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(numbers, (0..50).map(|number| number * 2).collect::<Vec<_>>());
        assert_eq!(groups(&line, 2).await, [vec![0], (1..50).collect()]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_group_is_larger_than_one_transaction_should_be() {
        let line = doubling(0, vec![]);
        let mut answers = JoinSet::new();
        ask(&line, 0..300, &mut answers).await;
        line.service.allowed.add_permits(300);
        assert!(all(answers).await.iter().all(Result::is_ok));
        let sizes: Vec<usize> = line.service.groups.lock().unwrap().iter().map(Vec::len).collect();
        assert_eq!((sizes.iter().sum::<usize>(), sizes.iter().max()), (300, Some(&GROUP)));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_that_may_pass_all_are_served_anew_in_their_order() {
        let line = doubling(0, vec![DbError::Slow, DbError::LockTimeout]);
        let mut answers = JoinSet::new();
        ask(&line, 0..1, &mut answers).await;
        groups(&line, 1).await;
        ask(&line, 1..5, &mut answers).await;
        line.service.allowed.add_permits(10);
        assert!(all(answers).await.iter().all(Result::is_ok));
        let last = line.service.groups.lock().unwrap().last().cloned().unwrap();
        assert!(last.is_sorted(), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_stays_is_told_to_those_who_were_served_together_and_to_nobody_else() {
        let line = doubling(0, vec![DbError::Row("broken".into())]);
        let mut answers = JoinSet::new();
        ask(&line, 0..3, &mut answers).await;
        groups(&line, 1).await;
        ask(&line, 3..5, &mut answers).await;
        line.service.allowed.add_permits(2);
        let answers = all(answers).await;
        let (failed, served) = answers.split_at(line.service.groups.lock().unwrap()[0].len());
        assert!(failed.iter().all(|answer| matches!(answer, Err(DbError::OfGroup(_)))), "{failed:?}");
        assert!(!served.is_empty() && served.iter().all(Result::is_ok), "{served:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_too_long_hears_why() {
        let line = doubling(0, vec![]);
        let since = Instant::now();
        assert!(matches!(line.serve(1).await, Err(DbError::Crowded)));
        assert_eq!(since.elapsed(), PATIENCE);

        let line = doubling(1, vec![DbError::Slow]);
        let late = line.serve(1).await.unwrap_err();
        assert!(matches!(late.cause(), DbError::Slow), "{late}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_line_takes_nobody_and_says_so_at_once() {
        let line = doubling(0, vec![]);
        let mut answers = JoinSet::new();
        let in_service = GROUP as u32;
        ask(&line, 0..in_service + MAX_WAITING as u32, &mut answers).await;
        while line.state().waiting.len() < MAX_WAITING {
            let next = answers.len() as u32;
            ask(&line, next..next + 1, &mut answers).await;
        }
        let since = Instant::now();
        assert!(matches!(line.serve(0).await, Err(DbError::Crowded)));
        assert_eq!(since.elapsed(), Duration::ZERO);
    }
}
