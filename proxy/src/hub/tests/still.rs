//! How often those are told whose line does not move.

use room::queue::Pause;

use super::*;

impl Line {
    /// The operator pauses the room.
    fn pause(&mut self) {
        self.known.control.paused = Some(Pause { since: self.now, reason: None });
    }

    /// How often each screen is told within so many seconds.
    fn told_within<const N: usize>(&mut self, secs: u32, screens: &[Arc<Mailbox>; N]) -> [usize; N] {
        let mut told = [0; N];
        for _ in 0..secs {
            self.measure_after(SECOND);
            told = std::array::from_fn(|at| told[at] + news(&screens[at]).len());
        }
        told
    }

    /// How long after the first update somebody at this place is told again.
    fn every_secs(&self, place: u64) -> u32 {
        let who = Who::InLine { score: score(place), stamp: Micros(score(place)), returning: false };
        self.view().tell(who, &mut Shown::default()).next_update_seconds
    }
}

#[test]
fn while_the_line_stands_still_those_far_behind_are_told_seldom_and_all_at_once_when_it_moves() {
    let mut line = Line::of(5_000);
    let places = [50, 500, 1_000, 4_900];
    line.pause();
    let screens = places.map(|place| line.watch(place));
    assert_eq!(line.told_within(60, &screens), [30, 6, 3, 2], "every 2, 10, 20 and 30 s");
    line.known.control.paused = None;
    line.hub.tell_all();
    line.tell();
    assert_eq!(screens.map(|screen| news(&screen).len()), [1; 4]);
}

#[test]
fn while_the_store_is_away_a_newcomer_is_told_as_seldom_as_the_last_of_the_line() {
    let mut line = Line::of(5_000);
    assert_eq!([50, 4_900].map(|place| line.every_secs(place)), [1, 60]);
    line.away = true;
    assert_eq!([50, 4_900].map(|place| line.every_secs(place)), [2, 30]);
    // Nobody has measured the line since they came.
    line.known.ruler_at = START;
    assert_eq!([50, 4_900].map(|place| line.every_secs(place)), [30, 30]);
    line.rules = Rules::new(Draft { claim_window: 20 * SECOND, ..Draft::default() }).unwrap();
    assert_eq!(line.every_secs(50), 10, "who only asks sleeps through no turn");
    line.rules = Rules::new(Draft::default()).unwrap();
    line.known.waiting = 500;
    assert_eq!(line.every_secs(50), 10);
    line.away = false;
    assert_eq!(line.every_secs(50), 2, "soon the place is known");
}

#[test]
fn who_is_early_is_told_seldom_and_within_a_second_of_the_opening() {
    let mut line = Line::of(5_000);
    let mut draft = Draft { new_users_per_minute: 60, ..Draft::default() };
    draft.schedule.opens_at = Some(line.now + 45 * SECOND);
    line.rules = Rules::new(draft).unwrap();
    let screens = [line.watch(50), line.watch(4_900)];
    assert_eq!(line.told_within(44, &screens), [1, 1]);
    line.measure_after(SECOND);
    assert_eq!(screens.map(|screen| position(&news(&screen)[0])), [51, 4_901]);
}

#[test]
fn a_hundred_thousand_who_stand_still_cost_less_than_four_thousand_updates_a_second() {
    let mut line = Line::of(100_000);
    line.pause();
    let a_second: f64 = (0..100_000).map(|place| f64::from(line.every_secs(place)).recip()).sum();
    assert!(a_second < 4_000.0, "{a_second:.0} updates a second");
}
