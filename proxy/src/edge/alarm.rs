//! The deadline of a connection, which nearly every request moves and hardly any reaches.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is set once and looks at the deadline when it rings: to set one anew for each request takes a lock and
/// a place in the runtime's wheel twice, and a microsecond.
pub(super) struct Alarm {
    due: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Alarm {
    pub(super) fn at(due: Instant) -> Self {
        Self { due, timer: Box::pin(sleep_until(due)) }
    }

    pub(super) fn set(&mut self, due: Instant) {
        self.due = due;
    }

    pub(super) fn no_later_than(&mut self, due: Instant) {
        self.due = self.due.min(due);
    }

    /// Ready once the deadline has come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // A timer that rings too early is set anew; one that would ring too late must be now.
            if self.due < self.timer.deadline() {
                self.timer.as_mut().reset(self.due);
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.due <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_deadline_of_the_moment_however_that_was_moved() {
        for (first, second) in [(5, 5), (5, 9), (9, 5), (0, 3)] {
            let start = Instant::now();
            let mut alarm = Alarm::at(start + SECOND * first);
            let early = poll_fn(|cx| Poll::Ready(alarm.poll(cx).is_ready())).await;
            assert_eq!(early, first == 0, "{first}");
            alarm.set(start + SECOND * second);
            poll_fn(|cx| alarm.poll(cx)).await;
            let after = start.elapsed().as_secs_f64();
            assert!((after - f64::from(second)).abs() < 0.01, "{first} then {second}: {after}");
        }
    }
}
