//! The stores against the suite that makes them stores.

mod memory {
    use atomfeed_core::store::conformance::MemoryHarness;

    atomfeed_core::conformance_tests!(MemoryHarness);
}

mod sqlite {
    use atomfeed_core::store::conformance::SqliteHarness;

    atomfeed_core::conformance_tests!(SqliteHarness::default());
}
