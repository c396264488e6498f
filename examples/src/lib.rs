//! What the example programs share: databases by URL, and the table that `--apply` writes.

mod applied;
mod database;
pub mod hospital;
mod log;
pub mod properties;
mod stop;

pub use applied::AppliedTable;
pub use database::Database;
pub use log::log_to_stderr;
pub use stop::stopped;

/// The code of the project's README, which runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
