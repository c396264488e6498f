use super::claims::{feed_key, short};
use super::consumer::SqlUnitOfWork;
use super::failed_events::order_key;
use super::{Dialect, Row, Value};
use crate::store::rebase::{
    DOING, RebasedMarker, hand_over, rebased_feed, rebased_markers, refused,
};
use crate::store::{MarkerStore, StoreResult};
use crate::{Failure, FeedUri, Rebase, Rebased};

const COUNTING: &str = "counting of what a feed's address would become another";

const UPDATE_MARKER: &str = "UPDATE {s}markers SET feed_uri = ?, feed_uri_for_last_read_entry = ?
    WHERE feed_uri = ?";
const FEEDS_OF_FAILED: &str = "SELECT DISTINCT feed_uri FROM {s}failed_events
    WHERE feed_uri IS NOT NULL";
const FEEDS_BESIDE: &str = "SELECT DISTINCT feed_uri FROM {s}atomfeed_failed_events
    WHERE feed_uri IS NOT NULL";
const SELECT_FAILED: &str = "SELECT failed.id, failed.error_message, beside.page_uri,
     beside.event_key
    FROM {s}failed_events AS failed
    LEFT JOIN {s}atomfeed_failed_events AS beside ON beside.failed_event_id = failed.id
    WHERE failed.feed_uri = ? AND failed.id > ? ORDER BY failed.id LIMIT 500";
// What is set to itself is what MariaDB would set to the present of its own accord.
const UPDATE_FAILED: &str = "UPDATE {s}failed_events SET feed_uri = ?, error_message = ?,
    error_hash_code = ?, failed_at = failed_at WHERE id = ?";
const SELECT_BESIDE: &str = "SELECT failed_event_id, error_message, page_uri, event_key
    FROM {s}atomfeed_failed_events WHERE feed_uri = ? AND failed_event_id > ?
    ORDER BY failed_event_id LIMIT 500";
const UPDATE_WHOLE: &str = "UPDATE {s}atomfeed_failed_events SET feed_uri = ?, error_message = ?,
    error_hash_code = ? WHERE failed_event_id = ?";
const UPDATE_PLACE: &str = "UPDATE {s}atomfeed_failed_events SET page_uri = ?, order_key = ?
    WHERE failed_event_id = ?";
const FEEDS_OF_RETRIES: &str = "SELECT DISTINCT feed_uri FROM {s}failed_event_retry_log
    WHERE feed_uri IS NOT NULL";
/// How many rows there are of each feed, in the tables whose addresses are told.
const COUNTS_OF_FAILED: [&str; 2] = [
    "SELECT feed_uri, COUNT(*) FROM {s}failed_events
    WHERE feed_uri IS NOT NULL GROUP BY feed_uri",
    "SELECT feed_uri, COUNT(*) FROM {s}atomfeed_failed_events
    WHERE feed_uri IS NOT NULL GROUP BY feed_uri",
];
const COUNTS_OF_RETRIES: &str = "SELECT feed_uri, COUNT(*) FROM {s}failed_event_retry_log
    WHERE feed_uri IS NOT NULL GROUP BY feed_uri";
const COUNTS_OF_RETRIES_BESIDE: &str =
    "SELECT feed_uri, COUNT(*) FROM {s}atomfeed_failed_event_retry_log
    WHERE feed_uri IS NOT NULL GROUP BY feed_uri";
const UPDATE_RETRIES: &str = "UPDATE {s}failed_event_retry_log
    SET feed_uri = ?, failed_at = failed_at WHERE feed_uri = ?";
const FEEDS_OF_RETRIES_BESIDE: &str =
    "SELECT DISTINCT feed_uri FROM {s}atomfeed_failed_event_retry_log WHERE feed_uri IS NOT NULL";
const UPDATE_RETRIES_BESIDE: &str =
    "UPDATE {s}atomfeed_failed_event_retry_log SET feed_uri = ? WHERE feed_uri = ?";
