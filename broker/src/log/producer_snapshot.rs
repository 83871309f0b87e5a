//! Producer state on disk: Kafka's `<offset>.snapshot`, version 1.
//!
//! Kafka writes one entry per producer, its last batch. We write one per remembered batch, oldest first: Kafka's reader
//! keeps the last entry of a producer id and so reads what it would have written, and we recognise retries of all of
//! a producer's batches in flight also after a restart.

use std::path::{Path, PathBuf};

use highwater_proto::record::crc32c;
use highwater_proto::types::{Offset, ProducerEpoch, ProducerId, TimestampMs};

use crate::log::error::LogError;
use crate::log::files::remove_file;
use crate::log::producer_state::{ProducerBatch, ProducerEntry, ProducerState, RETAINED_BATCHES};

const VERSION: i16 = 1;
/// Version and checksum; the checksum covers what follows.
const HEADER_SIZE: usize = 6;
/// Producer id, epoch, last sequence, last offset, offset delta, timestamp, coordinator epoch, transaction's first
/// offset.
const ENTRY_SIZE: usize = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8;

/// Path of the snapshot that reflects everything below `end`.
pub(super) fn path(dir: &Path, end: Offset) -> PathBuf {
    dir.join(format!("{end:020}.snapshot", end = end.0))
}

/// The file's content.
pub(super) fn encode(state: &ProducerState) -> Vec<u8> {
    let mut producers: Vec<_> = state.entries().collect();
    producers.sort_unstable_by_key(|(id, _)| *id);
    let mut body = vec![0; 4];
    let mut count: i32 = 0;
    for (id, entry) in producers {
        // A producer of which only a marker is known is written without a batch, as Kafka does.
        let none = [ProducerBatch {
            last_sequence: -1,
            last_offset: Offset(-1),
            offset_delta: 0,
            timestamp: entry.last_timestamp,
        }];
        let batches = if entry.batches.is_empty() {
            &none[..]
        } else {
            &entry.batches[..]
        };
        for (at, batch) in batches.iter().enumerate() {
            // The newest entry carries the producer's own timestamp, which a marker may have moved.
            let newest = at + 1 == batches.len();
            let timestamp = if newest { entry.last_timestamp } else { batch.timestamp };
            body.extend_from_slice(&id.0.to_be_bytes());
            body.extend_from_slice(&entry.epoch.0.to_be_bytes());
            body.extend_from_slice(&batch.last_sequence.to_be_bytes());
            body.extend_from_slice(&batch.last_offset.0.to_be_bytes());
            body.extend_from_slice(&batch.offset_delta.to_be_bytes());
            body.extend_from_slice(&timestamp.0.to_be_bytes());
            body.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
            body.extend_from_slice(&entry.txn_first_offset.map_or(-1, |offset| offset.0).to_be_bytes());
            count += 1;
        }
    }
    body[..4].copy_from_slice(&count.to_be_bytes());
    let mut file = Vec::with_capacity(HEADER_SIZE + body.len());
    file.extend_from_slice(&VERSION.to_be_bytes());
    file.extend_from_slice(&crc32c(&body).to_be_bytes());
    file.extend_from_slice(&body);
    file
}

/// Reads a snapshot; None if it is damaged or of another version, which an older one and the log itself make up for.
pub(super) fn decode(end: Offset, file: &[u8]) -> Option<ProducerState> {
    let (header, body) = file.split_at_checked(HEADER_SIZE)?;
    let crc = u32::from_be_bytes(*header[2..].first_chunk()?);
    let (count, entries) = body.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
    let whole = i16::from_be_bytes(*header.first_chunk()?) == VERSION
        && crc == crc32c(body)
        && Some(entries.len()) == count.checked_mul(ENTRY_SIZE);
    if !whole {
        return None;
    }
    let mut producers: Vec<(ProducerId, ProducerEntry)> = Vec::with_capacity(count);
    for bytes in entries.chunks_exact(ENTRY_SIZE) {
        let (id, entry) = decode_entry(bytes)?;
        match producers.last_mut() {
            Some((last, known)) if *last == id && known.epoch == entry.epoch => merge(known, entry),
            _ => producers.push((id, entry)),
        }
    }
    Some(ProducerState::from_entries(end, producers))
}

fn merge(known: &mut ProducerEntry, newer: ProducerEntry) {
    if known.batches.len() == RETAINED_BATCHES {
        known.batches.remove(0);
    }
    known.batches.extend(newer.batches);
    known.last_timestamp = newer.last_timestamp;
    known.coordinator_epoch = newer.coordinator_epoch;
    known.txn_first_offset = newer.txn_first_offset;
}

fn decode_entry(bytes: &[u8]) -> Option<(ProducerId, ProducerEntry)> {
    let int64 = |at: usize| Some(i64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let int32 = |at: usize| Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let epoch = ProducerEpoch(i16::from_be_bytes(*bytes.get(8..)?.first_chunk()?));
    let timestamp = TimestampMs(int64(26)?);
    let batch = ProducerBatch {
        last_sequence: int32(10)?,
        last_offset: Offset(int64(14)?),
        offset_delta: int32(22)?,
        timestamp,
    };
    let entry = ProducerEntry {
        epoch,
        batches: if batch.last_offset.0 < 0 {
            Vec::new()
        } else {
            vec![batch]
        }
        .into(),
        last_timestamp: timestamp,
        coordinator_epoch: int32(34)?,
        txn_first_offset: Some(int64(38)?).filter(|first| *first >= 0).map(Offset),
    };
    Some((ProducerId(int64(0)?), entry))
}

/// Offsets of the snapshots in a directory, ascending.
pub(super) fn list(names: &[String]) -> Vec<Offset> {
    let mut offsets: Vec<Offset> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".snapshot"))
        .filter(|digits| digits.len() == 20)
        .filter_map(|digits| digits.parse().ok().map(Offset))
        .collect();
    offsets.sort_unstable();
    offsets
}

/// Removes the snapshots for which `doomed` holds.
pub(super) fn remove(dir: &Path, offsets: &[Offset], doomed: impl Fn(Offset) -> bool) -> Result<(), LogError> {
    offsets
        .iter()
        .filter(|offset| doomed(**offset))
        .try_for_each(|offset| remove_file(&path(dir, *offset)))
}

#[cfg(test)]
mod tests {
    use highwater_proto::record::BatchBuilder;

    use super::*;

    fn state() -> ProducerState {
        let mut state = ProducerState::empty_at(Offset(0));
        for i in 0..21_i64 {
            let (id, epoch, round) = (i % 3, 4, (i / 3) as i32);
            let mut batch =
                BatchBuilder::new()
                    .base_offset(Offset(i))
                    .producer(ProducerId(id), ProducerEpoch(epoch), round);
            batch.append(TimestampMs(1000 + i), None, Some(b"v"), &[]).unwrap();
            state.update(&batch.build().unwrap().header);
        }
        state
    }

    #[test]
    fn a_snapshot_reads_back_with_all_remembered_batches() {
        let state = state();
        let read = decode(Offset(21), &encode(&state)).unwrap();
        assert_eq!(read.len(), 3);
        for (id, entry) in read.entries() {
            let (_, original) = state.entries().find(|(other, _)| *other == id).unwrap();
            assert_eq!(entry, original);
            assert_eq!(entry.batches.len(), RETAINED_BATCHES);
        }
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let good = encode(&state());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(decode(Offset(21), &bad).is_none(), "byte {at}");
            assert!(decode(Offset(21), &good[..at]).is_none(), "cut at {at}");
        }
    }
}
