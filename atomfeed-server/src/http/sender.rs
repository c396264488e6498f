//! What is taken out of a request: who sent it, as far as the server that hands it on knows, and its
//! header.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

/// The address of who sent a request, where a `FeedServer` hands it on; of IPv6 the network, since who has
/// one address of it has all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender(pub(super) Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        #[cfg(feature = "serve")]
        let address = parts
            .extensions
            .get::<super::ClientAddress>()
            .map(|client| network(client.ip()));
        #[cfg(not(feature = "serve"))]
        let address = {
            let _ = parts;
            None
        };
        Ok(Self(address))
    }
}

/// The header of a request, which is taken out of it, not copied as axum's own extractor does.
pub(super) struct Taken(pub(super) HeaderMap);

impl<S: Sync> FromRequestParts<S> for Taken {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(std::mem::take(&mut parts.headers)))
    }
}

#[cfg(feature = "serve")]
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(all(test, feature = "serve"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let network = |address: &str| network(address.parse().unwrap());
        assert_eq!(network("2001:db8:1:2:3::4"), network("2001:db8:1:2::"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
    }
}
