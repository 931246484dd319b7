use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::args::{Mix, Share};

/// A guest with everything around it; `at` is in milliseconds.
struct Play {
    guest: Guest,
    tally: Tally,
    meter: Meter,
    dates: Dates,
}

const MIX: Mix = Mix {
    bots: Share(0.0),
    leave: Share(0.0),
    dropoff: Share(0.0),
    refresh: Share(0.0),
    no_show: Share(0.0),
    double_click: Share(0.0),
    polling: Share(0.0),
    stay: Share(0.0),
};
/// Stamps are of this moment, in milliseconds.
const STAMPED: u64 = 1_020;

fn ms(millis: u64) -> Micros {
    Micros(millis * 1000)
}

fn token(stamp: u64) -> String {
    let id = "0f0f0f0f0f0f0f0f0f0f0f0f";
    let payload = format!(r#"{{"sub":"{id}","jti":"{id}","tkt":"{id}","stamp":{stamp},"exp":60}}"#);
    format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(payload))
}

fn standing(kind: &str, state: &str, position: u64, at: u64) -> String {
    let as_of = ms(at).to_rfc3339();
    format!(
        r#"{{"type":"{kind}","state":"{state}","position":{position},"next_update_seconds":2,"as_of":"{as_of}",
        "claim_expires_at":"1970-01-01T00:01:00.000Z"}}"#
    )
}

impl Play {
    /// Comes at 1 s.
    fn with(mix: &Mix) -> Self {
        let mut dice = Dice::new(1, 1);
        let habits = Habits::roll(&mut dice, mix);
        let guest = Guest::new(1, ms(1000), 0, habits, dice, None);
        Self { guest, tally: Tally::default(), meter: Meter::default(), dates: Dates::default() }
    }

