//! A store that lost its data, or some of it, gets everything back from what edges and people hold.

use std::time::Duration;

use room::queue::{Arrival, Arrived, Change, PauseRequest, Renewed, Restore, SETTLE, SETTLE_BLANK, Session};
use room::rules::{Draft, Rules};
use store::Store;

use crate::support::scene::{Edge, Scene, given};
use crate::support::world::{node, waiter};

const INSIDE: u32 = 200;
const SECOND: Duration = Duration::from_secs(1);

/// A hundred turns a second, into two hundred slots.
fn rules() -> Rules {
    Rules::new(Draft {
        new_users_per_minute: 6000,
        total_active_users: INSIDE,
        session_duration: Duration::from_secs(60),
        confirm_window: Duration::from_secs(30),
        ..Draft::default()
    })
    .unwrap()
}

/// A room that is full: the first two hundred are inside, at both edges by turns, and three hundred wait.
async fn full_room() -> (Scene, Vec<Edge>, Vec<Vec<Arrival>>, Vec<(Arrival, Session)>) {
    let (scene, mut edges) = Scene::with(rules(), 2).await;
    let crowd: Vec<Arrival> = (1..=500).map(waiter).collect();
    let mine = |edge: u64| crowd.iter().copied().filter(|arrival| arrival.score % 2 == edge).collect();
    let theirs: Vec<Vec<Arrival>> = vec![mine(0), mine(1)];
    for (edge, arrivals) in edges.iter_mut().zip(&theirs) {
        scene.arrive(edge, arrivals).await;
    }
    let mut inside = Vec::new();
    while inside.len() < INSIDE as usize {
        scene.clock.advance(SECOND);
        let turns = given(&scene.tick(&mut edges).await);
        for (edge, arrivals) in edges.iter_mut().zip(&theirs) {
            let holders = arrivals.iter().filter(|arrival| turns.contains(&arrival.visitor));
            let holders: Vec<Arrival> = holders.copied().collect();
            let sessions = scene.claim(edge, &holders).await;
            assert_eq!(sessions.len(), holders.len());
            inside.extend(holders.into_iter().zip(sessions));
        }
    }
    let theirs = theirs.into_iter().map(|arrivals| {
        let waits = |arrival: &Arrival| inside.iter().all(|(entered, _)| entered.visitor != arrival.visitor);
        arrivals.into_iter().filter(waits).collect()
    });
    let theirs = theirs.collect();
    for edge in &mut edges {
        assert_eq!(scene.look(edge).await.counts.waiting, 300);
    }
    (scene, edges, theirs, inside)
}

#[tokio::test]
async fn a_full_room_that_was_emptied_is_whole_again_when_both_edges_have_reported() {
    let (scene, mut edges, theirs, inside) = full_room().await;
    let before = scene.look(&mut edges[0]).await;
    scene.server.cli(&["FLUSHALL"]);
    scene.clock.advance(SECOND);

    for (number, arrivals) in theirs.iter().enumerate() {
        let edge = &mut edges[number];
        let survey = scene.look(edge).await;
        assert_ne!(survey.head.incarnation, before.head.incarnation);
        assert!(survey.settling_until.is_some() && survey.head.seq >= before.head.seq);
        assert_eq!(survey.head.taken, u64::from(INSIDE), "the slots of the life before stay taken");
        // The last first: order is by stamp, whoever comes first.
        let mut arrivals = arrivals.clone();
        arrivals.reverse();
        let back = scene.arrive(edge, &arrivals).await;
        assert!(back.iter().all(|back| matches!(back, Arrived::Waiting(place) if !place.returning)));
        scene.report(edge, Vec::new()).await;
    }
    let survey = scene.look(&mut edges[0]).await;
    assert_eq!(survey.settling_until, None, "settled as soon as both have reported");
    assert_eq!((survey.counts.active, survey.counts.waiting), (200, 300));
    assert_eq!(survey.head.taken, 200);

    // Those inside keep their sessions and their tickets stay spent; the line goes on when they go.
    let (first, session) = inside[0];
    assert!(matches!(scene.renew(&mut edges[1], &first, session).await, Renewed::Session(_)));
    assert_eq!(scene.arrive(&mut edges[1], &[inside[1].0]).await, [Arrived::Session(inside[1].1)]);
    assert!(given(&scene.tick(&mut edges).await).is_empty());
    for (arrival, _) in &inside {
        scene.end(&mut edges[0], arrival).await;
    }
    assert_eq!(scene.arrive(&mut edges[1], &[inside[1].0]).await, [Arrived::Spent]);
    let mut turns = Vec::new();
    for _ in 0..4 {
        scene.clock.advance(SECOND);
        turns.extend(given(&scene.tick(&mut edges).await));
    }
    let mut line: Vec<Arrival> = theirs.concat();
    line.sort_by_key(|arrival| arrival.score);
    let line: Vec<_> = line.iter().map(|arrival| arrival.visitor).collect();
    assert_eq!(turns, line[..200]);
}

