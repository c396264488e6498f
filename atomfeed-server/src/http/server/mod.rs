//! Any axum router on a listener, with limits.

mod client;
mod connection;
mod connections;
mod limits;
mod metric;
mod peer;
mod request;
mod serving;
mod transport;

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::serve::Listener;
use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use client::Trust;
use connection::Order;
use connections::{Client, Connections};
use request::Requests;
use serving::Protocols;
use transport::Transport;

use super::descriptors;

pub use client::ClientAddress;
#[cfg(fuzzing)]
pub use client::client_address;
pub use limits::ServerLimits;
pub use peer::PeerAddress;

/// Serves any [`axum::Router`] over HTTP/1.1 and HTTP/2 (without TLS: with prior knowledge, RFC 9113
/// §3.3), with limits on what a client may ask of it.
///
/// [`axum::serve()`] has none: a client that opens connections and sends nothing keeps all others out.
/// Here the connection that has been idle longest makes room for a new one, so that all others are
/// served throughout; see [`ServerLimits`] for each limit.
///
/// From a peer that is no [trusted proxy](Self::trust_proxies), the headers `Forwarded`,
/// `X-Forwarded-*` and `X-Real-IP` are taken away before any handler sees the request. Who sent it is
/// its extension [`ClientAddress`]. A request of HTTP/1.1 without a `Host`, or with two, is refused
/// (RFC 9112 §3.2). Connections are not upgraded, to WebSockets for instance.
///
/// ```no_run
/// use atomfeed_core::store::MemoryStore;
/// use atomfeed_server::{CancellationToken, EventFeedService, FeedConfig, FeedRouter, FeedServer};
/// use tokio::net::TcpListener;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = FeedConfig::new("https://emr.example.org/feed".parse()?);
/// let service = EventFeedService::open(MemoryStore::new(), config).await?;
/// let app = axum::Router::new().nest("/feed", FeedRouter::new(service).into_router());
///
/// let stop = CancellationToken::new(); // cancel it to stop
/// FeedServer::new(app)
///     .trust_proxies(["10.0.0.0/8".parse()?])
///     .run(TcpListener::bind("127.0.0.1:8080").await?, stop)
///     .await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FeedServer {
    app: Router,
    limits: ServerLimits,
    trust: Trust,
}

impl FeedServer {
    /// Serves a router, with the usual limits, and trusts nobody.
    pub fn new(app: Router) -> Self {
        Self {
            app: app.with_state(()),
            limits: ServerLimits::default(),
            trust: Trust::default(),
        }
    }

    /// Serves with these limits.
    #[must_use]
    pub fn with_limits(mut self, limits: ServerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Believes what peers in these networks say of who sent a request: they are proxies, which write
    /// `Forwarded` or `X-Forwarded-For` themselves. Their headers stay on the request, and their
    /// connections are not counted by client. Our own proxy belongs here, and nobody else: whoever can
    /// connect from such an address can pass for any other.
    #[must_use]
    pub fn trust_proxies(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        let before = self.trust.proxies.iter().copied();
        self.trust.proxies = before.chain(networks).collect();
        self
    }

    /// Believes the same of whoever connects to a Unix socket, as a proxy on this machine does. Unless
    /// this is called, such requests have no [`ClientAddress`].
    #[must_use]
    pub fn trust_unix_peers(mut self) -> Self {
        self.trust.unix = true;
        self
    }

    /// Serves the connections of a listener until `stop` is cancelled: then no new ones are accepted,
    /// idle ones are closed, and requests in hand are answered, for up to
    /// [`stop_time`](ServerLimits::stop_time); what is left is dropped.
    ///
    /// A [`TcpListener`](tokio::net::TcpListener), a [`UnixListener`](tokio::net::UnixListener) or any
    /// other [`Listener`]. It survives what goes wrong with single connections, and with accepting them,
    /// as when the process has too many files open. TCP connections send at once (`TCP_NODELAY`).
    ///
    /// Measured through the [`metrics`] façade:
    ///
    /// | metric | kind | what |
    /// |---|---|---|
    /// | `atomfeed_http_connections` | gauge | connections that are open |
    /// | `atomfeed_http_refused_total` | counter | what was refused, by `reason` |
    ///
    /// | `reason` | what was refused |
    /// |---|---|
    /// | `connections` | one connection too many: another was closed for it, or itself |
    /// | `client` | the same, of one client |
    /// | `header_time` | a connection: a request's header did not come in time |
    /// | `header_size` | a request: its header was too large (HTTP/1.1) |
    /// | `malformed` | a request that is not HTTP |
    /// | `body`, `body_time` | a request: its body was too large, or did not come in time |
    /// | `write_time` | a connection: its client did not read |
    /// | `response_time` | a connection: its client read too slowly |
    /// | `stop` | a connection that was not done when the time to stop was over |
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, all connections are closed.
    pub async fn run<L>(self, mut listener: L, stop: CancellationToken)
    where
        L: Listener,
        L::Addr: PeerAddress,
    {
        let limits = match descriptors::possible_connections() {
            Some(possible) => self.limits.lowered_to(possible),
            None => self.limits,
        };
        let connections = Arc::new(Connections::new(limits));
        let _all = CloseAll(Arc::clone(&connections));
        let protocols = Arc::new(Protocols::new(&limits));
        let tasks = TaskTracker::new();
        let mut look = Instant::now();
        loop {
            let (io, address) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(look.into()) => {
                    look = connections.close_overdue();
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let peer = address.ip();
            self.serve(io, peer, &limits, &connections, &protocols, &tasks);
        }
        drop(listener);
        tasks.close();
        connections.tell_all(Order::Finish);
        let until = Instant::now() + limits.stop_time();
        loop {
            tokio::select! {
                () = tasks.wait() => return,
                () = tokio::time::sleep_until(until.into()) => break,
                () = tokio::time::sleep_until(look.into()) => look = connections.close_overdue(),
            }
        }
        let dropped = tasks.len();
        metric::refused_many("stop", dropped);
        tracing::debug!(dropped, "connections were dropped to stop");
        connections.tell_all(Order::Close);
        tasks.wait().await;
    }

    fn serve<I>(
        &self,
        io: I,
        peer: Option<IpAddr>,
        limits: &ServerLimits,
        connections: &Arc<Connections>,
        protocols: &Arc<Protocols>,
        tasks: &TaskTracker,
    ) where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(tcp) = (&io as &dyn Any).downcast_ref::<TcpStream>()
            && let Err(error) = tcp.set_nodelay(true)
        {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let is_trusted = self.trust.covers(peer);
        let client = match peer {
            Some(address) if !is_trusted => Client::of(address),
            _ => Client::Exempt,
        };
        let Some(admitted) = connections.admit(client) else {
            tracing::debug!(?peer, "a connection was refused, since there are too many");
            return;
        };
        let requests = Requests {
            app: self.app.clone(),
            limits: *limits,
            trust: self.trust.clone(),
            peer,
            is_trusted,
            connection: Arc::clone(admitted.connection()),
        };
        let transport = Transport::new(io, Arc::clone(admitted.connection()), *limits);
        tasks.spawn(Arc::clone(protocols).serve(transport, requests, admitted));
    }
}

/// Closes all connections when it is dropped.
struct CloseAll(Arc<Connections>);

impl Drop for CloseAll {
    fn drop(&mut self) {
        self.0.tell_all(Order::Close);
    }
}
