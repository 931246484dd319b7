//! Edges of two releases beside one another on one Redis, as while a fleet is replaced.

mod fleet;
pub(crate) mod present;
pub(crate) mod previous;
pub(crate) mod site;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::servers::RedisServer;
use fleet::{Fleet, OLD, PEOPLE};
use site::Site;

/// One step of one edge.
#[derive(Debug, Clone)]
struct Move {
    /// Microseconds before.
    after: u64,
    edge: usize,
    deed: Deed,
}

#[derive(Debug, Clone)]
enum Deed {
    Arrive(Vec<usize>),
    Tick,
    /// As many as have a turn, at most so many.
    Claim(usize),
    /// As many as are inside, at most so many.
    Renew(usize),
    End(usize),
    Away(usize),
    Message,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let after = prop_oneof![8 => 0_u64..900_000, 2 => 900_000_u64..2_000_000, 1 => 2_000_000_u64..5_000_000];
    let deed = prop_oneof![
        5 => btree_set(0..PEOPLE, 1..6).prop_map(|people| Deed::Arrive(people.into_iter().collect())),
        8 => Just(Deed::Tick),
        4 => (1_usize..5).prop_map(Deed::Claim),
        2 => (1_usize..4).prop_map(Deed::Renew),
        1 => (0..PEOPLE).prop_map(Deed::End),
        1 => (0..PEOPLE).prop_map(Deed::Away),
        1 => Just(Deed::Message),
    ];
    vec((after, 0_usize..4, deed).prop_map(|(after, edge, deed)| Move { after, edge, deed }), 1..80)
}

#[test]
fn edges_of_two_releases_keep_places_order_and_limits_together_in_any_history() {
    let server = RedisServer::start();
    let site = Site::of(&server);
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&moves(), |moves| {
        let mut fleet = Fleet::new(&site);
        for Move { after, edge, deed } in moves {
            fleet.wait(after);
            match deed {
                Deed::Arrive(people) => fleet.arrive(edge, &people),
                Deed::Tick => fleet.tick(edge),
                Deed::Claim(most) => fleet.claim(edge, most),
                Deed::Renew(most) => fleet.renew(edge, most),
                Deed::End(person) => fleet.end(edge, person),
                Deed::Away(person) => fleet.away(edge, person),
                Deed::Message => fleet.show_message(edge),
            }
            fleet.check()?;
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn an_emptied_store_gets_all_places_back_in_order_whichever_release_comes_first() {
    let server = RedisServer::start();
    let site = Site::of(&server);
    for order in [[0, OLD, 1, OLD + 1], [OLD, 0, OLD + 1, 1]] {
        let mut fleet = Fleet::new(&site);
        let crowd: Vec<usize> = (0..PEOPLE).collect();
        let looked_after_by = |edge: usize| &crowd[edge * PEOPLE / 4..(edge + 1) * PEOPLE / 4];
        (0..4).for_each(|edge| fleet.arrive(edge, looked_after_by(edge)));
        for tick in 0..6 {
            fleet.go_on(tick % 4);
            fleet.check().unwrap();
        }
        let line = fleet.line();
        assert!((3..PEOPLE).contains(&line.len()), "some wait: {line:?}");

        server.cli(&["FLUSHALL"]);
        fleet.forgotten();
        for edge in order {
            fleet.wait(300_000);
            let mine = looked_after_by(edge).iter().copied();
            let outside: Vec<usize> = mine.filter(|&person| !fleet.is_inside(person)).collect();
            fleet.arrive(edge, &outside);
        }
        let agreed = fleet.life();
        for tick in 0..300 {
            fleet.go_on(tick % 4);
            fleet.check_places().unwrap();
        }
        assert_eq!(fleet.served_since_forgotten(&line), line);
        assert_eq!(fleet.life(), agreed, "the edges agree on one life");
    }
}
