//! What an origin may say of the session it just served.

use std::time::Duration;

use crate::rig::{Origin, reply};
use crate::site::{Site, until};

/// Answers every path with the command it names, cached if it says so.
async fn commanding() -> Origin {
    Origin::with(|request| async move {
        let mut answer = reply(200, request.target.clone());
        if let Some(command) = request.target.strip_prefix("/say/") {
            answer.headers_mut().insert("vestibule-command", command.parse().unwrap());
        }
        answer
    })
    .await
}

#[tokio::test]
async fn release_and_revoke_end_the_session_and_free_the_slot() {
    for command in ["release", "revoke"] {
        let site = Site::before(commanding().await, "total_active_users = 1\ntrust_commands = true").await;
        let mut visitor = site.visitor();
        visitor.visit("/").await;
        let pass = visitor.pass().unwrap().to_owned();
        let last = visitor.visit(&format!("/say/{command}")).await;
        assert_eq!(last.status, 200);
        assert!(last.headers.get("vestibule-command").is_none(), "stripped");
        let refused =
            || async { site.visitor().with_cookie("vestibule_pass_e1", &pass).fetch("/kept").await };
        until("the edge heard of it", || site.hall().known().is_some_and(|known| known.head.seq > 0)).await;
        assert_eq!(refused().await.status, 503, "{command}");
        site.pass_time(Duration::from_secs(2)).await;
        assert_eq!(site.visitor().visit("/").await.shows(), "/", "the slot is free");
    }
}

#[tokio::test]
async fn an_origin_that_is_not_trusted_commands_nothing_and_is_stripped_all_the_same() {
    let site = Site::before(commanding().await, "").await;
    let mut visitor = site.visitor();
    visitor.visit("/").await;
    let answer = visitor.visit("/say/revoke").await;
    assert!(answer.headers.get("vestibule-command").is_none());
    site.pass_time(Duration::from_secs(1)).await;
    assert_eq!(visitor.visit("/").await.shows(), "/");
    assert_eq!(site.survey().await.active, 1);
}

#[tokio::test]
async fn an_unknown_command_does_nothing() {
    let site = Site::before(commanding().await, "trust_commands = true").await;
    let mut visitor = site.visitor();
    visitor.visit("/").await;
    visitor.visit("/say/explode").await;
    site.pass_time(Duration::from_secs(1)).await;
    assert_eq!(visitor.visit("/").await.shows(), "/");
}