#[tokio::test]
async fn slots_that_nobody_reports_stay_taken_until_their_passes_are_over() {
    let (scene, mut edges, theirs, inside) = full_room().await;
    let (lost, kept): (Vec<_>, Vec<_>) = inside.into_iter().partition(|(arrival, _)| arrival.score % 2 == 1);
    // The second edge goes with the store.
    edges.truncate(1);
    scene.server.cli(&["FLUSHALL"]);
    scene.report(&mut edges[0], Vec::new()).await;
    scene.arrive(&mut edges[0], &theirs[0]).await;
    let survey = scene.look(&mut edges[0]).await;
    let settles = survey.settling_until.expect("the second edge has not reported");
    assert_eq!(settles, survey.head.clock + SETTLE);
    assert_eq!((survey.counts.active, survey.head.taken), (kept.len() as u64, 200));
    scene.wait(&mut edges, SETTLE.as_secs()).await;
    assert_eq!(scene.look(&mut edges[0]).await.settling_until, None);
    assert!(given(&scene.tick(&mut edges).await).is_empty(), "settled, and full");

    // A pass that comes by is no new slot, and one that is given back is free.
    assert!(matches!(scene.renew(&mut edges[0], &lost[0].0, lost[0].1).await, Renewed::Session(_)));
    assert_eq!(scene.look(&mut edges[0]).await.head.taken, 200);
    scene.end(&mut edges[0], &lost[0].0).await;
    scene.end(&mut edges[0], &kept[0].0).await;
    scene.clock.advance(2 * SECOND);
    assert_eq!(given(&scene.tick(&mut edges).await).len(), 2);

    // No pass of the life before is good any more: what nobody has shown is free.
    let passes = survey.head.clock + rules().session_duration + 2 * SECOND;
    scene.clock.advance((passes - SECOND).since(scene.clock.now()));
    let survey = scene.look(&mut edges[0]).await;
    assert!(survey.head.taken >= survey.counts.active + survey.counts.turns + lost.len() as u64 - 1);
    scene.clock.advance(SECOND);
    let survey = scene.look(&mut edges[0]).await;
    assert_eq!(survey.head.taken, survey.counts.active + survey.counts.turns);
}

#[tokio::test]
async fn an_older_copy_keeps_turns_sessions_and_spent_tickets_that_edges_remember() {
    let (scene, mut edges) = Scene::with(rules(), 2).await;
    let crowd: Vec<Arrival> = (1..=150).map(waiter).collect();
    scene.arrive(&mut edges[0], &crowd).await;
    scene.tick(&mut edges).await;
    let copy = scene.backup.save(&scene.room);

    scene.clock.advance(SECOND);
    let event = scene.tick(&mut edges).await;
    let turns = given(&event);
    assert_eq!(turns.len(), 50);
    let of = |turn: usize| crowd.iter().copied().find(|arrival| arrival.visitor == turns[turn]).unwrap();
    let entered = scene.claim(&mut edges[0], &[of(0), of(1)]).await;
    assert_eq!(entered.len(), 2);
    scene.end(&mut edges[0], &of(1)).await;
    let message = Change { message: Some(Some("soon".into())), ..Change::default() };
    let control = scene.tune(&edges[0], &message).await;
    let event = scene.tick(&mut edges).await;

    scene.backup.load(&scene.room, &copy);
    let survey = scene.look(&mut edges[1]).await;
    assert_ne!(survey.head.incarnation, event.head.incarnation);
    assert!(survey.head.seq >= event.head.seq && survey.head.front == event.head.front);
    assert_eq!(survey.control, control);
    assert_eq!((survey.counts.waiting, survey.counts.returning), (0, 50), "who was passed may come back");
    // The edge that saw them remembers all.
    let told = |turn| Restore::Turn { visitor: of(turn).visitor, ticket: of(turn).ticket };
    scene.report(&mut edges[0], (0..50).map(told).collect()).await;
    scene.report(&mut edges[1], Vec::new()).await;
    let survey = scene.look(&mut edges[0]).await;
    assert_eq!(survey.settling_until, None);
    assert_eq!((survey.counts.active, survey.counts.turns), (1, 148));
    let back = scene.arrive(&mut edges[1], &[of(0), of(1), of(2)]).await;
    assert!(
        matches!(back[..], [Arrived::Session(session), Arrived::Spent, Arrived::Turn(_)] if session == entered[0]),
        "{back:?}"
    );
    // What was lost cannot be read back.
    let lost = scene.store.missed(&scene.room, event.head.seq - 1).await.unwrap();
    assert_eq!(lost, None);
}

