//! In-memory endpoints: the transport of processes that are composed into one.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::transport::{Connection, Listener, PeerAddress};

/// Bytes that a pipe holds in each direction before the writer waits.
const PIPE_BYTES: usize = 256 * 1024;
/// Connections that wait to be accepted before a dial waits.
const BACKLOG: usize = 128;

type Endpoints = HashMap<(String, u16), mpsc::Sender<DuplexStream>>;

/// The in-memory endpoints of one process, by host and port. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    endpoints: Arc<Mutex<Endpoints>>,
}

impl MemoryNetwork {
    /// A network without endpoints.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens on a name. The name stays one of this network when the listener is gone: dialing it is then refused
    /// rather than tried over TCP.
    ///
    /// # Errors
    /// `AddrInUse` while another listener of that name lives.
    pub fn listen(&self, host: &str, port: u16) -> io::Result<Listener> {
        let (accept, incoming) = mpsc::channel(BACKLOG);
        let mut endpoints = self.endpoints.lock();
        let key = (host.to_owned(), port);
        if endpoints.get(&key).is_some_and(|current| !current.is_closed()) {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("in-memory endpoint {host}:{port} has a listener"),
            ));
        }
        endpoints.insert(key, accept);
        drop(endpoints);
        let incoming = ReceiverStream::new(incoming).map(|pipe| Ok(Connection::new(pipe, PeerAddress::Memory)));
        Ok(Listener::from_stream(host, port, incoming))
    }

    /// A new pipe to the listener of that name; `None` if the name is not one of this network.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Option<io::Result<Connection>> {
        let accept = self.endpoints.lock().get(&(host.to_owned(), port)).cloned()?;
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        Some(match accept.send(server).await {
            Ok(()) => Ok(Connection::new(client, PeerAddress::Memory)),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                format!("nobody listens on in-memory endpoint {host}:{port}"),
            )),
        })
    }
}
