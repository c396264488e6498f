use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use sqlx::SqlSafeStr;
use sqlx_core::transaction::TransactionManager;

use super::consumer::SqlUnitOfWork;
use super::error::Doing;
use super::{Dialect, SqlStore};
use crate::store::{ConsoleStore, Publishing, Records, SetAside, StoreResult, UnitOfWork};

const NEWEST: &str = "SELECT id, timestamp FROM {s}event_records ORDER BY id DESC LIMIT 1";
const QUEUED: &str = "SELECT COUNT(*) FROM {s}event_records_queue";
const COUNT_SET_ASIDE: &str = "SELECT COUNT(*) FROM {s}atomfeed_set_aside";
const SELECT_SET_ASIDE: &str = "SELECT queue_id, set_aside_at, error, uuid, title
    FROM {s}atomfeed_set_aside ORDER BY id DESC LIMIT 20";

#[async_trait]
impl<D: Dialect> ConsoleStore for SqlStore<D> {
    async fn look(&self) -> StoreResult<Box<dyn Records>> {
        let mut work = Box::new(SqlUnitOfWork::new(self.clone(), self.connection().await?));
        let begin = AssertSqlSafe(D::BEGIN_READING).into_sql_str();
        D::TransactionManager::begin(&mut work.conn, Some(begin))
            .await
            .doing(|| "opening a transaction to look at the tables")?;
        Ok(work)
    }

    async fn change(&self) -> StoreResult<Box<dyn Records>> {
        Ok(self.open_work().await?)
    }

    async fn publishing(&self) -> StoreResult<Publishing> {
        let layout = self.layout();
        let has = |table| !layout.is_adopted() || layout.has_table(table);
        if !has("event_records") || !has("event_records_queue") {
            return Ok(Publishing::default());
        }
        let newest = self.read("reading the newest event", NEWEST, Vec::new());
        let mut newest = newest.await?.into_iter();
        let (newest_id, newest_at) = match newest.next() {
            Some(mut row) => (row.required_int()?, row.time_in(layout.zone())?),
            None => (0, None),
        };
        let mut counts = [0; 2];
        for (count, statement) in counts.iter_mut().zip([QUEUED, COUNT_SET_ASIDE]) {
            let rows = self.read("counting what is on no page", statement, Vec::new());
            let row = rows.await?.into_iter().next();
            *count = row.map_or(Ok(0), |mut row| row.required_count())?;
        }
        let set_aside = self.read("reading what was set aside", SELECT_SET_ASIDE, Vec::new());
        let set_aside = set_aside.await?.into_iter().map(|mut row| {
            Ok(SetAside::new(
                row.required_int()?,
                row.time()?.unwrap_or_default(),
                row.text_or_empty()?,
                row.text_or_empty()?,
                row.text_or_empty()?,
            ))
        });
        Ok(Publishing {
            is_there: true,
            newest_id,
            newest_at,
            queued: counts[0],
            set_aside: counts[1],
            last_set_aside: set_aside.collect::<StoreResult<_>>()?,
        })
    }

    fn is_adopted(&self) -> bool {
        self.layout().is_adopted()
    }

    fn counts_retries(&self) -> bool {
        self.layout().has("failed_events", "retries")
    }

    fn keeps_retry_log(&self) -> bool {
        self.layout().has_table("failed_event_retry_log")
    }
}

#[async_trait]
impl<D: Dialect> Records for SqlUnitOfWork<D> {
    async fn commit(self: Box<Self>) -> StoreResult<()> {
        UnitOfWork::commit(self).await
    }
}