    fn act(&mut self, act: impl FnOnce(&mut Guest, &mut Ground<'_>) -> Step) -> Step {
        let Self { guest, tally, meter, dates } = self;
        act(guest, &mut Ground { tally, meter, dates, began: Micros::ZERO, emptying: false })
    }

    fn answered(
        &mut self,
        status: u16,
        ticket: Option<&str>,
        pass: Option<&str>,
        body: &str,
        at: u64,
    ) -> Step {
        let retry_after = Duration::from_secs(1);
        let reply = Reply { status, keeps_alive: true, retry_after, ticket, pass, body: body.as_bytes() };
        self.act(|guest, ground| guest.answered(&reply, ms(at), ground))
    }

    fn heard(&mut self, text: &str, at: u64) -> Step {
        self.act(|guest, ground| guest.heard(text.as_bytes(), Span::at(ms(at)), ground))
    }

    fn wake(&mut self, at: u64) -> Step {
        self.act(|guest, ground| guest.wake(ms(at), ground.meter))
    }

    /// Waits on an open socket from 1.1 s on.
    fn waiting(mix: &Mix) -> Self {
        let mut play = Self::with(mix);
        assert_eq!(play.wake(1000), Step::Ask(Ask::Page));
        assert_eq!(play.answered(200, Some(&token(STAMPED)), None, "", 1040), Step::Ask(Ask::Join));
        let body = standing("", "securing", 50, 1050).replace("\"position\":50", "\"position\":null");
        assert_eq!(play.answered(201, None, None, &body, 1060), Step::Ask(Ask::Socket));
        assert_eq!(play.answered(101, None, None, "", 1100), Step::Stay);
        assert!(play.guest.is_watching());
        play
    }
}

#[test]
fn a_waiter_takes_a_place_waits_enters_and_leaves() {
    let mut play = Play::waiting(&MIX);
    assert_eq!(play.heard(&standing("queue.update", "waiting", 3, 2000), 2010), Step::Stay);
    assert_eq!(play.heard(&standing("queue.turn", "turn", 1, 3000), 3005), Step::Ask(Ask::Enter));
    assert_eq!(play.answered(200, None, Some(&token(0)), "", 3050), Step::Ask(Ask::Leave));
    assert_eq!(play.answered(204, None, None, "", 3060), Step::End);
    let story = &play.guest.story;
    assert_eq!((story.end, story.place.unwrap().stamp), (End::Served, Micros(STAMPED)));
    assert_eq!(story.arrival, Some(Span::new(ms(1000), ms(1040))));
    assert_eq!(story.joined, Some(Span::new(ms(1040), ms(1060))));
    assert_eq!((story.sightings.len(), story.last_waiting), (1, Some(ms(2000))));
    assert_eq!(story.turn, Some(Turn { seen: ms(3005), expires: Some(Micros::from_secs(60)) }));
    let entry = story.entries[0];
    assert_eq!((entry.span, entry.ended), (Span::new(ms(3005), ms(3050)), Some(ms(3050))));
}

#[test]
fn waits_are_counted_from_the_due_instant_however_late_the_first_request_was() {
    let mut play = Play::with(&MIX);
    play.wake(5000);
    play.answered(200, Some(&token(STAMPED)), None, "", 5040);
    play.answered(201, None, None, &standing("", "waiting", 3, 5000), 5060);
    let waited = play.tally.joined.quantile_ms(1.0).unwrap();
    assert!((4060.0..4130.0).contains(&waited), "{waited}");
}

#[test]
fn a_position_that_grows_on_one_screen_is_noted() {
    let mut play = Play::waiting(&MIX);
    for (position, at) in [(9, 2000), (9, 3000), (10, 4000), (4, 5000)] {
        play.heard(&standing("queue.update", "waiting", position, at), at);
    }
    let held: Vec<bool> = play.guest.story.sightings.iter().map(|seen| seen.held).collect();
    assert_eq!((play.guest.story.position_grew, held), (1, vec![false, true, false, false]));
}

#[test]
fn places_that_come_late_are_noted_and_their_lag_is_measured() {
    let mut play = Play::waiting(&MIX);
    play.heard(&standing("queue.update", "waiting", 9, 1100), 1110);
    play.heard(&standing("queue.update", "waiting", 9, 8000), 8110);
    let cadence = play.guest.story.cadence;
    assert_eq!((cadence.updates, cadence.worst_late.as_millis()), (2, 5000));
    assert_eq!(play.tally.lag.count(), 1, "what a new socket is told first was not pushed");
    assert!((110.0..112.0).contains(&play.tally.lag.quantile_ms(1.0).unwrap()));
}

#[test]
fn a_socket_that_falls_silent_is_given_up_and_tried_again_at_another_edge() {
    let mut play = Play::waiting(&MIX);
    play.heard(&standing("queue.update", "waiting", 9, 1100), 1110);
    let silent = play.guest.wake_at();
    assert!(silent > ms(30_000));
    assert_eq!(play.wake(silent.0 / 1000 + 1), Step::Rest);
    let again = play.guest.wake_at().0 / 1000 + 1;
    assert_eq!(play.wake(again), Step::Ask(Ask::Socket));
    play.answered(101, None, None, "", again + 6000);
    let story = &play.guest.story;
    assert_eq!((play.guest.edge, story.breaks.len(), story.absences.len()), (1, 1, 1));
    assert!(story.cadence.worst_late > Duration::from_secs(30), "silence is late");
}

#[test]
fn who_drops_off_comes_back_with_the_ticket_and_who_leaves_says_so() {
    let mut play = Play::waiting(&Mix { dropoff: Share(1.0), ..MIX });
    let off = play.guest.wake_at().0 / 1000 + 1;
    assert_eq!(play.wake(off), Step::Rest);
    let back = play.guest.wake_at().0 / 1000 + 1;
    assert!(back >= off + 2000);
    assert_eq!(play.wake(back), Step::Ask(Ask::Socket));
    play.answered(101, None, None, "", back + 10);
    assert_eq!(play.guest.story.absences, [Span::new(ms(off), ms(back + 10))]);

    let mut play = Play::waiting(&Mix { leave: Share(1.0), ..MIX });
    let leaves = play.guest.wake_at().0 / 1000 + 1;
    assert_eq!(play.wake(leaves), Step::Ask(Ask::Leave));
    assert_eq!(play.act(|guest, ground| guest.lost("deadline", ms(leaves + 9), ground.meter)), Step::End);
    assert_eq!((play.guest.story.end, play.guest.story.left_line), (End::Left, Some(ms(leaves))));
}

#[test]
fn a_lost_place_is_noted_in_every_way_it_is_lost() {
    let told = |state: &str| {
        let mut play = Play::waiting(&MIX);
        assert_eq!(play.heard(&standing("queue.update", state, 1, 2000), 2000), Step::End);
        play.guest.story.losses
    };
    assert_eq!((told("expired"), told("closed")), (vec![Loss::ToldExpired], vec![Loss::ToldClosed]));

    let mut refused = Play::waiting(&MIX);
    assert_eq!(refused.act(|guest, ground| guest.closed(Some(4401), ms(2000), ground.meter)), Step::End);
    assert_eq!(refused.guest.story.losses, [Loss::TicketRefused]);

    let mut restamped = Play::waiting(&MIX);
    restamped.act(|guest, ground| guest.closed(Some(1012), ms(2000), ground.meter));
    restamped.wake(3000);
    restamped.answered(101, Some(&token(STAMPED + 9)), None, "", 3010);
    assert_eq!(restamped.guest.story.losses, [Loss::Restamped]);

    let mut too_late = Play::waiting(&MIX);
    too_late.heard(&standing("queue.turn", "turn", 1, 3000), 3005);
    assert_eq!(too_late.answered(410, None, None, "", 3050), Step::End);
    assert_eq!(too_late.guest.story.losses, [Loss::TurnRefused]);
}

#[test]
fn refusals_are_asked_again_a_bounded_number_of_times() {
    let mut play = Play::with(&MIX);
    let mut at = 1000;
    let mut rests = 0;
    loop {
        assert_eq!(play.wake(at), Step::Ask(Ask::Page));
        match play.answered(429, None, None, "", at + 1) {
            Step::Rest => rests += 1,
            step => break assert_eq!(step, Step::End),
        }
        let wait = play.guest.wake_at().since(ms(at));
        assert!(wait >= Duration::from_secs(1), "as the answer asks");
        at = play.guest.wake_at().0 / 1000 + 1;
    }
    assert_eq!((rests, play.guest.story.end), (20, End::Failed));
}
