//! What a herd does with connections: opens, reads, answers and closes them as its guests say.

use std::io;
use std::sync::atomic::Ordering::Relaxed;

use mio::net::TcpStream;
use mio::{Interest, Token};
use room::time::Micros;

use super::frames::{self, Frame};
use super::guest::{Ground, Guest, Step};
use super::reply::Reply;
use super::script::Ask;
use super::seat::{Link, Read};
use super::{BATCH, Herd};
use crate::clock::Span;
use crate::tls::Tls;

/// What lay first in what was read.
enum Parsed {
    /// Not whole yet.
    Partial,
    Taken {
        bytes: usize,
        step: Step,
        /// Whether the connection can be asked again.
        reusable: bool,
    },
    Nonsense,
}

impl Herd {
    /// A connection is open, or has something to read.
    pub(super) fn ready(&mut self, index: usize, is_closed: bool) {
        if self.seats.get(index).is_some_and(|seat| seat.guest.is_watching()) {
            if is_closed {
                return self.attend(index, true);
            }
            self.called.push(index);
            if self.called.len() == BATCH {
                self.hear_called();
            }
        } else {
            self.aside(|herd| herd.attend(index, is_closed));
        }
    }

    /// Reads those who were called, all at one instant, then takes in what they were told.
    pub(super) fn hear_called(&mut self) {
        let mut called = std::mem::take(&mut self.called);
        let mut buffer = std::mem::take(&mut self.buffer);
        let share = buffer.len() / BATCH;
        let mut came = [const { None }; BATCH];
        for ((index, part), came) in called.iter().zip(buffer.chunks_mut(share)).zip(&mut came) {
            let link = self.seats.get_mut(*index).and_then(|seat| seat.link.as_mut());
            *came = link.map(|link| link.read(part));
        }
        self.read_at = Some(self.now());
        for ((index, part), came) in called.drain(..).zip(buffer.chunks(share)).zip(came) {
            match came {
                Some(Ok(Some(Read { bytes: 0, .. })) | Err(_)) => self.lost(index, "socket-broken"),
                Some(Ok(Some(Read { bytes, is_more }))) => {
                    self.digest(index, part.get(..bytes).unwrap_or_default());
                    if is_more {
                        self.more.push(index);
                    }
                }
                Some(Ok(None)) | None => {}
            }
        }
        self.read_at = None;
        (self.called, self.buffer) = (called, buffer);
        while let Some(index) = self.more.pop() {
            self.attend(index, false);
        }
    }

    fn attend(&mut self, index: usize, is_closed: bool) {
        let now = self.now();
        let Some(seat) = self.seats.get_mut(index) else { return };
        let Some(link) = &mut seat.link else { return };
        if link.is_connecting() {
            match link.connected() {
                Ok(true) => seat.guest.asked(now),
                Ok(false) => return,
                Err(_) => return self.lost(index, "connect"),
            }
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(is_more) = self.read(index, &mut buffer) {
            if !is_more && !is_closed {
                break;
            }
        }
        self.buffer = buffer;
    }

    /// Reads once. Whether there may be more; `None` when there was nothing, or no connection any more.
    fn read(&mut self, index: usize, buffer: &mut [u8]) -> Option<bool> {
        let link = self.seats.get_mut(index)?.link.as_mut()?;
        match link.read(buffer) {
            Ok(Some(Read { bytes: 0, .. })) | Err(_) => self.lost(index, "socket-broken"),
            Ok(None) => {}
            Ok(Some(Read { bytes, is_more })) => {
                self.digest(index, buffer.get(..bytes).unwrap_or_default());
                return Some(is_more);
            }
        }
        None
    }

    fn digest(&mut self, index: usize, bytes: &[u8]) {
        let Some(link) = self.seats.get_mut(index).and_then(|seat| seat.link.as_mut()) else { return };
        let mut held = std::mem::take(&mut link.partial);
        let mut rest = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            held.as_slice()
        };
        while !rest.is_empty() {
            match self.first_of(index, rest) {
                Parsed::Partial => return self.hold(index, rest),
                Parsed::Nonsense => return self.lost(index, "unknown-answer"),
                Parsed::Taken { bytes, step, reusable } => {
                    if !self.carry_out(index, step, reusable) {
                        return;
                    }
                    rest = rest.get(bytes..).unwrap_or_default();
                }
            }
        }
    }

    fn hold(&mut self, index: usize, rest: &[u8]) {
        if let Some(link) = self.seats.get_mut(index).and_then(|seat| seat.link.as_mut()) {
            link.partial = rest.to_vec();
        }
    }

    fn first_of(&mut self, index: usize, rest: &[u8]) -> Parsed {
        let Some(seat) = self.seats.get(index) else { return Parsed::Nonsense };
        if seat.guest.is_watching() {
            return match frames::first(rest) {
                Ok(None) => Parsed::Partial,
                Ok(Some((frame, bytes))) => {
                    Parsed::Taken { bytes, step: self.heard(index, frame, bytes), reusable: false }
                }
                Err(_) => Parsed::Nonsense,
            };
        }
        match Reply::first(rest, &self.script.names) {
            Ok(None) => Parsed::Partial,
            Ok(Some((reply, bytes))) => {
                let reusable = reply.keeps_alive && reply.status != 101;
                Parsed::Taken { bytes, step: self.answered(index, &reply), reusable }
            }
            Err(_) => Parsed::Nonsense,
        }
    }

