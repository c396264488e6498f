// Of two definitions of a link the first one counts: the README's own is for the repository.
//! [the guide]: crate::guide
//!
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
#[cfg(feature = "console")]
pub mod console;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod guide;
mod metric;
mod outcome;
mod schedule;
mod source;
mod worker;

pub use atomfeed_core as core;
pub use atomfeed_core::{Event, FeedUri};
pub use tokio_util::sync::CancellationToken;

pub use client::{
    AtomFeedClient, AtomFeedClientBuilder, AtomFeedClients, InvalidPosition, StartPosition,
};
pub use error::{ProcessError, ProcessErrorKind};
pub use outcome::{Outcome, Processed};
pub use schedule::{InvalidSchedule, Schedule};
#[cfg(feature = "http")]
pub use source::{
    AnswerHead, Authenticator, BasicAuth, BearerToken, FetchContent, FixedHeaders, FormLogin,
    HttpFeedSource, HttpFeedSourceBuilder, LoginDoor, LoginError, OpenMrsSession, Resource,
    ResourceError, Resources,
};
pub use source::{
    FeedSource, FetchError, InProcessFeedSource, POSITION_HEADER, PageRequest, PageResponse,
};
pub use worker::{
    AnyWorker, EventWorker, FailureExt, Handled, Plain, Preparing, PreparingWorker, Route, Routed,
    Routes, WorkerError, WorkerFn, resource_key, worker_fn,
};
