//! What the fuzz targets get to see and nobody else does: see `atomfeed-core/fuzz`.

pub use crate::http::client_address;
pub use crate::http::{Understood, asked, entity_tag};
