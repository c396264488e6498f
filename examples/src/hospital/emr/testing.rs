//! An EMR for tests, which runs until it is dropped.

#![allow(clippy::unwrap_used)]

use atomfeed_client::CancellationToken;
use atomfeed_core::store::SqliteStore;
use chrono::{DateTime, NaiveDate};
use reqwest::RequestBuilder;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

use super::{EmrClient, Options, run};
use crate::hospital::documents::{Concept, Encounter, Order, OrderAction, OrderKind, Patient};
use crate::hospital::feeds::{PASSWORD, USER};
use crate::hospital::{Field, Sql};

pub(super) struct TestEmr {
    pub(super) store: SqliteStore,
    pub(super) client: EmrClient,
    pub(super) http: reqwest::Client,
    base: Url,
    stop: CancellationToken,
    _folder: TempDir,
}

impl TestEmr {
    /// On a free port, with a file of its own; its lab is never there.
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = format!("sqlite:{}", folder.path().join("emr.db").display());
        let store = SqliteStore::connect(&file).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let base: Url = base.parse().unwrap();
        let stop = CancellationToken::new();
        let options = Options {
            public: base.clone(),
            lab: "http://127.0.0.1:9".parse().unwrap(),
        };
        tokio::spawn(run(store.clone(), listener, options, stop.clone()));
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

    /// How many events a feed has. There is a table once the EMR has answered something.
    pub(super) async fn events(&self, category: &str) -> i64 {
        let count = "SELECT COUNT(*) FROM event_records WHERE category = $1";
        self.row(count, &[category.into()]).await[0].number()
    }

    pub(super) async fn row(&self, sql: &'static str, values: &[Field]) -> Vec<Field> {
        let mut conn = self.store.pool().acquire().await.unwrap();
        conn.row(sql, values).await.unwrap().unwrap()
    }

    pub(super) async fn run(&self, sql: &'static str, values: &[Field]) {
        let mut conn = self.store.pool().acquire().await.unwrap();
        conn.run(sql, values).await.unwrap();
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
