//! What a flood costs the store, and that limits hold over all edges together.

use super::Fleet;
use crate::site::until;

#[tokio::test]
async fn first_contacts_while_others_wait_write_nothing() {
    let many = "[room.e1.limits]\nper_client = { per_second = 100000, burst = 100000 }";
    let fleet = Fleet::open(2, &format!("total_active_users = 1\n{many}")).await;
    fleet.edges[0].visitor().visit("/").await;
    let mut waiting = fleet.edges[0].visitor();
    waiting.join().await;
    let _screen = waiting.watch().await;
    until("both edges know", || fleet.edges.iter().all(|edge| edge.counts().waiting == 1)).await;
    until("the line was measured", || {
        fleet.edges[1].hall().known().is_some_and(|known| known.ruler.is_some())
    })
    .await;
    let cost =
        || (fleet.number(&["DBSIZE"]), fleet.in_line(), fleet.number(&["HLEN", "vestibule:{e1}:owner"]));
    let before = cost();
    for request in 0..1000 {
        let edge = &fleet.edges[request % 2];
        assert!(edge.visitor().visit("/").await.is_page());
    }
    assert_eq!(cost(), before);
}

#[tokio::test]
async fn the_slots_of_a_room_are_counted_over_all_edges() {
    let fleet = Fleet::open(3, "total_active_users = 5").await;
    for request in 0..15 {
        fleet.edges[request % 3].visitor().visit("/").await;
    }
    assert_eq!(fleet.origin.requests().len(), 5);
    assert_eq!(fleet.edges[0].survey().await.active, 5);
}
