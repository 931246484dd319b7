//! One room as this edge runs it: its settings, its clock, its line to the store, those who wait here.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use room::estimate::Forecast;
use room::gate::Door;
use room::ids::{NodeId, RoomName, TicketId, VisitorId};
use room::meter::Meter;
use room::queue::{
    Arrival, Arrived, Change, Claim, Claimed, Control, Counts, Event, FileValues, Head, Leave, Mode, Renewal,
    Renewed, Survey,
};
use room::ruler::Ruler;
use room::rules::Phase;
use room::time::Micros;
use room::wire::ServerMessage;
use store::batch::Batch;
use store::{Store, StoreError, TuneError};
use tokio::sync::Notify;

use crate::clock::RoomClock;
use crate::config::settings::RoomSettings;
use crate::edge::upstream::Upstream;
use crate::hub::{Hub, View};
use crate::link::Link;
use crate::metrics::{self, RoomMetrics, WsType};
use crate::page::Page;
use crate::standing::{self, Known, Who};

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
    /// Sessions ended before their time, by ticket, until when.
    revoked: RwLock<HashMap<TicketId, Micros>>,
    /// Until when nobody need knock: the budget is used up.
    busy_until: AtomicU64,
    store_lost: AtomicBool,
    meter: Mutex<Meter>,
    /// Somebody came to wait: the ticker need not sleep.
    pub woken: Notify,
    arrivals: Batch<Arrival, (Arrived, u64)>,
    claims: Batch<Claim, Claimed>,
    renewals: Batch<Renewal, Renewed>,
    leaves: Batch<Leave, ()>,
}

impl fmt::Debug for Hall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hall({}, {} waiting here)", self.name, self.hub.len())
    }
}

