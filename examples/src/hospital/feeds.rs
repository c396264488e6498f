//! How every system of the hospital follows the feeds of another.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, AtomFeedClients, Event, FeedUri, FormLogin, Handled, HttpFeedSource,
    OpenMrsSession, PreparingWorker, Resources, Schedule, WorkerError,
};
use atomfeed_core::store::sql::SqlStore;
use chrono::Utc;
use url::Url;

use super::store::{Engine, Field, Sql, make_tables};

/// The user as which every system signs in to another.
pub const USER: &str = "atomfeed";
/// The password of [`USER`]: of an example, on this machine alone.
pub const PASSWORD: &str = "feed-the-hospital";

/// The feeds of one system, and its login.
#[derive(Debug, Clone)]
pub struct Feeds {
    root: Url,
    source: HttpFeedSource,
}

impl Feeds {
    /// Those of the EMR at an address: `http://127.0.0.1:8050`.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn of_emr(emr: &Url) -> anyhow::Result<Self> {
        let root = emr.join("/openmrs/ws/atomfeed/")?;
        let feed: FeedUri = root.join("patient/recent")?.as_str().parse()?;
        let login = OpenMrsSession::new("/openmrs/ws/rest/v1/session", USER, PASSWORD);
        let source = HttpFeedSource::builder(&feed).with_login(login).build()?;
        Ok(Self { root, source })
    }

    /// Those of the lab at an address: `http://127.0.0.1:8052`.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn of_lab(lab: &Url) -> anyhow::Result<Self> {
        let root = lab.join("/openelis/ws/feed/")?;
        let feed: FeedUri = root.join("patient/recent")?.as_str().parse()?;
        let login = FormLogin::new("/openelis/ValidateLogin.do", USER, PASSWORD);
        let source = HttpFeedSource::builder(&feed).with_login(login).build()?;
        Ok(Self { root, source })
    }

    /// What their events name is fetched from here, as the same user.
    pub fn resources(&self) -> Resources {
        self.source.resources()
    }

    /// Follows the feed of a category: each event is applied by the worker, and noted in the table `applied`
    /// in the same transaction.
    ///
    /// # Errors
    ///
    /// When the category makes no address.
    pub fn follow<D, W>(
        &self,
        category: &str,
        store: &SqlStore<D>,
        worker: W,
        clients: &mut AtomFeedClients,
    ) -> anyhow::Result<()>
    where
        D: Engine,
        W: PreparingWorker<D::Connection>,
    {
        let feed = self.root.join(&format!("{category}/recent"))?;
        let feed: FeedUri = feed.as_str().parse().context("naming a feed")?;
        let client = AtomFeedClient::builder(feed, self.source.clone())
            .schedule(Schedule::every(Duration::from_secs(1)))
            .wait_for_news(Duration::from_secs(20))
            .retry_delays(Duration::from_secs(1), Duration::from_secs(60))
            .standby(Duration::from_secs(5))
            .stop_within(Duration::from_secs(5))
            .build(store.clone(), Noted(Arc::new(worker)));
        clients.add(client);
        Ok(())
    }
}

/// Makes the table in which applied events are noted. It has no key: an event that were applied twice would
/// stand there twice.
///
/// # Errors
///
/// As the database has it.
pub async fn make_applied<D: Engine>(store: &SqlStore<D>) -> anyhow::Result<()> {
    let make = "CREATE TABLE IF NOT EXISTS applied (
        feed TEXT NOT NULL, event_id TEXT NOT NULL, applied_at BIGINT NOT NULL)";
    make_tables(store, &[make]).await
}

/// Notes what the worker within has applied.
struct Noted<W>(Arc<W>);

impl<W> Noted<W> {
    async fn note<C: Sql + ?Sized>(event: &Event, conn: &mut C) -> Result<(), WorkerError> {
        let insert = "INSERT INTO applied (feed, event_id, applied_at) VALUES ($1, $2, $3)";
        let now = Utc::now().timestamp_millis();
        let values = [
            event.feed_uri().as_str().into(),
            event.id().as_str().into(),
            Field::Number(now),
        ];
        conn.run(insert, &values).await?;
        Ok(())
    }
}

#[async_trait]
impl<C: Sql + 'static, W: PreparingWorker<C>> PreparingWorker<C> for Noted<W> {
    type Prepared = W::Prepared;

    async fn prepare(&self, event: &Event) -> Result<W::Prepared, WorkerError> {
        self.0.prepare(event).await
    }

    async fn process(
        &self,
        event: &Event,
        prepared: &W::Prepared,
        conn: &mut C,
    ) -> Result<Handled, WorkerError> {
        let handled = self.0.process(event, prepared, conn).await?;
        Self::note(event, conn).await?;
        Ok(handled)
    }

    fn key(&self, event: &Event, prepared: Option<&W::Prepared>) -> Option<String> {
        self.0.key(event, prepared)
    }

    fn has_other_effects(&self) -> bool {
        self.0.has_other_effects()
    }

    async fn committed(&self, event: &Event) {
        self.0.committed(event).await;
    }
}
