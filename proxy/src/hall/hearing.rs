//! What an edge hears of a room: events and surveys of the store.

use std::sync::{Arc, PoisonError};

use room::estimate::Forecast;
use room::node::Heard;
use room::queue::{Control, Counts, Event, Mode, Survey};
use room::ruler::Ruler;
use room::time::Micros;
use room::wire::ServerMessage;

use crate::metrics::{self, WsType};
use crate::standing::{self, Known};

use super::Hall;

impl Hall {
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
            self.announce(&before.control, &known.control);
        }
        heard
    }

    /// Tells those who wait what the operator changed.
    fn announce(&self, before: &Control, now: &Control) {
        if before.paused != now.paused {
            let paused = standing::paused(now);
            self.hub.announce(WsType::Paused, &ServerMessage::Paused { paused });
        }
        if before.message != now.message {
            self.hub.announce(WsType::Message, &ServerMessage::Message { message: now.message.clone() });
        }
        if (&before.paused, &before.message, before.mode) != (&now.paused, &now.message, now.mode) {
            self.hub.tell_all();
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
        let mut forecast = before.map_or_else(Forecast::default, |known| known.forecast.clone());
        let stands = event.control.paused.is_some()
            || event.control.mode != Mode::Open
            || event.settling_until.is_some();
        if stands {
            forecast.skip(event.head.clock, event.counts);
        } else {
            forecast.observe(event.head.clock, event.counts);
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