#[tokio::test]
async fn of_two_edges_that_know_differently_the_newer_knowledge_counts() {
    let (scene, mut edges) = Scene::with(rules(), 2).await;
    let crowd: Vec<Arrival> = (1..=150).map(waiter).collect();
    scene.arrive(&mut edges[0], &crowd).await;
    scene.tick(&mut edges).await;
    let older = scene.look(&mut edges[0]).await;
    // Only the second edge hears of the rest.
    let paused = PauseRequest { reason: Some("a “moment”".into()) };
    let change = Change { paused: Some(Some(paused)), new_users_per_minute: Some(600), ..Change::default() };
    let control = scene.tune(&edges[1], &change).await;
    scene.clock.advance(SECOND);
    let newest = scene.look(&mut edges[1]).await;
    assert!(newest.control.version > older.control.version);

    scene.server.cli(&["FLUSHALL"]);
    let first = scene.look(&mut edges[0]).await;
    assert_ne!(first.head.incarnation, newest.head.incarnation);
    assert_eq!(first.control.paused, None);
    let second = scene.look(&mut edges[1]).await;
    assert_eq!(second.head.incarnation, first.head.incarnation, "it adds what it knows to the same life");
    assert_eq!(second.control, control);
    assert!(second.head.seq >= newest.head.seq && second.head.step > newest.head.step);
    assert_eq!((second.head.front, second.head.taken), (newest.head.front, newest.head.taken));
    assert!(second.head.entry >= newest.head.entry && second.head.offer >= newest.head.offer);
    // The same, when the second is late: the life that began without it is over.
    scene.server.cli(&["FLUSHALL"]);
    let mut late = edges.pop().unwrap();
    scene.report(&mut edges[0], Vec::new()).await;
    scene.wait(&mut edges, SETTLE.as_secs()).await;
    let settled = scene.look(&mut edges[0]).await;
    assert_eq!(settled.settling_until, None);
    late.knows.answered(room::queue::Head { step: second.head.step + 500, ..second.head });
    let third = scene.look(&mut late).await;
    assert_ne!(third.head.incarnation, settled.head.incarnation);
    assert_eq!(third.settling_until, Some(third.head.clock + SETTLE));
    assert_eq!(third.control, control);
}

#[tokio::test]
async fn an_edge_that_knows_nothing_opens_a_room_and_lets_nobody_in_before_the_others_have_spoken() {
    let (scene, mut edges, _, inside) = full_room().await;
    scene.server.cli(&["FLUSHALL"]);
    let mut fresh = Edge::fresh(9);
    let newcomer = Arrival { may_enter: true, ..waiter(1000) };
    let survey = scene.look(&mut fresh).await;
    let blank = survey.head.incarnation;
    assert_eq!(survey.settling_until, Some(survey.head.clock + SETTLE_BLANK));
    assert!(matches!(scene.arrive(&mut fresh, &[newcomer]).await[..], [Arrived::Waiting(_)]));
    // Somebody with a pass of the life before comes to it first.
    let (first, session) = inside[0];
    assert!(matches!(scene.renew(&mut fresh, &first, session).await, Renewed::Session(_)));
    scene.clock.advance(SETTLE_BLANK / 2);
    let survey = scene.look(&mut edges[0]).await;
    assert_ne!(survey.head.incarnation, blank);
    assert_eq!((survey.head.taken, survey.counts.active), (200, 1));
    assert_eq!(survey.counts.waiting + survey.counts.returning, 1, "the newcomer keeps the place");
    assert!(survey.nodes.contains(&node(9)));
}

