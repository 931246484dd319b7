//! How a history is played on two stores at once.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use room::ids::{Incarnation, RoomName, VisitorId};
use room::queue::{Arrival, Caller, Claim, Leave, Renewal, Report, Restore, Session, Survey, Witness};
use room::rules::Rules;
use room::time::Micros;
use store::memory::{Memory, Snapshot};
use store::redis::Redis;
use store::{Call, Store};

use super::backup::{Backup, Keys};
use super::history::{Ahead, Complete, History, Item, Knows, Moment, Pass, Step};
use super::world::{START, TestClock, incarnation, node, ticket, visitor};

/// The two stores, and what makes one of them forget.
pub(crate) struct Stage<'a> {
    pub(crate) clock: &'a TestClock,
    pub(crate) memory: &'a Memory,
    pub(crate) redis: &'a Redis,
    /// Without it nothing is ever lost.
    pub(crate) backup: Option<&'a Backup>,
}

/// Plays a history on both stores; after every step all answers, events and numbers must be equal.
pub(crate) async fn play(room: &RoomName, history: &History, stage: &Stage<'_>) -> Result<(), TestCaseError> {
    let mut scene = Scene { stage, room, rules: &history.rules, seen: 0, past: Vec::new(), copy: None };
    let mut guests = Guests::default();
    let tick = Moment {
        moved: 900_001,
        at_most: None,
        node: 0,
        fresh: 0,
        hold: false,
        alone: true,
        whole: true,
        knows: Knows::Newest,
        step: Step::Admit,
    };
    // What the steps left behind shows in the ticks after them.
    let ending = std::iter::repeat_n(&tick, 20);
    for moment in history.moments.iter().chain(ending) {
        scene.turn_to(moment, &mut guests).await?;
    }
    Ok(())
}

struct Scene<'a> {
    stage: &'a Stage<'a>,
    room: &'a RoomName,
    rules: &'a Rules,
    /// Number of the newest event that is known.
    seen: u64,
    /// What was known after each step.
    past: Vec<Arc<Witness>>,
    copy: Option<(Snapshot, Keys)>,
}

impl Scene<'_> {
    async fn turn_to(&mut self, moment: &Moment, guests: &mut Guests) -> Result<(), TestCaseError> {
        let Stage { clock, memory, redis, .. } = *self.stage;
        clock.step(moment.moved);
        self.lose(&moment.step);
        let caller = Caller {
            node: node(moment.node),
            fresh: incarnation(moment.fresh),
            witness: self.knowledge(&moment.knows),
            hold: moment.hold,
            alone: moment.alone,
        };
        let call = Call {
            room: self.room,
            rules: self.rules,
            caller: &caller,
            at_most: moment.at_most.unwrap_or(Duration::MAX),
        };
        let life = self.past.last().map(|witness| witness.head.incarnation);
        let step = guests.names(&moment.step);
        prop_assert_eq!(
            act(memory, call, &step, clock, life).await,
            act(redis, call, &step, clock, life).await
        );
        // Where do they stand now?
        let look = guests.look();
        prop_assert_eq!(
            act(memory, call, &look, clock, life).await,
            act(redis, call, &look, clock, life).await
        );
        let (left, right) = (
            memory.survey(call, moment.whole).await.unwrap(),
            redis.survey(call, moment.whole).await.unwrap(),
        );
        prop_assert_eq!(&left, &right);
        let events = memory.missed(self.room, self.seen).await.unwrap();
        prop_assert_eq!(&events, &redis.missed(self.room, self.seen).await.unwrap());
        let turns = events.into_iter().flatten().flat_map(|event| event.turns);
        guests.given.extend(turns.map(|(visitor, _)| visitor));
        self.look_inside()?;
        self.remember(left);
        Ok(())
    }

    /// Both keep as much, and the reference is sound.
    fn look_inside(&self) -> Result<(), TestCaseError> {
        let Some(queue) = self.stage.memory.queue(self.room) else { return Ok(()) };
        queue.check().map_err(TestCaseError::fail)?;
        if let Some(backup) = self.stage.backup {
            prop_assert_eq!(queue.kept(), backup.kept(self.room));
        }
        Ok(())
    }

    fn remember(&mut self, survey: Survey) {
        self.seen = survey.head.seq;
        let witness = Witness { head: survey.head, nodes: survey.nodes, control: survey.control };
        self.past.push(Arc::new(witness));
    }

    fn lose(&mut self, step: &Step) {
        let Stage { memory, backup: Some(backup), .. } = self.stage else { return };
        match step {
            Step::Copy => self.copy = Some((memory.snapshot(self.room), backup.save(self.room))),
            Step::Empty => {
                memory.set_back(self.room, Snapshot::default());
                backup.load(self.room, &Keys::default());
            }
            Step::GoBack => {
                let (snapshot, keys) = self.copy.clone().unwrap_or_default();
                memory.set_back(self.room, snapshot);
                backup.load(self.room, &keys);
            }
            _ => {}
        }
    }

    fn knowledge(&self, knows: &Knows) -> Option<Arc<Witness>> {
        let newest = || self.past.last().map(Arc::clone);
        match knows {
            Knows::Nothing => None,
            Knows::Newest => newest(),
            Knows::Older(index) => (!self.past.is_empty()).then(|| Arc::clone(index.get(&self.past))),
            Knows::Ahead(ahead) => newest().map(|newest| Arc::new(further(&newest, ahead))),
            Knows::Other(witness) => Some(Arc::new((**witness).clone())),
        }
    }
}

