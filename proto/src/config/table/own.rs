//! Keys that Apache Kafka does not have.

use super::prelude::*;

pub(super) const DEFINITIONS: &[Definition] = definitions! {
    "cluster.name": String = Some("default"), NonEmpty, High, ReadOnly, IMPLEMENTED,
        "Which of the clusters in one etcd this is: controllers keep theirs under /highwater/<cluster.name>/.";
    "etcd.endpoints": List = Some(""), Any, High, ReadOnly, IMPLEMENTED,
        "Where controllers find etcd: a list of host:port, or http:// and https:// addresses. Empty, the one controller of the cluster keeps the metadata in its own data directory.";
    "grpc.advertised.listener": String = None, NonEmpty, High, ReadOnly, IMPLEMENTED,
        "Where the cluster's other processes reach this one: host:port. Unset, it is grpc.listener, with the name of this machine where that means all interfaces.";
    "grpc.listener": String = None, NonEmpty, High, ReadOnly, IMPLEMENTED,
        "Where a process of a cluster listens for the others: host:port. Unset, it is 0.0.0.0:9190 for a controller, 0.0.0.0:9191 for a broker and 0.0.0.0:9192 for a coordinator.";
    "http.listener": String = Some("0.0.0.0:9644"), Any, High, ReadOnly, IMPLEMENTED,
        "Where health and metrics are served: host:port for /livez, /readyz and /metrics.";
    "log.write.caching": Boolean = Some("false"), Any, High, ClusterWide, IMPLEMENTED,
        "Whether a write may be acknowledged before it is on disk, as Apache Kafka does: faster, but a power loss of all replicas at once can lose it.";
    "logging.filter": String = Some("info"), NonEmpty, Medium, ReadOnly, IMPLEMENTED,
        "Which log lines are written: a level (error, warn, info, debug), or a comma-separated list of target=level.";
    "logging.format": String = Some("text"), OneOf(&["text", "json"]), Low, ReadOnly, IMPLEMENTED,
        "How log lines are written: for people (text) or for machines (json).";
    "node.reconnect.grace.ms": Int = Some("500"), Between(0, 60_000), Medium, ReadOnly, IMPLEMENTED,
        "How long a node whose session broke may take to come back before it is fenced.";
    "node.session.timeout.ms": Int = Some("5000"), Between(500, 300_000), Medium, ReadOnly, IMPLEMENTED,
        "Silence after which a node is fenced.";
    "shutdown.grace.ms": Long = Some("30000"), Between(0, 3_600_000), Medium, ReadOnly, IMPLEMENTED,
        "How long a process may take to stop after SIGTERM before it ends the hard way.";
    "stray.retention.ms": Long = Some("604800000"), AtLeast(0), Low, ReadOnly, default_only("replica directories that the cluster does not know are kept"),
        "How long a replica directory that the cluster does not know is kept.";
};
