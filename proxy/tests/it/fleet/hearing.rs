//! An edge that is slow to speak, or hears nothing of the others.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use room::ids::{Incarnation, RoomName, VisitorId};
use room::queue::{
    Arrival, Arrived, Change, Claim, Claimed, Control, Event, Leave, Renewal, Renewed, Report, Survey,
};
use store::memory::Memory;
use store::{Answer, Call, Store, StoreError, TuneError};
use tokio::sync::{broadcast, oneshot};
use vestibule::hall::Reach;

use super::{HEALED, MANY, Waiter};
use crate::rig::soon;
use crate::site::{Site, until, until_within};

const ROOM: &str = "total_active_users = 1\nsettle_window = \"0s\"\nnew_users_per_minute = 6000";
/// After so long the queue's patience with an edge may have ended.
const SILENCE: Duration = Duration::from_millis(5500);

/// The line of one edge to a store that others use too. Nothing that they do is heard by it.
struct Line {
    store: Arc<dyn Store>,
    silent: broadcast::Sender<Arc<Event>>,
    /// No call gets through.
    cut: AtomicBool,
    /// The next tick takes as long as [`SILENCE`].
    stalls: AtomicBool,
    /// What the edge remembers does not get through.
    mute: AtomicBool,
    /// How many times it is still refused to read back.
    refuses: AtomicU32,
    read_back: AtomicU32,
    presented: AtomicU32,
    /// Who asked to hold the next answer to somebody who comes.
    holds: Mutex<Option<oneshot::Sender<Held>>>,
}

/// An answer that is held back until this is dropped.
struct Held {
    visitor: VisitorId,
    hold: oneshot::Sender<()>,
}

impl Line {
    fn to(store: &Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::clone(store),
            silent: broadcast::channel(1).0,
            cut: AtomicBool::default(),
            stalls: AtomicBool::default(),
            mute: AtomicBool::default(),
            refuses: AtomicU32::default(),
            read_back: AtomicU32::default(),
            presented: AtomicU32::default(),
            holds: Mutex::default(),
        })
    }

    /// Holds back the next answer to somebody who comes.
    fn hold_next_answer(&self) -> oneshot::Receiver<Held> {
        let (sender, held) = oneshot::channel();
        *self.holds.lock().unwrap() = Some(sender);
        held
    }

    fn through(&self) -> Result<&dyn Store, StoreError> {
        if self.cut.load(Ordering::Relaxed) { Err(refused()) } else { Ok(&*self.store) }
    }
}

fn refused() -> StoreError {
    StoreError::Unreachable { address: "the test".into(), cause: "cut".into() }
}

#[async_trait]
impl Store for Line {
    async fn arrive(&self, call: Call<'_>, arrivals: &[Arrival]) -> Result<Answer<Vec<Arrived>>, StoreError> {
        self.presented.fetch_add(1, Ordering::Relaxed);
        let answer = self.through()?.arrive(call, arrivals).await;
        let holder = self.holds.lock().unwrap().take();
        if let Some(holder) = holder {
            let (hold, released) = oneshot::channel();
            assert!(
                holder.send(Held { visitor: arrivals[0].visitor, hold }).is_ok(),
                "somebody waits for it"
            );
            assert!(released.await.is_err(), "dropped, never sent");
        }
        answer
    }

    async fn admit(&self, call: Call<'_>) -> Result<Event, StoreError> {
        if self.stalls.swap(false, Ordering::Relaxed) {
            tokio::time::sleep(SILENCE).await;
        }
        self.through()?.admit(call).await
    }

    async fn claim(&self, call: Call<'_>, claims: &[Claim]) -> Result<Answer<Vec<Claimed>>, StoreError> {
        self.through()?.claim(call, claims).await
    }

    async fn leave(&self, call: Call<'_>, leaves: &[Leave]) -> Result<Answer<()>, StoreError> {
        self.through()?.leave(call, leaves).await
    }

    async fn renew(&self, call: Call<'_>, renewals: &[Renewal]) -> Result<Answer<Vec<Renewed>>, StoreError> {
        self.through()?.renew(call, renewals).await
    }

