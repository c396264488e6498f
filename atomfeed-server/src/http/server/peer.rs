use std::net::{IpAddr, SocketAddr};

/// The address of who has connected, as a listener of [`axum::serve()`] says it.
///
/// A listener of one's own, such as one for TLS, mostly has [`SocketAddr`] and is served as it is.
pub trait PeerAddress {
    /// The IP address, where the other side has one; one that connects to a Unix socket has none.
    fn ip(&self) -> Option<IpAddr>;
}

impl PeerAddress for SocketAddr {
    fn ip(&self) -> Option<IpAddr> {
        Some(SocketAddr::ip(self).to_canonical())
    }
}

#[cfg(unix)]
impl PeerAddress for tokio::net::unix::SocketAddr {
    fn ip(&self) -> Option<IpAddr> {
        None
    }
}
