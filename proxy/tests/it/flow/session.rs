//! Sessions: renewed by use, ended by time or by leaving.

use std::time::Duration;

use room::token::Pass;
use room::wire::State;

use crate::site::{Site, Visitor, full, until};

fn pass_of(site: &Site, visitor: &Visitor) -> Pass {
    site.ring().pass(visitor.pass().unwrap(), site.hall().now()).unwrap()
}

#[tokio::test]
async fn a_session_slides_while_it_is_used_and_ends_at_its_cap() {
    let (site, mut holder) = full("session_duration = \"10s\"\nsession_max = \"25s\"").await;
    let first = pass_of(&site, &holder);
    let mut renewals = 0;
    for _ in 0..4 {
        site.pass_time(Duration::from_secs(6)).await;
        let before = holder.pass().unwrap().to_owned();
        assert_eq!(holder.visit("/").await.shows(), "GET /");
        renewals += usize::from(holder.pass() != Some(&before));
    }
    assert!(renewals >= 2, "the cookie is set again while the session is used");
    let last = pass_of(&site, &holder);
    assert_eq!((last.visitor, last.hard_cap_secs), (first.visitor, first.hard_cap_secs));
    assert_eq!(last.expires_at_secs, first.hard_cap_secs, "no renewal goes beyond the cap");
    site.pass_time(Duration::from_secs(3)).await;
    let expired = holder.visit("/").await;
    let is_anew = || pass_of(&site, &holder).visitor != first.visitor;
    assert!(expired.is_page() || is_anew(), "a visitor like any other");
}

#[tokio::test]
async fn a_session_that_is_not_used_ends_and_frees_its_slot() {
    let (site, mut holder) = full("session_duration = \"10s\"").await;
    let mut next = site.visitor();
    next.join().await;
    site.pass_time(Duration::from_secs(9)).await;
    assert_eq!(site.survey().await.active, 1);
    next.status().await;
    site.pass_time(Duration::from_secs(4)).await;
    next.status_until("the turn", |standing| standing.claim_expires_at.is_some()).await;
    assert!(holder.visit("/").await.is_page());
}

#[tokio::test]
async fn without_renewal_a_session_ends_by_its_time_however_it_is_used() {
    let (site, mut holder) = full("session_duration = \"10s\"\ndisable_session_renewal = true").await;
    let first = pass_of(&site, &holder);
    site.pass_time(Duration::from_secs(6)).await;
    assert_eq!(holder.visit("/").await.shows(), "GET /");
    assert_eq!(pass_of(&site, &holder).expires_at_secs, first.expires_at_secs);
    site.pass_time(Duration::from_secs(5)).await;
    assert!(holder.visit("/").await.is_page());
}

#[tokio::test]
async fn whoever_was_let_in_and_dropped_the_cookie_holds_the_slot_no_longer_than_the_confirm_window() {
    let (site, _never_back) = full("confirm_window = \"5s\"").await;
    let mut next = site.visitor();
    next.join().await;
    site.pass_time(Duration::from_secs(4)).await;
    assert_eq!(site.survey().await.active, 1);
    next.status().await;
    site.pass_time(Duration::from_secs(5)).await;
    next.status_until("the turn", |standing| standing.claim_expires_at.is_some()).await;
}

#[tokio::test]
async fn whoever_comes_back_with_the_pass_has_the_whole_session() {
    let (site, mut holder) = full("confirm_window = \"5s\"").await;
    assert_eq!(holder.visit("/").await.shows(), "GET /");
    site.pass_time(Duration::from_secs(60)).await;
    assert_eq!(holder.visit("/").await.shows(), "GET /");
}

#[tokio::test]
async fn leaving_frees_the_slot_and_the_pass_no_longer_opens_the_gate() {
    for call in ["DELETE leave", "POST leave"] {
        let (site, mut holder) = full("").await;
        let pass = holder.pass().unwrap().to_owned();
        let left = holder.call(call).await;
        assert_eq!((left.status, left.body.len()), (204, 0), "{call}");
        assert!(holder.pass().is_none(), "the cookie is taken away");
        let mut copy = site.visitor().with_cookie("vestibule_pass_e1", &pass);
        assert_eq!(copy.fetch("/kept").await.status, 503, "{call}: a copy of the pass is worth nothing");
        let mut other = site.visitor().with_cookie("vestibule_pass_e1", &pass);
        assert_eq!(other.call("GET status").await.status, 401, "{call}: nobody is in by it");
        site.pass_time(Duration::from_secs(2)).await;
        assert_eq!(site.survey().await.active, 0);
        assert_eq!(site.visitor().visit("/").await.shows(), "GET /", "the next one is let in");
        assert!(site.origin.requests().iter().all(|request| request.target != "/kept"));
    }
}

#[tokio::test]
async fn a_beacon_with_any_body_is_a_goodbye_too() {
    let (site, mut holder) = full("").await;
    let beacon = [("content-type", "text/plain;charset=UTF-8")];
    assert_eq!(holder.request("POST", "/_queue/leave", &beacon, "tab closed").await.status, 204);
    site.pass_time(Duration::from_secs(2)).await;
    assert_eq!(site.survey().await.active, 0);
}

#[tokio::test]
async fn whoever_is_in_and_joins_again_is_told_so() {
    let site = Site::open("").await;
    let mut visitor = site.visitor();
    visitor.join().await;
    visitor.status_until("the turn", |standing| standing.claim_expires_at.is_some()).await;
    let turn = visitor.call("POST join").await;
    assert_eq!((turn.status, turn.standing().state), (200, State::Turn));
    visitor.call("POST enter").await;
    let inside = visitor.call("POST join").await;
    assert_eq!((inside.status, inside.standing().state), (200, State::Admitted));
    let survey = site.survey().await;
    assert_eq!((survey.waiting, survey.active), (0, 1));
}

#[tokio::test]
async fn the_slots_are_never_more_than_the_limit() {
    let site = Site::open("total_active_users = 3").await;
    let mut inside = 0;
    for _ in 0..10 {
        inside += usize::from(site.visitor().visit("/").await.shows() == "GET /");
    }
    assert_eq!(inside, 3);
    until("the edge heard", || site.counts().active == 3).await;
}
