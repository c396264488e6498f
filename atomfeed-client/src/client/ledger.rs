use atomfeed_core::store::{StoreErrorKind, StoreResult, UnitOfWork};
use atomfeed_core::{EntryId, Event, Marker};

use super::AtomFeedClient;

/// Where it is written down that events were dealt with, in the transaction in which they were.
pub(super) enum Ledger<'a> {
    /// By the marker, which moves behind them.
    Marker(&'a mut Option<Marker>),
    /// Each for itself: events in front of them may not have been dealt with yet.
    EachEvent,
}

impl Ledger<'_> {
    /// Whether events are dealt with one after the other.
    pub(super) fn is_in_order(&self) -> bool {
        matches!(self, Self::Marker(_))
    }
}

impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// Writes down that events, of which there is one at least, were dealt with. To be
    /// [settled](Self::settle) once that is committed.
    pub(super) async fn enter(
        &self,
        work: &mut dyn UnitOfWork<Conn = C>,
        ledger: &Ledger<'_>,
        events: &[&Event],
    ) -> StoreResult<()> {
        match (ledger, events) {
            (Ledger::Marker(marker), [.., last]) => {
                let to = self.marker_behind(last);
                self.move_marker(work, marker.as_ref(), &to).await
            }
            _ => {
                self.keep_claim(work).await?;
                let ids: Vec<&EntryId> = events.iter().map(|event| event.id()).collect();
                work.complete(&self.feed, &ids).await
            }
        }
    }

    /// What was entered last is committed.
    pub(super) fn settle(&self, ledger: &mut Ledger<'_>, events: &[&Event]) {
        if let (Ledger::Marker(marker), [.., last]) = (ledger, events) {
            **marker = Some(self.marker_behind(last));
        }
    }

    pub(super) async fn move_marker(
        &self,
        work: &mut dyn UnitOfWork<Conn = C>,
        from: Option<&Marker>,
        to: &Marker,
    ) -> StoreResult<()> {
        let moved = match self.claiming.held() {
            Some(claim) => work.move_claimed_marker(&claim, from, to).await,
            None => work.move_marker(from, to).await,
        };
        match moved {
            Err(error)
                if error.kind() == StoreErrorKind::Conflict
                    && self.settings.worker_moves_marker
                    && work.marker(&self.feed).await?.as_ref() == Some(to) =>
            {
                Ok(())
            }
            moved => moved,
        }
    }

    pub(super) fn marker_behind(&self, event: &Event) -> Marker {
        Marker::new(self.feed.clone())
            .after(event.id().clone())
            .on_page(event.page_uri().unwrap_or_default())
    }
}
