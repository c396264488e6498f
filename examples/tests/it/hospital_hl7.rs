//! Orders for imaging, as HL7 over MLLP: how a receiver reads them that we did not write, messages that come in
//! pieces or together, and what becomes of an order that is changed, cancelled, refused or sent again.

#![allow(clippy::unwrap_used)]

mod python;
mod sender;
mod stand_in;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use atomfeed_client::core::EntryId;
use atomfeed_client::{Event, FeedUri, Handled, PreparingWorker, Resources, WorkerError};
use atomfeed_core::store::SqliteStore;
use atomfeed_core::store::sql::SqlStore;
use atomfeed_examples::hospital::documents::{
    Concept, Encounter, Order, OrderAction, OrderKind, Patient,
};
use atomfeed_examples::hospital::imaging::TABLES;
use atomfeed_examples::hospital::imaging::messages::{OrderControl, Outgoing};
use atomfeed_examples::hospital::imaging::mllp::Sender;
use atomfeed_examples::hospital::imaging::orders::{Ordered, RadiologyOrders};
use atomfeed_examples::hospital::imaging::patients::PatientsOfOrders;
use atomfeed_examples::hospital::{Engine, make_tables};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::emr::sqlite;
use crate::programs::PATIENCE;

fn patient(name: &str) -> Patient {
    Patient {
        uuid: Uuid::from_u128(1),
        identifier: "GAN200001".to_owned(),
        name: name.to_owned(),
        gender: "F".to_owned(),
        birthdate: "1980-02-29".parse().unwrap(),
        village: "Ganiyari".to_owned(),
    }
}

fn order(number: u8, action: OrderAction, name: &str) -> Order {
    Order {
        uuid: Uuid::from_u128(100 + u128::from(number)),
        order_number: format!("ORD-{number}"),
        kind: OrderKind::Radiology,
        action,
        concept: Concept {
            uuid: Uuid::from_u128(7),
            name: name.to_owned(),
        },
        quantity: 1,
    }
}

fn encounter(orders: &[Order]) -> Encounter {
    Encounter {
        uuid: Uuid::from_u128(2),
        patient_uuid: Uuid::from_u128(1),
        encounter_datetime: "2024-03-01T08:01:02Z".parse().unwrap(),
        orders: orders.to_vec(),
        results: Vec::new(),
    }
}

/// The message of a new order.
fn message(number: u8) -> Outgoing {
    let order = order(number, OrderAction::New, "Chest X-ray");
    let at = "2024-03-01T08:01:02Z".parse().unwrap();
    Outgoing::order(OrderControl::New, &order, &patient("Asha Verma"), at, "")
}

fn framed(text: impl AsRef<[u8]>) -> Vec<u8> {
    [&b"\x0b"[..], text.as_ref(), b"\x1c\r"].concat()
}

/// The next message of a connection; none at its end.
async fn next_message(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\x1c\r") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    assert_eq!(bytes[0], 0x0b);
    Some(String::from_utf8(bytes[1..bytes.len() - 2].to_vec()).unwrap())
}

/// The resources of an EMR, without its feeds.
struct Emr {
    address: String,
    documents: Documents,
}

type Documents = Arc<Mutex<HashMap<String, String>>>;

async fn document(State(documents): State<Documents>, uri: Uri) -> Result<String, StatusCode> {
    let found = documents.lock().unwrap().get(uri.path()).cloned();
    found.ok_or(StatusCode::NOT_FOUND)
}

