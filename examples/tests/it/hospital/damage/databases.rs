//! The databases of systems that do not run, and what is in them.

use std::collections::HashMap;
use std::path::Path;

use atomfeed_core::store::SqliteStore;
use sqlx::AssertSqlSafe;

use crate::emr::sqlite;

const NAMES: [&str; 6] = ["emr", "lab", "erp", "erp_feeds", "imaging", "imaging_feeds"];

pub(super) struct Databases(HashMap<&'static str, SqliteStore>);

impl Databases {
    pub(super) async fn open(folder: &Path) -> Self {
        let mut all = HashMap::new();
        for name in NAMES {
            let store = SqliteStore::connect(&sqlite(folder, &format!("{name}.db"))).await;
            all.insert(name, store.unwrap());
        }
        Self(all)
    }

    pub(super) async fn close(self) {
        for store in self.0.values() {
            store.pool().close().await;
        }
    }

    pub(super) async fn number(&self, database: &str, select: &str) -> i64 {
        let select = AssertSqlSafe(select.to_owned());
        let number = sqlx::query_scalar(select).fetch_one(self.0[database].pool());
        number.await.unwrap()
    }

    pub(super) async fn texts(&self, database: &str, select: &str) -> Vec<String> {
        let select = AssertSqlSafe(select.to_owned());
        let texts = sqlx::query_scalar(select).fetch_all(self.0[database].pool());
        texts.await.unwrap()
    }

    /// The first of them.
    pub(super) async fn text(&self, database: &str, select: &str) -> String {
        let [text] = self.some(database, select).await;
        text
    }

    /// The first few of them.
    pub(super) async fn some<const N: usize>(&self, database: &str, select: &str) -> [String; N] {
        let mut all = self.texts(database, select).await;
        assert!(all.len() >= N, "there are not {N} rows of {select}");
        all.truncate(N);
        all.try_into().unwrap()
    }

    /// Says how many rows that has changed.
    pub(super) async fn run(&self, database: &str, sql: &str) -> u64 {
        let sql = sqlx::query(AssertSqlSafe(sql.to_owned()));
        let done = sql.execute(self.0[database].pool()).await;
        done.unwrap().rows_affected()
    }

    /// Changes one row.
    pub(super) async fn change(&self, database: &str, sql: &str) {
        assert_eq!(self.run(database, sql).await, 1, "{sql}");
    }

    /// Adds a row that is like another, but for some columns, and for its id, if it has one.
    pub(super) async fn copy(
        &self,
        database: &str,
        table: &str,
        is_it: &str,
        others: &[(&str, &str)],
    ) {
        let select = format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid");
        let columns = self.texts(database, &select).await;
        let next = format!("(SELECT MAX(id) + 1 FROM {table})");
        let values = columns.iter().map(|column| {
            let other = others.iter().find(|(name, _)| name == column);
            match (other, column.as_str()) {
                (Some((_, value)), _) => *value,
                (None, "id") => next.as_str(),
                (None, same) => same,
            }
        });
        let values: Vec<&str> = values.collect();
        let (into, values) = (columns.join(", "), values.join(", "));
        let insert =
            format!("INSERT INTO {table} ({into}) SELECT {values} FROM {table} WHERE {is_it}");
        self.change(database, &insert).await;
    }
}

/// What a row of the table is about, as it is in the system to which it went.
pub(super) struct Thing {
    pub(super) what: &'static str,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) database: &'static str,
    pub(super) table: &'static str,
    /// The column by which one is named.
    pub(super) name: &'static str,
}

impl Thing {
    pub(super) fn is(&self, name: &str) -> String {
        format!("{} = '{name}'", self.name)
    }

    pub(super) fn missing(&self, name: &str) -> String {
        format!("{}: missing in {}: {name}", self.what, self.to)
    }

    pub(super) fn unexpected(&self, name: &str) -> String {
        let Self { what, from, to, .. } = self;
        format!("{what}: in {to} and not in {from}: {name}")
    }

    /// Each column with its value where it comes from, and where it went.
    pub(super) fn different(&self, name: &str, columns: &[(&str, String, String)]) -> String {
        let Self { what, from, to, .. } = self;
        let columns: Vec<_> = columns
            .iter()
            .map(|(column, value, other)| format!("{column} is {value} in {from}, {other} in {to}"))
            .collect();
        format!("{what}: different: {name}: {}", columns.join("; "))
    }
}