/// What an event changed for this edge.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Known already.
    Old,
    Next,
    /// Events between these two numbers were missed.
    Gap {
        after: u64,
        before: u64,
    },
    /// Another life of the store: it knows none of our waiters.
    Anew,
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
            revoked: RwLock::default(),
            busy_until: AtomicU64::new(0),
            store_lost: AtomicBool::new(false),
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
            || self.store_lost.load(Ordering::Relaxed);
        Door { phase, closed, queueing }
    }

    /// Nobody need knock before this.
    pub fn busy_until(&self, instant: Micros) {
        self.busy_until.store(instant.0, Ordering::Relaxed);
    }

    pub fn store_is_lost(&self) -> bool {
        self.store_lost.load(Ordering::Relaxed)
    }

    /// Says whether this is news.
    pub fn set_store_lost(&self, lost: bool) -> bool {
        self.store_lost.swap(lost, Ordering::Relaxed) != lost
    }

    pub fn is_revoked(&self, ticket: TicketId) -> bool {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).contains_key(&ticket)
    }

    /// Presents one ticket, with others that come at the same time. Whoever waits now, or may claim, is kept in the
    /// hub.
    pub async fn arrive(&self, arrival: Arrival, stamp: Micros) -> Result<Arrived, StoreError> {
        let (arrived, number) = self.arrivals.call(arrival).await?;
        // Whom the edge presents again by itself is not there to be let in.
        let kept = Arrival { may_enter: false, ..arrival };
        self.hub.keep(kept, stamp, &arrived, number, self.now());
        if let Arrived::Waiting(_) = arrived {
            self.woken.notify_one();
        }
        Ok(arrived)
    }

    pub async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        self.claims.call(claim).await
    }

    pub async fn renew(&self, renewal: Renewal) -> Result<Renewed, StoreError> {
        self.renewals.call(renewal).await
    }

    /// Ends place, turn or session of one visitor.
    pub async fn end(&self, visitor: VisitorId, ticket: Option<TicketId>) -> Result<(), StoreError> {
        self.leaves.call(Leave::Ended(visitor, ticket)).await?;
        let (settings, known) = (self.settings(), self.known());
        self.hub.forget(visitor, Who::Expired, self.view(&settings, known.as_deref()));
        Ok(())
    }

    pub fn view<'a>(&'a self, settings: &'a RoomSettings, known: Option<&'a Known>) -> View<'a> {
        View { room: &self.name, rules: &settings.rules, known, now: self.now() }
    }

    /// Takes in what the store says of the room, and tells those who wait here.
    pub fn hear(&self, event: &Event) -> Heard {
        let before = self.known();
        let heard = before.as_deref().map_or(Heard::Next, |known| known.compare(event.head, event.head.seq));
        if heard == Heard::Old {
            return heard;
        }
        let known = Arc::new(Known::after(before.as_deref(), event));
        self.known.store(Some(Arc::clone(&known)));
        self.link.witness(event.head);
        self.revoke(&event.revoked);
        self.measure(&known);
        let settings = self.settings();
        let view = self.view(&settings, Some(&known));
        let lag = view.now.since(event.head.clock);
        let called = self.hub.hear(event, view);
        for _ in 0..called.turns {
            self.metrics.turn_lag.record(lag);
        }
        for ratio in called.estimate_errors {
            self.metrics.estimate_error.record(ratio);
        }
        if let Some(before) = before {
            self.announce(&before.control, &known.control, view);
        }
        heard
    }

    /// Tells those who wait what the operator changed.
    fn announce(&self, before: &Control, now: &Control, view: View<'_>) {
        if before.paused != now.paused {
            let paused = standing::paused(now);
            self.hub.announce(WsType::Paused, &ServerMessage::Paused { paused });
        }
        if before.message != now.message {
            self.hub.announce(WsType::Message, &ServerMessage::Message { message: now.message.clone() });
        }
        if (&before.paused, &before.message, before.mode) != (&now.paused, &now.message, now.mode) {
            self.hub.tell_all(view);
        }
    }

    /// Takes in an event that was missed and read back: who was named is told, the room has moved on.
    pub fn hear_late(&self, event: &Event) {
        if self.known().is_none_or(|known| known.head.seq < event.head.seq) {
            self.hear(event);
            return;
        }
        self.revoke(&event.revoked);
        if let (Some(known), Some(ruler)) = (self.known(), measured(event))
            && known.ruler_at < event.head.clock
        {
            let newer = Known { ruler: Some(ruler), ruler_at: event.head.clock, ..Known::clone(&known) };
            self.known.store(Some(Arc::new(newer)));
        }
        let (settings, known) = (self.settings(), self.known());
        self.hub.hear(event, self.view(&settings, known.as_deref()));
    }

    /// Takes in the whole of a room: at the start, and while no ticks come.
    pub fn hear_survey(&self, survey: &Survey) -> Heard {
        self.revoke(&survey.revoked);
        let before = self.known();
        // A survey is no event: one with a new number shows that the event of that number was missed.
        let next = survey.head.seq + 1;
        let heard = before.as_deref().map_or(Heard::Next, |known| known.compare(survey.head, next));
        let known = Known {
            head: survey.head,
            counts: survey.counts,
            control: survey.control.clone(),
            settling_until: survey.settling_until,
            ruler: before.as_ref().and_then(|known| known.ruler.clone()),
            ruler_at: before.as_ref().map_or(Micros::ZERO, |known| known.ruler_at),
            forecast: before.as_ref().map_or_else(Forecast::default, |known| known.forecast.clone()),
        };
        self.measure(&known);
        self.known.store(Some(Arc::new(known)));
        heard
    }

    fn revoke(&self, revoked: &[(TicketId, Micros)]) {
        if revoked.is_empty() {
            return;
        }
        let now = self.now();
        let mut all = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, until| *until > now);
        all.extend(revoked.iter().copied());
    }

    fn measure(&self, known: &Known) {
        let Counts { waiting, returning, turns, active, .. } = known.counts;
        self.metrics.waiting.set((waiting + returning) as f64);
        self.metrics.turns_open.set(turns as f64);
        self.metrics.active.set(active as f64);
        let rate = f64::from(known.control.new_users_per_minute);
        let stopped = known.control.paused.is_some() || known.control.mode != Mode::Open;
        self.metrics.rate_configured.set(rate);
        self.metrics.rate_effective.set(if stopped { 0.0 } else { rate });
        let burst = self.settings.load().rules.burst_at(known.control.new_users_per_minute);
        let reading = self.meter.lock().unwrap_or_else(PoisonError::into_inner).read(
            known.head.clock,
            known.counts.entered,
            known.control.new_users_per_minute,
            burst,
            waiting > 0,
        );
        self.metrics.over_limit.increment(reading.over);
        // Nobody waits: the limit is not what holds them.
        self.metrics.limit_utilisation.set(reading.utilisation.unwrap_or(0.0));
        metrics::edge().clock_offset.set(self.clock.offset_secs());
    }
}

impl Known {
    /// `number` is that of the next event to come after what was heard.
    fn compare(&self, head: Head, number: u64) -> Heard {
        if head.incarnation != self.head.incarnation {
            // A late word from a former life is told from a new one by its number.
            return if head.seq < self.head.seq { Heard::Old } else { Heard::Anew };
        }
        match number {
            number if number <= self.head.seq => Heard::Old,
            number if number == self.head.seq + 1 => Heard::Next,
            before => Heard::Gap { after: self.head.seq, before },
        }
    }

    fn after(before: Option<&Self>, event: &Event) -> Self {
        let moved = event.counts.admitted + event.counts.abandoned + event.counts.set_aside;
        let mut forecast = before.map_or_else(Forecast::default, |known| known.forecast.clone());
        if event.control.paused.is_none() {
            forecast.observe(event.head.clock, moved);
        }
        let measured = measured(event).map(|ruler| (Some(ruler), event.head.clock));
        let kept = || before.map_or((None, Micros::ZERO), |known| (known.ruler.clone(), known.ruler_at));
        let (ruler, ruler_at) = measured.unwrap_or_else(kept);
        Self {
            head: event.head,
            counts: event.counts,
            control: event.control.clone(),
            ruler,
            ruler_at,
            forecast,
            settling_until: event.settling_until,
        }
    }
}

/// The line, if the event measured it. While a store that started anew gathers its people the line is short, and
/// positions shown by it could not be taken back: the ruler from before is the better one.
fn measured(event: &Event) -> Option<Arc<Ruler>> {
    let ruler = event.ruler.as_ref().filter(|_| event.settling_until.is_none())?;
    Some(Arc::new(ruler.clone()))
}
