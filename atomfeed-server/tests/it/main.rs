//! The server against what it promises: golden pages, sealed pages, time chunks, HTTP, limits.

#![allow(clippy::unwrap_used)]

#[cfg(feature = "archive")]
mod archive;
mod cached;
mod client_addresses;
mod conditional;
mod credentials;
mod desk;
mod feeds;
mod golden;
mod history;
mod hostile_client;
mod http;
mod meanwhile;
mod read_by_others;
mod readers;
mod sealed;
mod served;
mod server_limits;
mod server_stops;
mod stepped;
mod time_chunks;
mod upkeep;
mod waiting;
#[cfg(feature = "archive")]
mod watched;