impl Emr {
    async fn start() -> Self {
        let documents = Documents::default();
        let app = axum::Router::new()
            .fallback(document)
            .with_state(Arc::clone(&documents));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, documents }
    }

    fn feed(&self, category: &str) -> FeedUri {
        let feed = format!(
            "http://{}/openmrs/ws/atomfeed/{category}/recent",
            self.address
        );
        feed.parse().unwrap()
    }

    /// Keeps an encounter and its patient, and gives the event of the encounter.
    fn put(&self, encounter: &Encounter, patient: &Patient) -> Event {
        self.put_patient(patient);
        let document = serde_json::to_string(encounter).unwrap();
        self.keep("encounter", encounter.uuid, document)
    }

    /// Keeps a patient, and gives the event of that.
    fn put_patient(&self, patient: &Patient) -> Event {
        let document = serde_json::to_string(patient).unwrap();
        self.keep("patient", patient.uuid, document)
    }

    fn keep(&self, kind: &str, uuid: Uuid, document: String) -> Event {
        let path = format!("/openmrs/ws/rest/v1/{kind}/{uuid}");
        let content = format!("{path}?v=full");
        self.documents.lock().unwrap().insert(path, document);
        let event = Event::new(EntryId::of_event(Uuid::new_v4()), self.feed(kind));
        event.with_text(kind, content)
    }
}

/// The workers, and the database of their markers.
struct Imaging<D: Engine> {
    emr: Emr,
    worker: RadiologyOrders,
    patients: PatientsOfOrders,
    store: SqlStore<D>,
}

/// Whether what a worker does lasts, or the process ends just before the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Commits,
    Ends,
}

impl<D: Engine> Imaging<D> {
    async fn new(store: SqlStore<D>, pacs: &str) -> Self {
        make_tables(&store, TABLES).await.unwrap();
        let emr = Emr::start().await;
        let resources = Resources::new(&emr.feed("encounter")).unwrap();
        let pacs = Arc::new(Sender::new(pacs).with_patience(PATIENCE));
        Self {
            emr,
            worker: RadiologyOrders::new(resources.clone(), Arc::clone(&pacs)),
            patients: PatientsOfOrders::new(resources, pacs),
            store,
        }
    }

    /// Hands over the event of an encounter, as a consumer does.
    async fn hears(&self, orders: &[Order], name: &str) -> Result<Handled, WorkerError> {
        self.hears_then(Then::Commits, orders, name).await
    }

    /// The same, and the process ends just before the commit.
    async fn hears_and_ends(&self, orders: &[Order], name: &str) -> Result<Handled, WorkerError> {
        self.hears_then(Then::Ends, orders, name).await
    }

    async fn hears_then(
        &self,
        then: Then,
        orders: &[Order],
        name: &str,
    ) -> Result<Handled, WorkerError> {
        let (event, ordered) = self.fetches(orders, &patient(name)).await?;
        self.process(&self.worker, &event, &ordered, then).await
    }

    /// What a consumer does ahead of the turn of an encounter's event.
    async fn fetches(
        &self,
        orders: &[Order],
        patient: &Patient,
    ) -> Result<(Event, Option<Ordered>), WorkerError> {
        let event = self.emr.put(&encounter(orders), patient);
        let prepared = PreparingWorker::<D::Connection>::prepare(&self.worker, &event).await?;
        Ok((event, prepared))
    }

    /// Hands over the event of a patient.
    async fn hears_of(&self, patient: &Patient, then: Then) -> Result<Handled, WorkerError> {
        let event = self.emr.put_patient(patient);
        let prepared = PreparingWorker::<D::Connection>::prepare(&self.patients, &event).await?;
        self.process(&self.patients, &event, &prepared, then).await
    }

    async fn process<W: PreparingWorker<D::Connection>>(
        &self,
        worker: &W,
        event: &Event,
        prepared: &W::Prepared,
        then: Then,
    ) -> Result<Handled, WorkerError> {
        let mut transaction = self.store.pool().begin().await.unwrap();
        let handled = worker.process(event, prepared, &mut *transaction).await?;
        if then == Then::Commits {
            transaction.commit().await.unwrap();
        }
        Ok(handled)
    }
}

async fn on_a_file(pacs: &str) -> (Imaging<sqlx::Sqlite>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::connect(&sqlite(folder.path(), "imaging_feeds.db")).await;
    (Imaging::new(store.unwrap(), pacs).await, folder)
}
