//! What stands in for Odoo, in this process, with what it is asked; and documents of the EMR for it.

use std::sync::{Arc, Mutex};

use atomfeed_client::{CancellationToken, FeedUri, Resources};
use atomfeed_core::store::sql::SqlStore;
use atomfeed_core::store::{PostgresStore, SchemaName, SqliteStore};
use atomfeed_examples::hospital::documents::{
    Concept, Drug, Encounter, LabTest, Order, OrderAction, OrderKind, Patient,
};
use atomfeed_examples::hospital::erp::{
    Drugs, LabTests, Odoo, OdooAddress, Partners, SaleOrders, standin,
};
use atomfeed_examples::hospital::{Engine, Field, Sql, feeds};
use atomfeed_server::FeedServer;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor};
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

use crate::emr::sqlite;

/// Model and method of each call, in their order.
type Asked = Arc<Mutex<Vec<String>>>;

/// Rows of a table.
pub(super) type Rows = Vec<Vec<Field>>;

/// The stand-in, and the workers that write to it.
pub(super) struct Erp<D: Engine> {
    pub(super) url: Url,
    pub(super) odoo: Odoo,
    pub(super) workers: Workers,
    store: SqlStore<D>,
    asked: Asked,
    stop: CancellationToken,
}

/// One of each.
pub(super) struct Workers {
    pub(super) partners: Partners,
    pub(super) drugs: Drugs,
    pub(super) tests: LabTests,
    pub(super) orders: SaleOrders,
}

impl Workers {
    /// Of an Odoo; the EMR is not asked.
    pub(super) fn of(odoo: &Odoo) -> Self {
        let feed: FeedUri = "http://127.0.0.1:9/feed/recent".parse().unwrap();
        let emr = Resources::new(&feed).unwrap();
        Self {
            partners: Partners::new(odoo.clone(), emr.clone()),
            drugs: Drugs::new(odoo.clone(), emr.clone()),
            tests: LabTests::new(odoo.clone(), emr.clone()),
            orders: SaleOrders::new(odoo.clone(), emr),
        }
    }
}

pub(super) async fn on_a_file() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::connect(&sqlite(folder.path(), "erp.db")).await;
    (folder, store.unwrap())
}

/// A schema of its own; `None` where no server is named by `ATOMFEED_POSTGRES_URL`.
pub(super) async fn on_postgres() -> Option<PostgresStore> {
    let server = std::env::var("ATOMFEED_POSTGRES_URL").ok()?;
    let schema = SchemaName::new(format!("e{}", Uuid::new_v4().simple())).unwrap();
    let options: PgConnectOptions = server.parse().unwrap();
    let options = options.options([("search_path", schema.as_str())]);
    let pool = PgPoolOptions::new().max_connections(4);
    let pool = pool.connect_with(options).await.unwrap();
    let make = AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    pool.execute(make).await.unwrap();
    Some(PostgresStore::over(pool, Some(&schema)))
}

/// Where a stand-in is.
pub(super) fn address(url: Url) -> OdooAddress {
    OdooAddress {
        url,
        database: standin::DATABASE.to_owned(),
        user: standin::USER.to_owned(),
        password: feeds::PASSWORD.to_owned(),
    }
}

pub(super) fn http(listener: &TcpListener) -> Url {
    let address = listener.local_addr().unwrap();
    format!("http://{address}").parse().unwrap()
}

impl<D: Engine> Erp<D> {
    pub(super) async fn of(store: SqlStore<D>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = http(&listener);
        let odoo = Odoo::new(address(url.clone())).unwrap();
        let asked = Asked::default();
        let router = standin::router(store.clone()).await.unwrap();
        let router = router.layer(from_fn_with_state(asked.clone(), write_down));
        let stop = CancellationToken::new();
        tokio::spawn(FeedServer::new(router).run(listener, stop.clone()));
        Self {
            url,
            workers: Workers::of(&odoo),
            odoo,
            store,
            asked,
            stop,
        }
    }

    /// What it was asked since.
    pub(super) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    pub(super) async fn rows(&self, select: &'static str) -> Rows {
        let mut conn = self.store.pool().acquire().await.unwrap();
        conn.rows(select, &[]).await.unwrap()
    }

