//! Several feeds that are followed at once, as the property file of one of the original's programs names
//! them (`erp-atomfeed.properties`, `atomfeed.properties`), or the same as JSON.
//!
//! A file is read into a [`FeedsConfig`]; with what `quartz_cron_scheduler` says ([`quartz_jobs`]) it is
//! [planned](FeedsConfig::plan) when which feed is read. [`Sources`] fetch the pages.

mod config;
mod file;
mod jdbc;
mod keys;
mod login;
mod names;
mod plan;
mod quartz;
mod secret;
mod sources;

pub use config::{FeedsConfig, Given, Job};
pub use file::Unused;
pub use login::{Login, LoginKind};
pub use plan::{PlannedJob, Wanted, When};
pub use quartz::{QuartzJob, quartz_jobs};
pub use secret::Secret;
pub use sources::Sources;
