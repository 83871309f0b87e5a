//! Outgoing connections.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Endpoint, Uri};

use crate::transport::{Channel, Connection, MemoryNetwork, PeerAddress};

/// HTTP/2 flow-control window of one stream and of one connection, in bytes.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Opens a byte stream to a host and port. Implemented by whoever simulates a network.
pub trait Connect: Send + Sync {
    /// Opens a new connection.
    fn connect<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Connection>> + Send + 'a>>;
}

/// Timing of connections between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialOptions {
    /// A connection that is not there by then counts as failed.
    pub connect_timeout: Duration,
    /// An idle connection is pinged this often.
    pub keep_alive_interval: Duration,
    /// A ping without an answer for this long ends the connection.
    pub keep_alive_timeout: Duration,
}

impl Default for DialOptions {
    /// A silent peer is noticed in five seconds.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            keep_alive_interval: Duration::from_secs(2),
            keep_alive_timeout: Duration::from_secs(3),
        }
    }
}

/// Gives gRPC channels to hosts and ports. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    memory: MemoryNetwork,
    connect: Arc<dyn Connect>,
    options: DialOptions,
}

impl Dialer {
    /// Reaches the endpoints of `memory` by their names and everything else over TCP.
    #[must_use]
    pub fn new(memory: MemoryNetwork) -> Self {
        Self::with_connect(memory, Arc::new(Tcp), DialOptions::default())
    }

    /// Reaches everything over TCP.
    #[must_use]
    pub fn tcp() -> Self {
        Self::new(MemoryNetwork::new())
    }

    /// Reaches the endpoints of `memory` by their names and everything else by `connect`.
    #[must_use]
    pub fn with_connect(memory: MemoryNetwork, connect: Arc<dyn Connect>, options: DialOptions) -> Self {
        Self {
            memory,
            connect,
            options,
        }
    }

    /// A channel to one endpoint. It connects at the first request and again whenever the connection was lost; a
    /// request that finds no connection fails with `Unavailable`. Clones of the channel share the connection.
    #[must_use]
    pub fn channel(&self, host: &str, port: u16) -> Channel {
        let target: Arc<str> = Arc::from(host);
        let dialer = self.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let (dialer, target) = (dialer.clone(), Arc::clone(&target));
            async move { dialer.connect(&target, port).await.map(TokioIo::new) }
        });
        let channel = endpoint(host, port)
            .user_agent(concat!("highwater/", env!("CARGO_PKG_VERSION")))
            .unwrap_or_else(|_| endpoint(host, port))
            .http2_keep_alive_interval(self.options.keep_alive_interval)
            .keep_alive_timeout(self.options.keep_alive_timeout)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .connect_with_connector_lazy(connector);
        channel.into()
    }

    /// A raw connection to one endpoint.
    ///
    /// # Errors
    /// Those of the network, and `TimedOut`.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<Connection> {
        let connect = async {
            match self.memory.connect(host, port).await {
                Some(result) => result,
                None => self.connect.connect(host, port).await,
            }
        };
        let timeout = self.options.connect_timeout;
        tokio::time::timeout(timeout, connect).await.unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection to {host}:{port} within {timeout:?}"),
            ))
        })
    }
}

/// The URI is only what the request carries as its authority: the connector knows the target by itself. So a host that
/// does not fit into a URI fails when it is dialed, with a clear error, and not here.
fn endpoint(host: &str, port: u16) -> Endpoint {
    let bracketed = if host.contains(':') {
        format!("http://[{host}]:{port}")
    } else {
        format!("http://{host}:{port}")
    };
    Endpoint::from_shared(bracketed).unwrap_or_else(|_| Endpoint::from_static("http://node.invalid"))
}

struct Tcp;

impl Connect for Tcp {
    fn connect<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Connection>> + Send + 'a>> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port))
                .await
                .map_err(|error| io::Error::new(error.kind(), format!("cannot connect to {host}:{port}: {error}")))?;
            stream.set_nodelay(true)?;
            let peer = stream.peer_addr()?;
            Ok(Connection::new(stream, PeerAddress::Socket(peer)))
        })
    }
}
