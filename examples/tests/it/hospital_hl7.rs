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
use atomfeed_examples::hospital::imaging::messages::{OrderControl, Outgoing};
use atomfeed_examples::hospital::imaging::mllp::Sender;
use atomfeed_examples::hospital::imaging::orders::{MAKE_SENT, RadiologyOrders};
use atomfeed_examples::hospital::{Engine, make_tables};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::emr::sqlite;

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

    fn feed(&self) -> FeedUri {
        let feed = format!(
            "http://{}/openmrs/ws/atomfeed/encounter/recent",
            self.address
        );
        feed.parse().unwrap()
    }

    /// Keeps an encounter and its patient, and gives the event of it.
    fn put(&self, encounter: &Encounter, patient: &Patient) -> Event {
        let path = |kind: &str, uuid: Uuid| format!("/openmrs/ws/rest/v1/{kind}/{uuid}");
        let (seen, whose) = (
            path("encounter", encounter.uuid),
            path("patient", patient.uuid),
        );
        let content = format!("{seen}?v=full");
        let mut documents = self.documents.lock().unwrap();
        documents.insert(seen, serde_json::to_string(encounter).unwrap());
        documents.insert(whose, serde_json::to_string(patient).unwrap());
        Event::new(EntryId::of_event(Uuid::new_v4()), self.feed()).with_text("Encounter", content)
    }
}

/// The worker, and the database of its markers.
struct Imaging<D: Engine> {
    emr: Emr,
    worker: RadiologyOrders,
    store: SqlStore<D>,
}

impl<D: Engine> Imaging<D> {
    async fn new(store: SqlStore<D>, pacs: &str) -> Self {
        make_tables(&store, &[MAKE_SENT]).await.unwrap();
        let emr = Emr::start().await;
        let resources = Resources::new(&emr.feed()).unwrap();
        let worker = RadiologyOrders::new(resources, Sender::new(pacs));
        Self { emr, worker, store }
    }

    /// Hands over the event of an encounter, as a consumer does.
    async fn hears(&self, orders: &[Order], name: &str) -> Result<Handled, WorkerError> {
        self.hands_over(orders, name, true).await
    }

    /// The same, and the process ends just before the commit.
    async fn hears_and_ends(&self, orders: &[Order], name: &str) -> Result<Handled, WorkerError> {
        self.hands_over(orders, name, false).await
    }

    async fn hands_over(
        &self,
        orders: &[Order],
        name: &str,
        commits: bool,
    ) -> Result<Handled, WorkerError> {
        let event = self.emr.put(&encounter(orders), &patient(name));
        let prepared = PreparingWorker::<D::Connection>::prepare(&self.worker, &event).await?;
        let mut transaction = self.store.pool().begin().await.unwrap();
        let handled = self
            .worker
            .process(&event, &prepared, &mut *transaction)
            .await?;
        if commits {
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
