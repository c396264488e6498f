//! own-integration, the template that one copies, beside the EMR of the hospital.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use atomfeed_core::store::SqliteStore;
use atomfeed_examples::hospital::documents::Patient;
use atomfeed_examples::hospital::{Data, HospitalStore, emr};
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

use crate::emr::sqlite;
use crate::programs::{PATIENCE, Program};

#[tokio::test(flavor = "multi_thread")]
async fn patients_of_the_emr_are_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = Data::Folder(folder.path().to_owned());
    let HospitalStore::Sqlite(store) = data.open("emr").await.unwrap() else {
        panic!("no file");
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let public: Url = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let options = emr::Options {
        public: public.clone(),
        lab: "http://127.0.0.1:9".parse().unwrap(), // nobody
    };
    let stop = atomfeed_client::CancellationToken::new();
    let _until_the_end = stop.clone().drop_guard();
    tokio::spawn(emr::run(store, listener, options, stop));
    let client = emr::EmrClient::new(public.clone()).unwrap();
    let mut patient = Patient {
        uuid: Uuid::new_v4(),
        identifier: "GAN200001".to_owned(),
        name: "Asha Verma".to_owned(),
        gender: "F".to_owned(),
        birthdate: "1981-04-02".parse().unwrap(),
        village: "Ganiyari".to_owned(),
    };
    client.put_patient(&patient).await.unwrap();
    patient.name = "Asha Sahu".to_owned();
    client.put_patient(&patient).await.unwrap();

    let feed = format!("{public}openmrs/ws/atomfeed/patient/recent");
    let database = sqlite(folder.path(), "own.db");
    let running = Program::start("own-integration", &[&feed, &database]);
    let begun = Instant::now();
    let kept = loop {
        let kept = patients(&database).await;
        if kept.iter().any(|(_, name)| name == "Asha Sahu") {
            break kept;
        }
        assert!(begun.elapsed() < PATIENCE, "only {kept:?} is there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(kept, [(patient.uuid.to_string(), patient.name)]);
    drop(running);
}

/// None before the program has made its table.
async fn patients(database: &str) -> Vec<(String, String)> {
    let store = SqliteStore::connect(database).await.unwrap();
    let patients = sqlx::query_as("SELECT uuid, name FROM patients");
    patients.fetch_all(store.pool()).await.unwrap_or_default()
}
