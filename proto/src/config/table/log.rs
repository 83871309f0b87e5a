//! Logs: the defaults of topics, and what is the same for all of them.

use super::prelude::*;

pub(super) const DEFINITIONS: &[Definition] = definitions! {
    "compression.gzip.level": Int = Some("-1"), BetweenOr(1, 9, -1), Medium, ClusterWide, IMPLEMENTED,
        "Gzip level where the broker compresses: 1 is fast, 9 is small, -1 is the library's choice.";
    "compression.lz4.level": Int = Some("9"), Between(1, 17), Medium, ClusterWide, default_only("the broker has one LZ4 compressor, a fast one without levels"),
        "LZ4 level where the broker compresses: higher is smaller and slower.";
    "compression.type": String = Some("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), High, ClusterWide, IMPLEMENTED,
        "How batches are stored: `producer` keeps what the producer sent, any other value makes the broker recompress what comes in another form.";
    "compression.zstd.level": Int = Some("3"), Between(-131_072, 22), Medium, ClusterWide, IMPLEMENTED,
        "Zstandard level where the broker compresses: higher is smaller and slower.";
    "cordoned.log.dirs": List = Some(""), Any, Medium, PerBroker, default_only("a broker has one data directory"),
        "Data directories that get no new partitions.";
    "log.cleaner.backoff.ms": Long = Some("15000"), AtLeast(0), Medium, ClusterWide, COMPACTION,
        "Rest of the cleaner when there is nothing to compact.";
    "log.cleaner.dedupe.buffer.size": Long = Some("134217728"), Any, Medium, ClusterWide, COMPACTION,
        "Memory for the key maps of all cleaner threads.";
    "log.cleaner.delete.retention.ms": Long = Some("86400000"), AtLeast(0), Medium, ClusterWide, COMPACTION,
        "How long deletion markers stay readable in compacted topics.";
    "log.cleaner.enable": Boolean = Some("true"), Any, Medium, ReadOnly, COMPACTION,
        "Whether topics with the compact policy are compacted.";
    "log.cleaner.io.buffer.load.factor": Double = Some("0.9"), Any, Medium, ClusterWide, COMPACTION,
        "How full the cleaner's key map may become.";
    "log.cleaner.io.buffer.size": Int = Some("524288"), AtLeast(0), Medium, ClusterWide, COMPACTION,
        "Memory for the reads and writes of all cleaner threads.";
    "log.cleaner.io.max.bytes.per.second": Double = Some("1.7976931348623157E308"), Any, Medium, ClusterWide, COMPACTION,
        "Bytes per second that the cleaner may read and write.";
    "log.cleaner.max.compaction.lag.ms": Long = Some("9223372036854775807"), AtLeast(1), Medium, ClusterWide, COMPACTION,
        "Longest time that a record in a compacted topic may stay out of reach of compaction.";
    "log.cleaner.min.cleanable.ratio": Double = Some("0.5"), Between(0, 1), Medium, ClusterWide, COMPACTION,
        "Share of a log that must be uncompacted before the cleaner looks at it.";
    "log.cleaner.min.compaction.lag.ms": Long = Some("0"), AtLeast(0), Medium, ClusterWide, COMPACTION,
        "Time that a record is kept from compaction.";
    "log.cleaner.threads": Int = Some("1"), AtLeast(0), Medium, ClusterWide, COMPACTION,
        "Threads that compact.";
    "log.cleanup.policy": List = Some("delete"), ListOf(&["compact", "delete"]), Medium, ClusterWide, default_only("topics are compacted from a later version on"),
        "What happens to old segments: `delete` removes them by age and size, `compact` keeps the last record of each key.";
    "log.dir.failure.timeout.ms": Long = Some("30000"), AtLeast(1), Low, ReadOnly, default_only("a broker has one data directory, and stops when it fails"),
        "How long a broker tries to report a failed data directory before it stops.";
    "log.dirs": List = None, Any, High, ReadOnly, IMPLEMENTED,
        "The data directory. One is supported: more than one entry is refused.";
    "log.dir": List = Some("/tmp/kafka-logs"), Any, High, ReadOnly, IMPLEMENTED,
        "The data directory, where `log.dirs` is not set. A controller has one only if it works without etcd.";
    "log.flush.interval.messages": Long = Some("9223372036854775807"), AtLeast(1), High, ClusterWide, IMPLEMENTED,
        "Records after which a log is forced to disk. Without write caching every acknowledged record is on disk, which is always sooner.";
    "log.flush.interval.ms": Long = None, Any, High, ClusterWide, IMPLEMENTED,
        "Time after which a log is forced to disk. Without write caching every acknowledged record is on disk, which is always sooner.";
    "log.flush.offset.checkpoint.interval.ms": Int = Some("60000"), AtLeast(0), High, ReadOnly, default_only("the flush point is written with each flush, at most once a second"),
        "How often the point up to which logs are on disk is written down.";
    "log.flush.scheduler.interval.ms": Long = Some("9223372036854775807"), Any, High, ReadOnly, default_only("nothing waits for a scheduler to be flushed"),
        "How often Apache Kafka looks for logs to flush; stands in for `log.flush.interval.ms` where that is not set.";
    "log.flush.start.offset.checkpoint.interval.ms": Int = Some("60000"), AtLeast(0), High, ReadOnly, default_only("log start offsets are written when they change"),
        "How often log start offsets are written down.";
    "log.index.interval.bytes": Int = Some("4096"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "Bytes of records between two entries of the offset index.";
    "log.index.size.max.bytes": Int = Some("10485760"), AtLeast(4), Medium, ClusterWide, IMPLEMENTED,
        "Largest index file; a segment is closed when its index is full.";
    "log.local.retention.bytes": Long = Some("-2"), AtLeast(-2), Medium, ClusterWide, TIERED_STORAGE,
        "Bytes of a tiered partition that stay on local disks.";
    "log.local.retention.ms": Long = Some("-2"), AtLeast(-2), Medium, ClusterWide, TIERED_STORAGE,
        "How long records of a tiered partition stay on local disks.";
    "log.message.timestamp.after.max.ms": Long = Some("3600000"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "How far a record's timestamp may lie ahead of the broker's clock before the record is refused.";
    "log.message.timestamp.before.max.ms": Long = Some("9223372036854775807"), AtLeast(0), Medium, ClusterWide, IMPLEMENTED,
        "How far a record's timestamp may lie behind the broker's clock before the record is refused.";
    "log.message.timestamp.type": String = Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide, IMPLEMENTED,
        "Whether records keep the producer's timestamp (CreateTime) or get the broker's (LogAppendTime).";
    "log.preallocate": Boolean = Some("false"), Any, Medium, ClusterWide, default_only("how segment files are laid out is the broker's own choice"),
        "Whether new segment files are given their full size at once.";
    "log.retention.bytes": Long = Some("-1"), Any, High, ClusterWide, IMPLEMENTED,
        "Bytes that a partition keeps before its oldest segments are deleted; -1 means no limit.";
    "log.retention.check.interval.ms": Long = Some("300000"), AtLeast(1), Medium, ReadOnly, IMPLEMENTED,
        "How often the broker looks for segments that retention deletes.";
    "log.retention.hours": Int = Some("168"), Any, High, ReadOnly, IMPLEMENTED,
        "Age in hours at which segments are deleted, where neither `log.retention.ms` nor `log.retention.minutes` is set; -1 means never.";
    "log.retention.minutes": Int = None, Any, High, ReadOnly, IMPLEMENTED,
        "Age in minutes at which segments are deleted, where `log.retention.ms` is not set; -1 means never.";
    "log.retention.ms": Long = None, Any, High, ClusterWide, IMPLEMENTED,
        "Age in milliseconds at which segments are deleted; -1 means never.";
    "log.roll.hours": Int = Some("168"), AtLeast(1), High, ReadOnly, IMPLEMENTED,
        "Age in hours at which a segment is closed and the next begun, where `log.roll.ms` is not set.";
    "log.roll.jitter.hours": Int = Some("0"), AtLeast(0), High, ReadOnly, IMPLEMENTED,
        "Largest random part, in hours, that is taken off `log.roll.hours`, where `log.roll.jitter.ms` is not set.";
    "log.roll.jitter.ms": Long = None, Any, High, ClusterWide, IMPLEMENTED,
        "Largest random part that is taken off `log.roll.ms`, so that not all partitions roll at once.";
    "log.roll.ms": Long = None, Any, High, ClusterWide, IMPLEMENTED,
        "Age in milliseconds at which a segment is closed and the next begun.";
    "log.segment.bytes": Int = Some("1073741824"), AtLeast(1_048_576), High, ClusterWide, IMPLEMENTED,
        "Size at which a segment file is closed and the next begun.";
    "log.segment.delete.delay.ms": Long = Some("60000"), AtLeast(0), High, ClusterWide, IMPLEMENTED,
        "How long the files of a deleted segment or partition stay on disk, renamed, before they go.";
    "max.decompressed.message.bytes": Int = Some("2147483639"), AtLeast(1), Medium, ClusterWide, IMPLEMENTED,
        "Largest record in bytes that a compressed batch may hold once it is decompressed.";
    "message.max.bytes": Int = Some("1048588"), AtLeast(0), High, ClusterWide, IMPLEMENTED,
        "Largest record batch that is taken, in bytes, compressed as it arrives.";
    "min.insync.replicas": Int = Some("1"), AtLeast(1), High, ClusterWide, IMPLEMENTED,
        "In-sync replicas that must exist for an acks=all write to be taken. It counts for at most the replication factor.";
    "num.recovery.threads.per.data.dir": Int = Some("2"), AtLeast(1), High, ClusterWide, THREADS,
        "Threads that recover logs at start in Apache Kafka.";
    "num.replica.alter.log.dirs.threads": Int = None, Any, High, ReadOnly, default_only("a broker has one data directory"),
        "Threads that move replicas between data directories.";
};