#[tokio::test]
async fn whom_a_new_life_let_in_before_the_old_one_was_known_takes_no_slot_of_the_old_one() {
    let (scene, mut edges, _, inside) = full_room().await;
    scene.server.cli(&["FLUSHALL"]);
    let mut fresh = Edge::fresh(9);
    scene.look(&mut fresh).await;
    // The old edges cannot be heard for longer than a room waits for them.
    scene.clock.advance(SETTLE_BLANK);
    let newcomer = Arrival { may_enter: true, ..waiter(1000) };
    assert!(matches!(scene.arrive(&mut fresh, &[newcomer]).await[..], [Arrived::LetIn(_)]));
    let survey = scene.look(&mut edges[0]).await;
    assert_eq!(survey.head.taken, u64::from(INSIDE) + 1);
    // One of the old sessions ends: that makes up for the newcomer, and frees nothing.
    scene.renew(&mut edges[0], &inside[0].0, inside[0].1).await;
    scene.end(&mut edges[0], &inside[0].0).await;
    scene.report(&mut edges[0], Vec::new()).await;
    for _ in 0..=SETTLE.as_secs() {
        scene.clock.advance(SECOND);
        assert!(given(&scene.tick(&mut edges[..1]).await).is_empty());
    }
    let survey = scene.look(&mut edges[0]).await;
    assert_eq!((survey.settling_until, survey.head.taken), (None, u64::from(INSIDE)));
}

#[tokio::test]
async fn sessions_of_an_older_copy_that_are_over_account_for_none_that_came_later() {
    let (scene, mut edges) = Scene::with(rules(), 2).await;
    let crowd: Vec<Arrival> = (1..=100).map(waiter).collect();
    scene.arrive(&mut edges[0], &crowd).await;
    scene.tick(&mut edges).await;
    let sessions = scene.claim(&mut edges[0], &crowd).await;
    assert_eq!(sessions.len(), 100);
    let copy = scene.backup.save(&scene.room);
    // Their sessions end, and a hundred others come in.
    for _ in 0..70 {
        scene.clock.advance(SECOND);
        scene.tick(&mut edges).await;
    }
    let others: Vec<Arrival> =
        (201..=300).map(|number| Arrival { score: scene.clock.now().0, ..waiter(number) }).collect();
    scene.arrive(&mut edges[1], &others).await;
    scene.tick(&mut edges).await;
    assert_eq!(scene.claim(&mut edges[1], &others).await.len(), 100);
    assert_eq!(scene.look(&mut edges[0]).await.head.taken, 100);

    scene.backup.load(&scene.room, &copy);
    // The edge that let the others in is gone.
    edges.truncate(1);
    scene.look(&mut edges[0]).await;
    for _ in 0..SETTLE.as_secs() {
        scene.clock.advance(SECOND);
        scene.tick(&mut edges).await;
    }
    let survey = scene.look(&mut edges[0]).await;
    assert_eq!(survey.settling_until, None);
    assert_eq!((survey.counts.active, survey.head.taken), (0, 100));
}

#[tokio::test]
async fn an_older_copy_is_found_out_although_others_have_used_it_already() {
    let (scene, mut edges) = Scene::with(rules(), 1).await;
    let copy = scene.backup.save(&scene.room);
    let lost = scene.tick(&mut edges).await;
    scene.backup.load(&scene.room, &copy);
    let mut fresh = Edge::fresh(9);
    for _ in 0..20 {
        scene.look(&mut fresh).await;
    }
    let survey = scene.look(&mut edges[0]).await;
    assert_ne!(survey.head.incarnation, lost.head.incarnation);
    assert!(survey.head.seq >= lost.head.seq);
}

#[tokio::test]
async fn an_older_copy_that_forgot_a_claim_sells_no_second_session_while_it_settles() {
    let (scene, mut edges) = Scene::with(rules(), 2).await;
    scene.arrive(&mut edges[0], &[waiter(1), waiter(2)]).await;
    assert_eq!(given(&scene.tick(&mut edges).await).len(), 2);
    let copy = scene.backup.save(&scene.room);
    scene.clock.advance(SECOND);
    let first = scene.claim(&mut edges[0], &[waiter(1)]).await;
    assert_eq!(first.len(), 1);

    scene.backup.load(&scene.room, &copy);
    scene.clock.advance(SECOND);
    // The other edge knows of the turns, and speaks first.
    scene.look(&mut edges[0]).await;
    scene.clock.advance(SECOND);
    assert_eq!(scene.claim(&mut edges[1], &[waiter(1), waiter(2)]).await, []);
    for edge in &mut edges {
        scene.report(edge, Vec::new()).await;
    }
    scene.clock.advance(SECOND);
    let sessions = scene.claim(&mut edges[1], &[waiter(1), waiter(2)]).await;
    assert_eq!((sessions.len(), sessions[0]), (2, first[0]));
}