    async fn restore(&self, call: Call<'_>, report: &Report) -> Result<Answer<()>, StoreError> {
        if self.mute.load(Ordering::Relaxed) {
            return Err(refused());
        }
        self.through()?.restore(call, report).await
    }

    async fn survey(&self, call: Call<'_>, whole: bool) -> Result<Survey, StoreError> {
        self.through()?.survey(call, whole).await
    }

    async fn tune(&self, call: Call<'_>, change: &Change) -> Result<Control, TuneError> {
        self.through()?.tune(call, change).await
    }

    fn listen(&self, _: &RoomName) -> broadcast::Receiver<Arc<Event>> {
        self.silent.subscribe()
    }

    async fn missed(&self, room: &RoomName, seq: u64) -> Result<Option<Vec<Event>>, StoreError> {
        let one_less = |left: u32| left.checked_sub(1);
        if self.refuses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return Err(refused());
        }
        let events = self.through()?.missed(room, seq).await?;
        self.read_back.fetch_add(1, Ordering::Relaxed);
        Ok(events)
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }
}

#[tokio::test]
async fn what_an_edge_missed_is_read_back_however_often_that_fails() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let line = Line::to(&store);
    let room = format!("{ROOM}\n{MANY}");
    let (edge, other) = (Site::over(Arc::clone(&line) as _, &room).await, Site::over(store, &room).await);
    let mut holder = other.visitor();
    assert_eq!(holder.visit("/").await.shows(), "GET /");
    let mut waiter = Waiter::at(&edge).await;
    until("the other edge knows of the place", || other.counts().waiting == 1).await;

    line.cut.store(true, Ordering::Relaxed);
    until("the edge noticed", || edge.hall().reach() == Reach::Away).await;
    assert_eq!(holder.call("POST leave").await.status, 204);
    until("the other edge gave the turn", || other.counts().turns == 1).await;
    // Nobody is there any more whose ticks would show the gap once more.
    other.stop().await;
    line.refuses.store(3, Ordering::Relaxed);
    let before = line.read_back.load(Ordering::Relaxed);
    line.cut.store(false, Ordering::Relaxed);
    let read_back = || line.read_back.load(Ordering::Relaxed) > before;
    until_within("the missed events are read back", HEALED, read_back).await;
    assert_eq!(line.refuses.load(Ordering::Relaxed), 0, "after three times in vain");
    waiter.screen.next_of("queue.turn").await;
    assert_eq!(waiter.visitor.visit("/in").await.shows(), "GET /in");
}

#[tokio::test]
async fn who_is_taken_for_absent_in_the_moment_of_coming_keeps_the_place() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let line = Line::to(&store);
    let edge = Site::over(Arc::clone(&line) as _, &format!("{ROOM}\n{MANY}")).await;
    assert_eq!(edge.visitor().visit("/").await.shows(), "GET /");
    let _first = Waiter::at(&edge).await;
    let (mut visitor, answer) = (edge.visitor(), line.hold_next_answer());
    let crossed = async {
        let Held { visitor, hold } = soon("the answer", answer).await.unwrap();
        assert_eq!(
            edge.survey().await.waiting,
            2,
            "the store has the place, which the edge does not know yet"
        );
        let mut events = store.listen(&name());
        edge.hall().link.leave(&[Leave::Absent(visitor)]).await.unwrap();
        let departed = async {
            loop {
                let event = events.recv().await.unwrap();
                if event.absent == [visitor] {
                    return event.head.seq;
                }
            }
        };
        let departed = soon("the departure", departed).await;
        // The tick after it shows the gap, and the next comes when that was read back.
        until("it is heard", || edge.hall().known().unwrap().head.seq >= departed + 2).await;
        assert_eq!(edge.counts().waiting, 1);
        drop(hold);
    };
    tokio::join!(visitor.join(), crossed);
    until("the place is there again", || edge.counts().waiting == 2).await;
}

