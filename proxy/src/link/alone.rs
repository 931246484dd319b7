//! A room that goes on at this edge alone, with its share of the limits, while the store is away.

use std::sync::Arc;

use room::queue::{Control, Head, Witness};
use store::Store;
use store::memory::{Clock, Memory};

/// Steps of a room's own life that may happen while its return is on the way.
const STEPS_UNDER_WAY: u64 = 1000;

/// The room's life at this edge.
pub(super) struct Alone {
    store: Arc<dyn Store>,
    /// What it began from.
    share: Arc<Witness>,
    /// The room as all edges shared it.
    shared: Arc<Witness>,
}

impl Alone {
    pub(super) fn begin(shared: Arc<Witness>, clock: Clock) -> Self {
        let store = Arc::new(Memory::with_clock(clock));
        Self { store, share: Arc::new(share_of(&shared)), shared }
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    pub(super) fn share(&self) -> Arc<Witness> {
        Arc::clone(&self.share)
    }

    /// What a store that answers again is told: this edge has gone on, so another life begins, in which every edge
    /// reports. But control is that of the whole room, and nobody else's place was passed by what was done here.
    pub(super) fn returning_with(&self, own: &Witness) -> Arc<Witness> {
        let head = Head {
            incarnation: self.shared.head.incarnation,
            step: own.head.step + STEPS_UNDER_WAY,
            front: self.shared.head.front,
            ..own.head
        };
        Arc::new(Witness { head, ..Witness::clone(&self.shared) })
    }
}

/// One edge's part of rate and slots: all parts together are the whole, or one each where there is not enough.
fn share_of(shared: &Witness) -> Witness {
    let edges = shared.nodes.len().max(1) as u32;
    let part = |whole: u32| (whole / edges).max(1);
    let control = Control {
        // Newer than what the file says.
        version: shared.control.version + 1,
        new_users_per_minute: part(shared.control.new_users_per_minute),
        total_active_users: part(shared.control.total_active_users),
        ..shared.control.clone()
    };
    // Nobody else reports to this life.
    let head = Head { taken: shared.head.taken / u64::from(edges), ..shared.head };
    Witness { head, nodes: Vec::new(), control }
}

#[cfg(test)]
mod tests {
    use super::*;
    use room::ids::{Incarnation, NodeId};
    use room::queue::{Caller, Now, Queue};
    use room::rules::{Draft, Rules};
    use room::time::Micros;

    fn shared(edges: u8, rate: u32, slots: u32) -> Arc<Witness> {
        let limits = Draft { new_users_per_minute: rate, total_active_users: slots, ..Draft::default() };
        let rules = Rules::new(limits).unwrap();
        let fresh = Incarnation::from_random([9; 12]);
        let node = |id| NodeId::from_random([id; 12]);
        let caller = Caller { node: node(0), fresh, witness: None, hold: false, alone: true };
        let queue = Queue::open(&rules, Now::at(Micros::from_secs(1_767_225_600)), &caller);
        let head = Head { front: 77, step: 5, taken: u64::from(slots), ..queue.head() };
        Arc::new(Witness { head, nodes: (0..edges).map(node).collect(), control: queue.control().clone() })
    }

    #[test]
    fn the_shares_of_all_edges_are_no_more_than_the_whole_and_at_least_one_each() {
        for (edges, rate, slots, share) in
            [(3, 1000, 500, (333, 166)), (3, 2, 1, (1, 1)), (0, 60, 7, (60, 7))]
        {
            let control = share_of(&shared(edges, rate, slots)).control;
            assert_eq!((control.new_users_per_minute, control.total_active_users), share);
        }
    }

    #[test]
    fn who_returns_brings_the_control_of_the_whole_room_and_passes_nobody() {
        let shared = shared(3, 600, 100);
        let alone = Alone::begin(Arc::clone(&shared), Box::new(|| Micros::ZERO));
        let head =
            Head { front: 999, step: 50, incarnation: Incarnation::from_random([1; 12]), ..shared.head };
        let own = Witness { head, nodes: Vec::new(), control: alone.share().control.clone() };
        let told = alone.returning_with(&own);
        assert_eq!((&told.control, &told.nodes), (&shared.control, &shared.nodes));
        assert_eq!((told.head.incarnation, told.head.front), (shared.head.incarnation, 77));
        assert!(told.head.step > 50);
    }
}
