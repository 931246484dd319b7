//! A request to a path behind a room: forwarded, let in, or kept waiting.

use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use room::gate::{self, Held, Verdict};
use room::queue::Arrived;
use room::rules::{Method, Phase};
use room::time::Micros;
use room::token::{Pass, Ticket};
use room::wire::{Standing, State};

use crate::limits::Wait;
use crate::metrics::Verdict as Counted;
use crate::page::{Moment, Notice, Posted, REFRESH_SECS};
use crate::request::{Answer, Digits, Forward, ForwardPass, Plan};
use crate::standing::{Who, in_words};

use super::Visit;
use super::answers::{self, FixedProblem, accepts_gzip, is_navigation, is_prefetch, wants_hosted_names};
use super::presented::Shown;
use super::turnstile::{Minted, Outcome};

/// Over a limit, whichever.
static LIMITED: LazyLock<FixedProblem> = LazyLock::new(|| {
    let (title, cure) = ("Too many requests", "Ask again after the time in Retry-After.");
    FixedProblem::new(StatusCode::TOO_MANY_REQUESTS, "limited", title, cure)
});

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What is left to do where the store has to be asked.
pub(super) enum Task {
    /// The session of this pass is extended, or introduced.
    Renew(Shown),
    /// Somebody wants in.
    Stand(Verdict),
}

/// Decides by what is known here, which is enough for nearly all: for passes that were seen before, and for a crowd.
pub(super) fn begin(visit: &mut Visit<'_>) -> Result<Plan, Box<Task>> {
    if let Err(wait) = visit.charge_client() {
        return Ok(Plan::Answer(visit.limited(wait)));
    }
    match visit.decide() {
        Verdict::Aside => Ok(visit.forward(None, Vec::new(), None)),
        Verdict::Forward { renew, .. } => {
            let Some(shown) = visit.presented.pass.take() else {
                return Ok(Plan::Answer(visit.closed()));
            };
            if shown.is_new {
                visit.hall.saw(&shown.pass);
            }
            if renew || visit.hall.is_strange(&shown.pass) {
                return Err(Box::new(Task::Renew(shown)));
            }
            Ok(visit.forward_with(shown))
        }
        verdict @ (Verdict::Present(_) | Verdict::Knock) => Err(Box::new(Task::Stand(verdict))),
        verdict => Ok(visit.keep_out(&verdict)),
    }
}

/// What somebody is told.
#[derive(Clone, Copy)]
enum Told<'a> {
    /// The same as everybody in the same place.
    Alike(&'a Notice),
    Alone(&'a Standing),
}

impl<'a> Told<'a> {
    fn standing(self) -> &'a Standing {
        match self {
            Self::Alike(notice) => &notice.standing,
            Self::Alone(standing) => standing,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Alike(notice) => notice.code,
            Self::Alone(_) => "queued",
        }
    }
}

pub(super) async fn finish(visit: Visit<'_>, task: Task) -> Plan {
    match task {
        Task::Stand(verdict) => visit.stand(verdict).await,
        Task::Renew(shown) => match visit.renew(&shown).await {
            Some(minted) => visit.forward_minted(&minted, minted.token != shown.token),
            // The session is over: the visitor stands before the gate like anybody else.
            None => visit.without_pass().await,
        },
    }
}

