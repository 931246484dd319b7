//! The rank of everybody from a few hundred points.
//!
//! Once a second the line is measured at geometric steps: every rank up to 100, then each 2 %. An edge places its
//! own waiters by binary search and interpolation, so the store never counts for a single visitor.

use serde::{Deserialize, Serialize};

/// Ranks up to this one are all measured: positions at the front are exact.
const EXACT: u64 = 100;
/// Beyond, the next point is at most this fraction further: 1/50 = 2 %.
const FRACTION: u64 = 50;

/// The line at one instant: the scores at [`ranks`]`(waiting)`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Measured")]
pub struct Ruler {
    waiting: u64,
    scores: Vec<u64>,
    /// Beside each score its rank; follows from `waiting`, so it does not travel.
    #[serde(skip)]
    ranks: Vec<u64>,
}

#[derive(Deserialize)]
struct Measured {
    waiting: u64,
    scores: Vec<u64>,
}

impl From<Measured> for Ruler {
    fn from(Measured { waiting, scores }: Measured) -> Self {
        // Both are cut to the shorter, so that a mangled message places badly instead of failing.
        let ranks: Vec<u64> = ranks(waiting).take(scores.len()).collect();
        Self { waiting, scores, ranks }
    }
}

impl Ruler {
    /// Of a line of `waiting`, from the scores at its [`ranks`].
    pub fn of(waiting: u64, scores: impl Iterator<Item = u64>) -> Self {
        Measured { waiting, scores: scores.collect() }.into()
    }

    /// Measures a sorted sequence of `waiting` scores.
    pub fn measure(waiting: u64, sorted: impl Iterator<Item = u64>) -> Self {
        let mut wanted = ranks(waiting).peekable();
        let is_point = |index: usize| wanted.next_if_eq(&(index as u64 + 1)).is_some();
        let scores = sorted.enumerate().scan(is_point, |is_point, (i, s)| Some(is_point(i).then_some(s)));
        Self::of(waiting, scores.flatten())
    }

    /// Length of the line.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// The 1-based rank of a score; for one that is not in the line, the rank that it would have.
    pub fn place(&self, score: u64) -> u64 {
        let at = self.scores.partition_point(|&point| point < score);
        let point = |at: usize| Some((*self.ranks.get(at)?, *self.scores.get(at)?));
        let Some((rank_above, above)) = point(at) else {
            return self.waiting + 1;
        };
        let Some((rank_below, below)) = at.checked_sub(1).and_then(point) else {
            return rank_above;
        };
        let share = (score - below) as f64 / (above - below).max(1) as f64;
        // Rounded up: nobody is told a place that is better than theirs.
        rank_below + (share * (rank_above - rank_below) as f64).ceil() as u64
    }
}

/// The ranks that are measured in a line of `waiting`: strictly growing, the last is `waiting`.
pub fn ranks(waiting: u64) -> impl Iterator<Item = u64> {
    let first = (waiting > 0).then_some(1);
    std::iter::successors(first, move |&rank| (rank < waiting).then(|| step(rank).min(waiting)))
}

const fn step(rank: u64) -> u64 {
    if rank < EXACT { rank + 1 } else { rank + rank / FRACTION }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_million_waiters_need_about_600_points() {
        let points = ranks(1_000_000).count();
        assert!((500..650).contains(&points), "{points}");
        assert_eq!(ranks(1_000_000).last(), Some(1_000_000));
    }

    #[test]
    fn an_empty_line_places_everybody_first() {
        assert_eq!(Ruler::measure(0, std::iter::empty()).place(5), 1);
    }

    #[test]
    fn who_left_is_not_counted_and_who_is_new_stands_last() {
        let ruler = Ruler::measure(3, [10, 20, 30].into_iter());
        assert_eq!([5, 10, 15, 20, 30, 31].map(|score| ruler.place(score)), [1, 1, 2, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn positions_are_exact_to_100_and_within_2_percent_beyond(
            gaps in prop::collection::vec(1_u64..1_000_000, 1..5_000),
        ) {
            let scores: Vec<u64> = gaps
                .iter()
                .scan(1_767_225_600_000_000, |sum, gap| { *sum += gap; Some(*sum) })
                .collect();
            let ruler = Ruler::measure(scores.len() as u64, scores.iter().copied());
            for (index, &score) in scores.iter().enumerate() {
                let (rank, shown) = (index as u64 + 1, ruler.place(score));
                if rank <= 100 {
                    prop_assert_eq!(shown, rank);
                }
                prop_assert!(shown.abs_diff(rank) * 50 <= rank, "{} for {}", shown, rank);
            }
        }

        #[test]
        fn places_never_fall_as_scores_grow(mut scores in prop::collection::vec(0_u64..10_000, 1..2_000)) {
            scores.sort_unstable();
            let ruler = Ruler::measure(scores.len() as u64, scores.iter().copied());
            let places: Vec<u64> = (0..10_000).step_by(7).map(|score| ruler.place(score)).collect();
            prop_assert!(places.is_sorted());
        }
    }
}
