//! An encounter that comes to the lab before its patient does: it waits in order, and ends applied.

#![allow(clippy::unwrap_used)]

use std::fmt::Debug;
use std::path::Path;
use std::time::{Duration, Instant};

use atomfeed_client::CancellationToken;
use atomfeed_core::store::SqliteStore;
use atomfeed_examples::hospital::documents::{
    Concept, Encounter, LabTest, Order, OrderAction, OrderKind, Patient,
};
use atomfeed_examples::hospital::{Data, HospitalStore, emr, lab};
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

use crate::programs::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn an_encounter_waits_in_order_for_its_patient_and_ends_applied() {
    let folder = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let _until_the_end = stop.clone().drop_guard();
    let hospital = Hospital::start(folder.path(), &stop).await;
    let Hospital { client, lab, .. } = &hospital;
    let [haemoglobin, platelets] = [
        test(2, "Haemoglobin", "g/dl"),
        test(3, "Platelets", "10^3/ul"),
    ];
    for test in [&haemoglobin, &platelets] {
        assert!(client.put_lab_test(test).await.unwrap());
    }
    let patient = asha();
    assert!(client.put_patient(&patient).await.unwrap());

    let seen = encounter(&patient, OrderAction::New, &haemoglobin);
    assert!(client.put_encounter(&seen).await.unwrap());
    until(
        "the first event is parked",
        async || parked(lab).await,
        |parked| parked.len() == 1,
    )
    .await;
    let changed = encounter(&patient, OrderAction::Revise, &platelets);
    assert!(client.put_encounter(&changed).await.unwrap());
    let waiting = until(
        "the second is held",
        async || parked(lab).await,
        |parked| parked.len() == 2,
    );
    let waiting = waiting.await;
    let events = hospital.events().await;
    let [(first, why_first), (second, why_second)] = &waiting[..] else {
        panic!("{waiting:?}");
    };
    assert_eq!([first, second], [&events[0], &events[1]]);
    let unknown = format!("does not know patient {}", patient.uuid);
    assert!(why_first.contains(&unknown), "{why_first}");
    let behind = format!(
        "an earlier event of /openmrs/ws/rest/v1/encounter/{}",
        seen.uuid
    );
    assert!(why_second.contains(&behind), "{why_second}");
    assert_eq!(applied(lab).await, [""; 0]);
    assert_eq!(texts(lab, "SELECT uuid FROM orders").await, [""; 0]);
    assert_eq!(texts(lab, "SELECT uuid FROM patients").await, [""; 0]);

    hospital.door.cancel();
    until(
        "both are applied",
        async || applied(lab).await,
        |applied| applied.len() >= 2,
    )
    .await;
    until(
        "nothing is parked",
        async || parked(lab).await,
        |parked| parked.is_empty(),
    )
    .await;
    assert_eq!(applied(lab).await, events);
    assert_eq!(hospital.events().await, events);
    let orders = "SELECT uuid || ' ' || order_number || ' ' || test_uuid FROM orders";
    let order = format!("{} ORD-1 {}", seen.orders[0].uuid, platelets.uuid);
    assert_eq!(texts(lab, orders).await, [order]);
}

/// The EMR and the lab, which comes to the EMR through a door.
struct Hospital {
    client: emr::EmrClient,
    emr: SqliteStore,
    lab: SqliteStore,
    /// Lets the lab see the feed of patients.
    door: CancellationToken,
}

impl Hospital {
    async fn start(folder: &Path, stop: &CancellationToken) -> Self {
        let [emr_at, door_at, lab_at] = [listen().await, listen().await, listen().await];
        let [emr_url, door_url, lab_url] = [&emr_at, &door_at, &lab_at].map(url_of);
        let (emr, lab) = (open(folder, "emr").await, open(folder, "lab").await);

        // Its links lead through the door.
        let options = emr::Options {
            public: door_url.clone(),
            lab: "http://127.0.0.1:9".parse().unwrap(), // nobody
        };
        tokio::spawn(emr::run(emr.clone(), emr_at, options, stop.clone()));
        let client = emr::EmrClient::new(emr_url.clone()).unwrap();

        let door = CancellationToken::new();
        let app = Router::new().fallback(Door::pass).with_state(Door {
            emr: emr_url,
            is_open: door.clone(),
            http: http(),
        });
        tokio::spawn(async move { axum::serve(door_at, app).await });

        let options = lab::Options {
            public: lab_url,
            emr: door_url,
        };
        tokio::spawn(lab::run(lab.clone(), lab_at, options, stop.clone()));
        Self {
            client,
            emr,
            lab,
            door,
        }
    }

