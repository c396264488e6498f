//! An EMR for tests, which runs until it is dropped, on SQLite or on PostgreSQL.

#![allow(clippy::unwrap_used)]

use atomfeed_client::CancellationToken;
use chrono::{DateTime, NaiveDate};
use reqwest::RequestBuilder;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

use super::{EmrClient, Options, run};
use crate::hospital::documents::{Concept, Encounter, Order, OrderAction, OrderKind, Patient};
use crate::hospital::feeds::{PASSWORD, USER};
use crate::hospital::{Data, Field, HospitalStore, Sql};
use crate::with_store;

/// Where a test has its EMR.
pub(super) enum Database {
    /// In a file.
    File,
    /// In a schema of a server of PostgreSQL.
    Schema { server: String, name: String },
}

/// What a test runs on, one after the other: a file, and PostgreSQL where `ATOMFEED_POSTGRES_URL` names a server.
/// There the test has a schema of this name, which is made anew.
pub(super) fn databases(test: &str) -> Vec<Database> {
    let server = std::env::var("ATOMFEED_POSTGRES_URL").ok();
    let schema = server.map(|server| Database::Schema {
        server,
        name: format!("emr_{test}"),
    });
    [Database::File].into_iter().chain(schema).collect()
}

impl Database {
    async fn open(&self) -> (HospitalStore, Option<TempDir>) {
        match self {
            Self::File => {
                let folder = tempfile::tempdir().unwrap();
                let data = Data::Folder(folder.path().to_owned());
                (data.open("emr").await.unwrap(), Some(folder))
            }
            Self::Schema { server, name } => {
                // Said where a test fails.
                println!("on PostgreSQL");
                let mut conn = PgConnection::connect(server).await.unwrap();
                let clear = format!("DROP SCHEMA IF EXISTS hospital_{name} CASCADE");
                conn.execute(AssertSqlSafe(clear)).await.unwrap();
                conn.close().await.unwrap();
                let data = Data::Postgres(server.clone());
                (data.open(name).await.unwrap(), None)
            }
        }
    }
}

pub(super) struct TestEmr {
    pub(super) store: HospitalStore,
    pub(super) client: EmrClient,
    pub(super) http: reqwest::Client,
    base: Url,
    stop: CancellationToken,
    _folder: Option<TempDir>,
}

impl TestEmr {
    /// In a file.
    pub(super) async fn start() -> Self {
        Self::on(&Database::File).await
    }

    /// On a free port; its lab is never there.
    pub(super) async fn on(database: &Database) -> Self {
        let (store, folder) = database.open().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let base: Url = base.parse().unwrap();
        let stop = CancellationToken::new();
        let options = Options {
            public: base.clone(),
            lab: "http://127.0.0.1:9".parse().unwrap(),
        };
        with_store!(store.clone(), store => {
            tokio::spawn(run(store, listener, options, stop.clone()));
        });
        let client = EmrClient::new(base.clone()).unwrap();
        Self {
            store,
            client,
            http: reqwest::Client::new(),
            base,
            stop,
            _folder: folder,
        }
    }

    pub(super) fn url(&self, path: &str) -> Url {
        self.base.join(path).unwrap()
    }

    pub(super) fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(USER, Some(PASSWORD))
    }

    /// Status and document.
    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.signed(self.http.get(self.url(path)))).await
    }

    /// Status and answer.
    pub(super) async fn put(&self, path: &str, document: &Value) -> (u16, Value) {
        let request = self.signed(self.http.put(self.url(path)));
        let request = request.header("content-type", "application/json");
        answer(request.body(document.to_string())).await
    }

    /// How many events a feed has, or will have: from the queue a sequencer moves them on.
    pub(super) async fn events(&self, category: &str) -> i64 {
        let count = "SELECT COUNT(*) FROM (SELECT category FROM event_records
                UNION ALL SELECT category FROM event_records_queue) AS published
            WHERE category = $1";
        self.row(count, &[category.into()]).await[0].number()
    }

    /// The first row of a query. The EMR's own tables are there once it has answered something.
    pub(super) async fn row(&self, sql: &'static str, values: &[Field]) -> Vec<Field> {
        with_store!(&self.store, store => {
            let mut conn = store.pool().acquire().await.unwrap();
            conn.row(sql, values).await.unwrap().unwrap()
        })
    }

    pub(super) async fn run(&self, sql: &'static str, values: &[Field]) {
        with_store!(&self.store, store => {
            let mut conn = store.pool().acquire().await.unwrap();
            conn.run(sql, values).await.unwrap();
        });
    }
}

impl Drop for TestEmr {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    let value = serde_json::from_str(&body);
    (
        status,
        value.unwrap_or_else(|error| panic!("{error}: {body}")),
    )
}

pub(super) fn patient(number: u32) -> Patient {
    Patient {
        uuid: patient_uuid(number),
        identifier: format!("GAN{}", 200_000 + number),
        name: "Asha Verma".to_owned(),
        gender: "F".to_owned(),
        birthdate: NaiveDate::from_ymd_opt(1987, 2, 28).unwrap(),
        village: "Ganiyari".to_owned(),
    }
}

fn patient_uuid(number: u32) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

/// With an order of the lab and one of a drug.
pub(super) fn encounter(number: u32, patient: u32) -> Encounter {
    let of = |part: u32| Uuid::from_u128(1_000_000 + u128::from(number * 100 + part));
    let order = |part: u32, kind, name: &str| Order {
        uuid: of(part),
        order_number: format!("ORD-{}", number * 100 + part),
        kind,
        action: OrderAction::New,
        concept: Concept {
            uuid: Uuid::from_u128(2_000_000 + u128::from(part)),
            name: name.to_owned(),
        },
        quantity: 1,
    };
    Encounter {
        uuid: of(0),
        patient_uuid: patient_uuid(patient),
        encounter_datetime: DateTime::from_timestamp_millis(1_709_280_000_123).unwrap(),
        orders: vec![
            order(1, OrderKind::Lab, "Haemoglobin"),
            order(2, OrderKind::Drug, "Paracetamol 500mg"),
        ],
        results: Vec::new(),
    }
}
