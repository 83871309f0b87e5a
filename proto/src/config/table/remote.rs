//! Tiered storage.

use super::prelude::*;

pub(super) const DEFINITIONS: &[Definition] = definitions! {
    "log.remote.copy.lag.bytes": Long = Some("-1"), AtLeast(-1), Medium, ClusterWide, TIERED_STORAGE,
        "Bytes by which copies to remote storage may lag; -1 sets no limit.";
    "log.remote.copy.lag.ms": Long = Some("0"), AtLeast(-1), Medium, ClusterWide, TIERED_STORAGE,
        "Time by which copies to remote storage are delayed.";
    "remote.fetch.max.wait.ms": Int = Some("500"), AtLeast(1), Medium, ClusterWide, TIERED_STORAGE,
        "Longest wait for records from remote storage before a fetch is answered without them.";
    "remote.list.offsets.request.timeout.ms": Long = Some("30000"), AtLeast(1), Medium, ClusterWide, TIERED_STORAGE,
        "Longest search for an offset in remote storage.";
    "remote.log.index.file.cache.total.size.bytes": Long = Some("1073741824"), AtLeast(1), Low, ClusterWide, TIERED_STORAGE,
        "Disk that may hold copies of remote indexes.";
    "remote.log.manager.copier.thread.pool.size": Int = Some("10"), AtLeast(1), Medium, ClusterWide, TIERED_STORAGE,
        "Threads that copy segments to remote storage.";
    "remote.log.manager.copy.max.bytes.per.second": Long = Some("9223372036854775807"), AtLeast(1), Medium, ClusterWide, TIERED_STORAGE,
        "Bytes per second that may be copied to remote storage.";
    "remote.log.manager.copy.quota.window.num": Int = Some("11"), AtLeast(1), Medium, ReadOnly, TIERED_STORAGE,
        "Samples kept to measure copies to remote storage.";
    "remote.log.manager.copy.quota.window.size.seconds": Int = Some("1"), AtLeast(1), Medium, ReadOnly, TIERED_STORAGE,
        "Length of one such sample.";
    "remote.log.manager.expiration.thread.pool.size": Int = Some("10"), AtLeast(1), Medium, ClusterWide, TIERED_STORAGE,
        "Threads that delete expired segments from remote storage.";
    "remote.log.manager.fetch.max.bytes.per.second": Long = Some("9223372036854775807"), AtLeast(1), Medium, ClusterWide, TIERED_STORAGE,
        "Bytes per second that may be read from remote storage.";
    "remote.log.manager.fetch.quota.window.num": Int = Some("11"), AtLeast(1), Medium, ReadOnly, TIERED_STORAGE,
        "Samples kept to measure reads from remote storage.";
    "remote.log.manager.fetch.quota.window.size.seconds": Int = Some("1"), AtLeast(1), Medium, ReadOnly, TIERED_STORAGE,
        "Length of one such sample.";
    "remote.log.manager.follower.thread.pool.size": Int = Some("2"), AtLeast(1), Medium, ClusterWide, TIERED_STORAGE,
        "Threads that follow the remote log of other leaders.";
    "remote.log.manager.task.interval.ms": Long = Some("30000"), AtLeast(1), Low, ReadOnly, TIERED_STORAGE,
        "How often the tasks of remote storage run.";
    "remote.log.manager.thread.pool.size": Int = Some("2"), AtLeast(1), Medium, ReadOnly, TIERED_STORAGE,
        "Threads that schedule the tasks of remote storage.";
    "remote.log.metadata.custom.metadata.max.bytes": Int = Some("128"), AtLeast(0), Low, ReadOnly, TIERED_STORAGE,
        "Most bytes that a storage plug-in may attach to a segment.";
    "remote.log.metadata.manager.class.name": String = Some("org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager"), NonEmpty, Medium, ReadOnly, TIERED_STORAGE,
        "Class that keeps the list of remote segments.";
    "remote.log.metadata.manager.class.path": String = None, Any, Medium, ReadOnly, TIERED_STORAGE,
        "Where that class is found.";
    "remote.log.metadata.manager.impl.prefix": String = Some("rlmm.config."), NonEmpty, Medium, ReadOnly, TIERED_STORAGE,
        "Prefix of the keys that are handed to that class.";
    "remote.log.metadata.manager.listener.name": String = None, NonEmpty, Medium, ReadOnly, TIERED_STORAGE,
        "Listener that this class uses.";
    "remote.log.reader.max.pending.tasks": Int = Some("100"), AtLeast(1), Medium, ReadOnly, TIERED_STORAGE,
        "Reads from remote storage that may wait.";
    "remote.log.reader.threads": Int = Some("10"), AtLeast(1), Medium, ClusterWide, TIERED_STORAGE,
        "Threads that read from remote storage.";
    "remote.log.storage.manager.class.name": String = None, NonEmpty, Medium, ReadOnly, TIERED_STORAGE,
        "Class that stores segments remotely.";
    "remote.log.storage.manager.class.path": String = None, Any, Medium, ReadOnly, TIERED_STORAGE,
        "Where that class is found.";
    "remote.log.storage.manager.impl.prefix": String = Some("rsm.config."), NonEmpty, Medium, ReadOnly, TIERED_STORAGE,
        "Prefix of the keys that are handed to that class.";
    "remote.log.storage.system.enable": Boolean = Some("false"), Any, Medium, ReadOnly, TIERED_STORAGE,
        "Whether segments can be kept in remote storage.";
};
