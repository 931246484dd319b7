//! A queue on the bench: one call a line, with a clock that only the test moves.

use std::sync::Arc;
use std::time::Duration;

use room::ids::{Incarnation, NodeId, TicketId, VisitorId};
use room::queue::{
    Arrival, Arrived, Caller, Change, Claim, Claimed, Event, Head, Leave, Now, Queue, Renewal, Renewed,
    Report, Restore, Session, Survey, Witness,
};
use room::rules::{Draft, Rules};
use room::time::Micros;

pub(crate) const START: Micros = Micros(1_767_225_600_000_000);

pub(crate) struct Bench {
    pub(crate) rules: Rules,
    pub(crate) queue: Queue,
    pub(crate) now: Micros,
    pub(crate) node: u8,
}

impl Bench {
    pub(crate) fn new(draft: Draft) -> Self {
        let rules = Rules::new(draft).unwrap();
        let queue = Queue::open(&rules, Now::at(START), &caller(0));
        Self { rules, queue, now: START, node: 0 }
    }

    pub(crate) fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    /// Ticks every 100 ms for `secs`; all turns given meanwhile.
    pub(crate) fn run(&mut self, secs: u64) -> Vec<VisitorId> {
        let mut given = Vec::new();
        for _ in 0..secs * 10 {
            self.wait(Duration::from_millis(100));
            given.extend(self.tick().turns.into_iter().map(|(visitor, _)| visitor));
        }
        given
    }

    pub(crate) fn tick(&mut self) -> Event {
        self.queue.admit(&self.rules, Now::at(self.now), &caller(self.node))
    }

    /// Presents ticket number `id` of visitor number `id`, as stamped now.
    pub(crate) fn arrive(&mut self, id: u32) -> Arrived {
        let stamp = self.now.0;
        self.present(id, id, stamp)
    }

    pub(crate) fn present(&mut self, visitor: u32, ticket: u32, score: u64) -> Arrived {
        self.show(visitor, ticket, score, true)
    }

    /// Presents the ticket of somebody whom the edge only remembers.
    pub(crate) fn remember(&mut self, visitor: u32, ticket: u32, score: u64) -> Arrived {
        self.show(visitor, ticket, score, false)
    }

    fn show(&mut self, visitor: u32, ticket: u32, score: u64, here: bool) -> Arrived {
        let arrival = Arrival {
            visitor: person(visitor),
            ticket: paper(ticket),
            score,
            confirmed_at: Micros(score),
            may_enter: true,
            may_wait: true,
            here,
        };
        self.queue.arrive(&self.rules, Now::at(self.now), &caller(self.node), &[arrival])[0]
    }

    pub(crate) fn claim(&mut self, visitor: u32, ticket: u32) -> Claimed {
        let claim = Claim { visitor: person(visitor), ticket: paper(ticket) };
        self.queue.claim(&self.rules, Now::at(self.now), &caller(self.node), &[claim])[0]
    }

    pub(crate) fn leave(&mut self, leave: Leave) -> Option<Event> {
        self.queue.leave(&self.rules, Now::at(self.now), &caller(self.node), &[leave])
    }

    pub(crate) fn renew(&mut self, id: u32, session: Session) -> Renewed {
        let renewal = Renewal { visitor: person(id), ticket: paper(id), session };
        self.queue.renew(&self.rules, Now::at(self.now), &caller(self.node), &[renewal])[0]
    }

    pub(crate) fn tune(&mut self, change: &Change) {
        self.queue.tune(&self.rules, Now::at(self.now), &caller(self.node), change).unwrap();
    }

    /// Closes the room to those who wait, so that a line can form in an empty room.
    pub(crate) fn pause(&mut self, paused: bool) {
        let paused = paused.then(Default::default);
        self.tune(&Change { paused: Some(paused), ..Change::default() });
    }

    /// The store forgets everything; the next call is by a caller who was told of `head` by edges 0 and 1.
    pub(crate) fn lose(&mut self, head: Head) {
        let witness = Witness { head, nodes: nodes(), control: self.queue.control().clone() };
        self.begin_anew(witness);
    }

    /// The store forgets everything; the next call is by a caller who knows this.
    pub(crate) fn begin_anew(&mut self, witness: Witness) {
        let knows = Caller { witness: Some(Arc::new(witness)), ..shared(self.node) };
        self.queue = Queue::open(&self.rules, Now::at(self.now), &knows);
        self.look_as(&knows);
    }

    /// A survey by somebody in particular.
    pub(crate) fn look_as(&mut self, caller: &Caller) -> Survey {
        self.queue.survey(&self.rules, Now::at(self.now), caller, false)
    }

    /// The edge reports to the life that it names.
    pub(crate) fn report(&mut self, items: &[Restore], complete: Option<Incarnation>) {
        let report = Report { items: items.to_vec(), complete };
        self.queue.restore(&self.rules, Now::at(self.now), &caller(self.node), &report);
    }

    pub(crate) fn check(&self) {
        assert_eq!(self.queue.check(), Ok(()));
    }
}

pub(crate) fn caller(node: u8) -> Caller {
    Caller {
        node: NodeId::from_random([node; 12]),
        fresh: incarnation(1),
        witness: None,
        hold: false,
        alone: true,
    }
}

/// Of a store that several edges share; what it begins is life 2.
pub(crate) fn shared(node: u8) -> Caller {
    Caller { fresh: incarnation(2), alone: false, ..caller(node) }
}

/// Edges 0 and 1.
pub(crate) fn nodes() -> Vec<NodeId> {
    vec![caller(0).node, caller(1).node]
}

pub(crate) fn incarnation(life: u8) -> Incarnation {
    Incarnation::from_random([life; 12])
}

pub(crate) fn person(number: u32) -> VisitorId {
    VisitorId::from_random(numbered(number))
}

pub(crate) fn paper(number: u32) -> TicketId {
    TicketId::from_random(numbered(number))
}

fn numbered(number: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes
}
