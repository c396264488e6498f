//! The smallest complete consumer, as the template to copy. Its dependencies, and their features: anyhow,
//! async-trait, atomfeed-client (sqlite), serde (derive), sqlx 0.9 (sqlite), tokio (full), tracing-subscriber.

use anyhow::Context;
use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, CancellationToken, Event, FeedUri, FetchContent, Handled, HttpFeedSource,
    OpenMrsSession, PreparingWorker, Resources, WorkerError, core::store::SqliteStore,
};

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

    /// In the transaction that moves the marker. An error parks the event; a locked file is waited for.
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
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr);
    log.init();
    let usage = "usage: ATOMFEED_USER=… ATOMFEED_PASSWORD=… own-integration FEED-URL sqlite:FILE";
    let given = |at| std::env::args().nth(at).context(usage);
    let (feed, database): (FeedUri, _) = (given(1)?.parse()?, given(2)?);
    let of = |who| std::env::var(format!("ATOMFEED_{who}")).context(usage);
    let login = OpenMrsSession::new("/openmrs/ws/rest/v1/session", of("USER")?, of("PASSWORD")?);
    let source = HttpFeedSource::builder(&feed).with_login(login).build()?;
    let store = SqliteStore::connect(&database).await?;
    let make = "CREATE TABLE IF NOT EXISTS patients (uuid TEXT PRIMARY KEY, name TEXT)";
    sqlx::query(make).execute(store.pool()).await?;
    let worker = Patients(source.resources());
    let client = AtomFeedClient::builder(feed, source).build(store, worker);
    let stop = CancellationToken::new();
    #[cfg(unix)] // SIGINT, which is Ctrl-C, and SIGTERM: it ends once what is in hand is done
    for kind in [2, 15].map(tokio::signal::unix::SignalKind::from_raw) {
        let (mut asked, stop) = (tokio::signal::unix::signal(kind)?, stop.clone());
        tokio::spawn(async move { asked.recv().await.map(|()| stop.cancel()) });
    }
    Ok(client.run(stop).await?)
}
