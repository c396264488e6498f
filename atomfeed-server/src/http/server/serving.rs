use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Order;
use super::connections::Admitted;
use super::limits::ServerLimits;
use super::metric;
use super::request::Requests;
use super::transport::Transport;

/// HTTP/1.1 and HTTP/2, with the limits that are kept there.
pub(super) struct Protocols(auto::Builder<TokioExecutor>);

/// hyper takes no smaller one.
const LEAST_HEADER_BYTES: usize = 8192;

impl Protocols {
    pub(super) fn new(limits: &ServerLimits) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        let header_bytes = limits.header_bytes().max(LEAST_HEADER_BYTES);
        let mut http1 = builder.http1();
        http1
            // We keep the time ourselves: hyper would set a timer for each request.
            .header_read_timeout(None)
            // With pipeline_flush, what a client that reads nothing asks for piles up without bound.
            .pipeline_flush(false)
            .max_buf_size(header_bytes);
        if limits.headers() != ServerLimits::default().headers() {
            http1.max_headers(limits.headers());
        }
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(header_bytes.try_into().unwrap_or(u32::MAX))
            .max_concurrent_streams(limits.streams())
            .keep_alive_interval(limits.ping_interval());
        Self(builder)
    }

    /// Serves one connection to its end.
    pub(super) async fn serve<I>(
        self: Arc<Self>,
        transport: Transport<I>,
        requests: Requests,
        admitted: Admitted,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let requests = Arc::new(requests);
        let service = service_fn(move |request| Arc::clone(&requests).answer(request));
        let mut http = pin!(self.0.serve_connection(TokioIo::new(transport), service));
        let connection = admitted.connection();
        let mut is_finishing = false;
        let ended = poll_fn(|cx| {
            connection.wake_on_order(cx.waker());
            match connection.order() {
                Order::Close => return Poll::Ready(Ok(())),
                Order::Finish if !is_finishing => {
                    is_finishing = true;
                    http.as_mut().graceful_shutdown();
                }
                Order::Serve | Order::Finish => {}
            }
            http.as_mut().poll(cx)
        });
        if let Err(error) = ended.await {
            let error = &*error as &(dyn Error + 'static);
            match error.downcast_ref::<hyper::Error>() {
                Some(http) if http.is_parse_too_large() => metric::refused("header_size"),
                Some(http) if http.is_parse() => metric::refused("malformed"),
                _ => {}
            }
            tracing::debug!(error, "a connection ended early");
        }
    }
}
