//! A store that does not answer for a while.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use room::queue::Leave;
use room::time::Micros;
use room::wire::State;
use vestibule::hall::Reach;

use super::{Fleet, MANY, Waiter, later, shopper};
use crate::site::{Site, Visitor, until};

const SHORT: &str = "session_duration = \"4s\"\nsession_max = \"1m\"\nsettle_window = \"0s\"\n\
    new_users_per_minute = 6000";

/// How the store is taken away, and given back.
#[derive(Debug, Clone, Copy)]
enum Outage {
    /// It stops, and goes on with all it had.
    Stopped,
    /// It dies, and comes back empty.
    Killed,
}

impl Outage {
    fn begin(self, fleet: &mut Fleet) {
        match self {
            Self::Stopped => fleet.redis.freeze(),
            Self::Killed => fleet.redis.kill(),
        }
    }

    /// Returns when every edge has a store again that gives turns.
    async fn end(self, fleet: &mut Fleet) {
        let before = fleet.lives();
        match self {
            Self::Stopped => {
                fleet.redis.thaw();
                fleet.reach(Reach::Here).await;
            }
            Self::Killed => {
                fleet.redis.restart();
                fleet.heal(&before).await;
            }
        }
        fleet.told().await;
    }
}

/// Shops for so long; every request must come through.
async fn shop(shoppers: &mut [Visitor], span: Duration) {
    let began = Instant::now();
    while began.elapsed() < span {
        for shopper in &mut *shoppers {
            assert_eq!(shopper.visit("/buy").await.shows(), "GET /buy", "after {:?}", began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn whoever_is_inside_goes_on_through_an_outage_longer_than_their_sessions_and_keeps_the_slot() {
    let through = async |outage: Outage| {
        let room = format!(
            "total_active_users = 2\nsession_duration = \"8s\"\nsession_max = \"1m\"\n\
             settle_window = \"0s\"\nnew_users_per_minute = 6000\n{MANY}"
        );
        let mut fleet = Fleet::open(2, &room).await;
        let mut inside = [shopper(&fleet.edges[0]).await, shopper(&fleet.edges[1]).await];
        let mut next = Waiter::at(&fleet.edges[0]).await;
        shop(&mut inside, Duration::from_secs(1)).await;
        outage.begin(&mut fleet);
        // An edge may extend by one more duration, so there is time for the store to come back.
        let granted = ends_of(&fleet, &inside).into_iter().max().unwrap();
        while fleet.edges[0].hall().now() <= Micros::from_secs(granted) {
            shop(&mut inside, Duration::from_millis(100)).await;
        }
        let ends = ends_of(&fleet, &inside);
        assert!(ends.iter().all(|&ends| ends > granted), "{outage:?}: {ends:?} after {granted}");
        outage.end(&mut fleet).await;
        let survey = fleet.edges[0].hall().link.survey(false).await.unwrap();
        let (clock, last) = (survey.head.clock, *ends.iter().min().unwrap());
        assert!(
            clock < Micros::from_secs(last),
            "{outage:?}: the store came back at {clock:?}, after {last}"
        );
        assert_eq!((survey.counts.active, survey.head.taken), (2, 2), "{outage:?}");
        shop(&mut inside, Duration::from_secs(9)).await;
        assert_eq!(next.visitor.status().await.state, State::Waiting, "{outage:?}: both slots are taken");
        let seen: HashSet<_> =
            fleet.origin.requests().iter().map(|request| request.one("vestibule-visitor")).collect();
        assert_eq!(seen.len(), 2, "{outage:?}");
        next.screen.close().await;
    };
    tokio::join!(through(Outage::Stopped), through(Outage::Killed));
}

/// When the sessions end by the passes that these visitors hold, in seconds.
fn ends_of(fleet: &Fleet, visitors: &[Visitor]) -> Vec<u64> {
    let edge = &fleet.edges[0];
    visitors.iter().map(|visitor| pass_of(edge, visitor, edge.hall().now()).expires_at_secs).collect()
}

#[tokio::test]
async fn an_edge_extends_a_session_by_one_duration_and_no_further() {
    let mut fleet = Fleet::open(2, &format!("total_active_users = 1\n{SHORT}\n{MANY}")).await;
    let mut inside = shopper(&fleet.edges[0]).await;
    // Read as of now, however late: the last pass may be over a moment after it was given.
    let entered = fleet.edges[0].hall().now();
    let granted = pass_of(&fleet.edges[0], &inside, entered).expires_at_secs;
    Outage::Stopped.begin(&mut fleet);
    fleet.reach(Reach::Away).await;
    let edge = &fleet.edges[0];
    let mut last = granted;
    let ended = tokio::time::timeout(Duration::from_secs(20), async {
        // At the edges in turn: what one extended, the other does not extend once more.
        for request in 0.. {
            inside.edge = fleet.edges[request % 2].address;
            if inside.visit("/buy").await.is_page() {
                return;
            }
            last = last.max(pass_of(edge, &inside, entered).expires_at_secs);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    ended.await.expect("the pass ends");
    assert!((1..=4).contains(&(last - granted)), "{last} after {granted}");
    fleet.redis.thaw();
}

fn pass_of(edge: &Site, visitor: &Visitor, now: Micros) -> room::token::Pass {
    edge.ring().pass(visitor.pass().unwrap(), now).unwrap()
}

#[tokio::test]
async fn places_that_are_earned_while_the_store_is_away_are_there_when_it_is_back() {
    let through = async |outage: Outage| {
        let mut fleet =
            Fleet::open(2, &format!("total_active_users = 1\nsettle_window = \"0s\"\n{MANY}")).await;
        let mut holder = shopper(&fleet.edges[0]).await;
        let mut before = Waiter::at(&fleet.edges[0]).await;
        outage.begin(&mut fleet);
        fleet.reach(Reach::Away).await;

        let mut early = fleet.edges[1].visitor();
        assert!(early.visit("/").await.is_page(), "stamped");
        later(&fleet.edges[0], &fleet.edges[1]).await;
        let mut late = fleet.edges[0].visitor();
        let joined = late.join().await;
        assert_eq!((joined.state, joined.position), (State::Securing, None));
        assert!(joined.message.unwrap().contains("Your place is kept"));
        later(&fleet.edges[1], &fleet.edges[0]).await;
        let page = early.visit("/").await;
        assert!(page.is_page() && page.text().contains("Your place is kept"), "{}", page.text());
        let mut screen = early.watch().await;
        screen.standing("that the place is kept", |standing| standing.message.is_some()).await;
        let ticket = |visitor: &Visitor| {
            let edge = &fleet.edges[0];
            edge.ring().ticket(visitor.ticket().unwrap(), edge.hall().now()).unwrap()
        };
        let (first, second) = (ticket(&early), ticket(&late));
        assert!(first.stamp < second.stamp && first.confirmed_at > second.confirmed_at);

        outage.end(&mut fleet).await;
        until("both have their places", || fleet.in_line() == 3).await;
        screen.standing("the second place", |s| s.position == Some(2) && s.message.is_none()).await;
        late.status_until("the third place", |standing| standing.position == Some(3)).await;
        assert_eq!(holder.call("POST leave").await.status, 204);
        before.screen.next_of("queue.turn").await;
        assert_eq!(before.visitor.call("POST leave").await.status, 204);
        screen.next_of("queue.turn").await;
    };
    tokio::join!(through(Outage::Stopped), through(Outage::Killed));
}

#[tokio::test]
async fn a_room_that_holds_gives_no_turns_while_the_store_is_away() {
    let mut fleet = Fleet::open(2, &format!("total_active_users = 10\n{SHORT}\n{MANY}")).await;
    fleet.redis.kill();
    fleet.reach(Reach::Away).await;
    let mut waiters = Vec::new();
    for edge in &fleet.edges {
        assert!(edge.visitor().visit("/").await.is_page(), "nobody is let in");
        waiters.push(Waiter::at(edge).await);
    }
    let began = Instant::now();
    // Longer than a room that goes on alone would wait.
    while began.elapsed() < Duration::from_secs(5) {
        for waiter in &mut waiters {
            assert!(waiter.visitor.visit("/in").await.is_page());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(fleet.edges.iter().all(|edge| edge.hall().reach() == Reach::Away));
    Outage::Killed.end(&mut fleet).await;
    for waiter in &mut waiters {
        waiter.screen.next_of("queue.turn").await;
    }
}

#[tokio::test]
async fn a_store_whose_memory_is_full_takes_no_places_and_still_gives_turns_and_sessions() {
    let fleet = Fleet::open(2, &format!("total_active_users = 1\nsettle_window = \"0s\"\n{MANY}")).await;
    let mut holder = shopper(&fleet.edges[0]).await;
    let mut first = Waiter::at(&fleet.edges[1]).await;
    let mut late = fleet.edges[0].visitor();
    assert!(late.visit("/").await.is_page(), "stamped");
    assert_eq!(fleet.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    let refused = late.call("POST join").await;
    assert_eq!((refused.status, refused.code()), (503, "store-unavailable".into()));
    assert_eq!(holder.call("POST leave").await.status, 204);
    first.screen.next_of("queue.turn").await;
    assert_eq!(first.visitor.visit("/in").await.shows(), "GET /in");
    assert!(fleet.edges.iter().all(|edge| edge.hall().reach() == Reach::Here), "it is not away");
    assert_eq!(fleet.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    late.join().await;
}

#[tokio::test]
async fn a_place_that_another_edge_gives_up_while_memory_is_full_is_taken_back_when_there_is_room() {
    let fleet = Fleet::open(2, &format!("total_active_users = 1\nsettle_window = \"0s\"\n{MANY}")).await;
    let [one, two] = &fleet.edges[..] else { panic!("two edges") };
    let mut holder = shopper(one).await;
    let mut waiter = Waiter::at(two).await;
    // Edges bring their people back after an outage: also one that a visitor has left for another.
    let arrivals = two.hall().hub.arrivals();
    one.hall().link.arrive(&arrivals).await.unwrap();
    until("the second edge knows the line", || two.counts().waiting == 1).await;
    assert_eq!(fleet.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    one.hall().link.leave(&[Leave::Absent(arrivals[0].visitor)]).await.unwrap();
    until("the second edge knows that the place is gone", || two.counts().waiting == 0).await;
    assert_eq!(fleet.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    until("the place is back", || fleet.in_line() == 1).await;
    assert_eq!(holder.call("POST leave").await.status, 204);
    waiter.screen.next_of("queue.turn").await;
}