/// What is kept of a feed by its key, whether it has a marker or not.
const OF_PARKED: [&str; 2] = [
    "UPDATE {s}atomfeed_failures SET feed = ? WHERE feed = ?",
    "UPDATE {s}atomfeed_actions SET feed = ?, feed_uri = ? WHERE feed = ?",
];
/// Our own tables whose rows are of a feed, and come along.
const OF_FEED: [[&str; 2]; 3] = [
    [
        "DELETE FROM {s}atomfeed_completed_events WHERE feed = ?",
        "UPDATE {s}atomfeed_completed_events SET feed = ?, feed_uri = ? WHERE feed = ?",
    ],
    [
        "DELETE FROM {s}atomfeed_feed_minutes WHERE feed = ?",
        "UPDATE {s}atomfeed_feed_minutes SET feed = ? WHERE feed = ?",
    ],
    [
        "DELETE FROM {s}atomfeed_feed_status WHERE feed = ?",
        "UPDATE {s}atomfeed_feed_status SET feed = ?, feed_uri = ? WHERE feed = ?",
    ],
];

impl<D: Dialect> SqlUnitOfWork<D> {
    pub(super) async fn rebase_rows(&mut self, rebase: &Rebase) -> StoreResult<Rebased> {
        let mut rebased = Rebased::default();
        self.fetch(DOING, D::LOCK_MARKERS, Vec::new()).await?;
        let markers = self.markers().await?;
        for RebasedMarker { from, to, page, .. } in rebased_markers(rebase, &markers)? {
            if let Some(to) = &to {
                self.must_fit(to)?;
                hand_over(self, from, to).await?;
            }
            let to = to.as_ref().unwrap_or(from);
            let values = vec![to.as_str().into(), page.into(), from.as_str().into()];
            rebased.markers += self.execute(DOING, UPDATE_MARKER, values).await?;
            self.rebase_beside(from, to).await?;
            self.rebase_parked(from.as_str(), to).await?;
        }
        for (from, to) in self.rebased_feeds(rebase, FEEDS_OF_FAILED).await? {
            self.rebase_parked(&from, &to).await?;
            rebased.failed_events += self.rebase_failed(rebase, &from, &to, true).await?;
        }
        for (from, to) in self.rebased_feeds(rebase, FEEDS_BESIDE).await? {
            self.rebase_parked(&from, &to).await?;
            rebased.failed_events += self.rebase_failed(rebase, &from, &to, false).await?;
        }
        let mut logs = vec![(FEEDS_OF_RETRIES_BESIDE, UPDATE_RETRIES_BESIDE)];
        if self.store.layout().has_table("failed_event_retry_log") {
            logs.push((FEEDS_OF_RETRIES, UPDATE_RETRIES));
        }
        for (feeds, update) in logs {
            for (from, to) in self.rebased_feeds(rebase, feeds).await? {
                let values = vec![to.as_str().into(), from.as_str().into()];
                rebased.retries += self.execute(DOING, update, values).await?;
            }
        }
        Ok(rebased)
    }

    pub(super) async fn count_rebased(&mut self, rebase: &Rebase) -> StoreResult<Rebased> {
        let mut rebased = Rebased::default();
        let markers = self.markers().await?;
        for RebasedMarker { to, .. } in rebased_markers(rebase, &markers)? {
            to.map_or(Ok(()), |to| self.must_fit(&to))?;
            rebased.markers += 1;
        }
        for counts in COUNTS_OF_FAILED {
            rebased.failed_events += self.count_of_rebased(rebase, counts).await?;
        }
        rebased.retries = self
            .count_of_rebased(rebase, COUNTS_OF_RETRIES_BESIDE)
            .await?;
        if self.store.layout().has_table("failed_event_retry_log") {
            rebased.retries += self.count_of_rebased(rebase, COUNTS_OF_RETRIES).await?;
        }
        Ok(rebased)
    }

    async fn count_of_rebased(
        &mut self,
        rebase: &Rebase,
        counts: &'static str,
    ) -> StoreResult<u64> {
        let mut count = 0;
        for mut row in self.fetch(COUNTING, counts, Vec::new()).await? {
            let from = row.text_or_empty()?;
            if let Some(to) = rebased_feed(rebase, &from)? {
                self.must_fit(&to)?;
                count += row.required_count()?;
            }
        }
        Ok(count)
    }

