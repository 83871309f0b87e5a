//! Incoming connections.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::net::TcpListener;

use crate::transport::{CallCounts, Connection, PeerAddress};

/// How long accepting rests after an error such as "too many open files", so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A stream of incoming connections and the endpoint they came to.
pub struct Listener {
    host: String,
    port: u16,
    counts: Option<CallCounts>,
    incoming: Pin<Box<dyn Stream<Item = io::Result<Connection>> + Send>>,
}

impl Listener {
    /// Listens on a TCP address; port 0 picks a free one.
    ///
    /// # Errors
    /// Those of `bind`, with the address in the text.
    pub async fn bind(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        Self::from_tcp(listener)
    }

    /// Accepts from a socket that listens already.
    ///
    /// # Errors
    /// When the socket has no local address.
    pub fn from_tcp(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let incoming = futures_util::stream::unfold(listener, |listener| async move {
            let (stream, peer) = accept(&listener).await;
            Some((Ok(Connection::new(stream, PeerAddress::Socket(peer))), listener))
        });
        Ok(Self::from_stream(&address.ip().to_string(), address.port(), incoming))
    }

    /// Accepts whatever a stream brings (an in-memory network, a simulated one).
    pub fn from_stream<S>(host: &str, port: u16, incoming: S) -> Self
    where
        S: Stream<Item = io::Result<Connection>> + Send + 'static,
    {
        Self {
            host: host.to_owned(),
            port,
            counts: None,
            incoming: Box::pin(incoming),
        }
    }

    /// The same listener, whose connections' calls are counted.
    #[must_use]
    pub fn counted(mut self, counts: &CallCounts) -> Self {
        self.counts = Some(counts.clone());
        self
    }

    /// The same listener under the address that others are told, where that is not the bound one.
    #[must_use]
    pub fn advertised_as(mut self, host: &str, port: u16) -> Self {
        host.clone_into(&mut self.host);
        self.port = port;
        self
    }

    /// Host of the endpoint: for TCP the bound address, which may be the wildcard, unless another one is advertised.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port of the endpoint, the real one if 0 was asked for.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// One connection. Errors of `accept` concern the connection or the process's limits, never the listener: it goes on.
async fn accept(listener: &TcpListener) -> (tokio::net::TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "connection ended before it was set up");
                    continue;
                }
                return (stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection between processes");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Stream for Listener {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.incoming.as_mut().poll_next(cx);
        let counts = &self.counts;
        next.map(|next| next.map(|accepted| accepted.map(|connection| connection.counted(counts.clone()))))
    }
}
