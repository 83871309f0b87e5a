//! Listeners, connections and requests.

use super::prelude::*;

pub(super) const DEFINITIONS: &[Definition] = definitions! {
    "advertised.listeners": List = None, Any, High, ReadOnly, IMPLEMENTED,
        "Addresses that clients and other brokers are told to use, one per listener. Unset, the addresses of `listeners` are told.";
    "background.threads": Int = Some("10"), AtLeast(1), High, ClusterWide, THREADS,
        "Threads for housekeeping in Apache Kafka.";
    "connection.failed.authentication.delay.ms": Int = Some("100"), AtLeast(0), Low, ReadOnly, SECURITY,
        "Pause before a connection is closed after a failed login, so that guessing passwords is slow.";
    "connections.max.idle.ms": Long = Some("600000"), Any, Medium, ReadOnly, IMPLEMENTED,
        "A connection on which nothing was said for this long is closed. A negative value turns this off.";
    "connections.max.reauth.ms": Long = Some("0"), Any, Medium, ReadOnly, SECURITY,
        "Longest life of a SASL session before the client must log in again; 0 means as long as the connection.";
    "early.start.listeners": List = None, Any, High, ReadOnly, KRAFT,
        "Listeners that accept connections before the metadata is loaded.";
    "inter.broker.listener.name": String = None, Any, Medium, ReadOnly, IMPLEMENTED,
        "Listener on which brokers copy records from each other. Unset, it is the first of `listeners` that is not a controller's.";
    "listener.security.protocol.map": String = Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"), Any, Low, PerBroker, IMPLEMENTED,
        "Which security protocol each listener name speaks. Every listener of this version speaks PLAINTEXT; entries for listeners that are not in use may say anything.";
    "listeners": List = Some("PLAINTEXT://:9092"), Any, High, PerBroker, IMPLEMENTED,
        "Where Kafka clients connect: a comma-separated list of NAME://host:port. An empty host means all interfaces. Listeners named in `controller.listener.names` are left out.";
    "max.connection.creation.rate": Int = Some("2147483647"), AtLeast(0), Medium, ClusterWide, default_only("connections are limited in number, not in rate"),
        "New connections accepted per second, on all listeners together.";
    "max.connections.per.ip.overrides": String = Some(""), Any, Medium, ClusterWide, IMPLEMENTED,
        "Exceptions from `max.connections.per.ip`: a comma-separated list of address:count.";
    "max.connections.per.ip": Int = Some("2147483647"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "Open connections from one address before further ones are closed.";
    "max.connections": Int = Some("2147483647"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "Open client connections before further ones wait to be accepted.";
    "num.io.threads": Int = Some("8"), AtLeast(1), High, ClusterWide, THREADS,
        "Threads that handle requests in Apache Kafka.";
    "num.network.threads": Int = Some("3"), AtLeast(1), High, ClusterWide, THREADS,
        "Threads that read and write sockets in Apache Kafka.";
    "queued.max.request.bytes": Long = Some("-1"), Any, Medium, ReadOnly, IMPLEMENTED,
        "Bytes of requests larger than 64 KiB that are read but not yet answered, on all connections together; above it no further one is read. At least twice `socket.request.max.bytes`. -1 lets the broker choose: that, or 256 MiB if it is less.";
    "queued.max.requests": Int = Some("500"), AtLeast(1), High, ReadOnly, THREADS,
        "Requests that may wait between Apache Kafka's network and request threads.";
    "request.timeout.ms": Int = Some("30000"), Any, High, ReadOnly, default_only("calls between processes carry their own deadlines"),
        "Longest wait for the answer to a request that a broker sends itself.";
    "security.inter.broker.protocol": String = Some("PLAINTEXT"), OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), Medium, ReadOnly, default_only("every listener speaks PLAINTEXT"),
        "Security protocol between brokers, where no listener is named for it.";
    "socket.connection.setup.timeout.max.ms": Long = Some("30000"), Any, Medium, ReadOnly, default_only("connections between processes are set up within a fixed time"),
        "Upper end of the growing time that setting up a connection may take.";
    "socket.connection.setup.timeout.ms": Long = Some("10000"), Any, Medium, ReadOnly, default_only("connections between processes are set up within a fixed time"),
        "Time that setting up a connection may take at the first attempt.";
    "socket.listen.backlog.size": Int = Some("50"), AtLeast(1), Medium, ReadOnly, IMPLEMENTED,
        "Connections that the kernel keeps waiting until the broker accepts them.";
    "socket.receive.buffer.bytes": Int = Some("102400"), Any, High, ReadOnly, default_only("the kernel sizes socket buffers by itself"),
        "Kernel buffer for bytes received on a client connection.";
    "socket.request.max.bytes": Int = Some("104857600"), AtLeast(1), High, ReadOnly, IMPLEMENTED,
        "Largest request in bytes; a connection that announces a larger one is closed.";
    "socket.send.buffer.bytes": Int = Some("102400"), Any, High, ReadOnly, default_only("the kernel sizes socket buffers by itself"),
        "Kernel buffer for bytes sent on a client connection.";
};
