#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
// What only the router needs is idle without it.
#![cfg_attr(not(feature = "http"), allow(dead_code, unused_imports))]

#[cfg(feature = "archive")]
mod archive;
mod config;
mod error;
#[cfg(all(fuzzing, feature = "serve"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "http")]
mod http;
mod page;
mod publisher;
mod sequencer;
mod service;

#[cfg(feature = "archive")]
pub use archive::{Archive, ArchiveError, Exported};
pub use atomfeed_core as core;
#[cfg(feature = "serve")]
pub use ipnet::IpNet;
pub use tokio_util::sync::CancellationToken;

pub use config::FeedConfig;
pub use error::FeedError;
#[cfg(feature = "http")]
pub use http::{
    Audience, FeedRouter, Guarded, GuardedFuture, InvalidCredentials, RequireCredentials,
};
#[cfg(feature = "serve")]
pub use http::{ClientAddress, FeedServer, PeerAddress, ServerLimits};
pub use page::Page;
pub use publisher::Publisher;
pub use sequencer::Sequencer;
pub use service::{EventFeedService, Pruned};
