//! The flow of one's own: own-integration beside a hospital whose systems are killed, and killed itself.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use atomfeed_client::CancellationToken;
use atomfeed_core::store::SqliteStore;
use atomfeed_examples::hospital::emr;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::run::{Run, is_full, one_at_a_time};
use super::text;
use crate::emr::sqlite;
use crate::own_integration::start;
use crate::programs::{PATIENCE, Program};

/// A patient's uuid and name.
type Patient = (String, String);

#[tokio::test(flavor = "multi_thread")]
async fn what_one_integrates_agrees_when_it_and_each_system_were_killed() {
    let _alone = one_at_a_time().await;
    let folder = tempfile::tempdir().unwrap();
    let events = if is_full() { 20_000 } else { 400 };
    let data = ["--data", text(folder.path())];
    let run = Run::start(&[&["--load", &events.to_string(), "--kill"], &data[..]].concat());
    let emr = run.say("where the EMR is", |line| line.starts_with("EMR: "));
    let emr = emr.strip_prefix("EMR: ").unwrap();
    let own = Own::new(folder.path(), emr).await;
    let stop = CancellationToken::new();
    let _until_the_end = stop.clone().drop_guard();

    // A quarter of the events is a new patient.
    let turns = [events / 20, events / 8];
    let day = async {
        let ended = spawn_blocking(|| run.until_it_ends()).await.unwrap();
        // The hospital does not wait for what is none of its own, which reads on.
        open_again(folder.path(), emr, stop).await;
        ended
    };
    let (ended, running) = tokio::join!(day, own.killed_at(turns));
    ended.assert_agrees(events);

    let of_emr = SqliteStore::connect(&sqlite(folder.path(), "emr.db")).await;
    let expected = patients(&of_emr.unwrap()).await;
    own.until("all patients as they are", |own| *own == expected)
        .await;
    running.kill();
    assert_eq!(patients(&own.store).await, expected);
    let parked = sqlx::query_scalar("SELECT COUNT(*) FROM failed_events");
    let parked: i64 = parked.fetch_one(own.store.pool()).await.unwrap();
    assert_eq!(parked, 0);
}

/// Serves the EMR of a hospital that has ended, where it was.
async fn open_again(folder: &Path, address: &str, stop: CancellationToken) {
    let store = SqliteStore::connect(&sqlite(folder, "emr.db")).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let options = emr::Options {
        public: format!("http://{address}").parse().unwrap(),
        lab: "http://127.0.0.1:9".parse().unwrap(), // nobody
    };
    tokio::spawn(emr::run(store.unwrap(), listener, options, stop));
}

async fn patients(store: &SqliteStore) -> Vec<Patient> {
    let select = sqlx::query_as("SELECT uuid, name FROM patients ORDER BY uuid");
    select.fetch_all(store.pool()).await.unwrap()
}

/// What own-integration follows, and what it keeps.
struct Own {
    feed: String,
    database: String,
    store: SqliteStore,
}

impl Own {
    async fn new(folder: &Path, emr: &str) -> Self {
        let database = sqlite(folder, "own.db");
        let store = SqliteStore::connect(&database).await.unwrap();
        let make = sqlx::query("CREATE TABLE patients (uuid TEXT PRIMARY KEY, name TEXT)");
        make.execute(store.pool()).await.unwrap();
        Self {
            feed: format!("http://{emr}/openmrs/ws/atomfeed/patient/recent"),
            database,
            store,
        }
    }

    /// Starts it, kills it whenever it has so many patients, and starts it again on the same file.
    async fn killed_at(&self, turns: [usize; 2]) -> Program {
        let mut running = start(&self.feed, &self.database);
        for turn in turns {
            self.until("many patients", |own| own.len() >= turn).await;
            running.kill();
            running = start(&self.feed, &self.database);
        }
        running
    }

    /// Waits until its patients are so.
    async fn until(&self, what: &str, are_so: impl Fn(&Vec<Patient>) -> bool + Send + Sync) {
        let begun = Instant::now();
        loop {
            let own = patients(&self.store).await;
            if are_so(&own) {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{what}: {} are there",
                own.len()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}
