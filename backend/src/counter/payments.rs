//! Payments of any event, a group at a time.

use std::time::Duration;

use tokio::time::timeout;

use super::line::{Service, Waiting};
use crate::db::orders::Payment;
use crate::db::settle::{Bill, settle};
use crate::db::{Db, DbError};

/// Longest time for one group: below the patience of those who wait, so that a retry is possible.
const ATTEMPT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Payments {
    pub db: Db,
}

#[derive(Debug)]
pub(super) struct Ask {
    bill: Bill,
    /// Whether a commit was tried whose end is not known: what is paid then may have been paid by it.
    in_doubt: bool,
}

impl Ask {
    pub(super) fn new(bill: Bill) -> Self {
        Self { bill, in_doubt: false }
    }

    fn heard(&self, payment: Payment) -> Payment {
        match payment {
            Payment::Paid { event_id, first } => Payment::Paid { event_id, first: first || self.in_doubt },
            other => other,
        }
    }
}

impl Service for Payments {
    type Ask = Ask;
    type Answer = Payment;
    const NAME: &'static str = "payments";
    const SPAN: &'static str = "counter: payment";

    async fn serve(
        &self,
        group: &mut Vec<Waiting<Self>>,
        decided: impl FnOnce() + Send,
    ) -> Result<(), DbError> {
        let lease = self.db.lease().await?;
        let bills: Vec<&Bill> = group.iter().map(|waiting| &waiting.ask.bill).collect();
        let client = lease.client()?;
        let settled = timeout(ATTEMPT, settle(client, &bills)).await.unwrap_or(Err(DbError::Slow));
        drop(decided);
        lease.settle(&settled);
        match settled {
            Ok(payments) => {
                for (waiting, payment) in group.drain(..).zip(payments) {
                    let answer = waiting.ask.heard(payment);
                    waiting.answer(answer);
                }
                Ok(())
            }
            Err(error) => {
                for waiting in group {
                    waiting.ask.in_doubt = true;
                }
                Err(error)
            }
        }
    }
}
