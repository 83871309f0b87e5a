//! One byte stream between two processes, whatever carries it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::transport::{CallCounts, ConnectInfo};

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A byte stream to a peer: TCP, an in-memory pipe, or whatever a simulation brings.
pub struct Connection {
    stream: Box<dyn Stream>,
    peer: PeerAddress,
    counts: Option<CallCounts>,
    abort: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// Where a connection comes from, as a server's handler sees it (`Request::extensions`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// A socket of another process.
    Socket(SocketAddr),
    /// A pipe inside this process.
    Memory,
}

impl Connection {
    /// Wraps a stream.
    pub fn new<S>(stream: S, peer: PeerAddress) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self {
            stream: Box::new(stream),
            peer,
            counts: None,
            abort: None,
        }
    }

    /// The other end.
    #[must_use]
    pub fn peer(&self) -> &PeerAddress {
        &self.peer
    }

    /// The same connection, whose calls are counted.
    #[must_use]
    pub(crate) fn counted(mut self, counts: Option<CallCounts>) -> Self {
        self.counts = counts;
        self
    }

    /// The same connection, which fails with `ConnectionAborted` once `token` is cancelled.
    #[must_use]
    pub fn abort_on(mut self, token: CancellationToken) -> Self {
        self.abort = Some(Box::pin(token.cancelled_owned()));
        self
    }

    fn poll_abort(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let stopped = self
            .abort
            .as_mut()
            .is_some_and(|abort| abort.as_mut().poll(cx).is_ready());
        if stopped {
            self.abort = None;
            self.stream = Box::new(Aborted);
            return Err(aborted());
        }
        Ok(())
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        ConnectInfo {
            peer: self.peer.clone(),
            counts: self.counts.clone(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_abort(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_abort(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_abort(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// What is left of a connection that was aborted.
struct Aborted;

fn aborted() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the server has stopped")
}

impl AsyncRead for Aborted {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(aborted()))
    }
}

impl AsyncWrite for Aborted {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(aborted()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(aborted()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
