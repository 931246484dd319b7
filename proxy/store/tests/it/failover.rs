//! Behind Sentinel: another server becomes primary, and calls and events follow it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use room::rules::Rules;
use store::redis::{Redis, RedisOptions, Topology};
use store::{Store, StoreError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::edge::{ask, heals, production};
use crate::support::fault_link::{FaultLink, Mode};
use crate::support::fleets::{MASTER, Sentinels};
use crate::support::servers::RedisServer;
use crate::support::world::{call, caller, eventually, new_room, waiter};

/// A promotion is followed within this.
const FOLLOWED: Duration = Duration::from_secs(2);

fn leads(server: &RedisServer) -> bool {
    server.cli(&["ROLE"]).starts_with("master")
}

/// Whether the room is at this server.
fn is_at(server: &RedisServer, key: &str) -> bool {
    server.cli(&["EXISTS", key]) == "1"
}

/// What the listener hears and what calls write is at the new primary, soon after it became that.
async fn follows(fault: &str, store: &Redis, fleet: &Sentinels, new: &RedisServer) {
    fleet.until("the replica is promoted", || leads(new));
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    let began = Instant::now();
    let mut heard = store.listen(&room);
    eventually("calls go to the new primary", FOLLOWED * 5, async || {
        store.arrive(call, &[waiter(1)]).await.ok()?;
        is_at(new, &format!("vestibule:{{{room}}}:state")).then_some(())
    })
    .await;
    println!("{fault}: calls followed {:?} after the promotion", began.elapsed());
    eventually("events come from the new primary", FOLLOWED * 5, async || {
        store.admit(call).await.ok()?;
        heard.try_recv().ok()
    })
    .await;
    println!("{fault}: events followed {:?} after the promotion", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_followed_there_and_back() {
    let mut fleet = Sentinels::start();
    let store = production(fleet.options()).await;
    fleet.primary.kill();
    follows("primary killed", &store, &fleet, &fleet.replica).await;
    // It comes back, follows, and is promoted in its turn.
    fleet.primary.restart();
    fleet.demote(&fleet.primary, &fleet.replica);
    fleet.replica.freeze();
    follows("primary frozen", &store, &fleet, &fleet.primary).await;
    fleet.replica.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_failover_is_followed() {
    let fleet = Sentinels::start();
    let store = production(fleet.options()).await;
    fleet.fail_over();
    follows("ordered failover", &store, &fleet, &fleet.replica).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_primary_that_goes_on_answering_is_left_for_the_new_one() {
    let fleet = Sentinels::start();
    for server in [&fleet.primary, &fleet.replica] {
        assert_eq!(server.cli(&["ACL", "SETUSER", "edge", "on", ">hush", "~*", "&*", "+@all"]), "OK");
    }
    let mut options = fleet.options();
    (options.username, options.password) = (Some("edge".into()), Some("hush".into()));
    let store = production(options).await;
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    store.arrive(call, &[waiter(1)]).await.unwrap();
    // The sentinels can no longer talk to the primary; the edge can, and nothing tells it.
    fleet.primary.cli(&["ACL", "SETUSER", "default", "-@all", "+role"]);
    fleet.until("the replica is promoted", || leads(&fleet.replica));
    assert!(leads(&fleet.primary), "two servers lead");
    follows("two primaries", &store, &fleet, &fleet.replica).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_are_slow_or_gone_hold_up_nobody() {
    let mut fleet = Sentinels::start();
    let mut links = Vec::new();
    for sentinel in fleet.sentinels() {
        links.push(FaultLink::start(([127, 0, 0, 1], sentinel.port()).into()).await);
    }
    let urls: Vec<String> = links.iter().map(|link| format!("redis://{}", link.address())).collect();
    // One of three says nothing from the start.
    links[0].set(Mode::STALL);
    let topology = Topology::Sentinel { urls, master: MASTER.into() };
    let store = production(RedisOptions::new(topology)).await;
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    for link in &links {
        assert_eq!(ask(&store, call).await.kind, "ok");
        link.set(Mode::STALL);
        for _ in 0..20 {
            let asked = ask(&store, call).await;
            assert!(asked.kind == "ok" && asked.took < Duration::from_millis(100), "{asked:?}");
        }
    }
    // Nobody knows who leads, and connections are lost: the last known is as good as any.
    fleet.kill_sentinels();
    fleet.primary.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    let asked = ask(&store, call).await;
    assert_eq!(asked.kind, "ok", "{asked:?}");
    fleet.primary.restart();
    heals("restart without sentinels", Duration::from_secs(1), &store, call).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_was_cut_off_leads_nobody_back() {
    let fleet = Sentinels::start();
    fleet.fail_over();
    fleet.demote(&fleet.primary, &fleet.replica);
    // It answers first, with what was true before.
    let mut urls = vec![format!("redis://{}", stale_sentinel(fleet.primary.port()).await)];
    let mut links = Vec::new();
    for sentinel in fleet.sentinels() {
        let link = FaultLink::start(([127, 0, 0, 1], sentinel.port()).into()).await;
        link.set(Mode::latency(Duration::from_millis(30)));
        urls.push(format!("redis://{}", link.address()));
        links.push(link);
    }
    let topology = Topology::Sentinel { urls, master: MASTER.into() };
    let store = production(RedisOptions::new(topology)).await;
    let (room, rules) = (new_room(), Rules::default());
    let call = call(&room, &rules, caller(0, None));
    for round in 0..40 {
        let asked = ask(&store, call).await;
        assert_eq!(asked.kind, "ok", "{asked:?}");
        if round == 20 {
            // Now it is the only one that answers.
            for link in &links {
                link.set(Mode::STALL);
            }
        }
        tokio::time::sleep_until((Instant::now() + Duration::from_millis(50)).into()).await;
    }
}

/// Says for ever that the primary is at this port, in the first epoch.
async fn stale_sentinel(port: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let fields = ["ip", "127.0.0.1", "port", &port.to_string(), "config-epoch", "0"];
    let told: Vec<String> = fields.iter().map(|field| format!("${}\r\n{field}\r\n", field.len())).collect();
    let told = told.concat();
    let told = format!("*{}\r\n{told}", fields.len());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let told = told.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                    let asked = String::from_utf8_lossy(&bytes[..length]).into_owned();
                    // Whatever else a client says first is fine.
                    let pleasantries = "+OK\r\n".repeat(asked.matches("SETINFO").count());
                    let told = told.repeat(asked.matches("MASTER").count());
                    stream.write_all((pleasantries + &told).as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_sentinel_knows_is_told_at_the_start() {
    let fleet = Sentinels::start();
    let urls = fleet.sentinels().iter().map(RedisServer::tcp_url).collect();
    let options = RedisOptions::new(Topology::Sentinel { urls, master: "nobody".into() });
    let error = Redis::connect(options).await.unwrap_err();
    let StoreError::Unreachable { address, cause } = &error else {
        panic!("{error:?}");
    };
    assert!(address.contains("nobody") && cause.contains("No such master"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_at_a_sentinel_that_the_manual_names_are_enough() {
    let fleet = Sentinels::start();
    for sentinel in fleet.sentinels() {
        let order = ["ACL", "SETUSER", "edge", "on", ">hush", "-@all", "+@connection", "+sentinel|master"];
        assert_eq!(sentinel.cli(&order), "OK");
    }
    let url = |sentinel: &RedisServer| format!("redis://edge:hush@127.0.0.1:{}", sentinel.port());
    let urls = fleet.sentinels().iter().map(url).collect();
    let topology = Topology::Sentinel { urls, master: MASTER.into() };
    let store = production(RedisOptions::new(topology)).await;
    let (room, rules) = (new_room(), Rules::default());
    assert_eq!(ask(&store, call(&room, &rules, caller(0, None))).await.kind, "ok");
}
