use std::time::Duration;

/// What a [`FeedServer`](super::FeedServer) puts up with.
///
/// | limit | unless set | what happens then |
/// |---|---|---|
/// | [`header_time`](Self::header_time) | 10 s | closed |
/// | [`idle_time`](Self::idle_time) | 75 s | closed |
/// | [`write_time`](Self::write_time), [`write_rate`](Self::write_rate) | 30 s, 1 KiB/s | closed |
/// | [`response_time`](Self::response_time) | 10 min | closed |
/// | [`header_bytes`](Self::header_bytes), [`headers`](Self::headers) | 32 KiB, 100 | 431, closed |
/// | [`body_bytes`](Self::body_bytes), [`body_time`](Self::body_time) | 64 KiB, 30 s | 413, or the handler is told; closed |
/// | [`connections`](Self::connections), [`connections_a_client`](Self::connections_a_client) | 16,384, 1,024 | another that is idle is closed, or this one |
/// | [`streams`](Self::streams) | 100 | the client waits, or is told to try again |
/// | [`ping_interval`](Self::ping_interval) | 30 s | closed, if no answer comes in 20 s |
/// | [`stop_time`](Self::stop_time) | 30 s | what is left is dropped |
///
/// A request that a handler holds, as while it waits for an event, is under none of them: how long it
/// may wait is the handler's. Times are kept with a delay of up to an eighth of the shortest one.
///
/// ```
/// use std::time::Duration;
/// use atomfeed_server::ServerLimits;
///
/// let limits = ServerLimits::default().with_body_bytes(0).with_idle_time(Duration::from_secs(15));
/// assert_eq!(limits.header_bytes(), 32_768);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    header_time: Duration,
    idle_time: Duration,
    write_time: Duration,
    write_rate: u32,
    response_time: Duration,
    header_bytes: usize,
    headers: usize,
    body_bytes: usize,
    body_time: Duration,
    connections: usize,
    connections_a_client: usize,
    streams: u32,
    ping_interval: Duration,
    stop_time: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            write_time: Duration::from_secs(30),
            write_rate: 1024,
            response_time: Duration::from_secs(600),
            header_bytes: 32 << 10,
            headers: 100,
            body_bytes: 64 << 10,
            body_time: Duration::from_secs(30),
            connections: 16_384,
            connections_a_client: 1_024,
            streams: 100,
            ping_interval: Duration::from_secs(30),
            stop_time: Duration::from_secs(30),
        }
    }
}

/// Each limit: how it is read and how it is set.
macro_rules! limits {
    ($($(#[$doc:meta])+ $name:ident, $with:ident: $type:ty;)+) => {
        impl ServerLimits {
            $(
                $(#[$doc])+
                pub fn $name(&self) -> $type {
                    self.$name
                }

                #[doc = concat!("Sets [`", stringify!($name), "`](Self::", stringify!($name), ").")]
                #[must_use]
                pub fn $with(mut self, $name: $type) -> Self {
                    self.$name = $name;
                    self
                }
            )+
        }
    };
}

limits! {
    /// How long a client may take for the header of a request: on a new connection from its
    /// beginning, whether anything is sent or not, later from the header's first byte. Over HTTP/2
    /// it holds for the first request. 10 seconds unless set.
    header_time, with_header_time: Duration;
    /// How long a connection may stay open between requests: 75 seconds unless set.
    idle_time, with_idle_time: Duration;
    /// How long a client may leave its side full and read nothing: 30 seconds unless set. One that
    /// reads a little gains time by [`write_rate`](Self::write_rate).
    write_time, with_write_time: Duration;
    /// How many bytes a second a client must read once its side is full: 1,024 unless set. What it
    /// reads beyond [`write_time`](Self::write_time) gains it a second for so many bytes, never more
    /// than `write_time` in advance. At least 1.
    write_rate, with_write_rate: u32;
    /// How long a response may take from its head to its last byte, however fast the client reads: 10
    /// minutes unless set. It bounds what the two above cannot see, a stream of HTTP/2 whose client
    /// lets nothing through.
    response_time, with_response_time: Duration;
    /// How large the header of a request may be, in bytes, request line and all: 32 KiB unless set, and
    /// never less than 8 KiB. Over HTTP/2 it is the size of the header list (RFC 9113 §6.5.2).
    header_bytes, with_header_bytes: usize;
    /// How many header lines a request may have: 100 unless set. Another number costs each request of
    /// HTTP/1.1 an allocation.
    headers, with_headers: usize;
    /// How large the body of a request may be, in bytes: 64 KiB unless set. Feeds take none, and 0
    /// refuses all of them; the rest is for what the application serves beside. Where the length is
    /// declared, nothing of a larger one is read.
    body_bytes, with_body_bytes: usize;
    /// How long a client may take for the body of a request: 30 seconds unless set.
    body_time, with_body_time: Duration;
    /// How many connections may be open at once: 16,384 unless set, and less where the process may
    /// open fewer files (it then says so in the log). When one more comes, the one that has been
    /// longest without a request in hand is closed for it.
    connections, with_connections: usize;
    /// How many of them may come from one client: 1,024 unless set. When it opens one more, one of its
    /// own is closed for it, as above; and no more than a quarter of all, where files make
    /// [those](Self::connections) fewer. A client is an address, or for IPv6 the network (/64) that it
    /// is in. Trusted proxies, whose connections are of many clients, are exempt.
    connections_a_client, with_connections_a_client: usize;
    /// How many requests a connection of HTTP/2 may have in hand at once: 100 unless set.
    streams, with_streams: u32;
    /// How often a connection of HTTP/2 is asked whether its client is still there: every 30 seconds
    /// unless set.
    ping_interval, with_ping_interval: Duration;
    /// How long requests that are in hand may go on when the server is to stop: 30 seconds unless set.
    stop_time, with_stop_time: Duration;
}

impl ServerLimits {
    /// With no more connections than there can be. Where that is fewer than were wanted, one client has no
    /// more than a quarter of them.
    pub(super) fn lowered_to(self, possible: usize) -> Self {
        if possible >= self.connections {
            return self;
        }
        let a_client = self.connections_a_client.min((possible / 4).max(1));
        tracing::warn!(
            wanted = self.connections,
            possible,
            a_client,
            "the files that the process may open bound the connections: raise that limit (RLIMIT_NOFILE), or \
             lower that of the server"
        );
        self.with_connections(possible)
            .with_connections_a_client(a_client)
    }

    /// The shortest time after which something has to be done.
    pub(super) fn shortest_time(&self) -> Duration {
        let others = [self.idle_time, self.write_time, self.response_time];
        others.into_iter().fold(self.header_time, Duration::min)
    }
}
