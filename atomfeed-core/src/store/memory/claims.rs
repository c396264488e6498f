use std::collections::HashSet;

use async_trait::async_trait;

use super::MemoryConnection;
use super::transaction::merged;
use crate::store::{Claim, ClaimStore, StoreError, StoreErrorKind, StoreResult};
use crate::{EntryId, FeedUri};

#[async_trait]
impl ClaimStore for MemoryConnection {
    async fn claim(&mut self, feed_uri: &FeedUri) -> StoreResult<Option<Claim>> {
        Ok(match self.pending.claims.get(feed_uri.as_str()) {
            Some(pending) => pending.clone(),
            None => self.tables().claims.get(feed_uri.as_str()).cloned(),
        })
    }

    async fn put_claim(&mut self, feed_uri: &FeedUri, claim: &Claim) -> StoreResult<()> {
        let claims = &mut self.pending.claims;
        claims.insert(feed_uri.as_str().to_owned(), Some(claim.clone()));
        Ok(())
    }

    async fn keep_claim(&mut self, feed_uri: &FeedUri, claim: &Claim) -> StoreResult<()> {
        let known = self.claim(feed_uri).await?;
        match known.is_some_and(|known| known.epoch == claim.epoch) {
            true => Ok(()),
            false => Err(StoreError::claim_lost(feed_uri)),
        }
    }

    async fn completed(&mut self, feed_uri: &FeedUri) -> StoreResult<HashSet<EntryId>> {
        let tables = self.tables();
        let completed = merged(&tables.completed, &self.pending.completed, ..);
        Ok(completed
            .filter(|((feed, _), ())| feed == feed_uri.as_str())
            .map(|((_, event), ())| event.clone())
            .collect())
    }

    async fn complete(&mut self, feed_uri: &FeedUri, events: &[&EntryId]) -> StoreResult<()> {
        let completed = self.completed(feed_uri).await?;
        for event in events {
            if completed.contains(event) {
                let context = format!("completing event {event} of {feed_uri}: it was already");
                return Err(StoreError::new(StoreErrorKind::Duplicate, context));
            }
            let key = (feed_uri.as_str().to_owned(), EntryId::clone(event));
            self.pending.completed.insert(key, Some(()));
        }
        Ok(())
    }

    async fn forget_completed(
        &mut self,
        feed_uri: &FeedUri,
        events: &[&EntryId],
    ) -> StoreResult<()> {
        for event in events {
            let key = (feed_uri.as_str().to_owned(), EntryId::clone(event));
            self.pending.completed.insert(key, None);
        }
        Ok(())
    }
}
