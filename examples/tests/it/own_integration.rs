//! own-integration, the template that one copies, beside the EMR of the hospital.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use atomfeed_client::CancellationToken;
use atomfeed_core::store::SqliteStore;
use atomfeed_examples::hospital::documents::Patient;
use atomfeed_examples::hospital::feeds::{PASSWORD, USER};
use atomfeed_examples::hospital::{Data, HospitalStore, emr};
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

use crate::emr::sqlite;
use crate::programs::{PATIENCE, Program};

/// Where there is no EMR.
const NOBODY: &str = "http://127.0.0.1:9/openmrs/ws/atomfeed/patient/recent";

/// Starts it by `env`, which becomes it, with who signs in in its environment.
pub(crate) fn start(feed: &str, database: &str) -> Program {
    let user = format!("ATOMFEED_USER={USER}");
    let password = format!("ATOMFEED_PASSWORD={PASSWORD}");
    by_env(&[&user, &password], feed, database)
}

/// `env` is no example: its whole path stands for itself.
fn by_env(environment: &[&str], feed: &str, database: &str) -> Program {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples").join("own-integration");
    let command = [program.to_str().unwrap(), feed, database];
    Program::start("/usr/bin/env", &[environment, &command].concat())
}

#[test]
fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(folder.path(), "own.db");
    for missing in [&[][..], &[NOBODY]] {
        let refused = Program::start("own-integration", missing).finish();
        refused.assert_refused(&["usage", "sqlite:FILE"]);
    }
    let nobody_signs_in = ["-u", "ATOMFEED_USER", "-u", "ATOMFEED_PASSWORD"];
    let refused = by_env(&nobody_signs_in, NOBODY, &database).finish();
    refused.assert_refused(&["usage", "ATOMFEED_USER"]);
    assert!(!folder.path().join("own.db").exists(), "nothing is made");
}

#[test]
fn that_the_emr_is_away_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(NOBODY, &sqlite(folder.path(), "own.db"));
    running.stderr.wait_for("that it waits", |lines| {
        let says = |line: &&String| {
            (line.contains("WARN") || line.contains("ERROR")) && line.contains(NOBODY)
        };
        lines.iter().find(says).map(|_| ())
    });
    running.terminate();
    running.finish().assert_status(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_applied_once_and_it_goes_on_where_it_has_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let _until_the_end = stop.clone().drop_guard();
    let emr = Emr::start(folder.path(), stop).await;
    let feed = format!("{}openmrs/ws/atomfeed/patient/recent", emr.public);
    let database = sqlite(folder.path(), "own.db");
    let own = Own::prepare(&database).await;

    emr.name("Asha Verma").await;
    let running = start(&feed, &database);
    own.reaches(&emr.newest().await).await;
    emr.name("Asha Sahu").await;
    own.reaches(&emr.newest().await).await;
    assert_eq!(own.written().await, ["Asha Verma", "Asha Sahu"]);
    running.terminate();
    running.finish().assert_status(0);

    emr.name("Asha Devi").await;
    let running = start(&feed, &database);
    own.reaches(&emr.newest().await).await;
    let all = ["Asha Verma", "Asha Sahu", "Asha Devi"];
    assert_eq!(own.written().await, all);
    running.terminate();
    running.finish().assert_status(0);
    assert_eq!(own.written().await, all);
    assert_eq!(own.texts("SELECT name FROM patients").await, ["Asha Devi"]);
    assert!(
        own.texts("SELECT event_id FROM failed_events")
            .await
            .is_empty()
    );
}

/// The EMR of the hospital, with one patient.
struct Emr {
    public: Url,
    client: emr::EmrClient,
    store: SqliteStore,
}

impl Emr {
    async fn start(folder: &Path, stop: CancellationToken) -> Self {
        let data = Data::Folder(folder.to_owned());
        let HospitalStore::Sqlite(store) = data.open("emr").await.unwrap() else {
            panic!("no file");
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public = format!("http://{}", listener.local_addr().unwrap());
        let public: Url = public.parse().unwrap();
        let options = emr::Options {
            public: public.clone(),
            lab: "http://127.0.0.1:9".parse().unwrap(), // nobody
        };
        tokio::spawn(emr::run(store.clone(), listener, options, stop));
        Self {
            client: emr::EmrClient::new(public.clone()).unwrap(),
            public,
            store,
        }
    }

    /// Has the patient be called so, which is an event.
    async fn name(&self, name: &str) {
        let patient = Patient {
            uuid: Uuid::from_u128(1),
            identifier: "GAN200001".to_owned(),
            name: name.to_owned(),
            gender: "F".to_owned(),
            birthdate: "1981-04-02".parse().unwrap(),
            village: "Ganiyari".to_owned(),
        };
        assert!(self.client.put_patient(&patient).await.unwrap());
    }

    /// The newest event.
    async fn newest(&self) -> String {
        let select = "SELECT 'tag:atomfeed.ict4h.org:' || uuid FROM event_records
            ORDER BY id DESC LIMIT 1";
        let newest = sqlx::query_scalar(select).fetch_one(self.store.pool());
        newest.await.unwrap()
    }
}

/// What it keeps, and each time that it writes a patient.
struct Own(SqliteStore);

impl Own {
    async fn prepare(database: &str) -> Self {
        let store = SqliteStore::connect(database).await.unwrap();
        for statement in [
            "CREATE TABLE patients (uuid TEXT PRIMARY KEY, name TEXT)",
            "CREATE TABLE written (name TEXT)",
            "CREATE TRIGGER inserted AFTER INSERT ON patients
                BEGIN INSERT INTO written (name) VALUES (new.name); END",
            "CREATE TRIGGER updated AFTER UPDATE ON patients
                BEGIN INSERT INTO written (name) VALUES (new.name); END",
        ] {
            sqlx::raw_sql(statement)
                .execute(store.pool())
                .await
                .unwrap();
        }
        Self(store)
    }

    /// Waits until its marker stands behind an event.
    async fn reaches(&self, event: &str) {
        let begun = Instant::now();
        loop {
            let select = "SELECT last_read_entry_id FROM markers
                WHERE last_read_entry_id IS NOT NULL";
            let markers = self.texts(select).await;
            if markers == [event] {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{event}: only {markers:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn written(&self) -> Vec<String> {
        self.texts("SELECT name FROM written ORDER BY rowid").await
    }

    async fn texts(&self, select: &'static str) -> Vec<String> {
        let texts = sqlx::query_scalar(select).fetch_all(self.0.pool());
        texts.await.unwrap()
    }
}
