//! Configs of topics. The value of one that a topic does not set is that of its broker synonym.

use super::prelude::*;

pub(super) const DEFINITIONS: &[Definition] = definitions! {
    "cleanup.policy": List = Some("delete"), ListOf(&["compact", "delete"]), Medium, ClusterWide, IMPLEMENTED,
        "What happens to old segments: `delete` removes them by age and size, `compact` keeps the last record of each key, an empty list keeps everything. Client topics cannot be compacted yet.";
    "compression.gzip.level": Int = Some("-1"), BetweenOr(1, 9, -1), Medium, ClusterWide, IMPLEMENTED,
        "Gzip level where the broker compresses: 1 is fast, 9 is small, -1 is the library's choice.";
    "compression.lz4.level": Int = Some("9"), Between(1, 17), Medium, ClusterWide, default_only("the broker has one LZ4 compressor, a fast one without levels"),
        "LZ4 level where the broker compresses: higher is smaller and slower.";
    "compression.type": String = Some("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Medium, ClusterWide, IMPLEMENTED,
        "How batches are stored: `producer` keeps what the producer sent, any other value makes the broker recompress what comes in another form.";
    "compression.zstd.level": Int = Some("3"), Between(-131_072, 22), Medium, ClusterWide, IMPLEMENTED,
        "Zstandard level where the broker compresses: higher is smaller and slower.";
    "delete.retention.ms": Long = Some("86400000"), AtLeast(0), Medium, ClusterWide, COMPACTION,
        "How long deletion markers stay readable in a compacted topic.";
    "errors.deadletterqueue.group.enable": Boolean = Some("false"), Any, Medium, ClusterWide, SHARE_GROUPS,
        "Whether share groups may write records they gave up to this topic.";
    "file.delete.delay.ms": Long = Some("60000"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "How long the files of a deleted segment stay on disk, renamed, before they go.";
    "flush.messages": Long = Some("9223372036854775807"), AtLeast(1), Medium, ClusterWide, IMPLEMENTED,
        "Records after which the log is forced to disk. Without write caching every acknowledged record is on disk, which is always sooner.";
    "flush.ms": Long = Some("9223372036854775807"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "Time after which the log is forced to disk. Without write caching every acknowledged record is on disk, which is always sooner.";
    "follower.replication.throttled.replicas": List = Some(""), ThrottledReplicas, Medium, ClusterWide, IMPLEMENTED,
        "Replicas that are copied at no more than the follower's throttled rate: partition:broker pairs, or * for all.";
    "index.interval.bytes": Int = Some("4096"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "Bytes of records between two entries of the offset index. An index that a start has to rebuild follows `log.index.interval.bytes`, as the process was started with it.";
    "leader.replication.throttled.replicas": List = Some(""), ThrottledReplicas, Medium, ClusterWide, IMPLEMENTED,
        "Replicas that are served at no more than the leader's throttled rate: partition:broker pairs, or * for all.";
    "local.retention.bytes": Long = Some("-2"), AtLeast(-2), Medium, ClusterWide, TIERED_STORAGE,
        "Bytes of a tiered partition that stay on local disks.";
    "local.retention.ms": Long = Some("-2"), AtLeast(-2), Medium, ClusterWide, TIERED_STORAGE,
        "How long records of a tiered partition stay on local disks.";
    "max.compaction.lag.ms": Long = Some("9223372036854775807"), AtLeast(1), Medium, ClusterWide, COMPACTION,
        "Longest time that a record may stay out of reach of compaction.";
    "max.decompressed.message.bytes": Int = Some("2147483639"), AtLeast(1), Medium, ClusterWide, IMPLEMENTED,
        "Largest record in bytes that a compressed batch may hold once it is decompressed. A value below the default makes the broker decompress every batch to look.";
    "max.message.bytes": Int = Some("1048588"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "Largest record batch that is taken, in bytes, compressed as it arrives.";
    "message.timestamp.after.max.ms": Long = Some("3600000"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "How far a record's timestamp may lie ahead of the broker's clock before the record is refused.";
    "message.timestamp.before.max.ms": Long = Some("9223372036854775807"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "How far a record's timestamp may lie behind the broker's clock before the record is refused.";
    "message.timestamp.type": String = Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide, IMPLEMENTED,
        "Whether records keep the producer's timestamp (CreateTime) or get the broker's (LogAppendTime).";
    "min.cleanable.dirty.ratio": Double = Some("0.5"), Between(0, 1), Medium, ClusterWide, COMPACTION,
        "Share of the log that must be uncompacted before the cleaner looks at it.";
    "min.compaction.lag.ms": Long = Some("0"), AtLeast(0), Medium, ClusterWide, COMPACTION,
        "Time that a record is kept from compaction.";
    "min.insync.replicas": Int = Some("1"), AtLeast(1), Medium, ClusterWide, IMPLEMENTED,
        "In-sync replicas that must exist for an acks=all write to be taken. It counts for at most the replication factor.";
    "preallocate": Boolean = Some("false"), Any, Medium, ClusterWide, default_only("how segment files are laid out is the broker's own choice"),
        "Whether new segment files are given their full size at once.";
    "remote.copy.lag.bytes": Long = Some("-1"), AtLeast(-1), Medium, ClusterWide, TIERED_STORAGE,
        "Bytes by which copies to remote storage may lag; -1 sets no limit.";
    "remote.copy.lag.ms": Long = Some("0"), AtLeast(-1), Medium, ClusterWide, TIERED_STORAGE,
        "Time by which copies to remote storage are delayed.";
    "remote.log.copy.disable": Boolean = Some("false"), Any, Medium, ClusterWide, TIERED_STORAGE,
        "Whether no further segments go to remote storage.";
    "remote.log.delete.on.disable": Boolean = Some("false"), Any, Medium, ClusterWide, TIERED_STORAGE,
        "Whether remote segments are deleted when remote storage is turned off.";
    "remote.storage.enable": Boolean = Some("false"), Any, Medium, ClusterWide, TIERED_STORAGE,
        "Whether closed segments are kept in remote storage.";
    "retention.bytes": Long = Some("-1"), Any, Medium, ClusterWide, IMPLEMENTED,
        "Bytes that a partition keeps before its oldest segments are deleted; -1 means no limit.";
    "retention.ms": Long = Some("604800000"), AtLeast(-1), Medium, ClusterWide, IMPLEMENTED,
        "Age in milliseconds at which segments are deleted; -1 means never.";
    "segment.bytes": Int = Some("1073741824"), AtLeast(1_048_576), Medium, ClusterWide, IMPLEMENTED,
        "Size at which a segment file is closed and the next begun.";
    "segment.index.bytes": Int = Some("10485760"), AtLeast(4), Medium, ClusterWide, IMPLEMENTED,
        "Largest index file; a segment is closed when its index is full.";
    "segment.jitter.ms": Long = Some("0"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "Largest random part that is taken off `segment.ms`, so that not all partitions roll at once.";
    "segment.ms": Long = Some("604800000"), AtLeast(1), Medium, ClusterWide, IMPLEMENTED,
        "Age in milliseconds at which a segment is closed and the next begun.";
    "unclean.leader.election.enable": Boolean = Some("false"), Any, Medium, ClusterWide, IMPLEMENTED,
        "Whether a replica that is not in sync may lead when no other is left, at the price of lost records.";
    "write.caching": Boolean = Some("false"), Any, Medium, ClusterWide, IMPLEMENTED,
        "Whether a write may be acknowledged before it is on disk, as Apache Kafka does: faster, but a power loss of all replicas at once can lose it.";
};
