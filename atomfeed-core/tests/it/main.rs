//! The stores against the suite that makes them stores. PostgreSQL and MariaDB are checked where
//! `ATOMFEED_POSTGRES_URL` and `ATOMFEED_MYSQL_URL` name servers.

#![allow(clippy::unwrap_used)]

mod adopted;
mod counted;
mod foreign;
mod gaps;
mod hand_back;
mod ids_again;
mod late_events;
mod migrations;
mod roles;
mod rows_read;
mod seeded;
mod set_aside;
mod spellings;
mod sql_stores;
mod transient;
mod zones;

mod memory {
    use atomfeed_core::store::conformance::MemoryHarness;

    atomfeed_core::conformance_tests!(Some(MemoryHarness));
}

mod sqlite {
    use atomfeed_core::store::conformance::SqliteHarness;

    atomfeed_core::conformance_tests!(Some(SqliteHarness::default()));
}

mod postgres {
    use atomfeed_core::store::conformance::PostgresHarness;

    atomfeed_core::conformance_tests!(PostgresHarness::from_env());
}

mod mysql {
    use atomfeed_core::store::conformance::MySqlHarness;

    atomfeed_core::conformance_tests!(MySqlHarness::from_env());
}

/// Tables of other programs, adopted.
mod odoo {
    use atomfeed_core::store::conformance::PostgresHarness;

    atomfeed_core::conformance_tests!(PostgresHarness::odoo());
}

mod openelis {
    use atomfeed_core::store::conformance::PostgresHarness;

    atomfeed_core::conformance_tests!(PostgresHarness::openelis());
}

mod openmrs {
    use atomfeed_core::store::conformance::MySqlHarness;

    atomfeed_core::conformance_tests!(MySqlHarness::openmrs());
}

mod openmrs_sync2 {
    use atomfeed_core::store::conformance::MySqlHarness;

    atomfeed_core::conformance_tests!(MySqlHarness::openmrs_sync2());
}
