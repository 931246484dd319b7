//! The end of an edge, and its bounds.

use std::sync::Arc;
use std::time::Duration;

use vestibule::request::Plan;

use crate::rig::{Client, Origin, Rig, UPGRADE, answer, echo, forward, reply, soon, upstream};

#[tokio::test]
async fn a_request_in_flight_survives_the_stop() {
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = Arc::clone(&gate);
    let origin = Origin::with(move |_| {
        let (started, opened) = (started.clone(), Arc::clone(&opened));
        async move {
            started.send(()).unwrap();
            opened.notified().await;
            reply(200, "finished")
        }
    })
    .await;
    let to_origin = upstream(&[origin.address]);
    let (off, mut is_off) = tokio::sync::oneshot::channel();
    let rig = Rig::with(
        move |options| options.on_stop = Box::new(move || off.send(()).unwrap()),
        move |head, _| {
            if head.path == "/wait" { answer(200, "") } else { Plan::Forward(forward(&to_origin)) }
        },
    );
    let mut idle = Client::connect(rig.address).await;
    assert_eq!(idle.ask("GET /wait", "").await.status, 200);
    let mut busy = Client::connect(rig.address).await;
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    soon("the request at the origin", starts.recv()).await.unwrap();
    assert!(is_off.try_recv().is_err());

    rig.stop.send(true).unwrap();
    soon("readiness off", is_off).await.unwrap();
    assert!(idle.is_closed().await, "an idle connection ends at once");
    assert!(!rig.handle.done.is_finished());
    gate.notify_one();
    let response = busy.response(false).await;
    assert_eq!((response.text().as_str(), response.header("connection")), ("finished", Some("close")));
    assert!(busy.is_closed().await);
    soon("the end of the edge", rig.handle.done).await.unwrap();
    assert!(tokio::net::TcpStream::connect(rig.address).await.is_err());
}

#[tokio::test]
async fn while_it_lingers_the_edge_still_serves() {
    let rig = Rig::with(
        |options| options.limits.linger = Duration::from_millis(500),
        |_, _| answer(200, "still here"),
    );
    rig.stop.send(true).unwrap();
    assert_eq!(Client::connect(rig.address).await.ask("GET /", "").await.text(), "still here");
    soon("the end of the edge", rig.handle.done).await.unwrap();
}

#[tokio::test]
async fn whoever_the_kernel_has_accepted_is_served_and_not_reset() {
    let rig = Rig::start(|_, _| answer(200, "you too"));
    // All of them connect and ask before the edge has a chance to look. They are more than a task accepts in one go.
    let asked: Vec<_> = (0..160)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(rig.address).unwrap();
            std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            stream
        })
        .collect();
    rig.stop.send(true).unwrap();
    for stream in asked {
        stream.set_nonblocking(true).unwrap();
        let mut client = Client::of(tokio::net::TcpStream::from_std(stream).unwrap());
        assert_eq!(client.response(false).await.text(), "you too");
    }
}

#[tokio::test]
async fn sessions_that_do_not_end_are_cut_in_the_end() {
    let rig = Rig::with(|options| options.limits.drain = Duration::from_millis(100), |_, _| echo());
    let mut client = Client::connect(rig.address).await;
    client.send(format!("GET /_queue/ws HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n")).await;
    assert_eq!(client.head().await.status, 101);
    rig.stop.send(true).unwrap();
    soon("the end of the edge", rig.handle.done).await.unwrap();
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_edge_that_is_full_says_so() {
    let rig = Rig::with(|options| options.limits.connections = 1, |_, _| answer(200, "ok"));
    let mut first = Client::connect(rig.address).await;
    assert_eq!(first.ask("GET /", "").await.status, 200);
    let mut second = Client::connect(rig.address).await;
    let turned_away = second.response(false).await;
    assert_eq!((turned_away.status, turned_away.json()["code"].as_str()), (503, Some("edge-full")));
    drop(first);
    soon("a free place", async {
        loop {
            let mut third = Client::connect(rig.address).await;
            third.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            if third.response(false).await.status == 200 {
                return;
            }
        }
    })
    .await;
}
