//! Screens that move to another edge, which has told them nothing yet.

use vestibule::standing::Known;

use super::{Fleet, MANY, shopper};
use crate::site::until;

const ROOM: &str = "total_active_users = 1\nsettle_window = \"0s\"\nnew_users_per_minute = 6000";

#[tokio::test]
async fn whoever_moves_to_another_edge_is_told_no_larger_place_than_the_screen_shows() {
    let fleet = Fleet::open(2, &format!("{ROOM}\n{MANY}")).await;
    let [one, other] = &fleet.edges[..] else { panic!("two edges") };
    let _inside = shopper(one).await;
    one.visitor().join().await;
    let mut late = one.visitor();
    late.visit("/").await;
    let mut moving = one.visitor();
    moving.join().await;
    moving.status_until("the second place", |standing| standing.position == Some(2)).await;

    // Came before, and takes the place only now.
    late.join().await;
    late.status_until("the place of who came first", |standing| standing.position == Some(2)).await;
    let counted = |known: &Known| known.ruler.as_ref().is_some_and(|ruler| ruler.waiting() == 3);
    let heard = || other.hall().known().is_some_and(|known| counted(&known));
    until("the other edge has heard of all three", heard).await;
    moving.edge = other.visitor().edge;
    moving.status_until("a new screen is told the rank", |standing| standing.position == Some(3)).await;
    for call in ["GET status?room=e1&shown=2", "GET status?room=e1&shown=3", "GET status?shown=none&room=e1"]
    {
        assert_eq!(moving.call(call).await.standing().position, Some(2), "{call}");
    }
    let mut screen = moving.watch().await;
    let told = screen.standing("a place", |standing| standing.position.is_some()).await;
    assert_eq!(told.position, Some(2), "nor by a socket");
}
