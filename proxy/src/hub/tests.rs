//! Who is told when, over virtual time.

use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use room::budget::Budget;
use room::estimate::Forecast;
use room::ids::Incarnation;
use room::queue::{Control, Counts, FileValues, Head, Mode, Place};
use room::ruler::Ruler;
use room::rules::Draft;

use super::*;
use crate::mailbox::Mail;

mod moved;
mod still;

pub(super) const START: Micros = Micros(1_767_225_600_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// A room in which so many wait, one of them each ten microseconds of its scores.
pub(super) fn known(waiting: u64, ruler_at: Micros) -> Known {
    let head = Head {
        incarnation: Incarnation::from_random([1; 12]),
        seq: 1,
        step: 1,
        clock: ruler_at,
        front: 0,
        taken: 0,
        entry: Budget::default(),
        offer: Budget::default(),
    };
    let file = FileValues { new_users_per_minute: 60, total_active_users: 1000 };
    let control = Control {
        version: 1,
        new_users_per_minute: 60,
        total_active_users: 1000,
        paused: None,
        message: None,
        mode: Mode::Open,
        file,
    };
    let ruler = Ruler::measure(waiting, (0..waiting).map(score));
    Known {
        head,
        counts: Counts { waiting, ..Counts::default() },
        waiting,
        control,
        ruler: Some(Arc::new(ruler)),
        ruler_at,
        forecast: Forecast::default(),
        settling_until: None,
    }
}

fn score(place: u64) -> u64 {
    START.0 + place * 10
}

fn visitor(place: u64) -> VisitorId {
    let mut id = [7; 12];
    id[..8].copy_from_slice(&place.to_be_bytes());
    VisitorId::from_random(id)
}

/// One room at one edge, by a clock of its own.
struct Line {
    hub: Hub,
    room: RoomName,
    rules: Rules,
    known: Known,
    away: bool,
    now: Micros,
}

impl Line {
    fn of(waiting: u64) -> Self {
        let now = START + Duration::from_secs(100);
        let rules = Rules::new(Draft { new_users_per_minute: 60, ..Draft::default() }).unwrap();
        let room = "e1".parse().unwrap();
        Self { hub: Hub::of_parts(3), room, rules, known: known(waiting, now), away: false, now }
    }

    fn view(&self) -> View<'_> {
        let away = self.away;
        View { room: &self.room, rules: &self.rules, known: Some(&self.known), away, now: self.now }
    }

    fn keep(&self, place: u64, returning: bool) -> VisitorId {
        self.keep_by(place, returning, 1)
    }

    /// By an answer of the store that was given after the event of this number.
    fn keep_by(&self, place: u64, returning: bool, number: u64) -> VisitorId {
        let arrival = Arrival {
            visitor: visitor(place),
            ticket: TicketId::from_random([3; 12]),
            score: score(place),
            confirmed_at: START,
            may_enter: true,
            may_wait: true,
            here: true,
        };
        let arrived = Arrived::Waiting(Place { score: arrival.score, returning, new: true });
        let said = Said { arrived: &arrived, number, knows_all: true };
        self.hub.keep(arrival, Micros(arrival.score), said, self.now);
        arrival.visitor
    }

    /// By an answer to the edge that presented the ticket by itself.
    fn restate(&self, place: u64, number: u64) {
        let arrived = Arrived::Waiting(Place { score: score(place), returning: false, new: true });
        let said = Said { arrived: &arrived, number, knows_all: true };
        self.hub.restate(visitor(place), said, self.view());
    }

    /// The event of this number says that somebody is taken for absent.
    fn depart(&self, place: u64, number: u64) {
        let head = Head { seq: number, ..self.known.head };
        let event = Event { head, absent: vec![visitor(place)], ruler: None, ..self.event() };
        self.hub.hear(&event, self.view());
    }

    fn unheard(&self) -> Vec<VisitorId> {
        self.hub.unheard().iter().map(|arrival| arrival.visitor).collect()
    }

    /// Somebody at this place, from 0, with an open screen that has said where they are.
    fn watch(&self, place: u64) -> Arc<Mailbox> {
        let screen = Arc::new(Mailbox::default());
        assert!(self.hub.attach(self.keep(place, false), &screen, self.view()));
        assert_eq!(news(&screen).len(), 1);
        screen
    }

    /// Lets time pass, and the line be measured.
    fn measure_after(&mut self, span: Duration) {
        self.now = self.now + span;
        (self.known.head.clock, self.known.ruler_at) = (self.now, self.now);
        self.hub.hear(&self.event(), self.view());
        self.tell();
    }

    /// So many of those who came have gone, from the front.
    fn advance(&mut self, gone: u64, came: u64) {
        self.known.waiting = came - gone;
        self.known.ruler = Some(Arc::new(Ruler::measure(came - gone, (gone..came).map(score))));
    }

    fn tell(&self) {
        for part in 0..self.hub.parts() {
            while self.hub.tell_some(part, 2, self.view()) {}
        }
    }

    fn event(&self) -> Event {
        Event {
            head: self.known.head,
            counts: self.known.counts,
            control: self.known.control.clone(),
            turns: Vec::new(),
            lapsed: Vec::new(),
            revoked: Vec::new(),
            absent: Vec::new(),
            ruler: self.known.ruler.as_deref().cloned(),
            settling_until: None,
            nodes: Vec::new(),
        }
    }

    fn entries(&self) -> usize {
        self.hub.parts.iter().map(|shared| shared.lock().entries()).sum()
    }
}

