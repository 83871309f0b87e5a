//! The partitions that this broker has replicas of, and how they follow the metadata image.

mod apply;
mod checkpoint;
mod housekeeping;
mod recovery;
mod repair;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use highwater_node::clock::Clock;
use highwater_proto::config::StaticValues;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{MetadataImage, Topic};
use highwater_proto::types::{NodeId, PartitionIndex, TopicId, TopicPartition};
use parking_lot::Mutex;

use crate::latency::Latency;
use crate::log::{Flusher, Log, LogDir, LogError};
use crate::partition::{Disk, Partition, Reports, TopicState};

pub use self::recovery::{RecoveredLogs, RecoveryReport};

type PartitionMap = papaya::HashMap<TopicPartition, Arc<Partition>, foldhash::fast::RandomState>;

/// Threads that flush, at least and at most. As many as there are cores: with more, a partition is flushed before its next
/// batches are there, so that each flush carries less (decision 0002).
const FLUSHER_THREADS: (usize, usize) = (2, 4);
/// Age of the oldest flush from which on no network worker appends.
const STALLED_DISK: Duration = Duration::from_millis(100);

/// All partitions of a broker.
#[derive(Debug)]
pub struct Partitions {
    node: NodeId,
    fixed: StaticValues,
    clock: Clock,
    log_dir: Arc<LogDir>,
    flusher: Arc<Flusher>,
    disk: Arc<Disk>,
    reports: Arc<Reports>,
    map: Arc<PartitionMap>,
    topics: papaya::HashMap<TopicId, Arc<TopicState>, foldhash::fast::RandomState>,
    /// The image that has been carried out here.
    image: ArcSwap<MetadataImage>,
    /// Logs that recovery found and no image has named yet.
    unclaimed: Mutex<recovery::Unclaimed>,
    /// Partitions whose logs recovery could not open: they stay offline until they can be copied from a leader.
    unusable: Mutex<HashSet<TopicPartition>>,
    /// When replicas were last copied afresh.
    repaired: Mutex<HashMap<TopicPartition, Duration>>,
    /// One image at a time.
    applying: Mutex<()>,
    /// Partitions that cache writes once that is on record.
    awaiting_write_caching: Mutex<Vec<TopicPartition>>,
    /// Held by whoever puts it on record.
    noting_write_caching: Mutex<()>,
}

impl Partitions {
    /// Takes over what recovery found. Nothing is served before an image is applied.
    ///
    /// # Errors
    /// [`LogError`] if the operating system gives no threads for flushing.
    pub fn new(
        node: NodeId,
        fixed: StaticValues,
        clock: Clock,
        recovered: RecoveredLogs,
    ) -> Result<Arc<Self>, LogError> {
        let map = Arc::new(PartitionMap::default());
        // Weak: the flusher must not keep alive what it flushes.
        let on_disk = Arc::downgrade(&map);
        let flusher = Flusher::start(Arc::clone(&recovered.log_dir), flusher_threads(), move |reason| {
            tracing::error!(reason, "a flush failed: all replicas on this disk are offline");
            let Some(map) = on_disk.upgrade() else { return };
            for partition in map.pin().values() {
                partition.fail_storage();
            }
        })?;
        let flusher = Arc::new(flusher);
        Ok(Arc::new(Self {
            node,
            fixed,
            clock,
            unusable: Mutex::new(recovered.report().offline.iter().copied().collect()),
            repaired: Mutex::default(),
            log_dir: recovered.log_dir,
            disk: Arc::new(Disk::new(&flusher)),
            flusher,
            reports: Arc::default(),
            map,
            topics: papaya::HashMap::default(),
            image: ArcSwap::default(),
            unclaimed: Mutex::new(recovered.unclaimed),
            applying: Mutex::new(()),
            awaiting_write_caching: Mutex::default(),
            noting_write_caching: Mutex::default(),
        }))
    }

    /// The image that has been carried out here: what it says leads, leads.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        self.image.load_full()
    }

    /// The partition, if this broker has a replica of it.
    #[must_use]
    pub fn get(&self, topic_id: TopicId, partition: PartitionIndex) -> Option<Arc<Partition>> {
        self.map.pin().get(&TopicPartition { topic_id, partition }).cloned()
    }

    /// The partition of a topic that the image names.
    ///
    /// # Errors
    /// Kafka's codes: 3 when the topic has no such partition, 56 when its storage here failed, 6 when it is not here.
    pub fn find(&self, topic: &Topic, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        let exists = usize::try_from(index).is_ok_and(|index| index < topic.partitions.len());
        if !exists {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        let index = PartitionIndex(index);
        self.get(topic.id, index)
            .ok_or_else(|| self.why_not_here(topic.id, index))
    }

    /// What the image has assigned to this broker is here, but for a log that could not be opened.
    fn why_not_here(&self, topic: TopicId, index: PartitionIndex) -> ErrorCode {
        let image = self.image();
        let assigned = image
            .partition(topic, index)
            .is_some_and(|it| it.replicas.contains(&self.node));
        if assigned {
            ErrorCode::KafkaStorageError
        } else {
            ErrorCode::NotLeaderOrFollower
        }
    }

    /// A topic that this broker has, or had, partitions of.
    #[must_use]
    pub fn topic_state(&self, id: TopicId) -> Option<Arc<TopicState>> {
        self.topics.pin().get(&id).cloned()
    }

    /// The topics that this broker has partitions of, in no order.
    #[must_use]
    pub fn topic_states(&self) -> Vec<Arc<TopicState>> {
        self.topics.pin().values().cloned().collect()
    }

    /// All partitions, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Partition>> {
        self.map.pin().values().cloned().collect()
    }

    /// Number of partitions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// True without partitions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// What partitions here have to tell the controller.
    #[must_use]
    pub fn reports(&self) -> &Reports {
        &self.reports
    }

    /// The flusher of the disk.
    #[must_use]
    pub fn flusher(&self) -> &Flusher {
        &self.flusher
    }

    /// True if the oldest flush is so old that even a write into the page cache may have to wait: appends then belong
    /// on a blocking thread.
    #[must_use]
    pub fn is_disk_stalled(&self) -> bool {
        self.flusher.oldest_unfinished() > STALLED_DISK
    }

    /// How long flushes take.
    #[must_use]
    pub fn flushes(&self) -> &Latency {
        self.disk.flushes()
    }

    /// The data directory.
    #[must_use]
    pub fn log_dir(&self) -> &Arc<LogDir> {
        &self.log_dir
    }

    fn new_partition(&self, topic: &Arc<TopicState>, index: PartitionIndex, log: Log, checkpoint: i64) -> Partition {
        let high_watermark = highwater_proto::types::Offset(checkpoint);
        Partition::new(
            self.node,
            Arc::clone(topic),
            index,
            log,
            high_watermark,
            Arc::clone(&self.disk),
            Arc::clone(&self.reports),
        )
    }
}

fn flusher_threads() -> usize {
    let (least, most) = FLUSHER_THREADS;
    let cores = std::thread::available_parallelism().map_or(least, std::num::NonZero::get);
    cores.clamp(least, most)
}