fn further(newest: &Witness, ahead: &Ahead) -> Witness {
    let mut witness = newest.clone();
    let head = &mut witness.head;
    head.seq += ahead.seq;
    head.step += ahead.step;
    head.clock = head.clock + Duration::from_micros(ahead.clock);
    head.front = head.front.max(START.0) + ahead.front;
    head.taken += ahead.taken;
    head.entry = Micros(head.clock.0 + ahead.budgets.0).into();
    head.offer = Micros(head.clock.0 + ahead.budgets.1).into();
    witness.nodes.extend(ahead.nodes.iter().map(|&number| node(number)));
    if let Some(control) = &ahead.control {
        witness.control.clone_from(control);
    }
    witness
}

/// Who got turns, the newest last, and the arrivals by which people last presented themselves.
#[derive(Default)]
struct Guests {
    given: Vec<VisitorId>,
    arrivals: HashMap<VisitorId, Arrival>,
}

impl Guests {
    /// The step with names for those it only counts.
    fn names(&mut self, step: &Step) -> Step {
        match step {
            Step::ClaimGiven(most) => {
                let claim = |arrival: Arrival| Claim { visitor: arrival.visitor, ticket: arrival.ticket };
                Step::Claim(self.newest(*most).map(claim).collect())
            }
            Step::EndGiven(most) => {
                let end = |arrival: Arrival| Leave::Ended(arrival.visitor, None);
                Step::Leave(self.newest(*most).map(end).collect())
            }
            Step::ArriveGiven(most) => Step::Arrive(self.newest(*most).collect()),
            Step::Arrive(arrivals) => {
                self.arrivals.extend(arrivals.iter().map(|arrival| (arrival.visitor, *arrival)));
                step.clone()
            }
            _ => step.clone(),
        }
    }

    /// Asks about some without changing anything for them.
    fn look(&self) -> Step {
        let only_asks = |arrival| Arrival { may_enter: false, may_wait: false, ..arrival };
        Step::Arrive(self.newest(3).map(only_asks).collect())
    }

    fn newest(&self, most: usize) -> impl Iterator<Item = Arrival> {
        let known = self.given.iter().rev().filter_map(|visitor| self.arrivals.get(visitor));
        known.take(most).copied()
    }
}

/// One step on one store, and all of its answer as text.
async fn act(
    store: &dyn Store,
    call: Call<'_>,
    step: &Step,
    clock: &TestClock,
    life: Option<Incarnation>,
) -> String {
    match step {
        Step::Arrive(arrivals) => shown(store.arrive(call, arrivals).await),
        Step::Claim(claims) => shown(store.claim(call, claims).await),
        Step::Leave(leaves) => shown(store.leave(call, leaves).await),
        Step::Renew(passes) => {
            let renewals: Vec<Renewal> = passes.iter().map(|&pass| renewal(pass, clock)).collect();
            shown(store.renew(call, &renewals).await)
        }
        Step::Restore(items, complete) => {
            let items = items.iter().map(|&item| restore(item, clock)).collect();
            let complete = match complete {
                Complete::No => None,
                Complete::Newest => life,
                Complete::Other => Some(incarnation(98)),
            };
            shown(store.restore(call, &Report { items, complete }).await)
        }
        Step::Tune(change) => {
            format!("{:?}", store.tune(call, change).await.map_err(|error| error.to_string()))
        }
        Step::ClaimGiven(_) | Step::EndGiven(_) | Step::ArriveGiven(_) => "nobody was given a turn".into(),
        Step::Admit | Step::Empty | Step::Copy | Step::GoBack => shown(store.admit(call).await),
    }
}

fn shown<T: Debug>(answer: Result<T, store::StoreError>) -> String {
    format!("{:?}", answer.unwrap())
}

fn renewal(pass: Pass, clock: &TestClock) -> Renewal {
    let ends = from_now(pass.ends, clock);
    Renewal {
        visitor: visitor(pass.who),
        ticket: ticket(pass.who * 10 + pass.which),
        session: Session { ends, cap: ends + Duration::from_secs(pass.longer.into()) },
    }
}

fn restore(item: Item, clock: &TestClock) -> Restore {
    match item {
        Item::Session(pass) => {
            let Renewal { visitor, ticket, session } = renewal(pass, clock);
            Restore::Session { visitor, ticket, session }
        }
        Item::Turn(visitor, ticket) => Restore::Turn { visitor, ticket },
        Item::Spent(visitor, ticket) => Restore::Spent { visitor, ticket },
        Item::Revoked(ticket, until) => Restore::Revoked { ticket, until: from_now(until, clock) },
    }
}

/// Seconds from now, as a whole second.
fn from_now(secs: i64, clock: &TestClock) -> Micros {
    Micros::from_secs(clock.now().as_secs().saturating_add_signed(secs))
}
