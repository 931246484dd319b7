//! Screens that come from another edge, which told them a place that is no longer right.

use super::*;

impl Line {
    /// So many who came before everybody else take their places only now.
    fn come_late(&mut self, late: u64) {
        let (first, here) = (score(0), self.known.waiting);
        let scores = (first - late..first).chain((0..here).map(score));
        self.known.waiting += late;
        self.known.ruler = Some(Arc::new(Ruler::measure(here + late, scores)));
    }

    /// What a screen is told first, which shows such a position already.
    fn move_in(&self, place: u64, shown: Option<u64>) -> (Arc<Mailbox>, u64) {
        let (visitor, screen) = (self.keep(place, false), Arc::new(Mailbox::default()));
        if let Some(position) = shown {
            self.hub.recall(visitor, position);
        }
        assert!(self.hub.attach(visitor, &screen, self.view()));
        let told = news(&screen).iter().map(position).collect::<Vec<_>>();
        (screen, told[0])
    }
}

#[test]
fn a_screen_that_comes_from_another_edge_is_told_no_larger_place_than_it_shows() {
    let (one, mut other) = (Line::of(1_000), Line::of(1_000));
    let (_, shown) = one.move_in(500, None);
    other.come_late(30);
    assert_eq!(other.move_in(500, None).1, 531, "a new screen is told the rank");
    let (screen, told) = other.move_in(500, Some(shown));
    assert_eq!((shown, told), (501, 501));
    // The line moves on: by less than came late, then by more.
    let mut later = Vec::new();
    for gone in [20, 60] {
        other.known.waiting = 1_030 - gone;
        let scores = (score(0) - 30..score(0)).chain((0..1_000).map(score)).skip(gone as usize);
        other.known.ruler = Some(Arc::new(Ruler::measure(1_030 - gone, scores)));
        other.measure_after(60 * SECOND);
        later.extend(news(&screen).iter().map(position));
    }
    assert_eq!(later, [501, 471]);
}

#[test]
fn who_asks_with_a_position_is_told_none_that_is_larger() {
    let mut line = Line::of(1_000);
    line.come_late(30);
    let visitor = line.keep(500, false);
    line.hub.recall(visitor, 501);
    assert_eq!(line.hub.look(visitor, line.view()).unwrap().position, Some(501));
    line.hub.recall(visitor, 900);
    assert_eq!(
        line.hub.look(visitor, line.view()).unwrap().position,
        Some(501),
        "nor by a page that is older"
    );
}

#[test]
fn who_claims_a_place_that_is_not_theirs_is_told_no_more_often() {
    let told_within_a_minute = |claims: Option<u64>| {
        let mut line = Line::of(5_000);
        let (screen, _) = line.move_in(2_000, claims);
        let told = |line: &mut Line| {
            line.measure_after(SECOND);
            news(&screen).len()
        };
        (0..60).map(|_| told(&mut line)).sum::<usize>()
    };
    let honest = told_within_a_minute(None);
    assert_eq!([1, 50, 1_000].map(|claimed| told_within_a_minute(Some(claimed))), [honest; 3]);
}
