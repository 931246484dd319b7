//! From ticket to session: stamps, presenting, claiming, minting. Shared by pages, calls and sockets.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use room::draw;
use room::ids::{TicketId, VisitorId};
use room::queue::{Arrival, Arrived, Claim, Claimed, Renewal, Renewed, Session};
use room::rules::TICKET_LIFE;
use room::time::Micros;
use room::token::{Kind, Pass, Ticket};
use room::wire::Standing;
use store::StoreError;

use crate::hall::Reach;
use crate::hub::View;
use crate::limits::{Quota, Remaining, Wait};
use crate::metrics::Verdict as Counted;
use crate::passes::session_of;
use crate::random;
use crate::request::ForwardPass;
use crate::standing::{Known, Shown as ShownBefore, Who};

use super::Visit;
use super::cookies::Cookie;
use super::presented::Shown;

/// A claim that needs a moment is waited for instead of sent away, up to this long.
const CLAIM_PATIENCE: Duration = Duration::from_secs(3);
/// After a knock that found no entry nobody else need knock for this long.
const BUSY: Duration = Duration::from_millis(200);

/// What became of a visitor who wanted in.
pub(super) enum Outcome {
    /// In, with a new pass.
    In(Minted),
    /// Waits, with this ticket; `changed` when it has to be handed out again.
    Waits { arrived: Arrived, ticket: Ticket, changed: bool },
    /// The turn is theirs, but no entry is free this moment.
    Soon { ticket: Ticket, retry_at: Micros },
    /// The store is away: this edge has confirmed the ticket, and presents it when the store answers.
    Kept { ticket: Ticket, changed: bool },
    /// The store gave no answer, or has no room: the ticket keeps its stamp.
    Unknown { ticket: Ticket },
}

/// A pass, ready to be handed out.
pub(super) struct Minted {
    pub(super) pass: Pass,
    pub(super) token: Arc<str>,
    /// From first contact to entry, if this is the entry.
    pub(super) waited: Option<Duration>,
}

impl Minted {
    pub(super) fn forward(&self) -> ForwardPass {
        ForwardPass {
            token: Arc::clone(&self.token),
            visitor: self.pass.visitor,
            ticket: self.pass.ticket,
            until: Micros::from_secs(self.pass.expires_at_secs),
        }
    }
}