    /// Those of the encounter, oldest first.
    async fn events(&self) -> Vec<String> {
        let select = "SELECT 'tag:atomfeed.ict4h.org:' || uuid FROM event_records
            WHERE category = 'encounter' ORDER BY id";
        texts(&self.emr, select).await
    }
}

/// Passes on what is asked of the EMR; whoever asks for the feed of patients waits until it is open.
#[derive(Clone)]
struct Door {
    emr: Url,
    is_open: CancellationToken,
    http: reqwest::Client,
}

impl Door {
    async fn pass(State(door): State<Self>, request: Request) -> Response {
        let (mut head, body) = request.into_parts();
        if head.uri.path().starts_with("/openmrs/ws/atomfeed/patient/") {
            door.is_open.cancelled().await;
        }
        let url = door.emr.join(&head.uri.to_string()).unwrap();
        head.headers.remove(HOST);
        let body = to_bytes(body, 100_000).await.unwrap();
        let asked = door.http.request(head.method, url).headers(head.headers);
        let Ok(answer) = asked.body(body).send().await else {
            return StatusCode::BAD_GATEWAY.into_response();
        };
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        for of_the_connection in [CONNECTION, TRANSFER_ENCODING] {
            headers.remove(of_the_connection);
        }
        match answer.bytes().await {
            Ok(body) => (status, headers, body).into_response(),
            Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        }
    }
}

fn http() -> reqwest::Client {
    // Fails when there is one already, and that is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    http.build().unwrap()
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn url_of(listener: &TcpListener) -> Url {
    let url = format!("http://{}", listener.local_addr().unwrap());
    url.parse().unwrap()
}

async fn open(folder: &Path, name: &str) -> SqliteStore {
    match Data::Folder(folder.to_owned()).open(name).await.unwrap() {
        HospitalStore::Sqlite(store) => store,
        HospitalStore::Postgres(_) => panic!("no file"),
    }
}

/// What the lab has applied of encounters, as it was written.
async fn applied(lab: &SqliteStore) -> Vec<String> {
    let select = "SELECT event_id FROM applied WHERE feed LIKE '%/encounter/recent' ORDER BY rowid";
    let applied = sqlx::query_scalar(select).fetch_all(lab.pool()).await;
    // There is no such table before the lab has made it.
    applied.unwrap_or_default()
}

/// Which events the lab has parked, and why.
async fn parked(lab: &SqliteStore) -> Vec<(String, String)> {
    let select = "SELECT event_id, error_message FROM failed_events ORDER BY id";
    let parked = sqlx::query_as(select).fetch_all(lab.pool());
    parked.await.unwrap()
}

async fn texts(store: &SqliteStore, select: &'static str) -> Vec<String> {
    let texts = sqlx::query_scalar(select).fetch_all(store.pool());
    texts.await.unwrap()
}

/// Looks until it is so.
async fn until<T: Debug>(what: &str, look: impl AsyncFn() -> T, is_so: impl Fn(&T) -> bool) -> T {
    let begun = Instant::now();
    loop {
        let seen = look().await;
        if is_so(&seen) {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "never: {what}; {seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn asha() -> Patient {
    Patient {
        uuid: Uuid::from_u128(1),
        identifier: "GAN200001".to_owned(),
        name: "Asha Verma".to_owned(),
        gender: "F".to_owned(),
        birthdate: "1981-04-02".parse().unwrap(),
        village: "Ganiyari".to_owned(),
    }
}

fn test(number: u128, name: &str, unit: &str) -> LabTest {
    LabTest {
        uuid: Uuid::from_u128(number),
        name: name.to_owned(),
        unit: unit.to_owned(),
        price: 10_000,
        members: Vec::new(),
    }
}

fn encounter(patient: &Patient, action: OrderAction, test: &LabTest) -> Encounter {
    Encounter {
        uuid: Uuid::from_u128(10),
        patient_uuid: patient.uuid,
        encounter_datetime: "2026-01-05T03:30:00Z".parse().unwrap(),
        orders: vec![Order {
            uuid: Uuid::from_u128(11),
            order_number: "ORD-1".to_owned(),
            kind: OrderKind::Lab,
            action,
            concept: Concept {
                uuid: test.uuid,
                name: test.name.clone(),
            },
            quantity: 1,
        }],
        results: Vec::new(),
    }
}
