//! A set ordered by score, then by member: what a Redis sorted set is, without Redis.

mod pieces;

use std::collections::HashMap;
use std::hash::Hash;

use pieces::Pieces;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SortedSet<T: Ord + Hash> {
    by_score: Pieces<(u64, T)>,
    score_of: HashMap<T, u64>,
}

impl<T: Ord + Hash> Default for SortedSet<T> {
    fn default() -> Self {
        Self { by_score: Pieces::default(), score_of: HashMap::new() }
    }
}

impl<T: Ord + Hash + Copy> SortedSet<T> {
    pub(crate) fn len(&self) -> u64 {
        self.by_score.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.score_of.is_empty()
    }

    pub(crate) fn score(&self, member: &T) -> Option<u64> {
        self.score_of.get(member).copied()
    }

    pub(crate) fn contains(&self, member: &T) -> bool {
        self.score_of.contains_key(member)
    }

    /// Adds a member or moves it to another score.
    pub(crate) fn insert(&mut self, member: T, score: u64) {
        self.remove(&member);
        self.score_of.insert(member, score);
        self.by_score.insert((score, member));
    }

    /// Removes a member; says whether it was there.
    pub(crate) fn remove(&mut self, member: &T) -> bool {
        let Some(score) = self.score_of.remove(member) else {
            return false;
        };
        self.by_score.remove(&(score, *member))
    }

    pub(crate) fn first(&self) -> Option<(u64, T)> {
        self.by_score.first().copied()
    }

    /// In order: (score, member).
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, T)> {
        self.by_score.iter().copied()
    }

    /// The scores at these 1-based ranks, which grow.
    pub(crate) fn scores_at(&self, ranks: impl Iterator<Item = u64>) -> impl Iterator<Item = u64> {
        let indices = ranks.map(|rank| usize::try_from(rank - 1).unwrap_or(usize::MAX));
        self.by_score.at(indices).map(|(score, _)| *score)
    }

    /// How many have a score beyond `limit`.
    pub(crate) fn count_after(&self, limit: u64) -> u64 {
        self.by_score.iter().rev().take_while(|(score, _)| *score > limit).count() as u64
    }

    /// Removes and gives the first members whose score is at most `limit`, `most` of them.
    pub(crate) fn drain_to(&mut self, limit: u64, most: usize) -> Vec<T> {
        let due = self.by_score.iter().take_while(|(score, _)| *score <= limit).take(most);
        let due: Vec<T> = due.map(|&(_, member)| member).collect();
        for member in &due {
            self.remove(member);
        }
        due
    }
}
