//! A small EMR registers patients and publishes an event for each, in the same transaction. A lab
//! follows the feed over HTTP and applies each event in the transaction that moves its marker. One
//! event is bad: it is parked while the others flow, and is applied once the lab is ready for it.
//!
//! `cargo run --example quickstart`

use async_trait::async_trait;
use atomfeed_client::{
    AtomFeedClient, Event, EventWorker, Handled, HttpFeedSource, Outcome, WorkerError,
};
use atomfeed_core::NewEvent;
use atomfeed_core::store::SqliteStore;
use atomfeed_server::{EventFeedService, FeedConfig, FeedRouter, Publisher};
use sqlx::SqliteConnection;

/// The lab's own table, written in the transaction that moves the marker.
struct LabPatients;

#[async_trait]
impl EventWorker<SqliteConnection> for LabPatients {
    async fn process(
        &self,
        event: &Event,
        lab: &mut SqliteConnection,
    ) -> Result<Handled, WorkerError> {
        let patient: serde_json::Value = serde_json::from_str(event.content())?;
        let (name, village) = (patient["name"].as_str(), patient["village"].as_str());
        let known = sqlx::query("SELECT 1 FROM villages WHERE name = ?").bind(village);
        if known.fetch_optional(&mut *lab).await?.is_none() {
            return Err(WorkerError::new(format!(
                "the lab does not know the village {village:?}"
            )));
        }
        let insert = sqlx::query("INSERT INTO patients (name, village) VALUES (?, ?)");
        insert.bind(name).bind(village).execute(lab).await?;
        Ok(Handled::Applied)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());

    // The EMR: its own table, the tables of the feed beside it, and the feed over HTTP.
    let emr = SqliteStore::connect(&file("emr.db")).await?;
    sqlx::query("CREATE TABLE patients (name TEXT, village TEXT)")
        .execute(emr.pool())
        .await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let public_url = format!("http://{}/feed", listener.local_addr()?);
    let service = EventFeedService::open(emr.clone(), FeedConfig::new(public_url.parse()?)).await?;
    let app = axum::Router::new().nest("/feed", FeedRouter::new(service).into_router());
    tokio::spawn(async move { axum::serve(listener, app).await });
    println!("EMR: my feed is {public_url}/recent");

    let publisher = Publisher::new(emr.clone());
    for (name, village) in [
        ("Asha", "Ganiyari"),
        ("Ravi", "Dhamtari"),
        ("Meena", "Ganiyari"),
    ] {
        let mut transaction = emr.pool().begin().await?;
        let insert = sqlx::query("INSERT INTO patients (name, village) VALUES (?, ?)");
        insert
            .bind(name)
            .bind(village)
            .execute(&mut *transaction)
            .await?;
        let content = serde_json::json!({ "name": name, "village": village }).to_string();
        let event = NewEvent::new("Patient registered", content).in_category("patient");
        publisher.publish(&mut transaction, &event).await?;
        transaction.commit().await?; // the patient and the event, or neither
        println!("EMR: registered {name}");
    }

    // The lab: its own tables, and a consumer of the EMR's feed of patients.
    let lab = SqliteStore::connect(&file("lab.db")).await?;
    for statement in [
        "CREATE TABLE patients (name TEXT, village TEXT)",
        "CREATE TABLE villages (name TEXT)",
        "INSERT INTO villages VALUES ('Ganiyari')",
    ] {
        sqlx::query(statement).execute(lab.pool()).await?;
    }
    let feed = format!("{public_url}/patient/recent").parse()?;
    let source = HttpFeedSource::new(&feed)?;
    let client = AtomFeedClient::builder(feed, source)
        .on_outcome(|outcome| match outcome {
            Outcome::Applied { event } => println!("lab: applied {}", event.content()),
            Outcome::Parked { event, failure } => {
                let why = failure.message().lines().last().unwrap_or_default();
                println!("lab: parked  {}: {why}", event.content());
            }
            Outcome::Retried { event } => println!("lab: retried {}, applied", event.content()),
            other => println!("lab: {other:?}"),
        })
        .build(lab.clone(), LabPatients);

    let processed = client.process_events().await?;
    println!(
        "lab: {} applied, {} parked",
        processed.applied, processed.failed
    );

    println!("lab: somebody adds the village Dhamtari");
    sqlx::query("INSERT INTO villages VALUES ('Dhamtari')")
        .execute(lab.pool())
        .await?;
    let processed = client.process_failed_events().await?;
    println!(
        "lab: {} applied, {} still parked",
        processed.applied, processed.failed
    );

    let (patients,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM patients")
        .fetch_one(lab.pool())
        .await?;
    println!("lab: {patients} of 3 patients are here; nothing lost, nothing doubled");
    Ok(())
}
