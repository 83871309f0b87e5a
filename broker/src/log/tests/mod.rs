//! Tests of the log as a whole, on real files.

mod append;
mod crash;
mod edges;
mod producers;
mod recovery;
mod retention;
mod truncation;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::record::{Batch, BatchBuilder, Batches};
use highwater_proto::types::{
    LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, TopicId, TopicPartition,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

/// Wall clock of the tests.
const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const TOPIC_ID: TopicId = TopicId(Uuid::from_u128(0x1234));

/// A directory in memory if there is one: flushing costs nothing there, and nothing here depends on the disk.
fn temp() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// A data directory that outlives the processes on it.
struct Disk {
    temp: TempDir,
}

impl Disk {
    fn new() -> Self {
        Self {
            temp: tempfile::tempdir().unwrap(),
        }
    }

    /// A process starts.
    fn start(&self) -> Arc<LogDir> {
        LogDir::open(self.temp.path(), 1000).unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.temp.path().join("topic-0").join(name)
    }

    /// A process starts and opens the log of `topic-0`.
    fn open(&self, config: &Arc<LogConfig>) -> (Log, Recovery) {
        try_open(&self.start(), config).unwrap()
    }

    /// Names of the files of `topic-0`.
    fn names(&self) -> Vec<String> {
        super::log_dir::list(&self.temp.path().join("topic-0")).unwrap()
    }
}

fn try_open(log_dir: &Arc<LogDir>, config: &Arc<LogConfig>) -> Result<(Log, Recovery), LogError> {
    Log::open(log_dir, "topic", PartitionIndex(0), TOPIC_ID, Arc::clone(config), NOW)
}

/// Small segments and an index entry for every batch or two.
fn config() -> Arc<LogConfig> {
    Arc::new(LogConfig {
        segment_bytes: 1000,
        index_interval_bytes: 100,
        ..LogConfig::default()
    })
}

/// `count` records without a producer, with values that name `seed`.
fn batch(seed: u64, count: i64) -> Batch {
    records(BatchBuilder::new(), seed, count)
}

fn from_producer(producer_id: i64, epoch: i16, sequence: i32, count: i64) -> Batch {
    let builder = BatchBuilder::new().producer(ProducerId(producer_id), ProducerEpoch(epoch), sequence);
    records(builder, producer_id as u64, count)
}

fn records(mut builder: BatchBuilder, seed: u64, count: i64) -> Batch {
    for i in 0..count {
        let value = format!("value {seed:06} {i:03} ------------------------------");
        builder
            .append(TimestampMs(NOW.0 + i), None, Some(value.as_bytes()), &[])
            .unwrap();
    }
    builder.build().unwrap()
}

fn append(log: &mut Log, batch: &Batch) -> Appended {
    append_in(log, 0, batch)
}

fn append_in(log: &mut Log, epoch: i32, batch: &Batch) -> Appended {
    log.append_as_leader(std::slice::from_ref(batch), LeaderEpoch(epoch), NOW)
        .unwrap()
}

/// One whole flush.
fn flush(log: &mut Log) {
    let outcome = log.take_flush_ticket().unwrap().flush();
    assert!(outcome.is_flushed());
    log.complete_flush(&outcome);
}

/// A clean stop.
fn close(mut log: Log) {
    log.close_clean().unwrap();
    log.log_dir.close_clean().unwrap();
}

/// Everything in the log, read as a consumer would.
fn read_all(log: &Log) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut offset = log.log_start();
    while offset < log.log_end() {
        let slice = log.read(offset, 500, log.log_end(), true).unwrap().unwrap();
        let bytes: Bytes = slice.to_bytes().unwrap();
        let mut read = Batches::new(bytes);
        batches.extend(read.by_ref().map(Result::unwrap));
        assert!(read.rest().is_empty(), "a slice holds whole batches");
        offset = batches.last().unwrap().header.next_offset();
    }
    batches
}

/// Reads the records of uncompressed batches.
struct Plain;

impl BatchRecords for Plain {
    fn visit(
        &self,
        batch: &Batch,
        visit: &mut dyn FnMut(Offset, TimestampMs) -> bool,
    ) -> Result<(), UnreadableRecords> {
        let malformed = |e: String| UnreadableRecords::Malformed(e);
        for record in batch.iter().map_err(|e| malformed(e.to_string()))? {
            let record = record.map_err(|e| malformed(e.to_string()))?;
            if !visit(record.offset, record.timestamp) {
                break;
            }
        }
        Ok(())
    }
}

/// The first record with the largest timestamp, searched for to the end.
fn max_timestamp(log: &Log) -> Option<TimestampOffset> {
    let mut search = log.search_max_timestamp();
    while let Some(segment) = log.next_for_max_timestamp(&mut search).unwrap() {
        search.look_into(&segment, log.log_start(), &Plain).unwrap();
    }
    search.found()
}

fn with(change: impl FnOnce(&mut LogConfig)) -> Arc<LogConfig> {
    let mut config = LogConfig::clone(&config());
    change(&mut config);
    Arc::new(config)
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}
