//! Purchases of one event, a group at a time.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::line::{Service, Waiting};
use crate::config::SaleRules;
use crate::db::group::{Before, Group, Known, NewOrder};
use crate::db::orders::{Attempt, Attempted};
use crate::db::{Db, DbError, Lease};
use crate::metrics;
use crate::sale::{self, Decision, EventId, Stock, Wish};

/// Longest time for one group: below the patience of those who wait, so that a retry is possible.
const ATTEMPT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Purchases {
    pub db: Db,
    pub event_id: EventId,
    pub rules: SaleRules,
}

/// An attempt, and the id its order will have.
#[derive(Debug)]
pub(super) struct Ask {
    attempt: Attempt,
    /// Ids grow with time, so that indexes grow at their end. The same in every retry: an order of this id that is
    /// already there is ours.
    order: Uuid,
    /// Whether a commit was tried whose end is not known.
    in_doubt: bool,
}

impl Ask {
    pub(super) fn new(attempt: Attempt) -> Self {
        Self { attempt, order: Uuid::now_v7(), in_doubt: false }
    }

    fn wish(&self) -> Wish<'_> {
        Wish { user: &self.attempt.user_id, key: self.attempt.key.as_str(), qty: self.attempt.qty }
    }

    /// The first answer again, or the first that is heard of it, if the commit that wrote it was in doubt.
    fn again(&self, before: &Before) -> Attempted {
        if !before.is_for(self.attempt.qty) {
            return Attempted::OtherBody;
        }
        let (remaining, replayed) = (before.remaining, before.order != self.order);
        match before.expires_at {
            Some(expires_at) => Attempted::Held { order: before.order, remaining, expires_at, replayed },
            None => Attempted::OutOfStock { remaining, replayed },
        }
    }
}

/// One who is still to be decided, and the order whose key he takes over.
struct Fresh {
    waiting: Waiting<Purchases>,
    forget: Option<Uuid>,
}

impl Service for Purchases {
    type Ask = Ask;
    type Answer = Attempted;
    const NAME: &'static str = "purchases";
    const SPAN: &'static str = "counter: purchase";

    async fn serve(
        &self,
        group: &mut Vec<Waiting<Self>>,
        decided: impl FnOnce() + Send,
    ) -> Result<(), DbError> {
        let lease = self.db.lease().await?;
        let mut fresh = Vec::new();
        let result = timeout(ATTEMPT, self.sell(&lease, group, &mut fresh, decided)).await;
        let result = result.unwrap_or(Err(DbError::Slow));
        group.extend(fresh.into_iter().map(|fresh| fresh.waiting));
        match &result {
            Ok(()) => lease.keep(),
            Err(error) => lease.close(error),
        }
        result
    }
}

impl Purchases {
    /// One transaction. Whoever is not answered in the end is left in `group` or in `fresh`.
    async fn sell(
        &self,
        lease: &Lease,
        group: &mut Vec<Waiting<Self>>,
        fresh: &mut Vec<Fresh>,
        decided: impl FnOnce(),
    ) -> Result<(), DbError> {
        let transaction = Group::new(lease.client()?, self.event_id.as_str()).await?;
        let waited = Instant::now();
        let (begun, known, stock) = tokio::join!(
            biased;
            transaction.begin(),
            // Those with an answer hear it while the others still wait for the event.
            self.answer_known(&transaction, group, fresh),
            transaction.lock(),
        );
        begun?;
        known?;
        let stock = stock?;
        // Nothing is held for those who were told meanwhile that it takes too long.
        fresh.retain(|fresh| fresh.waiting.is_worth_serving());
        let Some(stock) = stock.filter(|_| !fresh.is_empty()) else {
            for fresh in fresh.drain(..) {
                fresh.waiting.answer(Attempted::UnknownEvent);
            }
            return transaction.roll_back().await;
        };
        metrics::lock_waited(waited.elapsed());
        self.decide(transaction, stock, fresh, decided).await
    }

    /// Moves those who have no answer yet from `group` to `fresh`.
    async fn answer_known(
        &self,
        transaction: &Group<'_>,
        group: &mut Vec<Waiting<Self>>,
        fresh: &mut Vec<Fresh>,
    ) -> Result<(), DbError> {
        let attempts: Vec<&Attempt> = group.iter().map(|waiting| &waiting.ask.attempt).collect();
        let known = transaction.known(&attempts, self.rules.idempotency_ttl).await?;
        let mut in_doubt = Vec::new();
        for (waiting, known) in group.drain(..).zip(known) {
            match known {
                Known::New { forget } => fresh.push(Fresh { waiting, forget }),
                // Perhaps our own commit, in a server that has not noticed yet that we are gone.
                Known::InFlight if waiting.ask.in_doubt => in_doubt.push(waiting),
                Known::InFlight => waiting.answer(Attempted::InFlight),
                Known::Answered(before) => {
                    let answer = waiting.ask.again(&before);
                    waiting.answer(answer);
                }
            }
        }
        group.append(&mut in_doubt);
        Ok(())
    }

    async fn decide(
        &self,
        transaction: Group<'_>,
        stock: Stock,
        fresh: &mut Vec<Fresh>,
        decided: impl FnOnce(),
    ) -> Result<(), DbError> {
        let wishes: Vec<Wish<'_>> = fresh.iter().map(|fresh| fresh.waiting.ask.wish()).collect();
        let (_, decisions) = sale::decide(stock, &wishes);
        drop(wishes);
        for fresh in fresh.iter_mut() {
            fresh.waiting.ask.in_doubt = true;
        }
        let orders: Vec<NewOrder<'_>> = fresh.iter().zip(&decisions).filter_map(new_order).collect();
        let expires_at = transaction.commit(&orders, self.rules.hold_ttl, decided).await?;
        drop(orders);
        for (fresh, decision) in fresh.drain(..).zip(decisions) {
            let order = fresh.waiting.ask.order;
            fresh.waiting.answer(match decision {
                Decision::Hold { remaining } => {
                    Attempted::Held { order, remaining, expires_at, replayed: false }
                }
                Decision::OutOfStock { remaining } => Attempted::OutOfStock { remaining, replayed: false },
                Decision::Duplicate => Attempted::InFlight,
            });
        }
        Ok(())
    }
}

fn new_order<'a>((fresh, decision): (&'a Fresh, &Decision)) -> Option<NewOrder<'a>> {
    let (held, remaining) = match *decision {
        Decision::Hold { remaining } => (true, remaining),
        Decision::OutOfStock { remaining } => (false, remaining),
        Decision::Duplicate => return None,
    };
    let Ask { attempt, order, .. } = &fresh.waiting.ask;
    Some(NewOrder { id: *order, attempt, held, remaining, forget: fresh.forget })
}