/// What was said since the last look. (An update that is not fetched is replaced by the next.)
fn news(screen: &Mailbox) -> Vec<Mail> {
    let cx = Context::from_waker(Waker::noop());
    let next = || match screen.poll_mail(&cx) {
        Poll::Ready(mail) => Some(mail),
        Poll::Pending => None,
    };
    std::iter::from_fn(next).take(20).collect()
}

fn position(mail: &Mail) -> u64 {
    let Mail::Frame(frame) = mail else { panic!("a standing, not {mail:?}") };
    let json = frame.iter().position(|byte| *byte == b'{').unwrap();
    let standing: serde_json::Value = serde_json::from_slice(&frame[json..]).unwrap();
    standing["position"].as_u64().unwrap()
}

#[test]
fn each_is_told_again_after_two_percent_of_the_wait_whatever_the_others_are_due() {
    let mut line = Line::of(5_000);
    // One is admitted each second. Waits, and every so many seconds: 2 %, at most a minute.
    let screens =
        [(200, 4), (500, 10), (1_000, 20), (4_900, 60)].map(|(place, every)| (line.watch(place), every));
    let mut told = [0; 4];
    for _ in 0..120 {
        line.measure_after(SECOND);
        for ((screen, _), told) in screens.iter().zip(&mut told) {
            *told += news(screen).len();
        }
    }
    assert_eq!(told, screens.map(|(_, every)| 120 / every));
}

#[test]
fn a_ruler_that_comes_a_little_early_skips_nobody() {
    let mut line = Line::of(1_000);
    let screen = line.watch(20);
    let told: usize = (0..50)
        .map(|_| {
            line.measure_after(SECOND * 97 / 100);
            news(&screen).len()
        })
        .sum();
    assert_eq!(told, 50);
}

#[test]
fn of_the_first_hundred_each_change_is_told_and_nothing_else_before_its_time() {
    let mut line = Line::of(1_000);
    line.known.control.new_users_per_minute = 1;
    let (near, far) = (line.watch(80), line.watch(900));
    line.measure_after(SECOND);
    assert_eq!((news(&near).len(), news(&far).len()), (0, 0));
    line.advance(1, 1_000);
    line.measure_after(SECOND);
    assert_eq!(news(&near).iter().map(position).collect::<Vec<_>>(), [80]);
    assert_eq!(news(&far).len(), 0);
}

#[test]
fn whatever_happens_each_who_waits_has_one_entry_that_counts() {
    let mut line = Line::of(300);
    let screens: Vec<_> = (0..100).map(|place| line.watch(place)).collect();
    for _ in 0..200 {
        line.hub.tell_all();
        line.tell();
        line.measure_after(SECOND);
        line.hub.sweep(line.now, 0);
    }
    // Those of the last minute are still to be looked at, and pass.
    for _ in 0..70 {
        line.measure_after(SECOND);
        line.hub.sweep(line.now, 0);
    }
    assert!(line.entries() <= 2 * screens.len(), "{} entries", line.entries());
}

#[test]
fn everybody_is_told_at_once_when_the_room_changes_a_turn_too() {
    let line = Line::of(100);
    let (first, last) = (line.watch(0), line.watch(99));
    let turn = Event { turns: vec![(visitor(0), line.now + 60 * SECOND)], ruler: None, ..line.event() };
    assert_eq!(line.hub.hear(&turn, line.view()).turns, 1);
    assert_eq!((news(&first).len(), news(&last).len()), (1, 0));
    line.hub.tell_all();
    line.tell();
    assert_eq!((news(&first).len(), news(&last).len()), (1, 1));
}

