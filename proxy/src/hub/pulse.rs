//! Which sockets are asked when whether anybody is there: one wheel instead of a timer for each of them.

use std::sync::{Arc, Weak};

use crate::mailbox::Mailbox;

/// Each socket is asked this often; one slot of the wheel a second.
const SLOTS: u32 = 25;

/// Holds no socket open: one that ended is forgotten when its turn comes.
#[derive(Debug)]
pub(super) struct Pulse {
    slots: [Vec<Weak<Mailbox>>; SLOTS as usize],
    /// The second of the slot that was asked last.
    beat: u32,
}

impl Pulse {
    pub(super) fn new(now_secs: u32) -> Self {
        Self { slots: std::array::from_fn(|_| Vec::new()), beat: now_secs }
    }

    /// Asked for the first time a whole round later.
    pub(super) fn join(&mut self, mailbox: &Arc<Mailbox>) {
        if let Some(slot) = self.slots.get_mut((self.beat % SLOTS) as usize) {
            slot.push(Arc::downgrade(mailbox));
        }
    }

    /// Those to be asked now: each once, however long ago the last beat was.
    pub(super) fn beat(&mut self, now_secs: u32) -> Vec<Arc<Mailbox>> {
        let seconds = now_secs.saturating_sub(self.beat).min(SLOTS);
        let mut asked = Vec::new();
        for second in (now_secs - seconds + 1)..=now_secs {
            if let Some(slot) = self.slots.get_mut((second % SLOTS) as usize) {
                slot.retain(|mailbox| mailbox.upgrade().map(|mailbox| asked.push(mailbox)).is_some());
            }
        }
        self.beat = now_secs.max(self.beat);
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_socket_is_asked_every_25_seconds_and_none_that_ended() {
        let mut pulse = Pulse::new(100);
        let (stays, ends) = (Arc::new(Mailbox::default()), Arc::new(Mailbox::default()));
        pulse.join(&stays);
        pulse.join(&ends);
        drop(ends);
        let asked: Vec<(u32, usize)> = (101..=160)
            .map(|second| (second, pulse.beat(second).len()))
            .filter(|(_, asked)| *asked > 0)
            .collect();
        assert_eq!(asked, [(125, 1), (150, 1)]);
    }

    #[test]
    fn after_a_stop_each_is_asked_once() {
        let mut pulse = Pulse::new(100);
        let mailbox = Arc::new(Mailbox::default());
        pulse.join(&mailbox);
        assert_eq!(pulse.beat(1000).len(), 1);
        assert_eq!(pulse.beat(1000).len(), 0);
        assert_eq!(pulse.beat(1025).len(), 1);
    }
}
