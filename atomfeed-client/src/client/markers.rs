use atomfeed_core::Marker;
use atomfeed_core::store::{Claim, StoreResult};

use super::{AtomFeedClient, StartPosition};
use crate::outcome::Processed;
use crate::{ProcessError, ProcessErrorKind};

/// The marker, by hand.
impl<C: ?Sized + Send + 'static> AtomFeedClient<C> {
    /// How far the feed was read; `None` before it was begun.
    ///
    /// # Errors
    ///
    /// As the store has it.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn marker(&self) -> StoreResult<Option<Marker>> {
        self.store.marker(&self.feed).await
    }

    /// Moves the marker to a position, wherever it stood, and says where it stands now. What lies
    /// between is passed over, or applied again. A consumer that is at work on the feed is told of the
    /// conflict, and goes on from there in its next round.
    ///
    /// # Errors
    ///
    /// When the position is not to be found, a page cannot be fetched or read, or the store fails; the
    /// marker stands where it stood.
    ///
    /// # Cancel safety
    ///
    /// As [`UnitOfWork::commit`](atomfeed_core::store::UnitOfWork::commit): when the future is dropped,
    /// the marker was moved or not.
    pub async fn set_marker(&self, position: &StartPosition) -> Result<Marker, ProcessError> {
        let moved = self.move_marker_to(position).await;
        moved.map_err(|kind| ProcessError::new(&self.feed, Processed::default(), kind))
    }

    /// The marker that stands at a position.
    pub(super) async fn position_of(
        &self,
        position: &StartPosition,
    ) -> Result<Marker, ProcessErrorKind> {
        Ok(match self.find(position).await? {
            Some(first) => self.marker_at(&first),
            None => Marker::new(self.feed.clone()),
        })
    }

    async fn move_marker_to(&self, position: &StartPosition) -> Result<Marker, ProcessErrorKind> {
        let to = self.position_of(position).await?;
        let mut work = self.store.begin().await?;
        // Who is at work on it must not move it on from where it was.
        let claim = work.claim(&self.feed).await?;
        let claim = Claim::after(claim.as_ref(), "");
        work.put_claim(&self.feed, &claim).await?;
        let from = work.marker(&self.feed).await?;
        let completed = work.completed(&self.feed).await?;
        let completed: Vec<_> = completed.iter().collect();
        work.forget_completed(&self.feed, &completed).await?;
        work.move_marker(from.as_ref(), &to).await?;
        work.commit().await?;
        tracing::info!(feed = %self.feed, ?from, ?to, "the marker was moved by hand");
        Ok(to)
    }
}
