//! Consumer groups and their offsets.

use super::prelude::*;

pub(super) const DEFINITIONS: &[Definition] = definitions! {
    "group.consumer.assignment.interval.ms": Int = Some("1000"), AtLeast(0), Medium, ReadOnly, CONSUMER_PROTOCOL,
        "Least time between two assignments of one group in the consumer protocol.";
    "group.consumer.assignors": List = Some("uniform,range"), Any, Medium, ReadOnly, CONSUMER_PROTOCOL,
        "Assignors of the consumer protocol, the preferred one first.";
    "group.consumer.heartbeat.interval.ms": Int = Some("5000"), AtLeast(1), Medium, ReadOnly, CONSUMER_PROTOCOL,
        "How often members of the consumer protocol are told to send heartbeats.";
    "group.consumer.max.assignment.interval.ms": Int = Some("15000"), AtLeast(0), Medium, ReadOnly, CONSUMER_PROTOCOL,
        "Largest assignment interval that a group may set for itself.";
    "group.consumer.max.heartbeat.interval.ms": Int = Some("15000"), AtLeast(1), Medium, ReadOnly, CONSUMER_PROTOCOL,
        "Largest heartbeat interval that a group may set for itself.";
    "group.consumer.max.session.timeout.ms": Int = Some("60000"), AtLeast(1), Medium, ReadOnly, CONSUMER_PROTOCOL,
        "Largest session timeout that a group may set for itself.";
    "group.consumer.max.size": Int = Some("2147483647"), AtLeast(1), Medium, ReadOnly, CONSUMER_PROTOCOL,
        "Most members of one group in the consumer protocol.";
    "group.consumer.migration.policy": String = Some("bidirectional"), OneOfIgnoreCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]), Medium, ReadOnly, CONSUMER_PROTOCOL,
        "In which directions a group may change between the classic and the consumer protocol.";
    "group.consumer.min.assignment.interval.ms": Int = Some("0"), AtLeast(0), Medium, ReadOnly, CONSUMER_PROTOCOL,
        "Smallest assignment interval that a group may set for itself.";
    "group.consumer.min.heartbeat.interval.ms": Int = Some("5000"), AtLeast(1), Medium, ReadOnly, CONSUMER_PROTOCOL,
        "Smallest heartbeat interval that a group may set for itself.";
    "group.consumer.min.session.timeout.ms": Int = Some("45000"), AtLeast(1), Medium, ReadOnly, CONSUMER_PROTOCOL,
        "Smallest session timeout that a group may set for itself.";
    "group.consumer.session.timeout.ms": Int = Some("45000"), AtLeast(1), Medium, ReadOnly, CONSUMER_PROTOCOL,
        "Silence after which a member of the consumer protocol is removed.";
    "group.coordinator.append.linger.ms": Int = Some("-1"), AtLeast(-1), Medium, ReadOnly, default_only("appends are collected while the one before is on its way"),
        "How long group records are collected before they are written; -1 adapts.";
    "group.coordinator.background.threads": Int = Some("2"), AtLeast(1), High, ReadOnly, THREADS,
        "Threads for the slow work of Apache Kafka's group coordinator.";
    "group.coordinator.cached.buffer.max.bytes": Int = Some("1048588"), AtLeast(524_288), Medium, ReadOnly, default_only("write buffers are not cached"),
        "Largest write buffer that Apache Kafka's group coordinator keeps for the next write.";
    "group.coordinator.rebalance.protocols": List = Some("classic"), ListOf(&["consumer", "classic", "share", "streams"]), Medium, ReadOnly, default_only("the classic protocol is served, the others come later"),
        "Group protocols that are served.";
    "group.coordinator.threads": Int = Some("4"), AtLeast(1), High, ReadOnly, THREADS,
        "Threads of Apache Kafka's group coordinator.";
    "group.initial.rebalance.delay.ms": Int = Some("3000"), Any, Medium, ReadOnly, IMPLEMENTED,
        "How long the coordinator waits for more members before an empty group's first rebalance ends.";
    "group.max.session.timeout.ms": Int = Some("1800000"), Any, Medium, ReadOnly, IMPLEMENTED,
        "Longest session timeout that a group member may ask for.";
    "group.max.size": Int = Some("2147483647"), AtLeast(1), Medium, ReadOnly, IMPLEMENTED,
        "Most members of one group; further ones are refused.";
    "group.min.session.timeout.ms": Int = Some("6000"), Any, Medium, ReadOnly, IMPLEMENTED,
        "Shortest session timeout that a group member may ask for.";
    "offset.metadata.max.bytes": Int = Some("4096"), Any, High, ReadOnly, IMPLEMENTED,
        "Longest text that a client may attach to a committed offset, in bytes.";
    "offsets.commit.timeout.ms": Int = Some("5000"), AtLeast(1), High, ReadOnly, IMPLEMENTED,
        "How long a commit may wait until it is replicated.";
    "offsets.load.buffer.size": Int = Some("5242880"), AtLeast(1), High, ReadOnly, default_only("a shard's log is read 4 MiB at a time"),
        "Bytes that are read at a time when a coordinator loads the groups of a shard.";
    "offsets.retention.check.interval.ms": Long = Some("600000"), AtLeast(1), High, ReadOnly, IMPLEMENTED,
        "How often the coordinator looks for expired offsets.";
    "offsets.retention.minutes": Int = Some("10080"), AtLeast(1), High, ReadOnly, IMPLEMENTED,
        "Offsets of a group without members, or of a topic that nobody in the group reads, expire after this time.";
    "offsets.topic.compression.codec": Int = Some("0"), Any, High, ReadOnly, default_only("the offsets topic is not compressed"),
        "Compression of the offsets topic, by number.";
    "offsets.topic.num.partitions": Int = Some("50"), AtLeast(1), High, ReadOnly, IMPLEMENTED,
        "Partitions of the offsets topic: the number of group shards. It is fixed once the topic exists.";
    "offsets.topic.replication.factor": Short = Some("3"), AtLeast(1), High, ReadOnly, IMPLEMENTED,
        "Replicas of the offsets topic when it is created.";
    "offsets.topic.segment.bytes": Int = Some("104857600"), AtLeast(1_048_576), High, ReadOnly, IMPLEMENTED,
        "Segment size of the offsets topic: small ones load fast.";
};
