//! One room as this edge runs it: its settings, its clock, its line to the store, those who wait here.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use room::estimate::Forecast;
use room::gate::Door;
use room::ids::{Incarnation, NodeId, RoomName, TicketId, VisitorId};
use room::meter::Meter;
use room::node::Heard;
use room::queue::{
    Arrival, Arrived, Change, Claim, Claimed, Control, Counts, Event, FileValues, Head, Leave, Mode, Renewal,
    Renewed, Session, Survey,
};
use room::ruler::Ruler;
use room::rules::Phase;
use room::time::Micros;
use room::token::Pass;
use room::wire::ServerMessage;
use store::batch::{Batch, MOST};
use store::{Store, StoreError, TuneError};
use tokio::sync::Notify;

use crate::clock::RoomClock;
use crate::config::settings::RoomSettings;
use crate::edge::upstream::Upstream;
use crate::healing::Healing;
use crate::hub::{Hub, Said, View};
use crate::link::Link;
use crate::metrics::{self, RoomMetrics, WsType};
use crate::page::Page;
use crate::passes::session_of;
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

/// Passes of an earlier life, or extended by an edge alone, that were registered in this life already.
#[derive(Debug, Default)]
struct Introduced {
    life: Option<Incarnation>,
    tickets: HashSet<TicketId>,
}

/// Passes remembered as introduced; beyond, they are introduced once more.
const MAX_INTRODUCED: usize = 100_000;

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
            let (settings, known) = (self.settings(), self.known());
            self.hub.tell_all(self.view(&settings, known.as_deref()));
        }
        before
    }

    pub fn is_revoked(&self, ticket: TicketId) -> bool {
        self.link.ask(|node| node.is_revoked(ticket))
    }

    /// Remembers the session of a pass that comes by here for the first time.
    pub fn saw(&self, pass: &Pass) {
        let (session, now) = (session_of(pass), self.now());
        self.link.note(|node| match pass.granted_secs {
            Some(_) => node.lent(pass.visitor, pass.ticket, session, now),
            None => node.entered(pass.visitor, pass.ticket, session, now),
        });
    }

    /// Whether the store may not know the session of this pass: another life of it granted the session, or an edge
    /// extended it alone. Said once of each pass in each life.
    pub fn is_strange(&self, pass: &Pass) -> bool {
        let Some(life) = self.known.load().as_ref().map(|known| known.head.incarnation) else { return false };
        if (pass.incarnation == life && pass.granted_secs.is_none()) || self.reach() == Reach::Away {
            return false;
        }
        let mut introduced = self.introduced.lock().unwrap_or_else(PoisonError::into_inner);
        if introduced.life != Some(life) || introduced.tickets.len() >= MAX_INTRODUCED {
            *introduced = Introduced { life: Some(life), tickets: HashSet::new() };
        }
        introduced.tickets.insert(pass.ticket)
    }

    /// Extends a session while the store is away, as far as an edge may.
    pub fn extend_alone(&self, pass: &Pass) -> Option<Session> {
        let (settings, now) = (self.settings(), self.now());
        let session = session_of(pass);
        if session.ends.since(now) * 2 >= settings.rules.session_duration {
            return None;
        }
        let granted = Micros::from_secs(pass.granted_secs.unwrap_or(pass.expires_at_secs));
        let extended = session.extended_alone(granted, &settings.rules, now)?;
        self.link.note(|node| node.lent(pass.visitor, pass.ticket, extended, now));
        self.healing.ask_for_lent();
        self.metrics.lent.increment(1);
        Some(extended)
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
        let away = self.reach() == Reach::Away;
        View { room: &self.name, rules: &settings.rules, known, away, now: self.now() }
    }

    /// Takes in what the store says of the room, and tells those who wait here.
    pub fn hear(&self, event: &Event) -> Heard {
        let before = self.known();
        let heard = self.link.note(|node| node.heard(event));
        match heard {
            // An end is an end, however late it is heard.
            Heard::Old => {
                self.revoke(event);
                return heard;
            }
            Heard::Anew => self.forgotten(),
            Heard::Next | Heard::Gap { .. } => {}
        }
        let known = Arc::new(Known::after(before.as_deref(), event));
        self.known.store(Some(Arc::clone(&known)));
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

    fn revoke(&self, event: &Event) {
        if !event.revoked.is_empty() {
            let now = self.now();
            self.link.note(|node| {
                event.revoked.iter().for_each(|&(ticket, until)| node.revoke(ticket, until, now));
            });
        }
    }

    /// The store is in another life: it is told what this edge knows of the one before.
    fn forgotten(&self) {
        self.metrics.lives.increment(1);
        self.healing.ask_for_all();
    }

    /// Takes in an event that was missed and read back: who was named is told, the room has moved on.
    pub fn hear_late(&self, event: &Event) -> Heard {
        let heard = self.hear(event);
        if heard != Heard::Old {
            return heard;
        }
        if let (Some(known), Some(ruler)) = (self.known(), measured(event))
            && known.ruler_at < event.head.clock
        {
            let newer = Known { ruler: Some(ruler), ruler_at: event.head.clock, ..Known::clone(&known) };
            self.known.store(Some(Arc::new(newer)));
        }
        let (settings, known) = (self.settings(), self.known());
        self.hub.hear(event, self.view(&settings, known.as_deref()));
        heard
    }

    /// Takes in the whole of a room: at the start, and while no ticks come.
    pub fn hear_survey(&self, survey: &Survey) -> Heard {
        let before = self.known();
        let heard = self.link.note(|node| node.surveyed(survey));
        if heard == Heard::Anew {
            self.forgotten();
        }
        if heard == Heard::Old {
            return heard;
        }
        let known = Known {
            head: survey.head,
            waiting: waiting(before.as_deref(), survey.counts, survey.settling_until),
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
            waiting: waiting(before, event.counts, event.settling_until),
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

/// How many wait, as people are told: while a store that started anew gathers them, as many as before.
fn waiting(before: Option<&Known>, counts: Counts, settling_until: Option<Micros>) -> u64 {
    let counted = counts.waiting + counts.returning;
    match before {
        Some(before) if settling_until.is_some() => counted.max(before.waiting),
        _ => counted,
    }
}
