//! Sockets that were lost in a row, and how they came back.

use std::time::Duration;

use crowd::clock::Span;
use crowd::story::{Break, Story};
use room::time::Micros;

/// Of all waiting visitors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sockets {
    pub lost: u64,
    /// Open again, or told that it is their turn, within [`RESUMED_WITHIN`].
    pub resumed: u64,
    /// Most first attempts within [`MOMENT`].
    pub herd: u64,
}

pub(crate) const RESUMED_WITHIN: Duration = Duration::from_secs(10);
pub(crate) const MOMENT: Duration = Duration::from_millis(100);

impl Sockets {
    /// Those lost within `window`.
    pub(crate) fn lost_within<'a>(stories: impl Iterator<Item = &'a Story>, window: Span) -> Self {
        let mut sockets = Self::default();
        let mut tried = Vec::new();
        for (story, lost) in stories.flat_map(|story| story.breaks.iter().map(move |lost| (story, lost))) {
            if lost.lost < window.from || lost.lost > window.to {
                continue;
            }
            sockets.lost += 1;
            sockets.resumed += u64::from(resumed(story, lost));
            tried.extend(lost.tried);
        }
        sockets.herd = most_within(tried, MOMENT);
        sockets
    }
}

fn resumed(story: &Story, lost: &Break) -> bool {
    let turn = story.turn.map(|turn| turn.seen).filter(|seen| *seen >= lost.lost);
    let back = lost.back.into_iter().chain(turn).min();
    back.is_some_and(|back| back.since(lost.lost) <= RESUMED_WITHIN)
}

/// The most instants that lie within any stretch of this length.
fn most_within(mut instants: Vec<Micros>, stretch: Duration) -> u64 {
    instants.sort_unstable();
    let until = |from: Micros| instants.partition_point(|instant| *instant <= from + stretch);
    let counts = instants.iter().enumerate().map(|(before, from)| until(*from) - before);
    counts.max().unwrap_or_default() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Micros {
        Micros::from_secs(secs)
    }

    fn story(lost: u64, back: Option<u64>) -> Story {
        let lost = Break { lost: secs(lost), tried: back.map(secs), back: back.map(secs) };
        Story { breaks: vec![lost], ..Story::default() }
    }

    #[test]
    fn sockets_are_resumed_when_they_are_back_in_time() {
        let stories = [story(10, Some(12)), story(10, Some(21)), story(10, None), story(50, None)];
        let sockets = Sockets::lost_within(stories.iter(), Span::new(secs(5), secs(20)));
        assert_eq!((sockets.lost, sockets.resumed), (3, 1));
    }

    #[test]
    fn a_turn_is_as_good_as_a_socket() {
        let turn = crowd::story::Turn { seen: secs(15), expires: None };
        let served = Story { turn: Some(turn), ..story(10, None) };
        assert_eq!(Sockets::lost_within([served].iter(), Span::new(secs(5), secs(20))).resumed, 1);
    }

    #[test]
    fn a_herd_is_the_most_that_come_in_one_moment() {
        let millis = |all: &[u64]| all.iter().map(|ms| Micros(ms * 1000)).collect();
        assert_eq!(most_within(millis(&[0, 50, 100, 101, 150, 400]), MOMENT), 4);
        assert_eq!(most_within(Vec::new(), MOMENT), 0);
    }
}
