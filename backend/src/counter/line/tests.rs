//! The rules of a line, with a service that answers when it is told to, in virtual time.

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;

/// Whoever asks for this breaks the group.
const UNLUCKY: u32 = 1313;

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
    const SPAN: &'static str = "doubling";

    async fn serve(
        &self,
        group: &mut Vec<Waiting<Self>>,
        decided: impl FnOnce() + Send,
    ) -> Result<(), DbError> {
        self.groups.lock().unwrap().push(group.iter().map(|waiting| waiting.ask).collect());
        self.allowed.acquire().await.unwrap().forget();
        decided();
        if group.iter().any(|waiting| waiting.ask == UNLUCKY) {
            return Err(DbError::Row("unlucky".into()));
        }
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
async fn a_failure_that_stays_is_told_to_the_one_whose_fault_it_is_and_to_nobody_else() {
    let line = doubling(0, vec![]);
    let mut answers = JoinSet::new();
    ask(&line, 0..1, &mut answers).await;
    groups(&line, 1).await;
    ask(&line, UNLUCKY - 3..UNLUCKY + 3, &mut answers).await;
    line.service.allowed.add_permits(20);
    let answers = all(answers).await;
    let failed: Vec<usize> = (0..answers.len()).filter(|place| answers[*place].is_err()).collect();
    assert_eq!(failed, [4], "{answers:?}");
    assert!(matches!(answers[4], Err(DbError::OfGroup(_))), "{answers:?}");

    line.service.allowed.forget_permits(20);
    let served = line.service.groups.lock().unwrap().len();
    let mut later = JoinSet::new();
    ask(&line, 20..21, &mut later).await;
    groups(&line, served + 1).await;
    ask(&line, 21..25, &mut later).await;
    line.service.allowed.add_permits(2);
    assert!(all(later).await.iter().all(Result::is_ok));
    let last = line.service.groups.lock().unwrap().last().cloned().unwrap();
    assert_eq!(last, [21, 22, 23, 24], "together again");
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
