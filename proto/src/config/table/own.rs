//! Keys that Apache Kafka does not have.

use super::prelude::*;

pub(super) const DEFINITIONS: &[Definition] = definitions! {
    "auto.rebalance.enable": Boolean = Some("true"), Any, Medium, ReadOnly, IMPLEMENTED,
        "Whether replicas and leaders are evened out over the brokers when a new broker joins. A broker that is decommissioned is emptied either way.";
    "cluster.name": String = Some("default"), NonEmpty, High, ReadOnly, IMPLEMENTED,
        "Which of the clusters in one etcd this is: controllers keep theirs under /highwater/<cluster.name>/.";
    "disk.soft.free.bytes": Long = Some("2147483648"), AtLeast(0), Medium, ReadOnly, IMPLEMENTED,
        "Free room on the data disk below which producers are slowed down, and refused below a reserve of 1 % and at least 1 GiB (on small disks at most 5 %). At most 10 % of the disk. With this and disk.soft.free.percent at 0 only a full disk stops producers.";
    "disk.soft.free.percent": Int = Some("2"), Between(0, 50), Medium, ReadOnly, IMPLEMENTED,
        "As disk.soft.free.bytes, in percent of the disk; the larger of the two counts.";
    "disk.stall.ms": Int = Some("2000"), Between(100, 600_000), Medium, ReadOnly, IMPLEMENTED,
        "Age of an unfinished flush from which on a broker's disk counts as stalled: its leaderships move to others, and it leaves in-sync replicas where enough remain.";
    "etcd.endpoints": List = Some(""), Any, High, ReadOnly, IMPLEMENTED,
        "Where controllers find etcd: a list of host:port, or http:// and https:// addresses. Empty, the one controller of the cluster keeps the metadata in its own data directory.";
    "etcd.lease.ttl.ms": Int = Some("3000"), Between(1_000, 60_000), Medium, ReadOnly, IMPLEMENTED,
        "How long the active controller stays the active one without a sign of life; another takes over then. etcd counts in seconds: it is rounded up, and etcd may grant more.";
    "etcd.password.file": String = None, NonEmpty, Medium, ReadOnly, IMPLEMENTED,
        "The file with the password of etcd.username.";
    "etcd.request.timeout.ms": Int = Some("2000"), Between(100, 60_000), Low, ReadOnly, IMPLEMENTED,
        "How long a request may take at one etcd endpoint before the next one is tried.";
    "etcd.tls.ca.file": String = None, NonEmpty, Medium, ReadOnly, IMPLEMENTED,
        "Certificates (PEM) that vouch for etcd; with it, controllers speak TLS with etcd.";
    "etcd.tls.cert.file": String = None, NonEmpty, Medium, ReadOnly, IMPLEMENTED,
        "The certificate (PEM) by which etcd knows the controllers, where it asks for one.";
    "etcd.tls.key.file": String = None, NonEmpty, Medium, ReadOnly, IMPLEMENTED,
        "The private key (PEM) of etcd.tls.cert.file.";
    "etcd.username": String = None, NonEmpty, Medium, ReadOnly, IMPLEMENTED,
        "The user as whom etcd knows the controllers. It needs the right to read and write keys under /highwater/<cluster.name>/.";
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
    "otel.exporter.otlp.endpoint": String = None, NonEmpty, Medium, ReadOnly, IMPLEMENTED,
        "Where traces and metrics are sent by OTLP over gRPC: an address like http://127.0.0.1:4317. Unset, nothing is sent and traces cost nothing.";
    "otel.metric.export.interval.ms": Long = Some("60000"), Between(100, 3_600_000), Low, ReadOnly, IMPLEMENTED,
        "How often metrics are sent by OTLP.";
    "otel.traces.sampler.ratio": Double = Some("0.01"), Between(0, 1), Low, ReadOnly, IMPLEMENTED,
        "Which part of the clients' requests is traced: 0 to 1.";
    "pod.uid": String = None, NonEmpty, Low, ReadOnly, IMPLEMENTED,
        "The uid of the Kubernetes pod that a process runs in, by which an operator knows which node is which pod.";
    "rebalance.bytes.per.broker": Long = Some("10737418240"), AtLeast(1), Medium, ReadOnly, IMPLEMENTED,
        "Bytes of the partitions that a broker copies at a time when brokers are evened out or emptied; one partition is always copied, however large it is.";
    "rebalance.moves.per.broker": Int = Some("8"), Between(1, 1_000), Medium, ReadOnly, IMPLEMENTED,
        "Partitions that a broker copies at a time when brokers are evened out or emptied.";
    "shutdown.grace.ms": Long = Some("30000"), Between(0, 3_600_000), Medium, ReadOnly, IMPLEMENTED,
        "How long a process may take to stop after SIGTERM before it ends the hard way.";
    "stray.retention.ms": Long = Some("604800000"), AtLeast(0), Low, ReadOnly, IMPLEMENTED,
        "How long a replica directory that the cluster does not know is kept.";
};
