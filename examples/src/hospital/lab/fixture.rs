//! For the tests: a lab in a database of its own, documents of the EMR, and somebody who asks over HTTP.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use atomfeed_client::{Event, Handled, PreparingWorker, Resources, WorkerError};
use atomfeed_core::EntryId;
use atomfeed_core::store::SqliteStore;
use atomfeed_core::store::sql::SqlStore;
use atomfeed_server::{CancellationToken, FeedServer};
use axum::Router;
use chrono::{DateTime, NaiveDate};
use sqlx::{Postgres, Sqlite};
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

use super::{Catalogue, Patients, tables};
use crate::hospital::documents::{
    Concept, Encounter, LabTest, Order, OrderAction, OrderKind, Patient,
};
use crate::hospital::store::testing::own_schema;
use crate::hospital::{Engine, Field, Sql};

/// How long anything may take before a test fails. It says nothing about how long it should take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A panel of [`HAEMOGLOBIN`] and [`PLATELETS`].
pub(super) const BLOOD_COUNT: u128 = 10;
pub(super) const HAEMOGLOBIN: u128 = 11;
pub(super) const PLATELETS: u128 = 12;
pub(super) const ESR: u128 = 13;

/// A lab with its tables.
pub(super) struct Lab<D: Engine> {
    pub(super) store: SqlStore<D>,
    _folder: Option<TempDir>,
}

impl Lab<Sqlite> {
    /// In a file of its own, which goes with it.
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lab.db");
        let store = SqliteStore::connect(&format!("sqlite:{}", file.display()))
            .await
            .unwrap();
        Self::of(store, Some(folder)).await
    }
}

impl Lab<Postgres> {
    /// In a schema of its own; `None` where no server is named by `ATOMFEED_POSTGRES_URL`.
    pub(super) async fn on_postgres() -> Option<Self> {
        Some(Self::of(own_schema().await?, None).await)
    }
}

/// Makes two tests of each function that is given a [`Lab`]: on SQLite, and on PostgreSQL.
macro_rules! on_both {
    ($($test:ident)+) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $test() {
                let lab = $crate::hospital::lab::fixture::Lab::new().await;
                super::$test(lab).await;
            })+
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $test() {
                if let Some(lab) = $crate::hospital::lab::fixture::Lab::on_postgres().await {
                    super::$test(lab).await;
                }
            })+
        }
    };
}
pub(super) use on_both;

impl<D: Engine> Lab<D> {
    async fn of(store: SqlStore<D>, folder: Option<TempDir>) -> Self {
        tables::make(&store).await.unwrap();
        Self {
            store,
            _folder: folder,
        }
    }

    /// The same, once it knows Asha, the panel and the tests.
    pub(super) async fn with_catalogue(self) -> Self {
        let patients = Patients::new(resources());
        self.apply(&patients, &asha()).await.unwrap();
        let catalogue = Catalogue::new(resources());
        for test in [
            panel(BLOOD_COUNT, "Blood count", &[HAEMOGLOBIN, PLATELETS]),
            test(HAEMOGLOBIN, "Haemoglobin"),
            test(PLATELETS, "Platelets"),
            test(ESR, "ESR"),
        ] {
            self.apply(&catalogue, &test).await.unwrap();
        }
        self
    }

    /// Has a worker apply what it has fetched, in a transaction that is undone if it cannot.
    pub(super) async fn apply<W>(
        &self,
        worker: &W,
        prepared: &W::Prepared,
    ) -> Result<Handled, WorkerError>
    where
        W: PreparingWorker<D::Connection>,
    {
        let begun = self.store.pool().begin_with(D::BEGIN).await;
        let mut transaction = begun.unwrap();
        let handled = worker.process(&event(), prepared, &mut transaction).await?;
        transaction.commit().await.unwrap();
        Ok(handled)
    }

    /// The rows of a query, each as a line.
    pub(super) async fn rows(&self, sql: &'static str) -> Vec<String> {
        let mut conn = self.store.pool().acquire().await.unwrap();
        let rows = conn.rows(sql, &[]).await.unwrap();
        let shown = |field: &Field| match field {
            Field::Text(text) => text.clone(),
            Field::Number(number) => number.to_string(),
            Field::Null => "NULL".to_owned(),
        };
        rows.iter()
            .map(|row| row.iter().map(shown).collect::<Vec<_>>().join(" "))
            .collect()
    }
}

pub(super) fn event() -> Event {
    let feed = "http://emr.example.org/openmrs/ws/atomfeed/encounter/recent";
    Event::new(EntryId::of_event("1"), feed.parse().unwrap())
}

/// Of an EMR that nobody asks.
pub(super) fn resources() -> Resources {
    let feed = "http://emr.example.org/openmrs/ws/atomfeed/encounter/recent";
    Resources::new(&feed.parse().unwrap()).unwrap()
}

pub(super) fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub(super) fn asha() -> Patient {
    Patient {
        uuid: uuid(1),
        identifier: "GAN200001".to_owned(),
        name: "Asha Verma".to_owned(),
        gender: "F".to_owned(),
        birthdate: NaiveDate::from_ymd_opt(1984, 3, 9).unwrap(),
        village: "Ganiyari".to_owned(),
    }
}

pub(super) fn test(number: u128, name: &str) -> LabTest {
    LabTest {
        uuid: uuid(number),
        name: name.to_owned(),
        unit: "g/dl".to_owned(),
        price: 10_000,
        members: Vec::new(),
    }
}

pub(super) fn panel(number: u128, name: &str, members: &[u128]) -> LabTest {
    LabTest {
        unit: String::new(),
        members: members.iter().copied().map(uuid).collect(),
        ..test(number, name)
    }
}

/// What Asha was ordered.
pub(super) fn encounter(number: u128, orders: Vec<Order>) -> Encounter {
    Encounter {
        uuid: uuid(1_000 + number),
        patient_uuid: asha().uuid,
        encounter_datetime: DateTime::UNIX_EPOCH,
        orders,
        results: Vec::new(),
    }
}

pub(super) fn order(number: u128, action: OrderAction, test: u128) -> Order {
    Order {
        uuid: uuid(2_000 + number),
        order_number: format!("ORD-{number}"),
        kind: OrderKind::Lab,
        action,
        concept: Concept {
            uuid: uuid(test),
            name: format!("test {test}"),
        },
        quantity: 1,
    }
}

/// Serves a router for as long as the test runs, and says where.
pub(super) async fn serve(app: Router) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(FeedServer::new(app).run(listener, CancellationToken::new()));
    url.parse().unwrap()
}

/// One that does not follow redirects.
pub(super) fn browser() -> reqwest::Client {
    // Fails when there is one already, and that is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    browser.build().unwrap()
}
