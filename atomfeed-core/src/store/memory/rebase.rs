use super::MemoryConnection;
use super::transaction::merged;
use crate::store::rebase::{RebasedMarker, hand_over, rebased_feed, rebased_markers};
use crate::store::{ClaimStore, MarkerStore, StoreResult};
use crate::{Event, FailedEvent, Failure, FeedUri, Marker, Rebase, Rebased};

impl MemoryConnection {
    pub(super) async fn rebase_rows(&mut self, rebase: &Rebase) -> StoreResult<Rebased> {
        let mut rebased = Rebased::default();
        let markers = self.markers().await?;
        for rebased_marker in rebased_markers(rebase, &markers)? {
            let RebasedMarker {
                from,
                to,
                page,
                marker,
            } = rebased_marker;
            if let Some(to) = &to {
                hand_over(self, from, to).await?;
                self.rebase_besides(from, to).await?;
            }
            let to = to.as_ref().unwrap_or(from);
            let mut moved = Marker::new(to.clone()).on_page(page);
            if let Some(entry) = marker.last_read_entry_id() {
                moved = moved.after(entry.clone());
            }
            let markers = &mut self.pending.markers;
            markers.insert(from.as_str().to_owned(), None);
            markers.insert(to.as_str().to_owned(), Some(moved));
            rebased.markers += 1;
        }
        let tables = self.tables();
        let failed = merged(&tables.failed, &self.pending.failed, ..);
        let failed: Vec<_> = failed.map(|(_, failed)| failed.clone()).collect();
        let log = merged(&tables.retry_log, &self.pending.retry_log, ..);
        let log: Vec<_> = log.map(|(key, log)| (key.clone(), log.clone())).collect();
        drop(tables);
        for failed in failed {
            if let Some(to) = rebased_feed(rebase, failed.event.feed_uri().as_str())? {
                let moved = with_feed(rebase, failed, to);
                self.pending.failed.insert(moved.id, Some(moved));
                rebased.failed_events += 1;
            }
        }
        for ((feed, event, id), mut log) in log {
            if let Some(to) = rebased_feed(rebase, log.feed_uri.as_str())? {
                let key = (to.as_str().to_owned(), event.clone(), id);
                log.feed_uri = to;
                self.pending.retry_log.insert((feed, event, id), None);
                self.pending.retry_log.insert(key, Some(log));
                rebased.retries += 1;
            }
        }
        let tables = self.tables();
        let actions = merged(&tables.actions, &self.pending.actions, ..);
        let actions: Vec<_> = actions.map(|(_, action)| action.clone()).collect();
        drop(tables);
        for mut action in actions {
            if let Some(to) = rebased_feed(rebase, action.asked.feed_uri.as_str())? {
                action.asked.feed_uri = to;
                self.pending.actions.insert(action.id, Some(action));
            }
        }
        Ok(rebased)
    }

    pub(super) async fn count_rebased(&mut self, rebase: &Rebase) -> StoreResult<Rebased> {
        let markers = self.markers().await?;
        let mut rebased = Rebased {
            markers: rebased_markers(rebase, &markers)?.len() as u64,
            ..Rebased::default()
        };
        let tables = self.tables();
        for (_, failed) in merged(&tables.failed, &self.pending.failed, ..) {
            let to = rebased_feed(rebase, failed.event.feed_uri().as_str())?;
            rebased.failed_events += u64::from(to.is_some());
        }
        for (_, log) in merged(&tables.retry_log, &self.pending.retry_log, ..) {
            let to = rebased_feed(rebase, log.feed_uri.as_str())?;
            rebased.retries += u64::from(to.is_some());
        }
        Ok(rebased)
    }

    /// What is kept besides comes along.
    async fn rebase_besides(&mut self, from: &FeedUri, to: &FeedUri) -> StoreResult<()> {
        let [old, new] = [from, to].map(|feed| feed.as_str().to_owned());
        for event in self.completed(from).await? {
            self.pending
                .completed
                .insert((old.clone(), event.clone()), None);
            self.pending
                .completed
                .insert((new.clone(), event), Some(()));
        }
        let tables = self.tables();
        let statuses = merged(&tables.statuses, &self.pending.statuses, ..);
        let mut statuses = statuses.filter(|(feed, _)| **feed == old);
        let status = statuses.next().map(|(_, status)| status.clone());
        drop(statuses);
        let minutes = merged(&tables.minutes, &self.pending.minutes, ..);
        let minutes = minutes.filter(|((feed, _), _)| *feed == old);
        let minutes: Vec<_> = minutes.map(|(_, counts)| *counts).collect();
        drop(tables);
        if let Some(mut status) = status {
            status.feed_uri = to.clone();
            self.pending.statuses.insert(old.clone(), None);
            self.pending.statuses.insert(new.clone(), Some(status));
        }
        for counts in minutes {
            self.pending
                .minutes
                .insert((old.clone(), counts.minute), None);
            let key = (new.clone(), counts.minute);
            self.pending.minutes.insert(key, Some(counts));
        }
        Ok(())
    }
}

fn with_feed(rebase: &Rebase, failed: FailedEvent, to: FeedUri) -> FailedEvent {
    let event = &failed.event;
    let page = event.page_uri();
    let page = page.map(|page| rebase.apply(page).unwrap_or_else(|| page.to_owned()));
    let event = Event::new(event.id().clone(), to)
        .with_text(event.title(), event.content())
        .with_tags_column(&event.tags_column())
        .on_page(page)
        .at(event.updated(), event.published())
        .as_retry(true);
    let message = rebase.apply_to_message(failed.failure.message());
    let failure = Failure::new(message, failed.failure.at());
    FailedEvent {
        event,
        failure,
        ..failed
    }
}
