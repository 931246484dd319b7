//! What one waiting socket has still to be sent. A frame goes straight to the connection while that takes it; behind a
//! slow reader updates coalesce to the newest. Turns never do.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::net::TcpStream;

use crate::hub::Update;
use crate::metrics::{self, Direction, WsType};
use crate::socket::frames::{FrameBuffer, Opcode, frame};

/// Messages that are never dropped; there are only a few kinds, so this many mean that nobody reads.
const MAX_URGENT: usize = 16;
/// A phone that fell off the network does not say so: it is gone when it was silent for this long.
const SILENT_FOR_SECS: u32 = 60;

/// Between the hub, which never waits, and one socket.
///
/// Whoever has a frame writes it here and now, without waiting. What the connection does not take is kept, and the
/// socket's task sends it when there is room. A connection that cannot be shared (TLS) is the task's alone: for that
/// one everything is kept.
#[derive(Debug, Default)]
pub struct Mailbox {
    outbox: Mutex<Outbox>,
    line: OnceLock<TcpStream>,
    /// The socket's task.
    task: AtomicWaker,
    /// When the client was last heard, in seconds.
    heard_secs: AtomicU32,
}

#[derive(Debug, Default)]
struct Outbox {
    flow: Flow,
    /// What the connection has not taken of a frame that it has begun.
    rest: Box<[u8]>,
    urgent: VecDeque<(WsType, Box<[u8]>)>,
    update: Option<Box<Kept>>,
    /// A ping or a pong: only the newest counts (RFC 6455 §5.5.3).
    control: Option<Box<[u8]>>,
    farewell: Option<Farewell>,
}

/// An update that is still to be sent.
#[derive(Debug)]
enum Kept {
    Frame(Box<[u8]>),
    Update(Update),
}

/// How a socket is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// By us: the client answers.
    Ours(u16),
    /// By the client: we answer the same.
    Answer(Option<u16>),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Frames are kept for the task.
    #[default]
    Kept,
    /// Frames go to the connection; nothing is kept.
    Direct,
    /// The connection is full: frames are kept until the task has found room.
    Full,
    /// The connection is lost.
    Over,
}

/// What the socket's task has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// To wait for the client.
    Nothing,
    /// To wait for room, then [`Mailbox::flush`].
    Flush,
    /// Everything is sent: to close.
    Close(Farewell),
    /// To end: the connection is lost.
    End,
}

/// A frame for the task of a connection that is not shared.
#[derive(Debug, PartialEq, Eq)]
pub enum Mail {
    Frame(Box<[u8]>),
    /// Nothing more will come: to close.
    Close(Farewell),
    End,
}

/// A frame that is replaced by a newer one, that is kept in order, or that says nothing.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Update,
    Urgent(WsType),
    Control,
}

impl Mailbox {
    /// Replaces an update that was not sent yet.
    pub fn update(&self, frame: &[u8]) {
        self.post(Kind::Update, frame);
    }

    /// The same of one that is put into bytes only when the connection takes it.
    pub(crate) fn update_by(&self, update: &Update, buffer: &mut FrameBuffer) {
        let mut outbox = self.outbox();
        if outbox.takes_nothing() {
            return;
        }
        match self.line.get() {
            Some(line) if outbox.flow == Flow::Direct => {
                if outbox.begin(line, update.frame(buffer)) {
                    Kind::Update.sent();
                } else {
                    outbox.keep_update(Kept::Update(update.clone()));
                }
            }
            _ => outbox.keep_update(Kept::Update(update.clone())),
        }
        self.let_go(outbox);
    }

    /// Goes out before any update, in order.
    pub fn urgent(&self, kind: WsType, frame: &[u8]) {
        self.post(Kind::Urgent(kind), frame);
    }

    pub fn pong(&self, payload: &[u8]) {
        self.post(Kind::Control, &frame(Opcode::Pong, payload));
    }

    /// Asks whether anybody is there; ends the socket if nobody was for long.
    pub fn ask(&self, now_secs: u32) {
        if now_secs.saturating_sub(self.heard_secs.load(Ordering::Relaxed)) > SILENT_FOR_SECS {
            self.end();
        } else {
            self.post(Kind::Control, &frame(Opcode::Ping, b""));
        }
    }

    /// The client gave a sign of life.
    pub fn hears(&self, now_secs: u32) {
        self.heard_secs.store(now_secs, Ordering::Relaxed);
    }

    /// Closes after what is pending was sent. The first code counts, and nothing is taken after it.
    pub fn close(&self, code: u16) {
        self.outbox().farewell.get_or_insert(Farewell::Ours(code));
        self.task.wake();
    }

    /// Closes although something is pending: only a frame that has begun is sent to its end.
    pub fn close_now(&self, farewell: Farewell) {
        let mut outbox = self.outbox();
        let (flow, rest) = (outbox.flow, std::mem::take(&mut outbox.rest));
        *outbox = Outbox { flow, rest, farewell: Some(farewell), ..Outbox::default() };
        drop(outbox);
        self.task.wake();
    }

    /// Nobody is there any more: nothing is taken, and the connection is closed although others may still hold it.
    pub fn end(&self) {
        *self.outbox() = Outbox { flow: Flow::Over, ..Outbox::default() };
        if let Some(line) = self.line.get() {
            // One that is lost already is as good as closed.
            let _ = socket2::SockRef::from(line).shutdown(Shutdown::Both);
        }
        self.task.wake();
    }

    /// From now on frames go straight to this connection; what has waited for it goes first.
    pub fn connect(&self, line: TcpStream) -> &TcpStream {
        let line = self.line.get_or_init(|| line);
        self.outbox().send_kept(line);
        line
    }

