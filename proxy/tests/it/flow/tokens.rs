//! Tokens that are not what they should be, and those that come outside of cookies.

use std::time::Duration;

use room::ids::{Incarnation, TicketId, VisitorId};
use room::token::{Key, KeyRing, Pass, Ticket};

use crate::rig::Origin;
use crate::site::{Site, Visitor, full};

const TWO_ROOMS: &str = r#"
[room.e1]
upstream = ["http://ORIGIN"]
total_active_users = 1
match = [{ path = "/one" }]
[room.e2]
upstream = ["http://ORIGIN"]
total_active_users = 1
match = [{ path = "/two" }]
"#;

/// Tokens of every kind that must not count, each with a word in the cause that calls are told.
fn bad_tickets(site: &Site) -> Vec<(&'static str, String)> {
    let now = site.hall().now();
    let good = Ticket {
        room: "e1".parse().unwrap(),
        visitor: VisitorId::from_random([1; 12]),
        id: TicketId::from_random([2; 12]),
        stamp: now - Duration::from_secs(600),
        head_start_micros: 0,
        confirmed_at: Some(now),
        confirm_by: now + Duration::from_secs(60),
        expires_at_secs: now.as_secs() + 600,
    };
    let signed = site.ring().sign_ticket(&good);
    let mut tampered = signed.clone().into_bytes();
    let middle = tampered.len() / 2;
    tampered[middle] = if tampered[middle] == b'A' { b'B' } else { b'A' };
    let expired = Ticket { expires_at_secs: now.as_secs() - 1, ..good.clone() };
    vec![
        ("not a signed JWT", "garbage".into()),
        ("not a signed JWT", "a.b.c".into()),
        ("longer than", "x".repeat(2000)),
        ("signature", String::from_utf8(tampered).unwrap()),
        ("signature", strangers_ring(site).sign_ticket(&good)),
        ("expired", site.ring().sign_ticket(&expired)),
        ("not a signed JWT", site.ring().sign_pass(&pass(site, "e1"))),
    ]
}

/// Keys with our names and another secret.
fn strangers_ring(site: &Site) -> KeyRing {
    let keys = site.house.load().settings.keys.clone();
    let other = |(index, key): (usize, Key)| Key { secret: vec![index as u8 + 100; 32], ..key };
    KeyRing::new(&keys.into_iter().enumerate().map(other).collect::<Vec<_>>()).unwrap()
}

fn pass(site: &Site, room: &str) -> Pass {
    let now = site.hall_of(room).now().as_secs();
    Pass {
        room: room.parse().unwrap(),
        visitor: VisitorId::from_random([1; 12]),
        ticket: TicketId::from_random([2; 12]),
        expires_at_secs: now + 600,
        hard_cap_secs: now + 600,
        incarnation: Incarnation::from_random([0; 12]),
        granted_secs: None,
    }
}

#[tokio::test]
async fn a_bad_ticket_is_none_for_a_page_and_401_with_the_cause_for_a_call() {
    let (site, _holder) = full("").await;
    for (cause, token) in bad_tickets(&site) {
        let mut browser = site.visitor().with_cookie("vestibule_ticket_e1", &token);
        let page = browser.visit("/").await;
        assert!(page.is_page(), "{cause}");
        assert_ne!(browser.ticket(), Some(token.as_str()), "{cause}: a fresh ticket instead");
        for call in ["GET status", "POST enter", "DELETE leave"] {
            let mut app = site.visitor().with("queue-ticket", &token);
            let refused = app.call(call).await;
            assert_eq!((refused.status, refused.code()), (401, "no-ticket".into()), "{call} {cause}");
            let detail = refused.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(cause) && !detail.contains(&token), "{call}: {detail}");
        }
    }
    assert_eq!(site.survey().await.waiting, 0);
}