    /// Everything that was written.
    pub(super) async fn all_rows(&self) -> [Rows; 4] {
        [
            self.rows("SELECT id, ref, name, barcode, city FROM res_partner ORDER BY id")
                .await,
            self.rows("SELECT id, default_code, name, list_price FROM product_product ORDER BY id")
                .await,
            self.rows(
                "SELECT id, client_order_ref, partner_id, state, amount_total, x_approved
                FROM sale_order ORDER BY id",
            )
            .await,
            self.rows(
                "SELECT id, order_id, x_external_ref, product_id, product_uom_qty, price_unit
                FROM sale_order_line ORDER BY id",
            )
            .await,
        ]
    }

    /// The lines of all orders: whose each is, of which product, and how many.
    pub(super) async fn lines(&self) -> Vec<(String, String, i64)> {
        let rows = self.rows(
            "SELECT l.x_external_ref, p.name, l.product_uom_qty
            FROM sale_order_line l JOIN product_product p ON p.id = l.product_id
            ORDER BY l.x_external_ref",
        );
        let line = |row: Vec<Field>| {
            let (order, product) = (row[0].text().to_owned(), row[1].text().to_owned());
            (order, product, row[2].number())
        };
        rows.await.into_iter().map(line).collect()
    }
}

impl<D: Engine> Drop for Erp<D> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn write_down(State(asked): State<Asked>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let call: Value = serde_json::from_slice(&body).unwrap();
    let params = &call["params"];
    let name = match (&params["args"][3], &params["args"][4]) {
        (Value::String(model), Value::String(method)) => format!("{model}.{method}"),
        _ => params["method"].as_str().unwrap_or_default().to_owned(),
    };
    asked.lock().unwrap().push(name);
    let request = Request::from_parts(parts, Body::from(body));
    next.run(request).await
}

pub(super) fn patient() -> Patient {
    Patient {
        uuid: Uuid::from_u128(1),
        identifier: "GAN200001".to_owned(),
        name: "Asha Verma".to_owned(),
        gender: "F".to_owned(),
        birthdate: "1980-02-29".parse().unwrap(),
        village: "Ganiyari".to_owned(),
    }
}

/// At 12.50 rupees.
pub(super) fn drug() -> Drug {
    Drug {
        uuid: Uuid::from_u128(2),
        name: "Paracetamol 500mg".to_owned(),
        form: "Tablet".to_owned(),
        price: 1250,
    }
}

pub(super) fn lab_test() -> LabTest {
    LabTest {
        uuid: Uuid::from_u128(3),
        name: "Haemoglobin".to_owned(),
        unit: "g/dl".to_owned(),
        price: 8000,
        members: Vec::new(),
    }
}

/// An order of the drug, of the test, or of what no feed brings.
pub(super) fn order(number: u8, kind: OrderKind, quantity: i64) -> Order {
    let (concept, name) = match kind {
        OrderKind::Drug => (drug().uuid, drug().name),
        OrderKind::Lab => (lab_test().uuid, lab_test().name),
        OrderKind::Radiology => (Uuid::from_u128(4), "X-ray".to_owned()),
        OrderKind::Service => (Uuid::from_u128(5), "Dressing".to_owned()),
    };
    Order {
        uuid: Uuid::from_u128(100 + u128::from(number)),
        order_number: format!("ORD-{number}"),
        kind,
        action: OrderAction::New,
        concept: Concept {
            uuid: concept,
            name,
        },
        quantity,
    }
}

pub(super) fn encounter(orders: &[Order]) -> Encounter {
    Encounter {
        uuid: Uuid::from_u128(6),
        patient_uuid: patient().uuid,
        encounter_datetime: "2024-03-01T08:01:00Z".parse().unwrap(),
        orders: orders.to_vec(),
        results: Vec::new(),
    }
}

/// A line as it should be.
pub(super) fn line(order: &Order, quantity: i64) -> (String, String, i64) {
    (order.uuid.to_string(), order.concept.name.clone(), quantity)
}
