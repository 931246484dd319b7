//! One room as this edge runs it: its settings, its clock, its line to the store, those who wait here.

mod hearing;
mod sessions;

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};
use room::gate::Door;
use room::ids::{NodeId, RoomName, TicketId, VisitorId};
use room::meter::Meter;
use room::queue::{
    Arrival, Arrived, Change, Claim, Claimed, Control, Counts, FileValues, Head, Leave, Mode, Renewal,
    Renewed,
};
use room::rules::Phase;
use room::time::Micros;
use store::batch::{Batch, MOST};
use store::{Store, StoreError, TuneError};
use tokio::sync::Notify;

use crate::clock::RoomClock;
use crate::config::settings::RoomSettings;
use crate::edge::upstream::Upstream;
use crate::healing::Healing;
use crate::hub::{Hub, Said, View};
use crate::link::Link;
use crate::metrics::{self, RoomMetrics};
use crate::page::Page;
use crate::standing::{Known, Who};

use self::sessions::Introduced;

/// One running room.
pub struct Hall {
    pub name: RoomName,
    pub clock: Arc<RoomClock>,
    pub hub: Hub,
    pub page: Page,
    pub metrics: Arc<RoomMetrics>,
    pub link: Arc<Link>,
    settings: Arc<ArcSwap<RoomSettings>>,
    upstream: ArcSwap<Upstream>,
    known: ArcSwapOption<Known>,
    pub healing: Healing,
    introduced: Mutex<Introduced>,
    /// Until when nobody need knock: the budget is used up.
    busy_until: AtomicU64,
    /// A [`Reach`].
    reach: AtomicU8,
    meter: Mutex<Meter>,
    /// Somebody came to wait: the ticker need not sleep.
    pub woken: Notify,
    arrivals: Batch<Arrival, (Arrived, Head)>,
    claims: Batch<Claim, Claimed>,
    renewals: Batch<Renewal, Renewed>,
    leaves: Batch<Leave, ()>,
}

impl fmt::Debug for Hall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hall({}, {} waiting here)", self.name, self.hub.len())
    }
}

/// Whether this edge has a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The store of the room answers.
    Here,
    /// It does not: no turns, and nobody is let in.
    Away,
    /// It does not, and this edge goes on by itself.
    Alone,
}

impl Hall {
    pub fn new(
        settings: Arc<RoomSettings>,
        upstream: Arc<Upstream>,
        store: Arc<dyn Store>,
        node: NodeId,
        queue_path: &str,
    ) -> Arc<Self> {
        let name = settings.name.clone();
        let settings = Arc::new(ArcSwap::new(settings));
        let clock = Arc::new(RoomClock::default());
        let link = Arc::new(Link::new(node, store, Arc::clone(&settings), Arc::clone(&clock)));
        let trip = |link: &Arc<Link>| Arc::clone(link);
        let (to_arrive, to_claim, to_renew, to_leave) = (trip(&link), trip(&link), trip(&link), trip(&link));
        Arc::new(Self {
            page: Page::new(&name, queue_path),
            metrics: metrics::room(Some(&name)),
            name,
            clock,
            hub: Hub::default(),
            settings,
            upstream: ArcSwap::new(upstream),
            known: ArcSwapOption::empty(),
            healing: Healing::default(),
            introduced: Mutex::default(),
            busy_until: AtomicU64::new(0),
            reach: AtomicU8::new(Reach::Here as u8),
            meter: Mutex::default(),
            woken: Notify::new(),
            arrivals: Batch::spawn(move |items| {
                let link = trip(&to_arrive);
                async move { link.arrive(&items).await }
            }),
            claims: Batch::spawn(move |items| {
                let link = trip(&to_claim);
                async move { link.claim(&items).await }
            }),
            renewals: Batch::spawn(move |items| {
                let link = trip(&to_renew);
                async move { link.renew(&items).await }
            }),
            leaves: Batch::spawn(move |items: Vec<Leave>| {
                let link = trip(&to_leave);
                async move { link.leave(&items).await.map(|()| vec![(); items.len()]) }
            }),
            link,
        })
    }

    pub fn settings(&self) -> Arc<RoomSettings> {
        self.settings.load_full()
    }

    pub fn upstream(&self) -> Arc<Upstream> {
        self.upstream.load_full()
    }

    pub fn known(&self) -> Option<Arc<Known>> {
        self.known.load_full()
    }

    pub fn now(&self) -> Micros {
        self.clock.now()
    }

    /// Takes over new settings of the same room.
    pub fn configure(&self, settings: Arc<RoomSettings>, upstream: Arc<Upstream>) {
        self.settings.store(settings);
        self.upstream.store(upstream);
        self.woken.notify_one();
    }

    /// Offers the file's limits to the store: applied where the file says something new.
    pub async fn offer_file_values(&self) -> Result<Control, TuneError> {
        let settings = self.settings();
        let file = FileValues {
            new_users_per_minute: settings.rules.new_users_per_minute,
            total_active_users: settings.rules.total_active_users,
        };
        self.link.tune(&Change { file: Some(file), ..Change::default() }).await
    }

