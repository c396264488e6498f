//! Where events, markers and failures are kept: the traits of storage, and the stores.
//!
//! | trait | side | what it is |
//! |---|---|---|
//! | [`OutboxStore`] | server | takes an event in, on the connection of the caller's transaction |
//! | [`SequencedStore`] | server | moves what was published into a queue to where feeds read it, in an order that no reader can overtake |
//! | [`FeedStore`] | server | reads events by position, keeps chunking history and positions |
//! | [`UpkeepStore`] | server | prunes, and goes on after a restore |
//! | [`ConsumerStore`] | client | opens a [`UnitOfWork`] |
//! | [`UnitOfWork`] | client | *is* an open transaction: [`MarkerStore`], [`FailedEventStore`], [`FailureStore`], [`ActionStore`], [`ClaimStore`] and [`StatusStore`] over the connection it lends to the worker |
//! | [`ConsoleStore`] | console | opens the same without a connection, for those who look after it |
//!
//! [`MemoryStore`] implements all of them and is the reference; with the features `sqlite`,
//! `postgres` and `mysql`, `SqliteStore`, `PostgresStore` and `MySqlStore` do too. A store of your own is a store once it passes the suite in
//! `conformance` (feature `testing`).

mod action;
mod claim;
#[cfg(feature = "testing")]
pub mod conformance;
mod console;
mod error;
mod failures;
mod feed;
mod memory;
mod news;
mod outbox;
mod rebase;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub mod sql;
mod status;
mod unit_of_work;
mod upkeep;

pub use action::{ActionQuery, ActionStore};
pub use claim::{Claim, ClaimStore};
pub use console::{ConsoleStore, Publishing, Records, SetAside};
pub use error::{StoreError, StoreErrorKind, StoreResult, is_transient, may_end_transaction};
pub use failures::{
    FailureFilter, FailureGroup, FailureQuery, FailureSearch, FailureState, FailureStore,
    FeedFailures, InvalidFilter, ParkedEvent, ParkedPage,
};
pub use feed::{FeedStore, NewestEvent, OffsetMarker, RecordRange, TimeBounds};
pub use memory::{MemoryConnection, MemoryStore};
pub use news::{HearsNothing, NewsListener};
pub use outbox::{OpenTransaction, OutboxStore, SequenceState, Sequenced, SequencedStore};
#[cfg(feature = "mysql")]
pub use sql::MySqlStore;
#[cfg(feature = "postgres")]
pub use sql::PostgresStore;
#[cfg(feature = "sqlite")]
pub use sql::SqliteStore;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use sql::{Adoption, Obstacle, SchemaName, TableZone};
pub use status::{FeedStatus, MinuteCounts, StatusStore};
pub use unit_of_work::{
    ConsumerStore, FailedEventQuery, FailedEventSelection, FailedEventStore, MarkerStore,
    UnitOfWork,
};
pub use upkeep::{Breaks, Cut, FeedState, Hole, Jump, OldEvent, RenderedBefore, UpkeepStore};