#[test]
fn a_clock_that_was_set_back_by_an_hour_silences_nobody() {
    let mut line = Line::of(1_000);
    let screen = line.watch(500);
    line.now = line.now - 3600 * SECOND;
    line.known.ruler_at = line.now;
    line.hub.tell_all();
    line.tell();
    news(&screen);
    let mut told = 0;
    for _ in 0..60 {
        line.measure_after(SECOND);
        told += news(&screen).len();
    }
    assert!(told >= 6, "told {told} times in a minute");
}

#[test]
fn who_shows_no_screen_is_away_after_fifteen_seconds_and_whoever_shows_one_never() {
    let mut line = Line::of(10);
    let (polls, watches) = (line.keep(1, false), line.watch(2));
    let mut away = Vec::new();
    for second in 1..=40 {
        line.now = line.now + SECOND;
        away.extend(line.hub.sweep(line.now, 0).away.into_iter().map(|visitor| (visitor, second)));
    }
    assert_eq!(away, [(polls, 15)]);
    line.hub.detach(visitor(2), &watches, line.now);
    let gone = (1..=20).find(|_| {
        line.now = line.now + SECOND;
        !line.hub.sweep(line.now, 0).away.is_empty()
    });
    assert_eq!((gone, line.hub.len()), (Some(15), 0));
}

#[test]
fn who_shows_a_place_that_the_line_has_passed_is_doubtful_now_and_then() {
    let mut line = Line::of(100);
    let screens = [line.watch(10), line.watch(20)];
    let mut doubtful = Vec::new();
    for _ in 0..31 {
        line.now = line.now + SECOND;
        doubtful.extend(line.hub.sweep(line.now, score(10)).doubtful.iter().map(|arrival| arrival.visitor));
    }
    assert_eq!(doubtful, [visitor(10); 2]);
    drop(screens);
}

#[test]
fn a_place_that_was_given_up_since_the_store_answered_is_presented_again_until_it_says_so() {
    let line = Line::of(10);
    line.depart(1, 7);
    for number in [8, 7] {
        line.keep_by(1, false, number);
        assert_eq!(line.unheard(), [], "an answer as new as the event is good");
    }
    line.keep_by(1, false, 6);
    assert_eq!(line.unheard(), [visitor(1)]);
    line.restate(1, 6);
    assert_eq!(line.unheard(), [visitor(1)], "an older answer changes nothing");
    line.restate(1, 8);
    assert_eq!(line.unheard(), []);
    line.keep_by(2, false, 6);
    assert_eq!(line.unheard(), [], "nobody else is");
}

#[test]
fn who_goes_for_good_after_a_crossed_departure_is_not_presented_again() {
    let line = Line::of(10);
    line.depart(1, 7);
    line.keep_by(1, false, 6);
    line.hub.forget(visitor(1), Who::Expired, line.view());
    line.restate(1, 6);
    assert_eq!(line.unheard(), []);
    assert!(line.hub.parts.iter().all(|shared| shared.lock().unheard.is_empty()));
}

proptest! {
    #[test]
    fn positions_on_one_screen_never_grow_and_are_exact_for_the_first_hundred(
        place in 1_u64..3_000,
        steps in prop::collection::vec(0_u64..40, 1..60),
    ) {
        let mut line = Line::of(3_000);
        let screen = line.watch(place);
        let (mut gone, mut shown) = (0, place * 2);
        for step in steps {
            gone = (gone + step).min(place);
            line.advance(gone, 3_000);
            line.measure_after(SECOND);
            for mail in news(&screen) {
                let position = position(&mail);
                prop_assert!(position <= shown);
                shown = position;
            }
            let rank = place - gone + 1;
            if rank <= 100 && shown <= 100 {
                prop_assert_eq!(shown, rank);
            }
        }
    }
}

#[test]
fn whoever_has_no_open_screen_here_is_presented_again_as_somebody_who_is_only_remembered() {
    let line = Line::of(10);
    let screen = line.watch(0);
    line.keep(1, false);
    let here = |arrivals: Vec<Arrival>| arrivals.iter().map(|arrival| arrival.here).collect::<Vec<_>>();
    assert_eq!(here(line.hub.arrivals()), [true, false]);
    assert_eq!(here(line.hub.seen_here(&[visitor(0), visitor(1)], line.now)), [true, false]);
    line.hub.detach(visitor(0), &screen, line.now);
    assert_eq!(here(line.hub.arrivals()), [false, false]);
}
