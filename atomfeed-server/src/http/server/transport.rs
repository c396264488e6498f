use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::limits::ServerLimits;

/// So many bytes are read of what was refused.
const UNWANTED: usize = 4 << 20;

/// The bytes of a connection, which tell it how they flow.
pub(super) struct Transport<I> {
    inner: I,
    connection: Arc<Connection>,
    limits: ServerLimits,
    is_shut: bool,
    /// How many more bytes are read that nobody wants, when this side is shut.
    unwanted: usize,
}

impl<I> Transport<I> {
    pub(super) fn new(inner: I, connection: Arc<Connection>, limits: ServerLimits) -> Self {
        Self {
            inner,
            connection,
            limits,
            is_shut: false,
            unwanted: 0,
        }
    }

    fn noted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => self.connection.wrote(*bytes, &self.limits),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.blocked(&self.limits),
        }
        written
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Transport<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.connection.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// Asked for when there is no more to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        match &flushed {
            Poll::Ready(_) => self.connection.drained(),
            Poll::Pending => self.connection.blocked(&self.limits),
        }
        flushed
    }

    /// Where the client is still sending, its bytes are read for a while: a connection that is closed
    /// before them is reset, and the client loses the answer that says why.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.is_shut = true;
            if self.connection.is_cut_short() {
                self.unwanted = UNWANTED;
            }
        }
        let mut bytes = [0; 4096];
        while self.unwanted > 0 {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    self.unwanted = self.unwanted.saturating_sub(buffer.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
