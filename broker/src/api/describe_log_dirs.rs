//! DescribeLogDirs (35): how large the partitions on this broker's disk are, and how much room the disk has.

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;
use std::path::{Path, absolute};
use std::sync::Arc;

use highwater_proto::kafka::messages::describe_log_dirs::request::DescribableLogDirTopic;
use highwater_proto::kafka::messages::describe_log_dirs::response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use highwater_proto::kafka::messages::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};

use super::{Api, RequestContext};
use crate::partition::Partition;

/// Handler of DescribeLogDirs.
pub(super) struct DescribeLogDirs;

/// Space that is not known.
const UNKNOWN_BYTES: i64 = -1;

impl Api for DescribeLogDirs {
    type Request = DescribeLogDirsRequest;
    const VERSIONS: RangeInclusive<i16> = 1..=4;

    async fn handle(context: &RequestContext, _: i16, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
        let partitions = context.broker.partitions();
        let log_dir = Arc::clone(partitions.log_dir());
        let root = absolute(log_dir.root()).unwrap_or_else(|_| log_dir.root().to_path_buf());
        let name = ByteStr::from(root.display().to_string());
        if log_dir.check().is_err() {
            return response(DescribeLogDirsResult {
                error_code: ErrorCode::KafkaStorageError.code(),
                log_dir: name,
                ..Default::default()
            });
        }
        // A disk that hangs must not take a network worker with it.
        let space = tokio::task::spawn_blocking(move || space_of(&root)).await;
        let (total_bytes, usable_bytes) = space.ok().flatten().unwrap_or((UNKNOWN_BYTES, UNKNOWN_BYTES));
        response(DescribeLogDirsResult {
            log_dir: name,
            topics: topics(&partitions.all(), request.topics.as_deref()),
            total_bytes,
            usable_bytes,
            ..Default::default()
        })
    }
}

fn response(result: DescribeLogDirsResult) -> DescribeLogDirsResponse {
    DescribeLogDirsResponse {
        results: vec![result],
        ..Default::default()
    }
}

/// Bytes of the file system, and those that are left for us.
fn space_of(root: &Path) -> Option<(i64, i64)> {
    let stat = rustix::fs::statvfs(root).ok()?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    Some((bytes(stat.f_blocks), bytes(stat.f_bavail)))
}

/// Those of the partitions that were asked for, by topic. Without a list all are.
fn topics(partitions: &[Arc<Partition>], asked: Option<&[DescribableLogDirTopic]>) -> Vec<DescribeLogDirsTopic> {
    let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    let asked = asked.map(named);
    for partition in partitions {
        let (name, index) = (&**partition.topic().name(), partition.index().get());
        if !asked.as_ref().is_none_or(|asked| asked.contains(&(name, index))) {
            continue;
        }
        let Some(ends) = partition.ends() else { continue };
        topics.entry(name).or_default().push(DescribeLogDirsPartition {
            partition_index: partition.index().get(),
            partition_size: i64::try_from(ends.size).unwrap_or(i64::MAX),
            // How far the end of the log is behind what is known to be committed: only a follower's can be.
            offset_lag: (ends.high_watermark.get() - ends.log_end.get()).max(0),
            is_future_key: false,
            ..Default::default()
        });
    }
    let topic = |(name, mut partitions): (&str, Vec<DescribeLogDirsPartition>)| {
        partitions.sort_unstable_by_key(|partition| partition.partition_index);
        DescribeLogDirsTopic {
            name: ByteStr::from(name),
            partitions,
            ..Default::default()
        }
    };
    topics.into_iter().map(topic).collect()
}

/// Looked up for each partition that is here: a list would be walked for each.
fn named(asked: &[DescribableLogDirTopic]) -> HashSet<(&str, i32)> {
    let pairs = asked.iter().flat_map(|asked| {
        let indexes = asked.partitions.iter();
        indexes.map(|index| (&*asked.topic, *index))
    });
    pairs.collect()
}