impl Visit<'_> {
    /// A ticket with a stamp of this moment. A visitor who is known stays the same visitor.
    pub(super) fn fresh_ticket(&self) -> Ticket {
        let rules = &self.settings.rules;
        let stamp = self.hall.clock.stamp();
        let known = self.presented.ticket.as_ref().map(|ticket| ticket.visitor);
        let from = rules.schedule.opens_at.map_or(stamp, |opens_at| stamp.max(opens_at));
        Ticket {
            room: self.hall.name.clone(),
            visitor: known.unwrap_or_else(|| VisitorId::from_random(random::bytes())),
            id: TicketId::from_random(random::bytes()),
            stamp,
            head_start_micros: 0,
            confirmed_at: None,
            confirm_by: stamp + rules.confirm_window,
            expires_at_secs: (from + TICKET_LIFE).as_secs(),
        }
    }

    /// Presents a ticket; claims if it is its turn.
    pub(super) async fn present(&self, ticket: Ticket, may_enter: bool, may_wait: bool) -> Outcome {
        let was_confirmed = ticket.confirmed_at.is_some();
        let confirmed = ticket.clone().confirmed(self.now.max(ticket.stamp));
        let arrival = self.arrival(&confirmed, may_enter, may_wait);
        // A turn that is known here needs no question: a store whose memory is full still takes claims.
        if may_enter && self.hall.hub.has_turn(ticket.visitor, ticket.id) {
            return self.claim(confirmed, arrival, !was_confirmed).await;
        }
        match self.hall.arrive(arrival, confirmed.stamp).await {
            Ok(Arrived::LetIn(session)) => Outcome::In(self.entered(&confirmed, session)),
            Ok(Arrived::Session(session)) => Outcome::In(self.mint(&confirmed, session)),
            Ok(Arrived::Turn(_)) if may_enter => self.claim(confirmed, arrival, !was_confirmed).await,
            Ok(Arrived::Busy) => {
                self.hall.busy_until(self.now + BUSY);
                Outcome::Waits { arrived: Arrived::Busy, ticket, changed: false }
            }
            Ok(Arrived::Full) => {
                let ticket = ticket.deferred(self.now, self.settings.rules.confirm_window);
                Outcome::Waits { arrived: Arrived::Full, ticket, changed: !was_confirmed }
            }
            Ok(arrived) => Outcome::Waits { arrived, ticket: confirmed, changed: !was_confirmed },
            Err(error) if may_wait && is_away(&error) => {
                self.keep_for_later(ticket, confirmed, arrival, &error)
            }
            Err(error) => {
                let ticket = ticket.deferred(self.now, self.settings.rules.confirm_window);
                self.store_failed(ticket, &error)
            }
        }
    }

    /// Nobody loses a place that was earned while the store is away: the ticket is confirmed here, and bears witness.
    fn keep_for_later(
        &self,
        ticket: Ticket,
        confirmed: Ticket,
        arrival: Arrival,
        error: &StoreError,
    ) -> Outcome {
        if !self.hall.keep_for_later(arrival, confirmed.stamp) {
            let ticket = ticket.deferred(self.now, self.settings.rules.confirm_window);
            return self.store_failed(ticket, error);
        }
        let changed = ticket.confirmed_at.is_none();
        tracing::debug!(room = %self.hall.name, trace_id = %self.head.trace_id, %error, "the place is kept by this edge");
        Outcome::Kept { ticket: confirmed, changed }
    }

    fn store_failed(&self, ticket: Ticket, error: &StoreError) -> Outcome {
        tracing::debug!(room = %self.hall.name, trace_id = %self.head.trace_id, %error, "kept by the ticket alone");
        self.hall.metrics.request(Counted::Error);
        Outcome::Unknown { ticket }
    }

    fn arrival(&self, ticket: &Ticket, may_enter: bool, may_wait: bool) -> Arrival {
        let rules = &self.settings.rules;
        let seed = rules.schedule.opens_at.and_then(|at| self.house.ring.draw_seed(&ticket.room, at));
        Arrival {
            visitor: ticket.visitor,
            ticket: ticket.id,
            score: draw::score(ticket, rules, seed.as_ref()),
            confirmed_at: ticket.confirmed_at.unwrap_or(self.now),
            may_enter,
            may_wait,
            here: true,
        }
    }

    async fn claim(&self, ticket: Ticket, arrival: Arrival, changed: bool) -> Outcome {
        let claim = Claim { visitor: ticket.visitor, ticket: ticket.id };
        let until = self.hall.now() + CLAIM_PATIENCE;
        loop {
            match self.hall.claim(claim).await {
                Ok(Claimed::Session(session)) => {
                    self.with_view(|view| self.hall.hub.forget(ticket.visitor, Who::Admitted, view));
                    return Outcome::In(self.entered(&ticket, session));
                }
                Ok(Claimed::NotYet { retry_at }) if retry_at <= until => {
                    tokio::time::sleep_until(self.hall.clock.instant_of(retry_at).into()).await;
                }
                Ok(Claimed::NotYet { retry_at }) => return Outcome::Soon { ticket, retry_at },
                // Lapsed this moment, or forgotten by the store: the ticket may still be good for a place.
                Ok(Claimed::Gone) => {
                    let again = Arrival { may_enter: false, ..arrival };
                    return match self.hall.arrive(again, ticket.stamp).await {
                        Ok(arrived) => Outcome::Waits { arrived, ticket, changed },
                        Err(error) => self.store_failed(ticket, &error),
                    };
                }
                Err(error) => return self.store_failed(ticket, &error),
            }
        }
    }

    /// Extends a session in use; `None` when it is over.
    pub(super) async fn renew(&self, shown: &Shown) -> Option<Minted> {
        if self.hall.reach() == Reach::Away {
            return Some(self.extend_alone(shown));
        }
        let Shown { pass, .. } = shown;
        let (visitor, ticket, session) = (pass.visitor, pass.ticket, session_of(pass));
        match self.hall.renew(Renewal { visitor, ticket, session }).await {
            Ok(Renewed::Session(renewed)) if renewed == session && pass.granted_secs.is_none() => {
                Some(as_it_was(shown))
            }
            Ok(Renewed::Session(renewed)) => Some(self.mint_for(visitor, ticket, renewed)),
            Ok(Renewed::Ended) => None,
            Err(_) => Some(self.extend_alone(shown)),
        }
    }

    /// While the store is away the pass is good by itself, and for one `session_duration` more. The store hears of it
    /// when it answers again.
    fn extend_alone(&self, shown: &Shown) -> Minted {
        let Shown { pass, .. } = shown;
        let Some(extended) = self.hall.extend_alone(pass) else { return as_it_was(shown) };
        let granted_secs = pass.granted_secs.or(Some(pass.expires_at_secs));
        self.sign(Pass { expires_at_secs: extended.ends.as_secs(), granted_secs, ..Pass::clone(pass) })
    }

    fn mint(&self, ticket: &Ticket, session: Session) -> Minted {
        self.mint_for(ticket.visitor, ticket.id, session)
    }

    fn mint_for(&self, visitor: VisitorId, ticket: TicketId, session: Session) -> Minted {
        let pass = Pass {
            room: self.hall.name.clone(),
            visitor,
            ticket,
            expires_at_secs: session.ends.as_secs(),
            hard_cap_secs: session.cap.as_secs(),
            incarnation: self.hall.link.incarnation(),
            granted_secs: None,
        };
        self.sign(pass)
    }

    fn sign(&self, pass: Pass) -> Minted {
        let token = self.house.ring.sign_pass(&pass).into();
        Minted { pass, token, waited: None }
    }

    /// `Set-Cookie` for a pass.
    pub(super) fn pass_cookie<'a>(&'a self, minted: &'a Minted) -> Cookie<'a> {
        let left = Micros::from_secs(minted.pass.expires_at_secs).since(self.now).as_secs();
        let token = Cow::Borrowed(&*minted.token);
        self.cookie(Kind::Pass, token, left.max(1))
    }

    /// `Set-Cookie` for a ticket, which is signed here.
    pub(super) fn ticket_cookie(&self, ticket: &Ticket) -> Cookie<'_> {
        let token = self.house.ring.sign_ticket(ticket).into();
        let left = Micros::from_secs(ticket.expires_at_secs).since(self.now).as_secs();
        self.cookie(Kind::Ticket, token, left)
    }

    pub(super) fn cookie<'a>(&'a self, kind: Kind, token: Cow<'a, str>, max_age_secs: u64) -> Cookie<'a> {
        Cookie { kind, room: &self.hall.name, token, max_age_secs, secure: self.head.secure }
    }

    /// What a visitor is told after presenting a ticket.
    pub(super) fn told(&self, ticket: &Ticket, arrived: &Arrived) -> Standing {
        let kept = self.with_view(|view| self.hall.hub.look(ticket.visitor, view));
        kept.unwrap_or_else(|| {
            self.tell(match arrived {
                Arrived::Session(_) | Arrived::LetIn(_) => Who::Admitted,
                Arrived::Spent | Arrived::Void => Who::Expired,
                // Somebody just left by another tab, or was not to wait.
                _ => Who::Unconfirmed,
            })
        })
    }

    /// What a visitor is told whose place this edge keeps for the store.
    pub(super) fn told_kept(&self, ticket: &Ticket) -> Standing {
        let kept = self.with_view(|view| self.hall.hub.look(ticket.visitor, view));
        kept.unwrap_or_else(|| self.tell(Who::Unconfirmed))
    }

    /// What somebody is told whom the hub does not know.
    pub(super) fn tell(&self, who: Who) -> Standing {
        self.with_view(|view| view.tell(who, &mut ShownBefore::default()))
    }

    pub(super) fn with_view<T>(&self, act: impl FnOnce(View<'_>) -> T) -> T {
        let known: Option<Arc<Known>> = self.hall.known();
        act(self.hall.view(&self.settings, known.as_deref()))
    }

    /// One request of this session, or of this address.
    pub(super) fn charge_client(&self) -> Result<Remaining, Wait> {
        if let (None, Some(wait)) = (&self.presented.pass, self.presented.unverified) {
            return Err(wait);
        }
        let limit = self.settings.limits.per_client;
        let quota = Quota::per_second(limit.per_second.get(), limit.burst.get());
        let (room, now) = (self.hall.name.as_str(), self.hall.clock.steady());
        match &self.presented.pass {
            Some(shown) => self.house.limiter.check((room, shown.pass.visitor), quota, now),
            None => self.house.limiter.check_address((room, "client"), self.head.client, quota, now),
        }
    }

    /// One new place for this address.
    pub(super) fn charge_join(&self) -> Result<Remaining, Wait> {
        let limit = self.settings.limits.joins_per_address;
        let quota = Quota::per_minute(limit.per_minute.get(), limit.burst.get());
        let room = self.hall.name.as_str();
        self.house.limiter.check_address((room, "join"), self.head.client, quota, self.hall.clock.steady())
    }

    /// Counts an entry, and mints its pass.
    fn entered(&self, ticket: &Ticket, session: Session) -> Minted {
        let waited = self.hall.now().since(ticket.stamp);
        self.hall.metrics.request(Counted::Entered);
        self.hall.metrics.entries.increment(1);
        self.hall.metrics.wait.record(waited);
        Minted { waited: Some(waited), ..self.mint(ticket, session) }
    }
}

fn as_it_was(Shown { pass, token, .. }: &Shown) -> Minted {
    Minted { pass: Pass::clone(pass), token: Arc::clone(token), waited: None }
}

/// Whether the store could not be asked, rather than having refused.
fn is_away(error: &StoreError) -> bool {
    !matches!(error, StoreError::Full)
}
