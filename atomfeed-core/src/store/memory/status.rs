use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::MemoryConnection;
use super::transaction::merged;
use crate::FeedUri;
use crate::store::{FeedStatus, MinuteCounts, StatusStore, StoreResult};

#[async_trait]
impl StatusStore for MemoryConnection {
    async fn put_status(&mut self, status: &FeedStatus) -> StoreResult<()> {
        let feed = status.feed_uri.as_str().to_owned();
        self.pending.statuses.insert(feed, Some(status.clone()));
        Ok(())
    }

    async fn statuses(&mut self) -> StoreResult<Vec<FeedStatus>> {
        let tables = self.tables();
        let statuses = merged(&tables.statuses, &self.pending.statuses, ..);
        Ok(statuses.map(|(_, status)| status.clone()).collect())
    }

    async fn add_counts(&mut self, feed_uri: &FeedUri, counts: &MinuteCounts) -> StoreResult<()> {
        let mut known = self.counts(feed_uri, DateTime::UNIX_EPOCH).await?;
        let key = |minute| (feed_uri.as_str().to_owned(), minute);
        let too_old = counts.minute - MinuteCounts::KEPT;
        for old in known.iter().filter(|known| known.minute < too_old) {
            self.pending.minutes.insert(key(old.minute), None);
        }
        known.retain(|known| known.minute == counts.minute);
        let mut sum = *counts;
        for known in known {
            sum.applied += known.applied;
            sum.ignored += known.ignored;
            sum.failed += known.failed;
            sum.held += known.held;
        }
        self.pending.minutes.insert(key(sum.minute), Some(sum));
        Ok(())
    }

    async fn counts(
        &mut self,
        feed_uri: &FeedUri,
        since: DateTime<Utc>,
    ) -> StoreResult<Vec<MinuteCounts>> {
        let tables = self.tables();
        let minutes = merged(&tables.minutes, &self.pending.minutes, ..);
        Ok(minutes
            .filter(|((feed, minute), _)| feed == feed_uri.as_str() && *minute >= since)
            .map(|(_, counts)| *counts)
            .collect())
    }
}
