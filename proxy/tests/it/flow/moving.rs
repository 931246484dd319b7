//! One visitor at two edges, as a balancer without memory sends them.

use std::time::Duration;

use room::wire::State;

use crate::site::{Site, full, pass_time_at, until};

#[tokio::test]
async fn whoever_polls_at_another_edge_now_and_then_keeps_the_place_at_the_first() {
    let (one, _holder) = full("").await;
    let two = one.beside("total_active_users = 1").await;
    let mut visitor = one.visitor();
    visitor.join().await;
    visitor.edge = two.address;
    visitor.status().await;
    visitor.edge = one.address;
    for _ in 0..8 {
        pass_time_at(&[&one, &two], Duration::from_secs(4)).await;
        visitor.status().await;
    }
    until("the second edge gave the visitor up", || two.hall().hub.is_empty()).await;
    assert_eq!(one.survey().await.waiting, 1, "the first edge still looks after the place");
    assert_eq!(visitor.status().await.position, Some(1));
}

#[tokio::test]
async fn whoever_polls_at_two_edges_in_turn_keeps_the_place() {
    let (one, _holder) = full("").await;
    let two = one.beside("total_active_users = 1").await;
    let mut visitor = one.visitor();
    visitor.join().await;
    for edge in [&one, &two, &one, &two, &one, &two] {
        visitor.edge = edge.address;
        visitor.status().await;
        pass_time_at(&[&one, &two], Duration::from_secs(9)).await;
        assert_eq!(one.survey().await.waiting, 1);
    }
}

#[tokio::test]
async fn whoever_looks_in_at_another_edge_and_goes_keeps_the_place_that_the_first_still_shows() {
    let (one, mut holder) = full("").await;
    let two = one.beside("total_active_users = 1").await;
    let mut visitor = one.visitor();
    visitor.join().await;
    let mut screen = visitor.watch().await;
    visitor.edge = two.address;
    visitor.status().await;
    for _ in 0..6 {
        pass_time_at(&[&one, &two], Duration::from_secs(5)).await;
    }
    until("the second edge gave the visitor up", || two.hall().hub.is_empty()).await;
    assert_eq!(one.survey().await.waiting, 1, "the open screen speaks for the visitor");
    holder.call("POST leave").await;
    pass_time_at(&[&one, &two], Duration::from_secs(2)).await;
    screen.next_of("queue.turn").await;
}

#[tokio::test]
async fn a_screen_whose_turn_was_claimed_at_another_edge_does_not_stay_open_for_ever() {
    let one = Site::open("claim_window = \"5s\"").await;
    let two = one.beside("claim_window = \"5s\"").await;
    let mut visitor = one.visitor();
    visitor.join().await;
    let mut screen = visitor.watch().await;
    screen.next_of("queue.turn").await;
    visitor.edge = two.address;
    assert_eq!(visitor.call("POST enter").await.status, 200);
    pass_time_at(&[&one, &two], Duration::from_secs(40)).await;
    assert_eq!(screen.closed().await, 1000);
}

#[tokio::test]
async fn a_screen_whose_place_was_given_back_at_another_edge_ends_once_the_line_has_passed_it() {
    let (one, mut holder) = full("").await;
    let two = one.beside("total_active_users = 1").await;
    let mut leaver = one.visitor();
    leaver.join().await;
    let mut screen = leaver.watch().await;
    one.visitor().join().await;
    leaver.edge = two.address;
    assert_eq!(leaver.call("POST leave").await.status, 204);
    holder.call("POST leave").await;
    pass_time_at(&[&one, &two], Duration::from_secs(20)).await;
    screen.standing("that it is over", |standing| standing.state == State::Expired).await;
    assert_eq!(screen.closed().await, 1000);
    assert_eq!(one.survey().await.waiting, 0, "nobody takes the place again");
}

#[tokio::test]
async fn a_turn_is_known_wherever_the_visitor_asks() {
    let (one, mut holder) = full("claim_window = \"1h\"").await;
    let two = one.beside("total_active_users = 1\nclaim_window = \"1h\"").await;
    let mut visitor = one.visitor();
    visitor.join().await;
    visitor.edge = two.address;
    visitor.status().await;
    holder.call("POST leave").await;
    pass_time_at(&[&one, &two], Duration::from_secs(2)).await;
    for edge in [&one, &two] {
        visitor.edge = edge.address;
        visitor.status_until("the turn", |standing| standing.state == State::Turn).await;
    }
}
