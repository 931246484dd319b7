//! What metrics are told apart by: closed sets, so that a label is never made of what a client sends.

/// What was done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Forwarded,
    /// Let in with this very request, or a turn claimed.
    Entered,
    Queued,
    Limited,
    Rejected,
    Error,
}

impl Verdict {
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Forwarded, "forwarded"),
        (Self::Entered, "entered"),
        (Self::Queued, "queued"),
        (Self::Limited, "limited"),
        (Self::Rejected, "rejected"),
        (Self::Error, "error"),
    ];

    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(verdict, _)| *verdict == self).map_or("", |(_, name)| name)
    }
}

/// A call of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreOp {
    Arrive,
    Admit,
    Claim,
    Leave,
    Renew,
    Restore,
    Survey,
    Tune,
    Missed,
}

impl StoreOp {
    pub(super) const ALL: [(Self, &'static str); 9] = [
        (Self::Arrive, "arrive"),
        (Self::Admit, "admit"),
        (Self::Claim, "claim"),
        (Self::Leave, "leave"),
        (Self::Renew, "renew"),
        (Self::Restore, "restore"),
        (Self::Survey, "survey"),
        (Self::Tune, "tune"),
        (Self::Missed, "missed"),
    ];

    pub(super) fn label(self) -> &'static str {
        label(&Self::ALL, self)
    }
}

/// A message on a waiter's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WsType {
    Update,
    Turn,
    Paused,
    Message,
    Ticket,
    Bye,
    Ping,
    Ack,
    /// From a client, and none of ours.
    Unknown,
}

impl WsType {
    pub(super) const FROM_EDGE: [(Self, &'static str); 6] = [
        (Self::Update, "queue.update"),
        (Self::Turn, "queue.turn"),
        (Self::Paused, "queue.paused"),
        (Self::Message, "queue.message"),
        (Self::Ticket, "queue.ticket"),
        (Self::Bye, "server.bye"),
    ];

    pub(super) const FROM_CLIENTS: [(Self, &'static str); 3] =
        [(Self::Ping, "client.ping"), (Self::Ack, "client.ack"), (Self::Unknown, "unknown")];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

impl Direction {
    pub(super) const ALL: [(Self, &'static str); 2] = [(Self::In, "in"), (Self::Out, "out")];
}

/// A label of a variant. Each table holds every variant of its type.
pub(super) fn label<T: Copy + PartialEq>(table: &[(T, &'static str)], value: T) -> &'static str {
    table.iter().find(|(one, _)| *one == value).map_or("unknown", |(_, label)| label)
}

/// One handle for each variant.
#[derive(Debug)]
pub(super) struct Family<T, M>(Vec<(T, M)>);

impl<T: Copy + PartialEq, M> Family<T, M> {
    pub(super) fn new(table: &[(T, &'static str)], handle: impl Fn(&'static str) -> M) -> Self {
        Self(table.iter().map(|(value, label)| (*value, handle(label))).collect())
    }

    pub(super) fn with(&self, value: T, act: impl FnOnce(&M)) {
        if let Some((_, handle)) = self.0.iter().find(|(one, _)| *one == value) {
            act(handle);
        }
    }
}
