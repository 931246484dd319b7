//! Keys in order, of which any rank is found without counting one by one.
//!
//! A sorted list cut into pieces of a few hundred: a change moves the keys of one piece, and whoever looks for a rank
//! skips whole pieces. A million keys are about three thousand pieces.

/// The most keys of a piece.
const MOST: usize = 512;

/// Distinct keys, ascending.
#[derive(Debug, Clone)]
pub(super) struct Pieces<K> {
    /// None is empty, and each is sorted and before the next.
    pieces: Vec<Vec<K>>,
    len: usize,
}

impl<K> Default for Pieces<K> {
    fn default() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }
}

impl<K: Ord> PartialEq for Pieces<K> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Ord> Eq for Pieces<K> {}

impl<K: Ord> Pieces<K> {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn first(&self) -> Option<&K> {
        self.pieces.first()?.first()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.pieces.iter().flatten()
    }

    /// The keys at these 0-based ranks, which grow; those beyond the end are left out.
    pub(super) fn at(&self, ranks: impl Iterator<Item = usize>) -> impl Iterator<Item = &K> {
        let (mut pieces, mut piece, mut first) = (self.pieces.iter(), [].as_slice(), 0);
        ranks.map_while(move |rank| {
            while rank - first >= piece.len() {
                first += piece.len();
                piece = pieces.next()?;
            }
            piece.get(rank - first)
        })
    }

    /// Adds a key; one that is there stays.
    pub(super) fn insert(&mut self, key: K) {
        // What is after everything goes to the end of the last piece.
        let at = self.piece_of(&key).min(self.pieces.len().saturating_sub(1));
        let Some(piece) = self.pieces.get_mut(at) else {
            self.pieces.push(vec![key]);
            self.len = 1;
            return;
        };
        let Err(place) = piece.binary_search(&key) else {
            return;
        };
        self.len += 1;
        if piece.len() < MOST {
            piece.insert(place, key);
        } else if place == MOST {
            // A line grows at its end: full pieces stay full.
            self.pieces.insert(at + 1, vec![key]);
        } else {
            let mut second = piece.split_off(MOST / 2);
            match place.checked_sub(MOST / 2) {
                Some(place) => second.insert(place, key),
                None => piece.insert(place, key),
            }
            self.pieces.insert(at + 1, second);
        }
    }

    /// Removes a key; says whether it was there.
    pub(super) fn remove(&mut self, key: &K) -> bool {
        let at = self.piece_of(key);
        let Some(piece) = self.pieces.get_mut(at) else {
            return false;
        };
        let Ok(place) = piece.binary_search(key) else {
            return false;
        };
        piece.remove(place);
        if piece.is_empty() {
            self.pieces.remove(at);
        }
        self.len -= 1;
        true
    }

    /// The first piece that does not end before a key: where it is, if it is anywhere.
    fn piece_of(&self, key: &K) -> usize {
        self.pieces.partition_point(|piece| piece.last() < Some(key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Adds a key, or removes it.
    fn changes() -> impl Strategy<Value = Vec<(bool, u16)>> {
        let anywhere = prop::collection::vec((prop::bool::weighted(0.6), 0..4000_u16), 0..6000);
        let at_the_end = (0..6000_u16).prop_map(|count| (0..count).map(|key| (true, key)).collect());
        let from_the_front = (0..6000_u16).prop_map(|count| (0..count).map(|key| (false, key)).collect());
        prop::collection::vec(prop_oneof![anywhere, at_the_end, from_the_front], 1..4)
            .prop_map(|runs: Vec<Vec<(bool, u16)>>| runs.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn they_hold_what_a_set_holds_and_know_every_rank(changes in changes()) {
            let (mut set, mut pieces) = (BTreeSet::new(), Pieces::default());
            for (adds, key) in changes {
                if adds {
                    set.insert(key);
                    pieces.insert(key);
                } else {
                    prop_assert_eq!(pieces.remove(&key), set.remove(&key));
                }
                prop_assert_eq!((pieces.len(), pieces.first()), (set.len(), set.first()));
            }
            prop_assert!(pieces.iter().eq(&set) && pieces.iter().rev().eq(set.iter().rev()));
            prop_assert!(pieces.pieces.iter().all(|piece| (1..=MOST).contains(&piece.len())));
            for step in [1, 7, 1000] {
                prop_assert!(pieces.at((0..).step_by(step)).eq(set.iter().step_by(step)));
            }
        }

        #[test]
        fn they_are_alike_however_they_came_about(changes in changes()) {
            let mut pieces = Pieces::default();
            for &(adds, key) in &changes {
                if adds {
                    pieces.insert(key);
                } else {
                    pieces.remove(&key);
                }
            }
            let mut anew = Pieces::default();
            pieces.iter().rev().for_each(|&key| anew.insert(key));
            prop_assert_eq!(&anew, &pieces);
            anew.insert(u16::MAX);
            prop_assert_ne!(&anew, &pieces);
        }
    }
}
