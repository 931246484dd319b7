//! `GET ws`: the socket of a waiting visitor.

use std::sync::Arc;

use http::{StatusCode, header};
use room::ids::VisitorId;
use room::queue::Arrived;
use room::token::Ticket;
use room::wire::{ServerMessage, Standing, close};

use crate::config::settings::HostPattern;
use crate::hall::Hall;
use crate::hub::encode;
use crate::mailbox::Mailbox;
use crate::metrics::WsType;
use crate::request::{Answer, Known, Plan, SocketPlan, plain_text};
use crate::socket::{self, frames::FrameBuffer};

use super::turnstile::Outcome;
use super::{Visit, answers};

/// Nothing is left to say (RFC 6455 §7.4.1).
const NORMAL: u16 = 1000;

pub(super) async fn plan(visit: Visit<'_>) -> Result<Plan, Box<Answer>> {
    if !visit.origin_is_ours() {
        let title = "This page may not open a socket here";
        let cure = "Add its origin to `allowed_origins` of the room.";
        return Err(Box::new(answers::problem(visit.head, StatusCode::FORBIDDEN, "origin", title, cure)));
    }
    let Some(ticket) = visit.presented.ticket.clone() else {
        // A browser cannot read why a handshake failed; a close code it can.
        return Ok(said_and_closed(None, close::NO_TICKET));
    };
    match visit.present_from_screen(visit.charged(ticket)?).await {
        Outcome::Waits { arrived: Arrived::Waiting(_) | Arrived::Turn(_), ticket, changed } => {
            Ok(visit.open(&ticket, changed))
        }
        Outcome::Kept { ticket, changed } => Ok(visit.open(&ticket, changed)),
        Outcome::Waits { arrived: Arrived::Full | Arrived::Busy, .. } => {
            Ok(said_and_closed(None, close::FULL))
        }
        Outcome::Waits { arrived, ticket, .. } => {
            let standing = visit.told(&ticket, &arrived);
            Ok(said_and_closed(Some(standing), NORMAL))
        }
        Outcome::In(_) => Ok(said_and_closed(Some(visit.tell(crate::standing::Who::Admitted)), NORMAL)),
        Outcome::Soon { .. } | Outcome::Unknown { .. } => Err(Box::new(visit.unavailable())),
    }
}

impl Visit<'_> {
    /// Browsers name the page's origin: it must be one of the room. Others send none.
    fn origin_is_ours(&self) -> bool {
        let Some(origin) = self.head.fields.get(Known::Origin) else {
            return true;
        };
        let Some(origin) = plain_text(origin) else { return false };
        let public = self.house.settings.server.public_origin.iter();
        if public.chain(&self.settings.allowed_origins).any(|ours| ours.as_str().eq_ignore_ascii_case(origin))
        {
            return true;
        }
        let Some((_, authority)) = origin.split_once("://") else {
            return false;
        };
        let host = without_port(authority).to_ascii_lowercase();
        let is_host = |pattern: &HostPattern| match pattern {
            HostPattern::Any => host == self.head.host,
            HostPattern::Exact(exact) => host == *exact,
        };
        self.settings.matches.iter().any(|one| is_host(&one.host))
    }

    fn open(&self, ticket: &Ticket, changed: bool) -> Plan {
        let mailbox = Arc::new(Mailbox::default());
        let cookie = changed.then(|| self.ticket_cookie(ticket));
        if let Some(cookie) = cookie.as_ref().filter(|_| self.presented.by_header) {
            post(&mailbox, WsType::Ticket, &ServerMessage::Ticket { ticket: cookie.token.to_string() });
        }
        let headers = cookie.and_then(|cookie| cookie.value()).map(|cookie| (header::SET_COOKIE, cookie));
        let headers = headers.into_iter().collect();
        let (hall, visitor) = (Arc::clone(self.hall), ticket.visitor);
        let run = move |socket| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(async move {
                let _screen = Screen::open(hall, visitor, &mailbox);
                socket::run(socket, mailbox).await;
            })
        };
        Plan::Socket(SocketPlan { headers, run: Box::new(run) })
    }
}

/// An open screen of somebody who waits; closed however its socket ends.
struct Screen {
    hall: Arc<Hall>,
    visitor: VisitorId,
    mailbox: Arc<Mailbox>,
}

impl Screen {
    fn open(hall: Arc<Hall>, visitor: VisitorId, mailbox: &Arc<Mailbox>) -> Self {
        let (settings, known) = (hall.settings(), hall.known());
        if !hall.hub.attach(visitor, mailbox, hall.view(&settings, known.as_deref())) {
            // Left or claimed between the request and the socket.
            mailbox.close(NORMAL);
        }
        Self { hall, visitor, mailbox: Arc::clone(mailbox) }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.hall.hub.detach(self.visitor, &self.mailbox, self.hall.now());
    }
}

/// A socket that says one thing and closes.
fn said_and_closed(standing: Option<Standing>, code: u16) -> Plan {
    let mailbox = Arc::new(Mailbox::default());
    if let Some(standing) = standing {
        post(&mailbox, WsType::Update, &ServerMessage::Update(Box::new(standing)));
    }
    mailbox.close(code);
    let run = move |socket| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(socket::run(socket, mailbox))
    };
    Plan::Socket(SocketPlan { headers: Vec::new(), run: Box::new(run) })
}

fn post(mailbox: &Mailbox, kind: WsType, message: &ServerMessage) {
    mailbox.urgent(kind, encode(message, &mut FrameBuffer::default()));
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}