#[tokio::test]
async fn a_bad_pass_opens_nothing() {
    let (site, holder) = full("").await;
    let good = pass(&site, "e1");
    let now = site.hall().now().as_secs();
    let own = holder.pass().unwrap();
    let unsigned = format!("{}.", own.rsplit_once('.').unwrap().0);
    for token in [
        strangers_ring(&site).sign_pass(&good),
        site.ring().sign_pass(&Pass { expires_at_secs: now - 1, ..good.clone() }),
        site.ring().sign_pass(&pass_for_nowhere(&good)),
        unsigned,
        own.replace("eyJ", "eyK"),
        "garbage".into(),
    ] {
        for mut visitor in [
            site.visitor().with_cookie("vestibule_pass_e1", &token),
            site.visitor().with("queue-pass", &token),
            site.visitor().with("authorization", &format!("Bearer {token}")),
        ] {
            assert_eq!(visitor.fetch("/").await.status, 503, "{token}");
        }
    }
    assert_eq!(site.origin.requests().len(), 1, "only the holder was forwarded");
}

fn pass_for_nowhere(good: &Pass) -> Pass {
    Pass { room: "elsewhere".parse().unwrap(), ..good.clone() }
}

#[tokio::test]
async fn tokens_of_another_room_do_not_count_here() {
    let site = Site::with(Origin::start().await, TWO_ROOMS).await;
    let (mut one, mut two) = (site.visitor(), site.visitor());
    assert_eq!((one.visit("/one").await.status, two.visit("/two").await.status), (200, 200));
    let pass_of_one = one.cookies["vestibule_pass_e1"].clone();
    for name in ["vestibule_pass_e2", "vestibule_pass_e1"] {
        assert_eq!(site.visitor().with_cookie(name, &pass_of_one).fetch("/two").await.status, 503, "{name}");
    }
    assert_eq!(site.visitor().with("queue-pass", &pass_of_one).fetch("/two").await.status, 503);

    let mut waiting = site.visitor();
    assert_eq!(waiting.call("POST join?room=e1").await.status, 201);
    let ticket_of_one = waiting.cookies["vestibule_ticket_e1"].clone();
    let mut app = site.visitor().with("queue-ticket", &ticket_of_one);
    assert_eq!(app.call("GET status").await.standing().room.as_str(), "e1", "the token names the room");
    assert_eq!(app.call("GET status?room=e2").await.status, 401);
    let seen: Vec<_> = site.origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(seen, ["/one", "/two"]);
}

#[tokio::test]
async fn of_several_tickets_the_earliest_valid_one_wins() {
    let (site, _holder) = full("").await;
    let (mut early, mut late) = (site.visitor(), site.visitor());
    early.join().await;
    late.join().await;
    site.pass_time(Duration::from_secs(7)).await;
    let cookies = [
        format!("vestibule_ticket_e1=garbage; vestibule_ticket_e1={}", late.ticket().unwrap()),
        format!("__Host-vestibule_ticket_e1={}", early.ticket().unwrap()),
    ];
    let mut both = site.visitor().with("cookie", &cookies.join("; "));
    assert_eq!(both.status().await.position, Some(1));
}

/// A site whose own sign-in uses bearer values.
async fn app(site: &Site, authorization: &str) -> Visitor {
    let mut visitor = site.visitor();
    visitor.join().await;
    visitor.status_until("the turn", |standing| standing.claim_expires_at.is_some()).await;
    let token = visitor.call("POST enter").await.json()["token"].as_str().unwrap().to_owned();
    site.visitor().with("queue-pass", &token).with("authorization", authorization)
}

#[tokio::test]
async fn the_sites_own_authorization_passes_untouched() {
    let site = Site::open("").await;
    let jwt_of_another = "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIn0.c2ln";
    for own in ["Basic dXNlcjpwYXNz", "Bearer opaque-value", jwt_of_another] {
        let mut visitor = app(&site, own).await;
        assert_eq!(visitor.fetch("/").await.status, 200);
        let forwarded = site.origin.requests().pop().unwrap();
        assert_eq!(forwarded.one("authorization"), own);
        assert!(forwarded.all("queue-pass").is_empty(), "ours are not the site's business");
    }
}
