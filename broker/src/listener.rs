//! Accepts client connections and bounds how many there are.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::broker::Broker;
use crate::client::Client;
use crate::connection::Connection;

/// Pause after a failed accept: out of file handles is not cured by asking at once again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections by address, for `max.connections` and `max.connections.per.ip`.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounts {
    next_id: AtomicU64,
    open: Mutex<Open>,
    /// Told of every connection that closes.
    closed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    per_ip: HashMap<IpAddr, usize>,
}

/// One counted connection; uncounted when dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    counts: Arc<ConnectionCounts>,
    ip: IpAddr,
}

impl ConnectionCounts {
    /// Counts a connection, unless a limit is reached.
    fn admit(self: &Arc<Self>, ip: IpAddr, max_total: usize, max_per_ip: usize) -> Option<Counted> {
        let mut open = self.open.lock();
        let per_ip = open.per_ip.get(&ip).copied().unwrap_or(0);
        if open.total >= max_total || per_ip >= max_per_ip {
            return None;
        }
        open.total += 1;
        open.per_ip.insert(ip, per_ip + 1);
        Some(Counted {
            counts: Arc::clone(self),
            ip,
        })
    }

    /// Returns once there is room for another connection.
    async fn room(&self, max_total: usize) {
        loop {
            let closed = self.closed.notified();
            if self.total() < max_total {
                return;
            }
            closed.await;
        }
    }

    /// Connections that are open now.
    pub(crate) fn total(&self) -> usize {
        self.open.lock().total
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.counts.open.lock();
        open.total -= 1;
        if let Some(count) = open.per_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                open.per_ip.remove(&self.ip);
            }
        }
        drop(open);
        self.counts.closed.notify_waiters();
    }
}

/// Serves clients of one listener until the broker stops.
pub(crate) async fn serve(broker: Arc<Broker>, listener: TcpListener, name: Arc<str>) {
    let shutdown = broker.shutdown().clone();
    loop {
        // Above the limit connections wait in the kernel's queue, as in Kafka.
        let next = async {
            broker.connections().room(broker.limits().max_connections).await;
            listener.accept().await
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = shutdown.triggered() => return,
        };
        match accepted {
            Ok((stream, peer)) => admit(&broker, stream, peer.ip(), &name),
            Err(error) => {
                tracing::warn!(listener = %name, %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(broker: &Arc<Broker>, stream: TcpStream, ip: IpAddr, listener: &Arc<str>) {
    let (counts, limits) = (broker.connections(), broker.limits());
    let network = &broker.config().network;
    let per_ip = network.max_connections_per_ip_overrides.get(&ip.to_string());
    let per_ip = per_ip.copied().unwrap_or(network.max_connections_per_ip);
    let Some(counted) = counts.admit(ip, limits.max_connections, per_ip) else {
        tracing::debug!(%ip, "connection refused: max.connections or max.connections.per.ip is reached");
        return;
    };
    if let Err(error) = prepare(&stream) {
        tracing::debug!(%ip, %error, "connection was gone before it was served");
        return;
    }
    let connection_id = counts.next_id.fetch_add(1, Ordering::Relaxed);
    let client = Client {
        connection_id,
        listener: Arc::clone(listener),
        host: ip,
        reads_cold_data: AtomicBool::new(false),
    };
    broker
        .shutdown()
        .spawn(Connection::new(stream, Arc::clone(broker), client, counted));
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Replies are written whole; waiting for more would only delay them.
    stream.set_nodelay(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_per_address_and_in_all_until_connections_close() {
        let counts = Arc::new(ConnectionCounts::default());
        let (first, second) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let one = counts.admit(first, 3, 2).unwrap();
        let _two = counts.admit(first, 3, 2).unwrap();
        assert!(counts.admit(first, 3, 2).is_none(), "per address");
        let _three = counts.admit(second, 3, 2).unwrap();
        assert!(counts.admit(second, 3, 2).is_none(), "in all");
        drop(one);
        assert_eq!(counts.total(), 2);
        assert!(counts.admit(first, 3, 2).is_some());
    }
}
