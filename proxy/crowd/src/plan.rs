//! Who comes: every visitor's habits follow from the seed and the visitor's number alone.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::args::{Mix, Share};

/// One person, before anything happened.
#[derive(Debug)]
pub struct Person {
    pub id: u64,
    pub role: Role,
    /// Sent as `X-Forwarded-For`.
    pub address: Option<Ipv4Addr>,
    pub dice: Dice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Visitor(Habits),
    Bot,
}

/// What this visitor does differently from the straight way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "habits that are had or not, in any mix")]
pub struct Habits {
    pub quirk: Quirk,
    /// Asks for the standing now and then instead of holding a socket.
    pub polls: bool,
    pub double_clicks: bool,
    /// Claims by `POST /_queue/enter` instead of loading the page again.
    pub enters_by_call: bool,
    /// Looks around inside to the end of the run instead of buying and leaving.
    pub stays: bool,
}

/// At most one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quirk {
    None,
    Leaves,
    DropsOff,
    Refreshes,
    NeverClaims,
}

/// Share of those who claim by call.
const ENTER_BY_CALL: Share = Share(0.3);

impl Person {
    pub fn new(id: u64, seed: u64, mix: &Mix, forwarded_for: bool) -> Self {
        let mut dice = Dice::new(seed, id);
        let role =
            if dice.chance(mix.bots) { Role::Bot } else { Role::Visitor(Habits::roll(&mut dice, mix)) };
        let address = forwarded_for.then(|| dice.private_address());
        Self { id, role, address, dice }
    }
}

impl Habits {
    pub(crate) fn roll(dice: &mut Dice, mix: &Mix) -> Self {
        Self {
            quirk: dice.quirk(mix),
            polls: dice.chance(mix.polling),
            double_clicks: dice.chance(mix.double_click),
            enters_by_call: dice.chance(ENTER_BY_CALL),
            stays: dice.chance(mix.stay),
        }
    }
}

/// Repeatable randomness of one person.
#[derive(Debug)]
pub struct Dice(fastrand::Rng);

impl Dice {
    pub fn new(seed: u64, id: u64) -> Self {
        // Neighbouring numbers must not make similar people: the golden ratio spreads them over the seeds.
        Self(fastrand::Rng::with_seed(seed ^ id.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    pub fn chance(&mut self, share: Share) -> bool {
        self.0.f64() < share.0
    }

    pub fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.0.u64(range))
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end.max(1))
    }

    /// 128 bits, as text: an idempotency key.
    pub fn key(&mut self) -> String {
        format!("{:032x}", self.0.u128(..))
    }

    pub(crate) fn private_address(&mut self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.0.u8(..), self.0.u8(..), self.0.u8(1..=254))
    }

    fn quirk(&mut self, mix: &Mix) -> Quirk {
        let mut rest = self.0.f64();
        let quirks = [
            (mix.leave, Quirk::Leaves),
            (mix.dropoff, Quirk::DropsOff),
            (mix.refresh, Quirk::Refreshes),
            (mix.no_show, Quirk::NeverClaims),
        ];
        for (share, quirk) in quirks {
            if rest < share.0 {
                return quirk;
            }
            rest -= share.0;
        }
        Quirk::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(bots: f64, quirks: f64) -> Mix {
        let [bots, each] = [Share(bots), Share(quirks)];
        Mix {
            bots,
            leave: each,
            dropoff: each,
            refresh: each,
            no_show: each,
            double_click: each,
            polling: each,
            stay: each,
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_people() {
        let people = |seed| -> Vec<_> {
            (0..50)
                .map(|id| Person::new(id, seed, &mix(0.1, 0.1), true))
                .map(|person| (person.role, person.address))
                .collect()
        };
        assert_eq!(people(7), people(7));
        assert_ne!(people(7), people(8));
    }

    #[test]
    fn shares_are_met_within_chance() {
        let people: Vec<_> = (0..4000).map(|id| Person::new(id, 1, &mix(0.1, 0.2), false)).collect();
        let bots = people.iter().filter(|person| person.role == Role::Bot).count();
        assert!((300..500).contains(&bots), "{bots}");
        let leavers = people
            .iter()
            .filter(|person| matches!(person.role, Role::Visitor(h) if h.quirk == Quirk::Leaves));
        assert!((600..840).contains(&leavers.count()));
    }
}
