use std::collections::HashSet;

use crate::ids::VisitorId;

use super::Queue;

impl Queue {
    /// What must hold between any two operations, whatever came before; the first breach in words. For tests.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), String> {
        self.each_in_one_set()?;
        self.records_match()?;
        let first = self.line.first().map_or(u64::MAX, |(score, _)| score);
        if first < self.head.front {
            return Err(format!("{first} stands in the line behind the front {}", self.head.front));
        }
        if self.missed.len() != self.missed_count.len() as u64 {
            return Err("lapsed turns are counted for other tickets than are kept".into());
        }
        Ok(())
    }

    /// Everything kept beside the sets that [`Self::counts`] tells of. For tests.
    #[doc(hidden)]
    pub fn kept(&self) -> usize {
        let tickets = self.spent.len() + self.revoked.len() + self.missed.len();
        self.records.len() + tickets as usize
    }

    fn each_in_one_set(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        let live = self.live_sessions().map(|visitor| (visitor, "sessions"));
        let sets = [(&self.line, "line"), (&self.returns, "returns"), (&self.turns, "turns")];
        let waiting =
            sets.into_iter().flat_map(|(set, name)| set.iter().map(move |(_, visitor)| (visitor, name)));
        for (visitor, name) in waiting.chain(live) {
            if !seen.insert(visitor) {
                return Err(format!("{visitor} is in {name} and elsewhere"));
            }
            if !self.records.contains_key(&visitor) {
                return Err(format!("{visitor} is in {name} without a record"));
            }
        }
        Ok(())
    }

    fn records_match(&self) -> Result<(), String> {
        let sets = [&self.line, &self.returns, &self.turns, &self.sessions];
        match self.records.keys().find(|visitor| sets.iter().all(|set| !set.contains(visitor))) {
            Some(visitor) => Err(format!("{visitor} is in no set, but its record is kept")),
            None => Ok(()),
        }
    }

    fn live_sessions(&self) -> impl Iterator<Item = VisitorId> {
        let over = self.clock().0;
        self.sessions.iter().filter(move |(ends, _)| *ends > over).map(|(_, visitor)| visitor)
    }
}