    /// What the gate may know without a trip.
    pub fn door(&self) -> Door {
        let now = self.now();
        let known = self.known.load();
        let closed = known.as_ref().is_some_and(|known| known.control.mode == Mode::Closed);
        let lined_up = known.as_ref().is_some_and(|known| {
            let Counts { waiting, returning, .. } = known.counts;
            waiting + returning > 0
                || known.control.paused.is_some()
                || known.control.mode == Mode::Drain
                || known.settling_until.is_some_and(|until| until > now)
        });
        let settings = self.settings.load();
        let phase = settings.rules.schedule.phase(now);
        let queueing = lined_up
            || settings.rules.queue_all
            || phase != Phase::Open
            || now.0 < self.busy_until.load(Ordering::Relaxed)
            || self.reach() == Reach::Away;
        Door { phase, closed, queueing }
    }

    /// Nobody need knock before this.
    pub fn busy_until(&self, instant: Micros) {
        self.busy_until.store(instant.0, Ordering::Relaxed);
    }

    /// Whether the store that all edges share is away, whatever this edge does meanwhile.
    pub fn store_is_lost(&self) -> bool {
        self.reach() != Reach::Here
    }

    pub fn reach(&self) -> Reach {
        match self.reach.load(Ordering::Relaxed) {
            reach if reach == Reach::Away as u8 => Reach::Away,
            reach if reach == Reach::Alone as u8 => Reach::Alone,
            _ => Reach::Here,
        }
    }

    /// What it was before. Those who wait are told of a change.
    pub fn set_reach(&self, reach: Reach) -> Reach {
        let before = self.reach();
        self.reach.store(reach as u8, Ordering::Relaxed);
        self.metrics.store_away.set(f64::from(u8::from(reach != Reach::Here)));
        self.metrics.alone.set(f64::from(u8::from(reach == Reach::Alone)));
        if (before == Reach::Away) != (reach == Reach::Away) {
            self.hub.tell_all();
        }
        before
    }

    /// Presents one ticket, with others that come at the same time. Whoever waits now, or may claim, is kept in the
    /// hub.
    pub async fn arrive(&self, arrival: Arrival, stamp: Micros) -> Result<Arrived, StoreError> {
        let (arrived, head) = self.arrivals.call(arrival).await?;
        self.hub.keep(arrival, stamp, self.said(&arrived, head), self.now());
        if let Arrived::Waiting(_) = arrived {
            self.woken.notify_one();
        }
        Ok(arrived)
    }

    /// Keeps a visitor whose ticket the store could not be shown: it is presented when the store answers. Says whether
    /// there was room for one more.
    pub fn keep_for_later(&self, arrival: Arrival, stamp: Micros) -> bool {
        let max_waiting = self.settings.load().rules.max_waiting as usize;
        self.hub.keep_unheard(arrival, stamp, max_waiting, self.now())
    }

    /// Presents tickets of those who wait here, on behalf of them.
    pub async fn present(&self, waiters: &[Arrival]) -> Result<(), StoreError> {
        for batch in waiters.chunks(MOST) {
            let arrived = self.link.arrive(batch).await?;
            let (settings, known) = (self.settings(), self.known());
            let view = self.view(&settings, known.as_deref());
            for (arrival, (arrived, head)) in batch.iter().zip(&arrived) {
                self.hub.restate(arrival.visitor, self.said(arrived, *head), view);
            }
        }
        Ok(())
    }

    /// An answer about one visitor. It does not count against what the visitor was told while the store may not know
    /// of it yet.
    fn said<'a>(&self, arrived: &'a Arrived, head: Head) -> Said<'a> {
        let life = self.link.ask(room::node::Node::incarnation);
        let knows_all = !self.healing.is_telling() && life.is_none_or(|life| life == head.incarnation);
        if !knows_all {
            self.woken.notify_one();
        }
        Said { arrived, number: head.seq, knows_all }
    }

    pub async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        self.claims.call(claim).await
    }

    pub async fn renew(&self, renewal: Renewal) -> Result<Renewed, StoreError> {
        let renewed = self.renewals.call(renewal).await;
        if renewed.is_err() {
            self.stays_strange(renewal.ticket, renewal.session);
        }
        renewed
    }

    /// Ends place, turn or session of one visitor.
    pub async fn end(&self, visitor: VisitorId, ticket: Option<TicketId>) -> Result<(), StoreError> {
        self.leaves.call(Leave::Ended(visitor, ticket)).await?;
        let (settings, known) = (self.settings(), self.known());
        self.hub.forget(visitor, Who::Expired, self.view(&settings, known.as_deref()));
        Ok(())
    }

    pub fn view<'a>(&'a self, settings: &'a RoomSettings, known: Option<&'a Known>) -> View<'a> {
        let away = self.reach() == Reach::Away;
        View { room: &self.name, rules: &settings.rules, known, away, now: self.now() }
    }
}
