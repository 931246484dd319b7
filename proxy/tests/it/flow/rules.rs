//! Rooms that stand aside, refuse, hold everybody, or wait for their hour.

use std::time::Duration;

use room::wire::State;

use crate::site::Site;

#[tokio::test]
async fn a_suspended_room_and_a_passthrough_room_forward_everybody_without_a_pass() {
    for room in ["suspended = true", "queueing_method = \"passthrough\""] {
        let site = Site::open(&format!("total_active_users = 1\n{room}")).await;
        for _ in 0..3 {
            let answer = site.visitor().visit("/").await;
            assert_eq!((answer.shows().as_str(), answer.set_cookies().len()), ("GET /", 0), "{room}");
        }
        assert!(
            site.origin.requests().iter().all(|request| request.all("vestibule-pass").is_empty()),
            "{room}"
        );
        assert_eq!(site.survey().await.entered, 0, "{room}");
    }
}

#[tokio::test]
async fn a_room_that_rejects_answers_503_to_everybody() {
    let site = Site::open("queueing_method = \"reject\"").await;
    let page = site.visitor().visit("/").await;
    assert_eq!((page.status, page.set_cookies().len()), (503, 0));
    assert!(page.is_page());
    let answer = site.visitor().fetch("/").await;
    assert_eq!((answer.status, answer.code()), (503, "closed".into()));
    assert_eq!(site.visitor().call("POST join").await.status, 503);
    assert!(site.origin.requests().is_empty());
}

#[tokio::test]
async fn with_queue_all_everybody_waits_until_it_is_taken_back() {
    let site = Site::open("queue_all = true").await;
    let mut visitor = site.visitor();
    assert!(visitor.visit("/").await.is_page());
    visitor.call("POST join").await;
    site.pass_time(Duration::from_secs(10)).await;
    let standing = visitor.status().await;
    assert_eq!((standing.state, standing.position), (State::Waiting, Some(1)));
    site.reload("").await;
    visitor.status_until("the turn", |standing| standing.state == State::Turn).await;
}

/// A room that gathers visitors in 10 seconds, opens in 20 and closes in 60.
async fn scheduled(more: &str) -> Site {
    let site = Site::open("").await;
    let at = |secs: u64| (site.hall().now() + Duration::from_secs(secs)).to_rfc3339();
    let schedule = format!("prequeue_at = {}\nopens_at = {}\ncloses_at = {}", at(10), at(20), at(60));
    site.reload(&format!("{more}\n[room.e1.schedule]\n{schedule}")).await;
    site
}

#[tokio::test]
async fn before_its_hour_a_room_is_closed_then_gathers_then_opens_then_closes() {
    let site = scheduled("").await;
    let answer = site.visitor().fetch("/").await;
    assert_eq!((answer.status, answer.code()), (503, "closed".into()));
    assert_eq!(site.visitor().call("POST join").await.status, 503, "too early");

    site.pass_time(Duration::from_secs(11)).await;
    let mut early = site.visitor();
    let page = early.visit("/").await;
    assert!(page.is_page() && page.status == 200);
    early.call("POST join").await;
    let mut screen = early.watch().await;
    let standing = screen.standing("the pre-queue", |standing| standing.state == State::Prequeue).await;
    assert!(standing.opens_at.is_some() && standing.estimate.is_none());
    site.pass_time(Duration::from_secs(7)).await;
    let standing = early.status().await;
    assert_eq!(
        (standing.state, standing.position, standing.ahead),
        (State::Prequeue, None, None),
        "no places yet"
    );
    assert_eq!(site.survey().await.turns, 0);

    site.pass_time(Duration::from_secs(3)).await;
    screen.next_of("queue.turn").await;
    assert_eq!(early.visit("/").await.shows(), "GET /");

    site.pass_time(Duration::from_secs(40)).await;
    assert_eq!(site.visitor().fetch("/").await.code(), "closed");
    assert_eq!(early.visit("/").await.shows(), "GET /", "whoever is in goes on");
}

#[tokio::test]
async fn by_lot_everybody_who_came_early_gets_a_turn_and_later_ones_follow() {
    let site = scheduled("queueing_method = \"random\"\nnew_users_per_minute = 60\nburst = 1").await;
    site.pass_time(Duration::from_secs(11)).await;
    let mut early: Vec<_> = (0..8).map(|_| site.visitor()).collect();
    for visitor in &mut early {
        visitor.join().await;
    }
    site.pass_time(Duration::from_secs(9)).await;
    let mut late = site.visitor();
    late.call("POST join").await;
    site.pass_time_until("all turns of the early ones", || site.counts().admitted >= 8).await;
    for visitor in &mut early {
        assert_eq!(visitor.status().await.state, State::Turn);
    }
    assert_ne!(late.status().await.state, State::Expired);
}