    /// Sends what is kept, as far as the connection takes it; whether it took anything.
    pub fn flush(&self) -> bool {
        self.line.get().is_some_and(|line| self.outbox().send_kept(line))
    }

    /// What is to be done now. The task is woken when that may have changed.
    pub fn poll_errand(&self, cx: &Context<'_>) -> Errand {
        self.task.register(cx.waker());
        self.outbox().errand()
    }

    /// The next frame, for a connection that is not shared.
    pub fn poll_mail(&self, cx: &Context<'_>) -> Poll<Mail> {
        self.task.register(cx.waker());
        let mut outbox = self.outbox();
        if let Some((kind, frame)) = outbox.take() {
            kind.sent();
            return Poll::Ready(Mail::Frame(frame));
        }
        match outbox.errand() {
            Errand::Nothing | Errand::Flush => Poll::Pending,
            Errand::Close(farewell) => Poll::Ready(Mail::Close(farewell)),
            Errand::End => Poll::Ready(Mail::End),
        }
    }

    fn post(&self, kind: Kind, frame: &[u8]) {
        let mut outbox = self.outbox();
        if outbox.takes_nothing() {
            return;
        }
        match self.line.get() {
            Some(line) if outbox.flow == Flow::Direct => outbox.send(line, kind, frame),
            _ => outbox.keep(kind, frame.into()),
        }
        self.let_go(outbox);
    }

    /// The task is woken if it has to do something.
    fn let_go(&self, outbox: MutexGuard<'_, Outbox>) {
        if outbox.flow != Flow::Direct {
            drop(outbox);
            self.task.wake();
        }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    fn takes_nothing(&self) -> bool {
        self.farewell.is_some() || self.flow == Flow::Over
    }

    /// Sends a frame while nothing is kept; keeps it if the connection is full.
    fn send(&mut self, line: &TcpStream, kind: Kind, frame: &[u8]) {
        if self.begin(line, frame) {
            kind.sent();
        } else {
            self.keep(kind, frame.into());
        }
    }

    /// Sends what is kept, until the connection is full; whether it took anything.
    fn send_kept(&mut self, line: &TcpStream) -> bool {
        if self.flow == Flow::Over {
            return false;
        }
        self.flow = Flow::Direct;
        let rest = std::mem::take(&mut self.rest);
        let mut took = !rest.is_empty() && self.begin(line, &rest);
        if !rest.is_empty() && !took {
            self.rest = rest;
        }
        while self.flow == Flow::Direct
            && let Some((kind, frame)) = self.take()
        {
            if !self.begin(line, &frame) {
                self.put_back(kind, frame);
                break;
            }
            kind.sent();
            took = true;
        }
        took
    }

    /// Hands over as much of a frame as the connection takes; `false`: none of it.
    fn begin(&mut self, line: &TcpStream, frame: &[u8]) -> bool {
        match line.try_write(frame) {
            Ok(taken) => {
                let rest = frame.get(taken..).unwrap_or_default();
                if !rest.is_empty() {
                    self.rest = rest.into();
                    self.flow = Flow::Full;
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.flow = Flow::Full;
                false
            }
            Err(_) => {
                *self = Self { flow: Flow::Over, ..Self::default() };
                true
            }
        }
    }

    fn keep(&mut self, kind: Kind, frame: Box<[u8]>) {
        match kind {
            Kind::Update => self.keep_update(Kept::Frame(frame)),
            Kind::Control => self.control = Some(frame),
            Kind::Urgent(_) if self.urgent.len() >= MAX_URGENT => {
                self.farewell = Some(Farewell::Ours(room::wire::close::FULL));
            }
            Kind::Urgent(kind) => self.urgent.push_back((kind, frame)),
        }
    }

    fn keep_update(&mut self, update: Kept) {
        if let Some(older) = &mut self.update {
            **older = update;
            metrics::edge().ws_dropped(WsType::Update);
        } else {
            self.update = Some(Box::new(update));
        }
    }

    fn take(&mut self) -> Option<(Kind, Box<[u8]>)> {
        if let Some((kind, frame)) = self.urgent.pop_front() {
            return Some((Kind::Urgent(kind), frame));
        }
        if self.urgent.capacity() > 0 {
            self.urgent = VecDeque::new();
        }
        let control = self.control.take().map(|frame| (Kind::Control, frame));
        control.or_else(|| Some((Kind::Update, self.update.take()?.frame())))
    }

    /// Undoes a [`Self::take`].
    fn put_back(&mut self, kind: Kind, frame: Box<[u8]>) {
        match kind {
            Kind::Update => self.update = Some(Box::new(Kept::Frame(frame))),
            Kind::Control => self.control = Some(frame),
            Kind::Urgent(kind) => self.urgent.push_front((kind, frame)),
        }
    }

    fn errand(&self) -> Errand {
        match self.flow {
            Flow::Over => Errand::End,
            Flow::Full => Errand::Flush,
            Flow::Kept | Flow::Direct => self.farewell.map_or(Errand::Nothing, Errand::Close),
        }
    }
}

impl Kept {
    fn frame(self) -> Box<[u8]> {
        match self {
            Self::Frame(frame) => frame,
            Self::Update(update) => update.frame(&mut FrameBuffer::default()).into(),
        }
    }
}

impl Kind {
    fn sent(self) {
        match self {
            Self::Update => metrics::edge().ws_message(Direction::Out, WsType::Update),
            Self::Urgent(kind) => metrics::edge().ws_message(Direction::Out, kind),
            Self::Control => {}
        }
    }
}

#[cfg(test)]
mod tests;
