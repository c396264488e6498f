//! The server against what it promises: golden pages, sealed pages, time chunks, HTTP.

mod feeds;
mod golden;
mod http;
mod sealed;
mod time_chunks;
