//! What a store that lost its data, all of it or the newest, must not undo.

use std::time::{Duration, Instant};

use room::queue::{Change, PauseRequest};
use room::time::Micros;
use room::wire::State;
use vestibule::hall::Reach;

use super::{Fleet, HEALED, MANY, Waiter, shopper};
use crate::rig::soon;
use crate::site::{Site, Visitor, until, until_within};

const TIGHT: &str = "settle_window = \"0s\"\nnew_users_per_minute = 6000";

/// Two edges and a room for as many.
async fn fleet(slots: u32) -> Fleet {
    Fleet::open(2, &format!("total_active_users = {slots}\n{TIGHT}\n{MANY}")).await
}

#[tokio::test]
async fn what_the_operator_set_is_still_set_when_the_store_forgot_it() {
    let fleet = fleet(1).await;
    let pause = PauseRequest { reason: Some("the shop is slow".into()) };
    let change = Change {
        new_users_per_minute: Some(777),
        total_active_users: Some(33),
        paused: Some(Some(pause)),
        message: Some(Some("Back row only".into())),
        ..Change::default()
    };
    fleet.edges[0].tune(change).await;
    let control = fleet.edges[1].hall().link.survey(false).await.unwrap().control;
    assert_eq!(control.total_active_users, 33);
    let heard = || fleet.edges.iter().all(|edge| edge.hall().known().is_some_and(|k| k.control == control));
    until("both edges heard of it", heard).await;
    fleet.empty().await;
    for edge in &fleet.edges {
        assert_eq!(edge.hall().link.survey(false).await.unwrap().control, control);
    }
}

#[tokio::test]
async fn whoever_is_inside_still_has_a_slot_when_the_store_forgot_them() {
    let fleet = fleet(3).await;
    let mut inside = Vec::new();
    for index in 0..3 {
        inside.push(shopper(&fleet.edges[index % 2]).await);
    }
    let mut next = Waiter::at(&fleet.edges[0]).await;
    fleet.empty().await;
    let survey = fleet.edges[0].hall().link.survey(false).await.unwrap();
    assert_eq!((survey.counts.active, survey.head.taken), (3, 3));
    let since = fleet.edges[0].hall().known().unwrap().head;
    until("ten more ticks", || fleet.edges[0].hall().known().unwrap().head.seq >= since.seq + 10).await;
    assert_eq!(fleet.edges[0].survey().await.admitted, 0, "no slot is free");
    for shopper in &mut inside {
        assert_eq!(shopper.visit("/still").await.shows(), "GET /still");
    }
    assert_eq!(inside[2].call("POST leave").await.status, 204);
    next.screen.next_of("queue.turn").await;
}