impl Visit<'_> {
    fn decide(&self) -> Verdict {
        let held = Held {
            pass: self.presented.pass.as_ref().map(|shown| Pass::clone(&shown.pass)),
            ticket: self.presented.ticket.clone(),
        };
        let is_revoked = |ticket| self.hall.is_revoked(ticket);
        gate::decide(
            &self.settings.rules,
            self.hall.door(),
            held,
            is_prefetch(self.head),
            is_revoked,
            self.now,
        )
    }

    async fn without_pass(&self) -> Plan {
        let verdict = self.decide();
        self.stand(verdict).await
    }

    /// Everything that is not forwarded at once.
    async fn stand(&self, verdict: Verdict) -> Plan {
        match verdict {
            Verdict::Present(ticket) => self.present_and_go(ticket).await,
            Verdict::Knock => self.knock().await,
            verdict => self.keep_out(&verdict),
        }
    }

    /// Those for whom nobody need be asked.
    fn keep_out(&self, verdict: &Verdict) -> Plan {
        Plan::Answer(match verdict {
            Verdict::Wait => self.wait_unconfirmed(&self.fresh_ticket()),
            Verdict::Glance => {
                self.with_posted(|posted| self.waiting(Told::Alike(&posted.queued), None, None))
            }
            _ => self.closed(),
        })
    }

    /// Lets a newcomer in at once, if an entry is free.
    async fn knock(&self) -> Plan {
        let ticket = self.fresh_ticket();
        if self.charge_join().is_err() {
            return Plan::Answer(self.wait_unconfirmed(&ticket));
        }
        match self.present(ticket, true, false).await {
            Outcome::In(minted) => self.forward_minted(&minted, true),
            Outcome::Waits { ticket, .. }
            | Outcome::Soon { ticket, .. }
            | Outcome::Kept { ticket, .. }
            | Outcome::Unknown { ticket } => Plan::Answer(self.wait_unconfirmed(&ticket)),
        }
    }

    async fn present_and_go(&self, ticket: Ticket) -> Plan {
        if ticket.confirmed_at.is_none()
            && let Err(wait) = self.charge_join()
        {
            let ticket = ticket.deferred(self.now, self.settings.rules.confirm_window);
            return Plan::Answer(self.with_posted(|posted| {
                self.waiting(Told::Alike(&posted.queued), Some(&ticket), Some(wait.0))
            }));
        }
        match self.present(ticket, true, true).await {
            Outcome::In(minted) => self.forward_minted(&minted, true),
            Outcome::Waits { arrived: Arrived::Spent | Arrived::Void, .. } => {
                // The old place is over; this visit begins another.
                if self.hall.door().queueing {
                    Plan::Answer(self.wait_unconfirmed(&self.fresh_ticket()))
                } else {
                    self.knock().await
                }
            }
            Outcome::Waits { arrived: Arrived::Full, ticket, .. } => Plan::Answer(self.full(&ticket)),
            Outcome::Waits { arrived, ticket, changed } => {
                let standing = self.told(&ticket, &arrived);
                Plan::Answer(self.waiting(Told::Alone(&standing), changed.then_some(&ticket), None))
            }
            Outcome::Soon { ticket, retry_at } => {
                let standing = self.tell(Who::Turn { deadline: retry_at + self.settings.rules.claim_window });
                let wait = retry_at.since(self.now);
                Plan::Answer(self.waiting(Told::Alone(&standing), Some(&ticket), Some(wait)))
            }
            Outcome::Kept { ticket, changed } => {
                let standing = self.told_kept(&ticket);
                Plan::Answer(self.waiting(Told::Alone(&standing), changed.then_some(&ticket), None))
            }
            Outcome::Unknown { ticket } => Plan::Answer(self.wait_unconfirmed(&ticket)),
        }
    }

    fn forward_with(&self, shown: Shown) -> Plan {
        let until = Micros::from_secs(shown.pass.expires_at_secs);
        let (visitor, ticket) = (shown.pass.visitor, shown.pass.ticket);
        self.forward(Some(ForwardPass { token: shown.token, visitor, ticket, until }), Vec::new(), None)
    }

    fn forward_minted(&self, minted: &Minted, is_new: bool) -> Plan {
        let cookies = is_new.then(|| self.pass_cookie(minted)).and_then(|cookie| cookie.value());
        self.forward(Some(minted.forward()), cookies.into_iter().collect(), minted.waited)
    }

    fn forward(
        &self,
        pass: Option<ForwardPass>,
        set_cookies: Vec<HeaderValue>,
        waited: Option<Duration>,
    ) -> Plan {
        self.hall.metrics.request(Counted::Forwarded);
        Plan::Forward(Forward {
            upstream: self.hall.upstream(),
            room: Some(self.hall.name.clone()),
            pass,
            set_cookies,
            waited,
            trust_commands: self.settings.trust_commands,
        })
    }

    /// A stamped ticket and the page that is the same for everybody: nothing was stored.
    fn wait_unconfirmed(&self, ticket: &Ticket) -> Answer {
        self.with_posted(|posted| self.waiting(Told::Alike(&posted.queued), Some(ticket), None))
    }

    /// The waiting page, or a standing for those who are no browser.
    fn waiting(&self, told: Told<'_>, ticket: Option<&Ticket>, retry: Option<Duration>) -> Answer {
        self.hall.metrics.request(Counted::Queued);
        let cookie = ticket.map(|ticket| self.ticket_cookie(ticket));
        let standing = told.standing();
        let retry = retry.unwrap_or(Duration::from_secs(standing.next_update_seconds.into()));
        let answer = if is_navigation(self.head) {
            self.page(self.settings.queueing_status_code, standing)
        } else {
            let by_header = cookie.as_ref().filter(|_| self.presented.by_header);
            self.for_app(told, by_header.map(|cookie| cookie.token.to_string()))
        };
        answer.retry_after(retry).with_cookies(cookie)
    }

    fn for_app(&self, told: Told<'_>, token: Option<String>) -> Answer {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        match told {
            Told::Alike(notice) if token.is_none() && !wants_hosted_names(self.head) => {
                answers::written(status, &notice.text)
            }
            told => {
                let standing = Standing { ticket: token, ..told.standing().clone() };
                answers::standing(self.head, status, Some(told.code()), &standing)
            }
        }
    }

    /// What everybody is told who has no place.
    fn with_posted<T>(&self, act: impl FnOnce(&Posted) -> T) -> T {
        let text = |standing: &Standing, code| answers::object(Some(code), standing).into();
        let known = self.hall.known();
        let view = self.hall.view(&self.settings, known.as_deref());
        let moment = Moment { settings: &self.settings, known: known.as_ref(), view };
        act(&self.hall.page.board.posted(&moment, text))
    }

    fn page(&self, status: StatusCode, standing: &Standing) -> Answer {
        let gzip = accepts_gzip(&self.head.fields);
        let shown = match standing.state {
            State::Securing if standing.message.is_none() => self.hall.page.for_newcomer(gzip),
            _ => self.hall.page.with(&in_words(standing), gzip),
        };
        let headers = self.hall.page.headers(&shown);
        Answer { status, headers, body: shown.body }
    }

    /// The line is at its cap: the stamp is kept for a later try.
    fn full(&self, ticket: &Ticket) -> Answer {
        self.hall.metrics.request(Counted::Rejected);
        let standing = self.tell(Who::Unconfirmed);
        let cookie = self.ticket_cookie(ticket);
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let answer = if is_navigation(self.head) {
            self.page(status, &standing)
        } else {
            answers::standing(self.head, status, Some("full"), &standing)
        };
        answer.retry_after(Duration::from_secs(REFRESH_SECS.into())).with_cookies([cookie])
    }

    /// Whether nobody new is taken, whatever they hold.
    pub(super) fn is_closed(&self) -> bool {
        let door = self.hall.door();
        self.settings.rules.queueing_method == Method::Reject || door.closed || door.phase == Phase::Closed
    }

    pub(super) fn closed(&self) -> Answer {
        self.hall.metrics.request(Counted::Rejected);
        self.with_posted(|Posted { closed, .. }| {
            if is_navigation(self.head) {
                self.page(StatusCode::SERVICE_UNAVAILABLE, &closed.standing)
            } else {
                self.for_app(Told::Alike(closed), None)
            }
        })
    }

    pub(super) fn limited(&self, wait: Wait) -> Answer {
        self.over("client", self.settings.limits.per_client.per_second.get(), "1", wait)
    }

    pub(super) fn limited_joins(&self, wait: Wait) -> Answer {
        self.over("joins", self.settings.limits.joins_per_address.per_minute.get(), "60", wait)
    }

    /// Over the limit of this name, of so many in so many seconds, with the fields of the rate limit headers for HTTP
    /// (IETF draft).
    fn over(&self, limit: &str, count: u32, secs: &str, wait: Wait) -> Answer {
        self.hall.metrics.request(Counted::Limited);
        let mut answer = LIMITED.answer(self.head);
        let (limit, count, back) =
            (limit.as_bytes(), Digits::of(count.into()), Digits::of(wait.0.as_secs() + 1));
        let policy: [&[u8]; 6] = [b"\"", limit, b"\";q=", count.as_bytes(), b";w=", secs.as_bytes()];
        answer.headers.add_parts(&RATELIMIT_POLICY, &policy);
        answer.headers.add_parts(&RATELIMIT, &[b"\"", limit, b"\";r=0;t=", back.as_bytes()]);
        answer.retry_after(wait.0)
    }
}
