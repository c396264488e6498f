//! What the lab keeps.

use atomfeed_core::store::sql::SqlStore;

use crate::hospital::{Engine, make_tables};

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS patients (
        uuid TEXT PRIMARY KEY, identifier TEXT NOT NULL, name TEXT NOT NULL, gender TEXT NOT NULL,
        birthdate TEXT NOT NULL, village TEXT NOT NULL)",
    // `members` are the uuids of a panel's tests, by comma; none for a test.
    "CREATE TABLE IF NOT EXISTS tests (
        uuid TEXT PRIMARY KEY, name TEXT NOT NULL, unit TEXT NOT NULL, members TEXT NOT NULL)",
    // `state` is ordered, cancelled or resulted; `position` is the order's among all of its encounter.
    "CREATE TABLE IF NOT EXISTS orders (
        uuid TEXT PRIMARY KEY, encounter_uuid TEXT NOT NULL, patient_uuid TEXT NOT NULL,
        position BIGINT NOT NULL, order_number TEXT NOT NULL, test_uuid TEXT NOT NULL, state TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS orders_by_encounter ON orders (encounter_uuid)",
    "CREATE INDEX IF NOT EXISTS orders_by_state ON orders (state, encounter_uuid)",
    // `position` is the result's among all of its accession.
    "CREATE TABLE IF NOT EXISTS results (
        order_uuid TEXT NOT NULL, test_uuid TEXT NOT NULL, value TEXT NOT NULL, unit TEXT NOT NULL,
        accession_uuid TEXT NOT NULL, position BIGINT NOT NULL, PRIMARY KEY (order_uuid, test_uuid))",
    "CREATE INDEX IF NOT EXISTS results_by_accession ON results (accession_uuid, position)",
    "CREATE TABLE IF NOT EXISTS accessions (
        uuid TEXT PRIMARY KEY, encounter_uuid TEXT NOT NULL, patient_uuid TEXT NOT NULL)",
];

/// Makes the tables where they are missing.
pub(super) async fn make<D: Engine>(store: &SqlStore<D>) -> anyhow::Result<()> {
    make_tables(store, TABLES).await
}