    /// Makes sure that the columns can hold a feed's address.
    fn must_fit(&self, to: &FeedUri) -> StoreResult<()> {
        let value = Value::from(to.as_str());
        let layout = self.store.layout();
        let tables = ["markers", "failed_events", "failed_event_retry_log"];
        let mut misfits = tables.iter().filter_map(|table| {
            let is_there = layout.is_adopted() && layout.has(table, "feed_uri");
            is_there
                .then(|| layout.misfit(table, "feed_uri", &value))
                .flatten()
        });
        misfits
            .next()
            .map_or(Ok(()), |misfit| Err(refused(&misfit)))
    }

    async fn rebased_feeds(
        &mut self,
        rebase: &Rebase,
        feeds: &'static str,
    ) -> StoreResult<Vec<(String, FeedUri)>> {
        let rows = self.fetch(DOING, feeds, Vec::new()).await?;
        let mut rebased = Vec::new();
        for mut row in rows {
            let from = row.text_or_empty()?;
            if let Some(to) = rebased_feed(rebase, &from)? {
                self.must_fit(&to)?;
                rebased.push((from, to));
            }
        }
        Ok(rebased)
    }

    /// Failed events of a feed: rows of the table, or those that it cannot hold.
    async fn rebase_failed(
        &mut self,
        rebase: &Rebase,
        from: &str,
        to: &FeedUri,
        in_table: bool,
    ) -> StoreResult<u64> {
        let (select, update) = match in_table {
            true => (SELECT_FAILED, UPDATE_FAILED),
            false => (SELECT_BESIDE, UPDATE_WHOLE),
        };
        let (mut count, mut last) = (0, 0_i64);
        loop {
            let values = vec![from.into(), last.into()];
            let rows = self.fetch(DOING, select, values).await?;
            if rows.is_empty() {
                return Ok(count);
            }
            for row in rows {
                let row = FailedRow::read(row)?;
                last = row.id;
                let mut message = rebase.apply_to_message(&row.message);
                if in_table {
                    let layout = self.store.layout();
                    message = layout.fitted("failed_events", "error_message", &message);
                }
                let failure = Failure::new(message, chrono::DateTime::UNIX_EPOCH);
                let values = vec![
                    to.as_str().into(),
                    failure.message().into(),
                    i64::from(failure.hash_code()).into(),
                    row.id.into(),
                ];
                count += self.execute(DOING, update, values).await?;
                let page = row.page.map(|page| rebase.apply(&page).unwrap_or(page));
                let key = row.key.map(|key| order_key(to, &key));
                let values = vec![page.into(), key.into(), row.id.into()];
                self.execute(DOING, UPDATE_PLACE, values).await?;
            }
        }
    }

    async fn rebase_parked(&mut self, from: &str, to: &FeedUri) -> StoreResult<()> {
        let (old, new) = (short(from), feed_key(to));
        if old == new {
            return Ok(());
        }
        let [failures, actions] = OF_PARKED;
        let values = vec![new.as_str().into(), old.as_str().into()];
        self.execute(DOING, failures, values).await?;
        let values = vec![new.into(), to.as_str().into(), old.into()];
        self.execute(DOING, actions, values).await.map(drop)
    }

    async fn rebase_beside(&mut self, from: &FeedUri, to: &FeedUri) -> StoreResult<()> {
        if from == to {
            return Ok(());
        }
        let [old, new] = [from, to].map(feed_key);
        for [delete, update] in OF_FEED {
            self.execute(DOING, delete, vec![new.as_str().into()])
                .await?;
            let mut values = vec![Value::from(new.as_str())];
            if update.contains("feed_uri") {
                values.push(to.as_str().into());
            }
            values.push(old.as_str().into());
            self.execute(DOING, update, values).await?;
        }
        Ok(())
    }
}

struct FailedRow {
    id: i64,
    message: String,
    page: Option<String>,
    key: Option<String>,
}

impl FailedRow {
    fn read(mut row: Row) -> StoreResult<Self> {
        Ok(Self {
            id: row.required_int()?,
            message: row.text_or_empty()?,
            page: row.text()?,
            key: row.text()?,
        })
    }
}
