//! What all who have just come to a room are told alike, written once for each state of the room: a crowd asks a
//! hundred thousand times a second, and the room changes ten times.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use room::rules::Phase;
use room::wire::{Standing, State};

use crate::config::settings::RoomSettings;
use crate::hub::View;
use crate::standing::{Known, Shown, Who};

/// The newest of it.
#[derive(Debug, Default)]
pub struct Board(ArcSwapOption<Posted>);

/// The state of a room, as far as those without a place hear of it.
#[derive(Debug)]
pub struct Moment<'a> {
    pub settings: &'a Arc<RoomSettings>,
    /// `None` until the store was heard.
    pub known: Option<&'a Arc<Known>>,
    pub view: View<'a>,
}

/// What is told in one state.
#[derive(Debug)]
pub struct Posted {
    settings: Arc<RoomSettings>,
    known: Option<Arc<Known>>,
    away: bool,
    phase: Phase,
    opens_later: bool,
    pub queued: Notice,
    pub closed: Notice,
}

/// A standing with its code.
#[derive(Debug)]
pub struct Notice {
    pub standing: Standing,
    pub code: &'static str,
    /// Both as JSON.
    pub text: Bytes,
}

impl Board {
    /// `text` writes a standing and its code as JSON.
    pub fn posted(
        &self,
        moment: &Moment<'_>,
        text: impl Fn(&Standing, &'static str) -> Bytes,
    ) -> Arc<Posted> {
        let posted = self.0.load();
        if let Some(posted) = posted.as_ref().filter(|posted| posted.holds(moment)) {
            return Arc::clone(posted);
        }
        let posted = Arc::new(Posted::of(moment, text));
        self.0.store(Some(Arc::clone(&posted)));
        posted
    }
}

impl Posted {
    fn of(moment: &Moment<'_>, text: impl Fn(&Standing, &'static str) -> Bytes) -> Self {
        let Moment { settings, known, view } = moment;
        let notice = |standing, code| Notice { text: text(&standing, code), standing, code };
        let queued = view.tell(Who::Unconfirmed, &mut Shown::default());
        let closed = Standing { state: State::Closed, ..queued.clone() };
        Self {
            settings: Arc::clone(settings),
            known: known.map(Arc::clone),
            away: view.away,
            phase: view.rules.schedule.phase(view.now),
            opens_later: opens_later(view),
            queued: notice(queued, "queued"),
            closed: notice(closed, "closed"),
        }
    }

    /// Whether it would be written alike now: of the time only the schedule depends, all else on what was heard of the
    /// room, which is replaced as a whole, as the settings are.
    fn holds(&self, moment: &Moment<'_>) -> bool {
        let Moment { settings, known, view } = moment;
        let heard = self.known.as_ref().zip(*known);
        heard.is_some_and(|(then, now)| Arc::ptr_eq(then, now))
            && Arc::ptr_eq(&self.settings, settings)
            && self.away == view.away
            && self.phase == view.rules.schedule.phase(view.now)
            && self.opens_later == opens_later(view)
    }
}

fn opens_later(view: &View<'_>) -> bool {
    view.rules.schedule.opens_at.is_some_and(|at| at > view.now)
}
