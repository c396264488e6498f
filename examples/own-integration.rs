//! The smallest complete consumer, as the template to copy: `own-integration FEED-URL sqlite:FILE`.

use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, CancellationToken, Event, FeedUri, FetchContent, Handled, HttpFeedSource,
    OpenMrsSession, PreparingWorker, Resources, Schedule, WorkerError,
};
use atomfeed_core::store::SqliteStore;

#[derive(serde::Deserialize)]
struct Patient {
    uuid: String,
    name: String,
}

struct Patients(Resources);

#[async_trait]
impl PreparingWorker<sqlx::SqliteConnection> for Patients {
    type Prepared = Patient;

    /// Before the transaction: fetches what the event names. A server that is away is waited for.
    async fn prepare(&self, event: &Event) -> Result<Patient, WorkerError> {
        Ok(event.fetch(&self.0).await?.json()?)
    }

    /// In the transaction that moves the marker: both last, or neither. An error parks the event.
    async fn process(
        &self,
        _event: &Event,
        patient: &Patient,
        conn: &mut sqlx::SqliteConnection,
    ) -> Result<Handled, WorkerError> {
        let upsert = "INSERT INTO patients (uuid, name) VALUES (?, ?)
            ON CONFLICT (uuid) DO UPDATE SET name = excluded.name";
        let upsert = sqlx::query(upsert).bind(&patient.uuid).bind(&patient.name);
        upsert.execute(conn).await?;
        Ok(Handled::Applied)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let [feed, database] = [1, 2].map(|at| std::env::args().nth(at).unwrap_or_default());
    let feed: FeedUri = feed.parse()?;
    let store = SqliteStore::connect(&database).await?;
    let make = "CREATE TABLE IF NOT EXISTS patients (uuid TEXT PRIMARY KEY, name TEXT)";
    sqlx::query(make).execute(store.pool()).await?;
    let login = OpenMrsSession::new(
        "/openmrs/ws/rest/v1/session",
        "atomfeed",
        "feed-the-hospital",
    );
    let source = HttpFeedSource::builder(&feed).with_login(login).build()?;
    let worker = Patients(source.resources());
    let client = AtomFeedClient::builder(feed, source)
        .schedule(Schedule::every(Duration::from_secs(5)))
        .build(store, worker);
    tokio::select! {
        ended = client.run(CancellationToken::new()) => Ok(ended?),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
