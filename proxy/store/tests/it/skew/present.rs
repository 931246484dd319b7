//! An edge of this release.

use std::time::Duration;

use room::node::{Heard, Node};
use room::queue::{
    Arrival, Arrived, Caller, Change, Claim, Claimed, Event, Head, Leave, Renewal, Renewed, Session,
};
use store::redis::Redis;
use store::{Call, Store};

use super::site::{At, Edge, Standing};
use crate::support::world::{incarnation, node};

pub(crate) struct Present {
    number: u32,
    node: Node,
}

impl Present {
    pub(crate) fn new(number: u32) -> Self {
        Self { number, node: Node::default() }
    }

    /// It has heard of a front further on, which the store does not know.
    pub(crate) fn hear_of_front(&mut self, front: u64) {
        let head = self.node.witness().expect("it has heard of the room").head;
        self.node.answered(Head { step: head.step + 1, front, ..head });
    }

    fn call<T>(&self, at: &At<'_>, act: impl AsyncFnOnce(&Redis, Call<'_>) -> T) -> T {
        let caller = Caller {
            node: node(self.number),
            fresh: incarnation(self.number),
            witness: self.node.witness(),
            hold: false,
            alone: false,
        };
        let call = Call { room: &at.room, rules: &at.site.rules, caller: &caller, at_most: Duration::MAX };
        at.site.runtime.block_on(act(&at.site.store, call))
    }
}

impl Edge for Present {
    fn survey(&mut self, at: &At<'_>) {
        let survey = self.call(at, async |store, call| store.survey(call, false).await.unwrap());
        self.node.surveyed(&survey);
    }

    fn arrive(&mut self, at: &At<'_>, arrivals: &[Arrival]) -> Vec<Option<Standing>> {
        let answer = self.call(at, async |store, call| store.arrive(call, arrivals).await.unwrap());
        self.node.answered(answer.head);
        answer.value.into_iter().map(standing).collect()
    }

    fn tick(&mut self, at: &At<'_>) {
        self.call(at, async |store, call| store.admit(call).await.unwrap());
    }

    fn claim(&mut self, at: &At<'_>, claims: &[Claim]) -> Vec<Option<Session>> {
        let answer = self.call(at, async |store, call| store.claim(call, claims).await.unwrap());
        self.node.answered(answer.head);
        let session = |claimed| match claimed {
            Claimed::Session(session) => Some(session),
            Claimed::NotYet { .. } | Claimed::Gone => None,
        };
        answer.value.into_iter().map(session).collect()
    }

    fn renew(&mut self, at: &At<'_>, renewals: &[Renewal]) -> Vec<Option<Session>> {
        let answer = self.call(at, async |store, call| store.renew(call, renewals).await.unwrap());
        self.node.answered(answer.head);
        let session = |renewed| match renewed {
            Renewed::Session(session) => Some(session),
            Renewed::Ended => None,
        };
        answer.value.into_iter().map(session).collect()
    }

    fn leave(&mut self, at: &At<'_>, leave: Leave) {
        self.call(at, async |store, call| store.leave(call, &[leave]).await.unwrap());
    }

    fn show_message(&mut self, at: &At<'_>, message: &str) {
        let change = Change { message: Some(Some(message.into())), ..Change::default() };
        self.call(at, async |store, call| store.tune(call, &change).await.unwrap());
    }

    fn hear(&mut self, event: &Event) -> Heard {
        self.node.heard(event)
    }
}

fn standing(arrived: Arrived) -> Option<Standing> {
    match arrived {
        Arrived::Session(session) | Arrived::LetIn(session) => Some(Standing::Inside(session)),
        Arrived::Turn(_) => Some(Standing::Turn),
        Arrived::Waiting(_) => Some(Standing::Waiting),
        Arrived::Spent => None,
        other => panic!("{other:?}"),
    }
}
