//! Screens that come from another edge: they say what they show.

use room::ids::VisitorId;
use room::token::Ticket;

use super::Visit;
use super::turnstile::Outcome;

impl Visit<'_> {
    /// Presents the ticket of a screen that waits.
    pub(super) async fn present_from_screen(&self, ticket: Ticket) -> Outcome {
        let visitor = ticket.visitor;
        let outcome = self.present(ticket, false, true).await;
        self.recall(visitor);
        outcome
    }

    /// Takes in what the screen shows, so that no larger place is told: another edge may have told it before somebody
    /// in front confirmed a place late. `shown` in the query; whatever is no place says nothing.
    pub(super) fn recall(&self, visitor: VisitorId) {
        let pairs = self.head.query.as_deref().unwrap_or_default().split('&');
        let shown = pairs.filter_map(|pair| pair.strip_prefix("shown=")).find_map(|place| place.parse().ok());
        if let Some(place) = shown.filter(|place| *place > 0) {
            self.hall.hub.recall(visitor, place);
        }
    }
}