#[tokio::test]
async fn slots_of_which_no_edge_tells_stay_taken_until_their_passes_have_expired() {
    let settings = format!(
        "total_active_users = 2\nsession_duration = \"12s\"\nconfirm_window = \"5s\"\n{TIGHT}\n{MANY}"
    );
    let mut fleet = Fleet::open(2, &settings).await;
    let mut shoppers = [shopper(&fleet.edges[1]).await, shopper(&fleet.edges[1]).await];
    let mut next = Waiter::at(&fleet.edges[0]).await;
    until("the edge knows", || fleet.edges[0].hall().known().is_some_and(|known| known.head.taken == 2))
        .await;
    fleet.edges.pop().unwrap().stop().await;
    let before = fleet.lives();
    assert_eq!(fleet.redis.cli(&["FLUSHALL"]), "OK");
    until_within("another life", HEALED, || fleet.lives() != before).await;
    let edge = &fleet.edges[0];
    let ends = pass_ends(edge, &shoppers[1]);
    let stays = &mut shoppers[0];
    stays.edge = edge.address;
    assert_eq!(stays.visit("/here").await.shows(), "GET /here");
    let survey = edge.hall().link.survey(false).await.unwrap();
    assert_eq!((survey.counts.active, survey.head.taken), (1, 2), "registered by the pass that came by");
    let found = tokio::time::timeout(Duration::from_secs(30), async {
        while next.visitor.status().await.state != State::Turn {
            assert_eq!(stays.visit("/here").await.shows(), "GET /here");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    found.await.expect("a turn when the passes have expired");
    assert!(edge.hall().now() > ends, "a third one came in while two may still be there");
    next.screen.next_of("queue.turn").await;
}

fn pass_ends(edge: &Site, visitor: &Visitor) -> Micros {
    let pass = edge.ring().pass(visitor.pass().unwrap(), edge.hall().now()).unwrap();
    Micros::from_secs(pass.expires_at_secs)
}

#[tokio::test]
async fn a_ticket_that_was_spent_buys_nothing_when_the_store_forgot_it() {
    let fleet = fleet(1).await;
    let mut buyer = fleet.edges[0].visitor();
    buyer.join().await;
    buyer.status_until("the turn", |standing| standing.state == State::Turn).await;
    assert_eq!(buyer.call("POST enter").await.status, 200);
    let (ticket, pass) = (buyer.ticket().unwrap().to_owned(), buyer.pass().unwrap().to_owned());
    let mut second = fleet.edges[0].visitor().with_cookie("vestibule_ticket_e1", &ticket);
    assert_eq!(buyer.call("POST leave").await.status, 204);
    fleet.empty().await;
    for edge in &fleet.edges {
        second.edge = edge.address;
        assert_eq!(second.call("POST enter").await.status, 410);
        let mut copy = edge.visitor().with("queue-pass", &pass);
        let ended = async {
            while copy.call("GET status").await.status != 401 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon("that the session was ended", ended).await;
    }
    assert_eq!((fleet.edges[0].survey().await.active, fleet.in_line()), (0, 0));
}

#[tokio::test]
async fn a_turn_that_was_told_can_be_claimed_when_the_store_forgot_it() {
    let fleet = fleet(1).await;
    let mut holder = shopper(&fleet.edges[0]).await;
    let mut first = Waiter::at(&fleet.edges[1]).await;
    let mut second = Waiter::at(&fleet.edges[0]).await;
    assert_eq!(holder.call("POST leave").await.status, 204);
    first.screen.next_of("queue.turn").await;
    let before = fleet.lives();
    assert_eq!(fleet.redis.cli(&["FLUSHALL"]), "OK");
    let claimed = tokio::time::timeout(HEALED, async {
        while first.visitor.visit("/in").await.shows() != "GET /in" {
            assert_eq!(first.visitor.status().await.state, State::Turn, "the turn is kept");
        }
    });
    claimed.await.expect("the turn is claimed");
    fleet.heal(&before).await;
    assert_eq!(second.visitor.status().await.state, State::Waiting);
    let survey = fleet.edges[0].survey().await;
    assert_eq!((survey.active, survey.turns, survey.admitted), (1, 0, 0));
    assert_eq!(first.visitor.call("POST leave").await.status, 204);
    second.screen.next_of("queue.turn").await;
}

#[tokio::test]
async fn a_store_that_comes_back_as_an_older_copy_brings_nobody_in_twice() {
    let mut fleet = fleet(2).await;
    let mut leaver = shopper(&fleet.edges[0]).await;
    let mut stayer = shopper(&fleet.edges[1]).await;
    let mut first = Waiter::at(&fleet.edges[0]).await;
    let mut second = Waiter::at(&fleet.edges[1]).await;
    assert_eq!(fleet.redis.cli(&["SAVE"]), "OK");
    let pass = leaver.pass().unwrap().to_owned();
    assert_eq!(leaver.call("POST leave").await.status, 204);
    first.screen.next_of("queue.turn").await;
    assert_eq!(first.visitor.visit("/in").await.shows(), "GET /in");

    let before = fleet.lives();
    fleet.redis.restart();
    let back = Instant::now();
    fleet.heal(&before).await;
    assert!(back.elapsed() < Duration::from_secs(8), "{:?}", back.elapsed());
    fleet.reach(Reach::Here).await;
    assert_eq!(fleet.in_line(), 1, "the copy had the first one in the line still");
    let survey = fleet.edges[0].hall().link.survey(false).await.unwrap();
    assert_eq!((survey.counts.waiting, survey.counts.turns, survey.counts.admitted), (1, 0, 2));
    for shopper in [&mut stayer, &mut first.visitor] {
        assert_eq!(shopper.visit("/still").await.shows(), "GET /still");
    }
    let mut copy = fleet.edges[1].visitor().with("queue-pass", &pass);
    assert_eq!(copy.call("GET status").await.status, 401, "whoever left does not come back with the copy");
    assert_eq!(second.visitor.status().await.state, State::Waiting, "two are inside");
    fleet.edges[0].tune(Change { total_active_users: Some(10), ..Change::default() }).await;
    second.screen.next_of("queue.turn").await;
}

#[tokio::test]
async fn a_pass_that_the_new_life_could_not_be_shown_is_shown_again() {
    let mut fleet = fleet(2).await;
    let mut inside = shopper(&fleet.edges[1]).await;
    // The only edge that knows of the session ends, and the store forgets.
    fleet.edges.pop().unwrap().stop().await;
    fleet.empty().await;
    inside.edge = fleet.edges[0].address;
    fleet.redis.freeze();
    assert_eq!(inside.visit("/slow").await.shows(), "GET /slow", "the pass is good by itself");
    fleet.redis.thaw();
    fleet.reach(Reach::Here).await;
    assert_eq!(inside.visit("/there").await.shows(), "GET /there");
    assert_eq!(fleet.edges[0].survey().await.active, 1, "it is shown to the store");
}