#[tokio::test]
async fn an_edge_that_was_silent_for_long_presents_its_people_again() {
    let line = Line::to(&(Arc::new(Memory::default()) as _));
    let edge = Site::over(Arc::clone(&line) as _, &format!("{ROOM}\n{MANY}")).await;
    assert_eq!(edge.visitor().visit("/").await.shows(), "GET /");
    let _waiter = Waiter::at(&edge).await;
    let presented = || line.presented.load(Ordering::Relaxed);
    let (before, seq) = (presented(), || edge.hall().known().unwrap().head.seq);
    let since = seq();
    until("twenty ticks", || seq() >= since + 20).await;
    assert_eq!(presented(), before, "whoever speaks all the time need not present them");
    line.stalls.store(true, Ordering::Relaxed);
    until_within("its people are presented", HEALED, || presented() > before).await;
    assert_eq!(edge.hall().reach(), Reach::Here, "the store was never away");
}

#[tokio::test]
async fn a_turn_that_one_edge_tells_a_store_that_forgot_reaches_the_visitor_at_another() {
    let memory = Arc::new(Memory::default());
    let store: Arc<dyn Store> = Arc::clone(&memory) as _;
    let line = Line::to(&store);
    let room = format!("{ROOM}\n{MANY}");
    let (edge, other) = (Site::over(Arc::clone(&line) as _, &room).await, Site::over(store, &room).await);
    let mut holder = other.visitor();
    assert_eq!(holder.visit("/").await.shows(), "GET /");
    let Waiter { mut visitor, mut screen } = Waiter::at(&edge).await;
    let earlier = memory.snapshot(&name());
    assert_eq!(holder.call("POST leave").await.status, 204);
    screen.next_of("queue.turn").await;
    screen.close().await;

    line.mute.store(true, Ordering::Relaxed);
    let before = life(&other);
    memory.set_back(&name(), earlier);
    until("the store's next life", || life(&other) != before).await;
    visitor.edge = other.address;
    let mut screen = visitor.watch().await;
    assert!(!other.is_settled(), "the first edge has still to tell of the turn");
    line.mute.store(false, Ordering::Relaxed);
    screen.next_of("queue.turn").await;
    assert_eq!(visitor.visit("/in").await.shows(), "GET /in");
}

#[tokio::test]
async fn a_turn_of_the_life_before_that_is_heard_of_late_is_kept() {
    let memory = Arc::new(Memory::default());
    let store: Arc<dyn Store> = Arc::clone(&memory) as _;
    let line = Line::to(&store);
    let room = format!("{ROOM}\n{MANY}");
    let (edge, other) = (Site::over(Arc::clone(&line) as _, &room).await, Site::over(store, &room).await);
    let mut holder = other.visitor();
    assert_eq!(holder.visit("/").await.shows(), "GET /");
    let Waiter { mut visitor, mut screen } = Waiter::at(&edge).await;
    until("the other edge knows of the place", || other.counts().waiting == 1).await;
    let earlier = memory.snapshot(&name());
    line.cut.store(true, Ordering::Relaxed);
    until("the edge noticed", || edge.hall().reach() == Reach::Away).await;
    let mut events = other.hall().link.listen();
    assert_eq!(holder.call("POST leave").await.status, 204);
    let given = async {
        loop {
            let event = events.recv().await.unwrap();
            if !event.turns.is_empty() {
                return event;
            }
        }
    };
    let given = soon("the turn", given).await;

    let before = life(&other);
    memory.set_back(&name(), earlier);
    until("the store's next life", || life(&other) != before).await;
    // It goes on settling while this edge cannot tell all.
    line.mute.store(true, Ordering::Relaxed);
    line.cut.store(false, Ordering::Relaxed);
    until_within("the edge is in that life too", HEALED, || life(&edge) == life(&other)).await;
    line.silent.send(given).unwrap();
    let recalled = || edge.hall().healing.is_telling();
    until("it has something to tell", recalled).await;
    line.mute.store(false, Ordering::Relaxed);
    screen.next_of("queue.turn").await;
    assert_eq!(visitor.visit("/in").await.shows(), "GET /in");
    assert_eq!(other.survey().await.admitted, 1, "the turn of before, not another");
}

fn name() -> RoomName {
    "e1".parse().unwrap()
}

fn life(edge: &Site) -> Incarnation {
    edge.hall().known().unwrap().head.incarnation
}
