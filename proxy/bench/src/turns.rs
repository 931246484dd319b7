//! Contestants take turns, so that a neighbour or a slower minute of the machine hits all of them.

use std::time::Duration;

/// How long a turn takes, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    pub turn: Duration,
    pub turns: u32,
}

impl Length {
    pub const QUICK: Self = Self { turn: Duration::from_millis(1000), turns: 3 };
    pub const USUAL: Self = Self { turn: Duration::from_secs(3), turns: 3 };
    pub const LONG: Self = Self { turn: Duration::from_secs(10), turns: 5 };

    pub fn is_quick(self) -> bool {
        self == Self::QUICK
    }

    pub fn is_long(self) -> bool {
        self == Self::LONG
    }
}

/// Every contestant once, then every one again, until all have had their turns. What a contestant scored stands at
/// its own place; every second round goes backwards, so that nobody is always behind the same neighbour.
pub fn in_turns<C, S, E>(
    rounds: u32,
    contestants: &mut [C],
    mut turn: impl FnMut(&mut C) -> Result<S, E>,
) -> Result<Vec<Vec<S>>, E> {
    let mut scores: Vec<Vec<S>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        let mut pairs: Vec<_> = contestants.iter_mut().zip(&mut scores).collect();
        if round % 2 == 1 {
            pairs.reverse();
        }
        for (contestant, scores) in pairs {
            scores.push(turn(contestant)?);
        }
    }
    Ok(scores)
}

/// The middle one; of an even number the lower of the two. `None` without any.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contestant_has_its_turns_and_the_order_alternates() {
        let mut order = Vec::new();
        let scores = in_turns(3, &mut ["a", "b"], |name| {
            order.push(*name);
            Ok::<_, ()>(order.len())
        });
        assert_eq!(order, ["a", "b", "b", "a", "a", "b"]);
        assert_eq!(scores, Ok(vec![vec![1, 4, 5], vec![2, 3, 6]]));
    }

    #[test]
    fn the_median_of_an_even_number_is_the_lower_middle() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.0));
        assert_eq!(median([]), None);
    }
}
