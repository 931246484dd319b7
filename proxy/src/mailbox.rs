//! What one waiting socket has still to be sent. Updates coalesce: a slow reader gets the newest. Turns never do.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::metrics::{self, WsType};

/// Messages that are never dropped; there are only a few kinds, so this many mean that nobody reads.
const MAX_URGENT: usize = 16;

/// Between the hub, which never waits, and the socket's task.
#[derive(Debug, Default)]
pub struct Mailbox {
    pending: Mutex<Pending>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    urgent: VecDeque<(WsType, Utf8Bytes)>,
    update: Option<Utf8Bytes>,
    close: Option<u16>,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Mail {
    Text(WsType, Utf8Bytes),
    /// Nothing more will come: close with this code.
    Close(u16),
}

impl Mailbox {
    /// Replaces an update that was not sent yet.
    pub fn update(&self, text: Utf8Bytes) {
        let replaced = self.with(|pending| pending.close.is_none() && pending.update.replace(text).is_some());
        if replaced {
            metrics::edge().ws_dropped(WsType::Update);
        }
    }

    /// Goes out before any update, in order.
    pub fn urgent(&self, kind: WsType, text: Utf8Bytes) {
        self.with(|pending| {
            if pending.close.is_some() {
                return;
            }
            if pending.urgent.len() >= MAX_URGENT {
                pending.close = Some(room::wire::close::FULL);
            } else {
                pending.urgent.push_back((kind, text));
            }
        });
    }

    /// Closes after what is pending was sent. The first code counts, and nothing is taken after it.
    pub fn close(&self, code: u16) {
        self.with(|pending| {
            pending.close.get_or_insert(code);
        });
    }

    /// Waits for the next thing to do. Safe to drop half-way.
    pub async fn next(&self) -> Mail {
        loop {
            if let Some(mail) = self.lock().take() {
                return mail;
            }
            self.filled.notified().await;
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Pending) -> T) -> T {
        let result = act(&mut self.lock());
        self.filled.notify_one();
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn take(&mut self) -> Option<Mail> {
        if let Some((kind, text)) = self.urgent.pop_front() {
            return Some(Mail::Text(kind, text));
        }
        if let Some(text) = self.update.take() {
            return Some(Mail::Text(WsType::Update, text));
        }
        self.close.map(Mail::Close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_gets_the_turn_then_only_the_newest_update_then_the_close() {
        let mailbox = Mailbox::default();
        mailbox.update("old".into());
        mailbox.update("new".into());
        mailbox.urgent(WsType::Turn, "turn".into());
        mailbox.close(1012);
        assert_eq!(mailbox.next().await, Mail::Text(WsType::Turn, "turn".into()));
        assert_eq!(mailbox.next().await, Mail::Text(WsType::Update, "new".into()));
        assert_eq!(mailbox.next().await, Mail::Close(1012));
    }

    #[tokio::test]
    async fn nothing_is_said_after_the_goodbye() {
        let mailbox = Mailbox::default();
        for code in [1012, 1013] {
            mailbox.urgent(WsType::Bye, "bye".into());
            mailbox.close(code);
            mailbox.update("late".into());
        }
        assert_eq!(mailbox.next().await, Mail::Text(WsType::Bye, "bye".into()));
        assert_eq!(mailbox.next().await, Mail::Close(1012));
    }

    #[tokio::test]
    async fn a_reader_who_never_reads_is_closed_instead_of_growing() {
        let mailbox = Mailbox::default();
        for _ in 0..100 {
            mailbox.urgent(WsType::Turn, "turn".into());
        }
        for _ in 0..MAX_URGENT {
            assert!(matches!(mailbox.next().await, Mail::Text(..)));
        }
        assert_eq!(mailbox.next().await, Mail::Close(1013));
    }
}
