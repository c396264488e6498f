//! How categories are spelled, where feeds match them without regard to case.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::error::Doing;
use super::{Dialect, Matching, SqlStore, Value};
use crate::FeedScope;
use crate::store::{FeedStore, StoreResult};

/// Of so many categories the spellings are remembered.
const MAX_SPELLED: usize = 1_000;

/// Of so many ids the categories are listed in one transaction.
const LISTED_AT_ONCE: i64 = 50_000;

const SELECT_CATEGORIES_THROUGH: &str =
    "SELECT categories_through FROM {s}atomfeed_feed_state WHERE id = 1";
const SET_CATEGORIES_THROUGH: &str = "UPDATE {s}atomfeed_feed_state SET categories_through = ?
    WHERE id = 1 AND COALESCE(categories_through, 0) < ?";
const SELECT_SPELLINGS: &str =
    "SELECT DISTINCT {spelling} FROM {s}event_records WHERE id > ? AND id <= ?";
const LIST_CATEGORIES: &str =
    "INSERT {unless} INTO {s}atomfeed_event_categories (category, event_id)
    SELECT category, id FROM {s}event_records
    WHERE id > ? AND id <= ? AND category IS NOT NULL AND category <> '' {there}";
const SELECT_SPELLED: &str =
    "SELECT category FROM {s}atomfeed_categories WHERE {spelled} ORDER BY category";
const SELECT_CATEGORIES: &str = "SELECT category FROM {s}atomfeed_categories";

impl<D: Dialect> SqlStore<D> {
    /// The categories that occur, in any order.
    pub(super) async fn all_spellings(&self) -> StoreResult<Vec<String>> {
        self.learn_categories().await?;
        let what = "reading the categories";
        let rows = self.read(what, SELECT_CATEGORIES, Vec::new()).await?;
        let spellings = rows.into_iter().map(|mut row| row.text_or_empty());
        spellings.collect()
    }

    /// How a category is spelled in events up to an id, where the database should be told, so that it
    /// knows how many to expect.
    pub(super) async fn spellings_of(
        &self,
        scope: &FeedScope,
        through: i64,
    ) -> StoreResult<Option<Vec<String>>> {
        let folds = self.statements.matching() == Matching::Folded;
        let is_settled = folds && self.horizon.is_some() && D::PLANS_FOR_VALUES;
        if scope.category().is_none() || !(is_settled || self.layout().lists_categories()) {
            return Ok(None);
        }
        let key = self.key(scope);
        let known = || {
            self.spellings
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some((learnt, spellings)) = known().get(&key)
            && *learnt >= through
        {
            return Ok(Some(spellings.clone()));
        }
        // Before they are read: of later events they may be spelled otherwise.
        let learnt = self.learnt_through.load(Ordering::Relaxed);
        let what = "reading how a category is spelled";
        let values = self.statements.matching().values(scope);
        let rows = self.read(what, SELECT_SPELLED, values).await?;
        let spellings: Vec<_> = rows
            .into_iter()
            .map(|mut row| row.text_or_empty())
            .collect::<StoreResult<_>>()?;
        let mut known = known();
        // Whoever asks for categories that nobody has must not fill the memory.
        if known.len() >= MAX_SPELLED {
            known.clear();
        }
        known.insert(key, (learnt, spellings.clone()));
        Ok(Some(spellings))
    }

    /// What the statements of a feed are given first.
    pub(super) async fn scope_values(
        &self,
        scope: &FeedScope,
        through: i64,
    ) -> StoreResult<Vec<Value>> {
        let matching = self.statements.matching();
        let is_needed = (matching == Matching::Folded || self.layout().lists_categories())
            && scope.category().is_some();
        if is_needed && through > self.learnt_through.load(Ordering::Relaxed) {
            self.learn_categories().await?;
        }
        Ok(matching.values(scope))
    }

    /// Takes over the spellings of categories that another program has written, and, where its table
    /// has no index on them, which events they are of.
    pub(super) async fn learn_categories(&self) -> StoreResult<()> {
        if !self.layout().is_adopted() {
            return Ok(());
        }
        let doing = || "learning how categories are spelled";
        let rows = self
            .read(doing(), SELECT_CATEGORIES_THROUGH, Vec::new())
            .await?;
        let through = rows.into_iter().next().map(|mut row| row.int());
        let through = through.transpose()?.flatten().unwrap_or_default();
        let newest = self.newest_id().await?;
        if newest <= through {
            self.learnt_through.fetch_max(through, Ordering::Relaxed);
            return Ok(());
        }
        let mut learnt = through;
        while learnt < newest {
            let until = match self.layout().lists_categories() {
                true => newest.min(learnt.saturating_add(LISTED_AT_ONCE)),
                false => newest,
            };
            self.learn_between(learnt, until).await?;
            learnt = until;
        }
        self.learnt_through.fetch_max(newest, Ordering::Relaxed);
        Ok(())
    }

    /// Does so for the events from one id to another, all of which are there.
    async fn learn_between(&self, after: i64, until: i64) -> StoreResult<()> {
        let doing = || "learning of which category events are";
        let range = || vec![after.into(), until.into()];
        let rows = self.read(doing(), SELECT_SPELLINGS, range()).await?;
        let mut transaction = self.begin_writing(doing).await?;
        self.lock_feed_state(&mut transaction).await?;
        if self.layout().lists_categories() {
            self.execute(&mut transaction, doing, LIST_CATEGORIES, range())
                .await?;
        }
        for mut row in rows {
            let category = row.text()?.filter(|category| !category.is_empty());
            self.keep_category(&mut transaction, category.as_deref())
                .await?;
        }
        let values = vec![until.into(), until.into()];
        self.execute(&mut transaction, doing, SET_CATEGORIES_THROUGH, values)
            .await?;
        transaction.commit().await.doing(doing)
    }
}
