//! Share groups and streams groups.

use super::prelude::*;

pub(super) const DEFINITIONS: &[Definition] = definitions! {
    "group.share.assignment.interval.ms": Int = Some("1000"), AtLeast(0), Medium, ReadOnly, SHARE_GROUPS,
        "Least time between two assignments of one share group.";
    "group.share.assignors": List = Some("simple"), Any, Medium, ReadOnly, SHARE_GROUPS,
        "Assignors of share groups.";
    "group.share.delivery.count.limit": Int = Some("5"), Between(2, 10), Medium, ReadOnly, SHARE_GROUPS,
        "How often a record is delivered before it is given up.";
    "group.share.heartbeat.interval.ms": Int = Some("5000"), AtLeast(1), Medium, ReadOnly, SHARE_GROUPS,
        "How often members of share groups are told to send heartbeats.";
    "group.share.max.assignment.interval.ms": Int = Some("15000"), AtLeast(0), Medium, ReadOnly, SHARE_GROUPS,
        "Largest assignment interval that a share group may set for itself.";
    "group.share.max.delivery.count.limit": Int = Some("10"), Between(5, 25), Medium, ReadOnly, SHARE_GROUPS,
        "Largest delivery limit that a share group may set for itself.";
    "group.share.max.heartbeat.interval.ms": Int = Some("15000"), AtLeast(1), Medium, ReadOnly, SHARE_GROUPS,
        "Largest heartbeat interval that a share group may set for itself.";
    "group.share.max.partition.max.record.locks": Int = Some("4000"), Between(2_000, 10_000), Medium, ReadOnly, SHARE_GROUPS,
        "Largest number of locked records that a share group may set for itself.";
    "group.share.max.record.lock.duration.ms": Int = Some("60000"), Between(30_000, 3_600_000), Medium, ReadOnly, SHARE_GROUPS,
        "Longest lock that a share group may set for itself.";
    "group.share.max.session.timeout.ms": Int = Some("60000"), AtLeast(1), Medium, ReadOnly, SHARE_GROUPS,
        "Largest session timeout that a share group may set for itself.";
    "group.share.max.share.sessions": Int = Some("2000"), AtLeast(1), Medium, ReadOnly, SHARE_GROUPS,
        "Most share sessions of one broker.";
    "group.share.max.size": Int = Some("200"), Between(1, 1_000), Medium, ReadOnly, SHARE_GROUPS,
        "Most members of one share group.";
    "group.share.min.assignment.interval.ms": Int = Some("0"), AtLeast(0), Medium, ReadOnly, SHARE_GROUPS,
        "Smallest assignment interval that a share group may set for itself.";
    "group.share.min.delivery.count.limit": Int = Some("2"), Between(2, 5), Medium, ReadOnly, SHARE_GROUPS,
        "Smallest delivery limit that a share group may set for itself.";
    "group.share.min.heartbeat.interval.ms": Int = Some("5000"), AtLeast(1), Medium, ReadOnly, SHARE_GROUPS,
        "Smallest heartbeat interval that a share group may set for itself.";
    "group.share.min.partition.max.record.locks": Int = Some("100"), Between(100, 2_000), Medium, ReadOnly, SHARE_GROUPS,
        "Smallest number of locked records that a share group may set for itself.";
    "group.share.min.record.lock.duration.ms": Int = Some("15000"), Between(1_000, 30_000), Medium, ReadOnly, SHARE_GROUPS,
        "Shortest lock that a share group may set for itself.";
    "group.share.min.session.timeout.ms": Int = Some("45000"), AtLeast(1), Medium, ReadOnly, SHARE_GROUPS,
        "Smallest session timeout that a share group may set for itself.";
    "group.share.partition.max.record.locks": Int = Some("2000"), Between(100, 10_000), Medium, ReadOnly, SHARE_GROUPS,
        "Records of one partition that may be out for delivery at a time.";
    "group.share.record.lock.duration.ms": Int = Some("30000"), Between(1_000, 3_600_000), Medium, ReadOnly, SHARE_GROUPS,
        "How long a record is held for a member before it is delivered again.";
    "group.share.session.timeout.ms": Int = Some("45000"), AtLeast(1), Medium, ReadOnly, SHARE_GROUPS,
        "Silence after which a member of a share group is removed.";
    "group.streams.assignment.interval.ms": Int = Some("1000"), AtLeast(0), Medium, ReadOnly, STREAMS_GROUPS,
        "Least time between two assignments of one streams group.";
    "group.streams.heartbeat.interval.ms": Int = Some("5000"), AtLeast(1), Medium, ReadOnly, STREAMS_GROUPS,
        "How often members of streams groups are told to send heartbeats.";
    "group.streams.initial.rebalance.delay.ms": Int = Some("3000"), AtLeast(0), Medium, ReadOnly, STREAMS_GROUPS,
        "How long an empty streams group waits for more members.";
    "group.streams.max.assignment.interval.ms": Int = Some("15000"), AtLeast(0), Medium, ReadOnly, STREAMS_GROUPS,
        "Largest assignment interval that a streams group may set for itself.";
    "group.streams.max.heartbeat.interval.ms": Int = Some("15000"), AtLeast(1), Medium, ReadOnly, STREAMS_GROUPS,
        "Largest heartbeat interval that a streams group may set for itself.";
    "group.streams.max.session.timeout.ms": Int = Some("60000"), AtLeast(1), Medium, ReadOnly, STREAMS_GROUPS,
        "Largest session timeout that a streams group may set for itself.";
    "group.streams.max.size": Int = Some("2147483647"), AtLeast(1), Medium, ReadOnly, STREAMS_GROUPS,
        "Most members of one streams group.";
    "group.streams.max.standby.replicas": Int = Some("2"), AtLeast(0), Medium, ReadOnly, STREAMS_GROUPS,
        "Most standby tasks that a streams group may set for itself.";
    "group.streams.min.assignment.interval.ms": Int = Some("0"), AtLeast(0), Medium, ReadOnly, STREAMS_GROUPS,
        "Smallest assignment interval that a streams group may set for itself.";
    "group.streams.min.heartbeat.interval.ms": Int = Some("5000"), AtLeast(1), Medium, ReadOnly, STREAMS_GROUPS,
        "Smallest heartbeat interval that a streams group may set for itself.";
    "group.streams.min.session.timeout.ms": Int = Some("45000"), AtLeast(1), Medium, ReadOnly, STREAMS_GROUPS,
        "Smallest session timeout that a streams group may set for itself.";
    "group.streams.num.standby.replicas": Int = Some("0"), AtLeast(0), Medium, ReadOnly, STREAMS_GROUPS,
        "Standby tasks of each task in a streams group.";
    "group.streams.session.timeout.ms": Int = Some("45000"), AtLeast(1), Medium, ReadOnly, STREAMS_GROUPS,
        "Silence after which a member of a streams group is removed.";
    "share.coordinator.append.linger.ms": Int = Some("-1"), AtLeast(-1), Medium, ReadOnly, SHARE_GROUPS,
        "How long share-group records are collected before they are written; -1 adapts.";
    "share.coordinator.cached.buffer.max.bytes": Int = Some("1048588"), AtLeast(524_288), Medium, ReadOnly, SHARE_GROUPS,
        "Largest write buffer that the share coordinator keeps for the next write.";
    "share.coordinator.load.buffer.size": Int = Some("5242880"), AtLeast(1), High, ReadOnly, SHARE_GROUPS,
        "Bytes that are read at a time when share-group state is loaded.";
    "share.coordinator.snapshot.update.records.per.snapshot": Int = Some("500"), Between(0, 500), Medium, ReadOnly, SHARE_GROUPS,
        "Updates between two snapshots of share-group state.";
    "share.coordinator.state.topic.compression.codec": Int = Some("0"), Any, High, ReadOnly, SHARE_GROUPS,
        "Compression of the share-group state topic, by number.";
    "share.coordinator.state.topic.min.isr": Short = Some("2"), AtLeast(1), High, ReadOnly, SHARE_TOPIC,
        "In-sync replicas that a write to the share-group state topic needs.";
    "share.coordinator.state.topic.num.partitions": Int = Some("50"), AtLeast(1), High, ReadOnly, SHARE_TOPIC,
        "Partitions of the share-group state topic.";
    "share.coordinator.state.topic.replication.factor": Short = Some("3"), AtLeast(1), High, ReadOnly, SHARE_TOPIC,
        "Replicas of the share-group state topic.";
    "share.coordinator.state.topic.segment.bytes": Int = Some("104857600"), AtLeast(1), High, ReadOnly, SHARE_TOPIC,
        "Segment size of the share-group state topic.";
    "share.coordinator.threads": Int = Some("1"), AtLeast(1), Medium, ReadOnly, SHARE_GROUPS,
        "Threads of the share coordinator.";
    "share.coordinator.write.timeout.ms": Int = Some("5000"), AtLeast(1), High, ReadOnly, SHARE_GROUPS,
        "How long a write of share-group state may wait until it is replicated.";
    "share.fetch.purgatory.purge.interval.requests": Int = Some("1000"), Any, Medium, ReadOnly, SHARE_GROUPS,
        "How often finished share fetches are cleared out of memory.";
};
