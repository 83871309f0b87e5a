//! Replication and the life of a broker.

use super::prelude::*;
use crate::config::{LEADER_SELECTOR, RACK_AWARE_SELECTOR};

pub(super) const DEFINITIONS: &[Definition] = definitions! {
    "auto.leader.rebalance.enable": Boolean = Some("true"), Any, High, ReadOnly, IMPLEMENTED,
        "Whether leadership returns by itself to the first replica of each partition.";
    "broker.heartbeat.interval.ms": Int = Some("2000"), Any, Medium, ReadOnly, default_only("the session with the controller has its own timing, see `node.session.timeout.ms`"),
        "How often a broker of Apache Kafka tells the controller that it lives.";
    "broker.rack": String = None, Any, Medium, ReadOnly, IMPLEMENTED,
        "The failure domain of this broker; replicas of a partition are spread over different ones.";
    "broker.session.timeout.ms": Int = Some("9000"), Any, Medium, ReadOnly, default_only("see `node.session.timeout.ms`"),
        "Silence after which Apache Kafka's controller gives a broker up.";
    "controlled.shutdown.enable": Boolean = Some("true"), Any, Medium, ReadOnly, default_only("a clean stop always hands leadership over"),
        "Whether a broker hands over its leaderships before it stops.";
    "controller.socket.timeout.ms": Int = Some("30000"), Any, Medium, ReadOnly, default_only("calls to the controller carry their own deadlines"),
        "Longest wait for an answer between a controller and a broker.";
    "delete.records.purgatory.purge.interval.requests": Int = Some("1"), Any, Medium, ReadOnly, default_only("finished requests free their memory at once"),
        "How often Apache Kafka clears finished DeleteRecords requests out of memory.";
    "fetch.max.bytes": Int = Some("57671680"), AtLeast(1_024), Medium, ReadOnly, IMPLEMENTED,
        "Most record bytes that one Fetch is answered with, whatever the client asks for; the first batch may exceed it.";
    "fetch.purgatory.purge.interval.requests": Int = Some("1000"), Any, Medium, ReadOnly, default_only("finished requests free their memory at once"),
        "How often Apache Kafka clears finished Fetch requests out of memory.";
    "follower.fetch.last.tiered.offset.enable": Boolean = Some("false"), Any, Medium, ReadOnly, TIERED_STORAGE,
        "Whether a new follower starts at the end of what is in remote storage.";
    "follower.replication.throttled.rate": Long = Some("9223372036854775807"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "Bytes per second at which a broker copies throttled replicas that are not in sync.";
    "initial.broker.registration.timeout.ms": Int = Some("60000"), Any, Medium, ReadOnly, default_only("a broker tries to register until it is stopped"),
        "How long a broker of Apache Kafka tries to register before it gives up.";
    "leader.imbalance.check.interval.seconds": Long = Some("300"), AtLeast(1), High, ReadOnly, IMPLEMENTED,
        "How often the controller looks for partitions that are not led by their preferred leader.";
    "leader.replication.throttled.rate": Long = Some("9223372036854775807"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "Bytes per second at which throttled replicas that are not in sync are copied from a broker.";
    "max.incremental.fetch.session.cache.slots": Int = Some("1000"), AtLeast(0), Medium, ReadOnly, IMPLEMENTED,
        "Incremental fetch sessions kept for clients; beyond it, old ones make room.";
    "max.request.partition.size.limit": Int = Some("2000"), AtLeast(1), Medium, ReadOnly, IMPLEMENTED,
        "Most partitions that one DescribeTopicPartitions answer lists.";
    "num.replica.fetchers": Int = Some("1"), AtLeast(1), High, ClusterWide, default_only("one connection per leader carries all partitions"),
        "Connections on which a follower copies from one leader broker.";
    "producer.purgatory.purge.interval.requests": Int = Some("1000"), Any, Medium, ReadOnly, default_only("finished requests free their memory at once"),
        "How often Apache Kafka clears finished Produce requests out of memory.";
    "replica.fetch.backoff.ms": Int = Some("1000"), AtLeast(0), Medium, ReadOnly, IMPLEMENTED,
        "Rest of a follower after a failed fetch.";
    "replica.fetch.max.bytes": Int = Some("1048576"), AtLeast(0), Medium, ReadOnly, IMPLEMENTED,
        "Bytes that a follower asks for per partition; the first batch may exceed it.";
    "replica.fetch.min.bytes": Int = Some("1"), Any, High, ReadOnly, IMPLEMENTED,
        "Bytes that a leader collects before it answers a follower's fetch.";
    "replica.fetch.response.max.bytes": Int = Some("10485760"), AtLeast(0), Medium, ReadOnly, IMPLEMENTED,
        "Bytes that a follower asks for per fetch; the first batch may exceed it.";
    "replica.fetch.wait.max.ms": Int = Some("500"), Any, High, ReadOnly, IMPLEMENTED,
        "Longest time that a leader holds back the answer to a follower's fetch.";
    "replica.high.watermark.checkpoint.interval.ms": Long = Some("5000"), Any, High, ReadOnly, IMPLEMENTED,
        "How often high watermarks are written to disk.";
    "replica.lag.time.max.ms": Long = Some("30000"), Any, High, ReadOnly, IMPLEMENTED,
        "A follower that has not reached the leader's end for this long leaves the in-sync replicas.";
    "replica.selector.class": String = None, OneOf(&[LEADER_SELECTOR, RACK_AWARE_SELECTOR]), Medium, ReadOnly, IMPLEMENTED,
        "How the replica that a consumer reads from is picked: the leader, or one in the rack that the consumer names. Other classes cannot be loaded.";
    "replica.socket.receive.buffer.bytes": Int = Some("65536"), Any, High, ReadOnly, default_only("the kernel sizes socket buffers by itself"),
        "Kernel buffer of a follower's connection to its leader.";
    "replica.socket.timeout.ms": Int = Some("30000"), Any, High, ReadOnly, IMPLEMENTED,
        "Longest wait of a follower for the answer to a fetch.";
    "unclean.leader.election.enable": Boolean = Some("false"), Any, High, ClusterWide, IMPLEMENTED,
        "Whether a replica that is not in sync may lead when no other is left, at the price of lost records.";
};
