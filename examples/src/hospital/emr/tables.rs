/// What the EMR keeps, beside the tables of its feeds.
pub(super) const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS patients (
        uuid TEXT NOT NULL PRIMARY KEY,
        identifier TEXT NOT NULL,
        name TEXT NOT NULL,
        gender TEXT NOT NULL,
        birthdate TEXT NOT NULL,
        village TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS drugs (
        uuid TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        form TEXT NOT NULL,
        price BIGINT NOT NULL)",
    // The members of a panel are uuids, by comma; those of a test are ''.
    "CREATE TABLE IF NOT EXISTS lab_tests (
        uuid TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        unit TEXT NOT NULL,
        price BIGINT NOT NULL,
        members TEXT NOT NULL)",
    // All that a drug or a test has cost so far.
    "CREATE TABLE IF NOT EXISTS prices (
        uuid TEXT NOT NULL,
        price BIGINT NOT NULL,
        PRIMARY KEY (uuid, price))",
    // Of what was put before there was this table nobody knows what it has cost.
    "INSERT INTO prices (uuid, price) SELECT uuid, -1 FROM drugs
        WHERE uuid NOT IN (SELECT uuid FROM prices)",
    "INSERT INTO prices (uuid, price) SELECT uuid, -1 FROM lab_tests
        WHERE uuid NOT IN (SELECT uuid FROM prices)",
    "CREATE TABLE IF NOT EXISTS encounters (
        uuid TEXT NOT NULL PRIMARY KEY,
        patient_uuid TEXT NOT NULL,
        encounter_datetime TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS orders (
        uuid TEXT NOT NULL PRIMARY KEY,
        encounter_uuid TEXT NOT NULL,
        position BIGINT NOT NULL,
        order_number TEXT NOT NULL,
        kind TEXT NOT NULL,
        action TEXT NOT NULL,
        concept_uuid TEXT NOT NULL,
        concept_name TEXT NOT NULL,
        quantity BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS orders_of_encounter ON orders (encounter_uuid)",
    // Services that an order was of, under a name that it has no more.
    "CREATE TABLE IF NOT EXISTS renamed_services (uuid TEXT NOT NULL PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS results (
        order_uuid TEXT NOT NULL,
        test_uuid TEXT NOT NULL,
        value TEXT NOT NULL,
        unit TEXT NOT NULL,
        encounter_uuid TEXT NOT NULL,
        PRIMARY KEY (order_uuid, test_uuid))",
    "CREATE INDEX IF NOT EXISTS results_of_encounter ON results (encounter_uuid)",
];