    fn answered(&mut self, index: usize, reply: &Reply<'_>) -> Step {
        // Names and reply are borrowed: nothing of the guest lies in them.
        self.on_guest(index, |guest, ground, now| guest.answered(reply, now, ground))
    }

    fn heard(&mut self, index: usize, frame: Frame<'_>, bytes: usize) -> Step {
        let looked = self.looked;
        match frame {
            Frame::Text(text) => {
                self.tally.messages += 1;
                self.tally.bytes += bytes as u64;
                self.on_guest(index, |guest, ground, now| guest.heard(text, Span::new(looked, now), ground))
            }
            Frame::Ping(payload) => {
                let pong = frames::pong(payload, fastrand::u32(..).to_ne_bytes());
                match self.send(index, &pong) {
                    Ok(()) => Step::Stay,
                    Err(_) => self
                        .on_guest(index, |guest, ground, now| guest.lost("socket-broken", now, ground.meter)),
                }
            }
            Frame::Pong => Step::Stay,
            Frame::Close(code) => {
                self.on_guest(index, |guest, ground, now| guest.closed(code, now, ground.meter))
            }
        }
    }

    pub(super) fn on_guest(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Guest, &mut Ground<'_>, Micros) -> Step,
    ) -> Step {
        let now = self.read_at.unwrap_or_else(|| self.now());
        let Some(seat) = self.seats.get_mut(index) else { return Step::Stay };
        let mut ground = Ground {
            tally: &mut self.tally,
            meter: &self.world.meter,
            dates: &mut self.dates,
            began: self.began,
            emptying: self.emptying,
        };
        act(&mut seat.guest, &mut ground, now)
    }

    fn lost(&mut self, index: usize, kind: &'static str) {
        let step = self.on_guest(index, |guest, ground, now| guest.lost(kind, now, ground.meter));
        // A connection that broke is of no use, whatever comes next.
        if self.carry_out(index, step, false)
            && let Some(seat) = self.seats.get_mut(index)
        {
            seat.link = None;
        }
    }

    /// Does what a guest wants. Whether the connection is still the same.
    pub(super) fn carry_out(&mut self, index: usize, step: Step, reusable: bool) -> bool {
        let goes_on = match step {
            Step::Stay => true,
            Step::Ask(ask) if reusable => self.ask_on(index, ask),
            Step::Ask(ask) => {
                self.aside(|herd| herd.connect(index, ask));
                false
            }
            Step::Rest | Step::End => {
                if let Some(seat) = self.seats.get_mut(index) {
                    seat.link = None;
                }
                false
            }
        };
        self.count(index);
        if let (Some(wake), Some(seat)) = (self.wakes.get_mut(index), self.seats.get(index)) {
            *wake = seat.guest.wake_at();
            self.next_wake = self.next_wake.min(*wake);
        }
        goes_on
    }

    /// Keeps the number of open sockets.
    fn count(&mut self, index: usize) {
        let Some(seat) = self.seats.get_mut(index) else { return };
        let (before, now) = (seat.counted, seat.guest.is_watching());
        seat.counted = now;
        let change = i64::from(now) - i64::from(before);
        if change != 0 {
            self.open = self.open.saturating_add_signed(change);
            self.tally.most_open = self.tally.most_open.max(self.open);
            self.world.meter.sockets.fetch_add(change, Relaxed);
            self.world.meter.waiting.fetch_add(change, Relaxed);
        }
    }

    fn ask_on(&mut self, index: usize, ask: Ask) -> bool {
        let Some(text) = self.text(index, ask) else { return false };
        let sent = self.send(index, text.as_bytes());
        if sent.is_err() {
            self.connect(index, ask);
        }
        sent.is_ok()
    }

    fn send(&mut self, index: usize, bytes: &[u8]) -> io::Result<()> {
        let link = self.seats.get_mut(index).and_then(|seat| seat.link.as_mut());
        link.ok_or(io::ErrorKind::NotConnected)?.send(bytes)
    }

    fn text(&self, index: usize, ask: Ask) -> Option<String> {
        let seat = self.seats.get(index)?;
        let edge = seat.guest.edge % self.world.edges.len().max(1);
        Some(self.script.request(ask, edge, seat.guest.shown()))
    }

    /// Asks on a new connection.
    fn connect(&mut self, index: usize, ask: Ask) {
        let opened = self.open_link(index, ask);
        let Some(seat) = self.seats.get_mut(index) else { return };
        seat.link = opened.ok();
        if seat.link.is_none() {
            // It rests, or has tried often enough: both without a connection.
            seat.guest.lost("connect", self.world.clock.now(), &self.world.meter);
        }
    }

    fn open_link(&mut self, index: usize, ask: Ask) -> io::Result<Link> {
        let text = self.text(index, ask).ok_or(io::ErrorKind::NotFound)?;
        let seat = self.seats.get(index).ok_or(io::ErrorKind::NotFound)?;
        let edge = self.world.edges.get(seat.guest.edge % self.world.edges.len().max(1));
        let edge = edge.ok_or(io::ErrorKind::NotFound)?;
        let tls = edge.tls.as_ref().map(Tls::begin).transpose().map_err(io::Error::other)?;
        let mut stream: TcpStream = self.sources.connect(seat.number, edge.address)?;
        self.poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Link::new(stream, tls, text))
    }
}
