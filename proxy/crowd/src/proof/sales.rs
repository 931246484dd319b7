//! What the shop says it sold, against what the clients paid for.

use crate::proof::Promises;
use crate::story::{Payment, Purchase, Story};

/// The books, as far as the clients saw them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sales {
    /// Purchases that got a hold.
    pub purchases: u64,
    /// Purchases paid, and the tickets in them.
    pub paid: u64,
    pub paid_qty: u64,
    /// Tickets in payments whose answer was lost.
    pub unknown_qty: u64,
    /// Keys for which more than one order was made.
    pub double_orders: u64,
    /// Tickets sold beyond what there is.
    pub beyond_stock: u64,
    /// Tickets sold that nobody paid for, or paid for that are not sold.
    pub mismatch: u64,
    pub total: Option<u64>,
    pub sold: Option<u64>,
}

impl Sales {
    /// Double sales of every kind.
    pub fn oversold(&self) -> u64 {
        self.double_orders + self.beyond_stock
    }

    pub fn hold(&self) -> bool {
        self.oversold() == 0 && self.mismatch == 0
    }
}

/// Adds up the clients' side and compares it with the stock read before and after.
pub fn check(stories: &[&Story], promises: &Promises) -> Sales {
    let mut sales = Sales::default();
    stories.iter().flat_map(|story| &story.purchases).for_each(|purchase| sales.count(purchase));
    let Some(after) = promises.after else { return sales };
    sales.total = Some(after.total);
    sales.sold = Some(after.sold);
    sales.beyond_stock = (after.sold + after.held).saturating_sub(after.total);
    let least = sales.paid_qty;
    let most = promises.before.filter(|_| !promises.others).map(|_| least + sales.unknown_qty);
    let sold = after.sold.saturating_sub(promises.before.map_or(0, |before| before.sold));
    sales.mismatch = least.saturating_sub(sold) + most.map_or(0, |most| sold.saturating_sub(most));
    sales
}

impl Sales {
    fn count(&mut self, purchase: &Purchase) {
        self.purchases += u64::from(!purchase.orders.is_empty());
        self.double_orders += u64::from(purchase.orders.len() > 1);
        match purchase.payment {
            Payment::None => {}
            Payment::Paid => {
                self.paid += 1;
                self.paid_qty += purchase.qty;
            }
            Payment::Unknown => self.unknown_qty += purchase.qty,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visitor::Stock;

    fn buyer(qty: u64, orders: &[&str], payment: Payment) -> Story {
        let orders = orders.iter().map(ToString::to_string).collect();
        Story { purchases: vec![Purchase { qty, orders, payment }], ..Story::default() }
    }

    fn books(stories: &[Story], before: u64, after: u64) -> Sales {
        let stock = |sold| Some(Stock { total: 10, held: 0, sold });
        let promises = Promises { before: stock(before), after: stock(after), ..Promises::default() };
        check(&stories.iter().collect::<Vec<_>>(), &promises)
    }

    #[test]
    fn books_that_agree_hold() {
        let stories =
            [buyer(2, &["a"], Payment::Paid), buyer(1, &["b"], Payment::None), buyer(1, &[], Payment::None)];
        let sales = books(&stories, 3, 5);
        assert!(sales.hold(), "{sales:?}");
        assert_eq!((sales.purchases, sales.paid, sales.paid_qty), (2, 1, 2));
    }

    #[test]
    fn tickets_missing_or_too_many_in_the_books_are_found() {
        let paid = [buyer(2, &["a"], Payment::Paid)];
        assert_eq!(books(&paid, 0, 1).mismatch, 1);
        assert_eq!(books(&paid, 0, 4).mismatch, 2);
    }

    #[test]
    fn a_payment_whose_answer_was_lost_may_or_may_not_count() {
        let unknown = [buyer(2, &["a"], Payment::Unknown)];
        assert!(books(&unknown, 0, 0).hold() && books(&unknown, 0, 2).hold());
        assert!(!books(&unknown, 0, 3).hold());
    }

    #[test]
    fn two_orders_for_one_key_and_sales_beyond_the_stock_are_double_sales() {
        assert_eq!(books(&[buyer(1, &["a", "b"], Payment::Paid)], 0, 1).oversold(), 1);
        assert_eq!(books(&[buyer(2, &["a"], Payment::Paid)], 9, 11).oversold(), 1);
    }

    #[test]
    fn people_outside_the_crowd_may_buy_too() {
        let stories = [buyer(1, &["a"], Payment::Paid)];
        let stock = |sold| Some(Stock { total: 10, held: 0, sold });
        let promises = Promises { before: stock(0), after: stock(5), others: true, ..Promises::default() };
        assert!(check(&[&stories[0]], &promises).hold());
    }
}
