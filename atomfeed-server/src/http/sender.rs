//! Who sent a request, as far as the server that hands it on knows.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// The address of who sent a request, where a `FeedServer` hands it on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender(pub(super) Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        #[cfg(feature = "serve")]
        let address = parts
            .extensions
            .get::<super::ClientAddress>()
            .map(super::ClientAddress::ip);
        #[cfg(not(feature = "serve"))]
        let address = {
            let _ = parts;
            None
        };
        Ok(Self(address))
    }
}
