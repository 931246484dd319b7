//! A room on one Redis, and edges that hear what happens in it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use room::ids::{RoomName, VisitorId};
use room::node::Node;
use room::queue::{
    Arrival, Arrived, Caller, Change, Claim, Claimed, Control, Event, Leave, Renewal, Renewed, Report,
    Restore, SETTLE_BLANK, Session, Survey,
};
use room::rules::Rules;
use store::redis::Redis;
use store::{Call, Store};

use super::backup::Backup;
use super::servers::RedisServer;
use super::world::{TestClock, connect, incarnation, new_room, node, single};

pub(crate) struct Scene {
    pub(crate) server: RedisServer,
    pub(crate) clock: TestClock,
    pub(crate) store: Redis,
    pub(crate) room: RoomName,
    pub(crate) rules: Rules,
    pub(crate) backup: Backup,
    /// Names for new lives that were given out.
    names: AtomicU32,
}

/// What one edge knows and remembers.
pub(crate) struct Edge {
    pub(crate) number: u32,
    pub(crate) knows: Node,
}

impl Edge {
    /// One that has just been started.
    pub(crate) fn fresh(number: u32) -> Self {
        Self { number, knows: Node::default() }
    }
}

impl Scene {
    /// A new room, and so many edges that have seen it open.
    pub(crate) async fn with(rules: Rules, edges: u32) -> (Self, Vec<Edge>) {
        let (server, clock) = (RedisServer::start(), TestClock::default());
        let store = connect(single(server.url()), &clock).await;
        let backup = Backup::of(&server);
        let names = AtomicU32::new(0);
        let scene = Self { server, clock, store, room: new_room(), rules, backup, names };
        let mut edges: Vec<Edge> = (1..=edges).map(Edge::fresh).collect();
        scene.look(&mut edges[0]).await;
        scene.clock.advance(SETTLE_BLANK);
        for edge in &mut edges {
            scene.look(edge).await;
        }
        (scene, edges)
    }

    async fn call<T>(&self, edge: &Edge, act: impl AsyncFnOnce(&Redis, Call<'_>) -> T) -> T {
        let caller = Caller {
            node: node(edge.number),
            fresh: incarnation(self.names.fetch_add(1, Ordering::Relaxed)),
            witness: edge.knows.witness(),
            hold: false,
            alone: false,
        };
        let call = Call { room: &self.room, rules: &self.rules, caller: &caller, at_most: Duration::MAX };
        act(&self.store, call).await
    }

    pub(crate) async fn look(&self, edge: &mut Edge) -> Survey {
        let survey = self.call(edge, async |store, call| store.survey(call, false).await.unwrap()).await;
        edge.knows.surveyed(&survey);
        survey
    }

    /// Seconds go by in which the edges show that they live: no outage.
    pub(crate) async fn wait(&self, edges: &mut [Edge], seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            for edge in &mut *edges {
                self.look(edge).await;
            }
        }
    }

    /// The first of the edges ticks; all of them hear it, and show that they live.
    pub(crate) async fn tick(&self, edges: &mut [Edge]) -> Event {
        let event = self.call(&edges[0], async |store, call| store.admit(call).await.unwrap()).await;
        for edge in edges {
            edge.knows.heard(&event);
            self.look(edge).await;
        }
        event
    }

    pub(crate) async fn arrive(&self, edge: &mut Edge, arrivals: &[Arrival]) -> Vec<Arrived> {
        let answer = self.call(edge, async |store, call| store.arrive(call, arrivals).await.unwrap()).await;
        edge.knows.answered(answer.head);
        answer.value
    }

    /// Takes the turns, as far as the budget allows, and remembers the sessions.
    pub(crate) async fn claim(&self, edge: &mut Edge, arrivals: &[Arrival]) -> Vec<Session> {
        let claim = |arrival: &Arrival| Claim { visitor: arrival.visitor, ticket: arrival.ticket };
        let claims: Vec<Claim> = arrivals.iter().map(claim).collect();
        let answer = self.call(edge, async |store, call| store.claim(call, &claims).await.unwrap()).await;
        edge.knows.answered(answer.head);
        let mut sessions = Vec::new();
        for (arrival, claimed) in arrivals.iter().zip(answer.value) {
            if let Claimed::Session(session) = claimed {
                edge.knows.entered(arrival.visitor, arrival.ticket, session);
                sessions.push(session);
            }
        }
        sessions
    }

    pub(crate) async fn renew(&self, edge: &mut Edge, arrival: &Arrival, session: Session) -> Renewed {
        let renewal = Renewal { visitor: arrival.visitor, ticket: arrival.ticket, session };
        let answer = self.call(edge, async |store, call| store.renew(call, &[renewal]).await.unwrap()).await;
        edge.knows.answered(answer.head);
        answer.value[0]
    }

    pub(crate) async fn end(&self, edge: &mut Edge, arrival: &Arrival) {
        let leave = Leave::Ended(arrival.visitor, Some(arrival.ticket));
        let answer = self.call(edge, async |store, call| store.leave(call, &[leave]).await.unwrap()).await;
        edge.knows.answered(answer.head);
        edge.knows.spent(arrival.visitor, arrival.ticket);
    }

    pub(crate) async fn tune(&self, edge: &Edge, change: &Change) -> Control {
        self.call(edge, async |store, call| store.tune(call, change).await.unwrap()).await
    }

    /// Tells what the edge remembers and more, as much as there is.
    pub(crate) async fn report(&self, edge: &mut Edge, more: Vec<Restore>) {
        let survey = self.look(edge).await;
        let items = edge.knows.report(survey.head.clock).into_iter().chain(more).collect();
        let report = Report { items, complete: Some(survey.head.incarnation) };
        let answer = self.call(edge, async |store, call| store.restore(call, &report).await.unwrap()).await;
        edge.knows.answered(answer.head);
    }
}

/// Who got turns.
pub(crate) fn given(event: &Event) -> Vec<VisitorId> {
    event.turns.iter().map(|(visitor, _)| *visitor).collect()
}
