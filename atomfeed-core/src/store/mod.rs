//! Where events, markers and failures are kept: the traits of storage, and the stores.
//!
//! | trait | side | what it is |
//! |---|---|---|
//! | [`OutboxStore`] | server | takes an event in, on the connection of the caller's transaction |
//! | [`FeedStore`] | server | reads events by position, keeps chunking history and positions |
//! | [`ConsumerStore`] | client | opens a [`UnitOfWork`] |
//! | [`UnitOfWork`] | client | *is* an open transaction: [`MarkerStore`] and [`FailedEventStore`] over the connection it lends to the worker |
//!
//! [`MemoryStore`] implements all of them and is the reference; with the feature `sqlite`,
//! `SqliteStore` does too. A store of your own is a store once it passes the suite in
//! `conformance` (feature `testing`).

#[cfg(feature = "testing")]
pub mod conformance;
mod error;
mod feed;
mod memory;
mod outbox;
#[cfg(feature = "sqlite")]
pub mod sql;
mod unit_of_work;

pub use error::{StoreError, StoreErrorKind, StoreResult};
pub use feed::{FeedStore, OffsetMarker, RecordRange, TimeBounds};
pub use memory::{MemoryConnection, MemoryStore};
pub use outbox::{OutboxStore, SequenceState};
#[cfg(feature = "sqlite")]
pub use sql::SqliteStore;
pub use unit_of_work::{
    ConsumerStore, FailedEventQuery, FailedEventStore, MarkerStore, UnitOfWork,
};
