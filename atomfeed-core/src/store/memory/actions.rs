use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::MemoryConnection;
use super::transaction::merged;
use crate::store::{ActionQuery, ActionStore, StoreError, StoreResult};
use crate::{Action, ActionProgress, ActionState, FeedUri, NewAction};

#[async_trait]
impl ActionStore for MemoryConnection {
    async fn ask(&mut self, action: &NewAction, progress: &ActionProgress) -> StoreResult<i64> {
        let newest = self.pending.actions.keys().next_back().copied();
        let newest = newest.or_else(|| self.tables().actions.keys().next_back().copied());
        let id = newest.unwrap_or(0) + 1;
        let action = Action::new(id, action.clone(), progress.clone());
        self.pending.actions.insert(id, Some(action));
        Ok(id)
    }

    async fn action(&mut self, id: i64) -> StoreResult<Option<Action>> {
        let tables = self.tables();
        let mut actions = merged(&tables.actions, &self.pending.actions, id..=id);
        Ok(actions.next().map(|(_, action)| action.clone()))
    }

    async fn open_actions(&mut self, feed_uri: &FeedUri) -> StoreResult<Vec<Action>> {
        let tables = self.tables();
        let actions = merged(&tables.actions, &self.pending.actions, ..);
        let open = actions
            .map(|(_, action)| action)
            .filter(|action| action.asked.feed_uri == *feed_uri && action.progress.state.is_open());
        Ok(open.take(100).cloned().collect())
    }

    async fn actions(&mut self, query: &ActionQuery) -> StoreResult<Vec<Action>> {
        let tables = self.tables();
        let before = ..query.before.unwrap_or(i64::MAX);
        let actions = merged(&tables.actions, &self.pending.actions, before);
        let actions: Vec<_> = actions
            .map(|(_, action)| action)
            .filter(|action| {
                let asked = &action.asked;
                let feed = query.feed_uri.as_ref();
                let event = query.failed_event_id;
                let id = query.event_id.as_ref();
                feed.is_none_or(|feed| asked.feed_uri == *feed)
                    && event.is_none_or(|event| asked.failed_event_id == Some(event))
                    && id.is_none_or(|id| asked.event_id.as_ref() == Some(id))
            })
            .collect();
        let newest = actions.into_iter().rev();
        Ok(newest.take(query.limit as usize).cloned().collect())
    }

    async fn advance(
        &mut self,
        id: i64,
        from: ActionState,
        progress: &ActionProgress,
    ) -> StoreResult<()> {
        let known = self.action(id).await?;
        let Some(mut action) = known.filter(|action| action.progress.state == from) else {
            return Err(StoreError::action_conflict(id));
        };
        action.progress = progress.clone();
        self.pending.actions.insert(id, Some(action));
        Ok(())
    }

    async fn call_off(&mut self, id: i64, said: &str, at: DateTime<Utc>) -> StoreResult<bool> {
        let known = self.action(id).await?;
        let Some(mut action) = known.filter(|action| action.progress.state.is_open()) else {
            return Ok(false);
        };
        action.progress = action.progress.then(ActionState::CalledOff, at, said);
        self.pending.actions.insert(id, Some(action));
        Ok(true)
    }
}
