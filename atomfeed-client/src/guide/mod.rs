#![doc = include_str!("../../docs/guide/index.md")]

#[doc = include_str!("../../docs/guide/migrating.md")]
pub mod migrating {}

#[doc = include_str!("../../docs/guide/production.md")]
pub mod production {}

#[doc = include_str!("../../docs/guide/workers.md")]
pub mod workers {}
