//! What a power cut may leave of a data folder: everything that was not flushed may be gone, cut short, or garbage.
//!
//! The state after a kill -9 is turned into one that a power cut at the same moment could have left. What counts as
//! flushed is what was acknowledged to a client with acks=all or given to a consumer, and what the broker's own
//! `flush-point` file vouches for; anything behind that is fair game.

use crate::raw::whole_batches;
use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const PAGE: u64 = 4096;

/// What was done, for the log of a failed run.
pub type Damage = Vec<String>;

/// Damages what was not flushed below `log_dir`. `flushed` holds, by folder name (`topic-partition`), the offset below
/// which everything was acknowledged or read.
///
/// # Panics
/// When acknowledged bytes are missing already: then they are lost by a mere kill -9.
pub fn power_cut(log_dir: &Path, flushed: &HashMap<String, i64>, rng: &mut StdRng) -> Damage {
    let mut damage = Damage::new();
    let recorded = flush_points(log_dir);
    let mut dirs: Vec<PathBuf> = fs::read_dir(log_dir)
        .expect("the log dir")
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect();
    dirs.sort();
    for dir in dirs {
        let name = dir.file_name().expect("a name").to_string_lossy().into_owned();
        let Some((_, number)) = name.rsplit_once('-') else {
            continue;
        };
        // Apache Kafka's metadata log: nobody outside knows what of it was flushed.
        if number.parse::<u32>().is_err() || name.starts_with("__cluster_metadata") {
            continue;
        }
        let known = |table: &HashMap<String, i64>| table.get(&name).copied().unwrap_or(0);
        let keep = known(flushed).max(known(&recorded));
        damage_partition(&dir, keep, rng, &mut damage);
    }
    damage
}

/// The end offsets in `flush-point`: a version, a count, then `topic partition topic-id end epoch` lines.
fn flush_points(log_dir: &Path) -> HashMap<String, i64> {
    let text = fs::read_to_string(log_dir.join("flush-point")).unwrap_or_default();
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [topic, partition, _, end, _] = fields[..] else {
            return None;
        };
        Some((format!("{topic}-{partition}"), end.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

fn damage_partition(dir: &Path, keep: i64, rng: &mut StdRng, damage: &mut Damage) {
    let bases = segments(dir);
    if keep == 0 && rng.random_bool(0.3) {
        fs::remove_dir_all(dir).expect("a folder of ours");
        damage.push(format!("{}: never created", dir.display()));
        return;
    }
    for (i, base) in bases.iter().enumerate() {
        let next = bases.get(i + 1).copied();
        if next.is_none_or(|n| n > keep) {
            damage_segment(&segment(dir, *base, "log"), *base, keep, rng, damage);
        }
        // A batch in the next segment was flushed, and with it all that was dirty before.
        if next.is_none_or(|n| n >= keep) {
            for kind in ["index", "timeindex"] {
                damage_from(&segment(dir, *base, kind), 0, rng, damage);
            }
        }
    }
    for entry in fs::read_dir(dir).expect("a folder of ours").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let offset = name.strip_suffix(".snapshot").and_then(|n| n.parse::<i64>().ok());
        if offset.is_some_and(|o| o > keep) && rng.random_bool(0.5) {
            remove(&entry.path(), damage);
        }
    }
}

fn damage_segment(path: &Path, base: i64, keep: i64, rng: &mut StdRng, damage: &mut Damage) {
    if base >= keep && base > 0 && rng.random_bool(0.2) {
        remove(path, damage);
        return;
    }
    let from = position(path, base, keep);
    damage_from(path, from, rng, damage);
}

/// Cuts the file somewhere behind `from`, or zeroes or garbles pages behind it, or leaves it.
fn damage_from(path: &Path, from: u64, rng: &mut StdRng, damage: &mut Damage) {
    let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else {
        return;
    };
    let mut end = file.metadata().expect("an open file").len();
    if end <= from {
        return;
    }
    if rng.random_bool(0.6) {
        let to = rng.random_range(from..=end);
        file.set_len(to).expect("a file of ours");
        damage.push(format!("{}: cut from {end} to {to}, flushed {from}", path.display()));
        end = to;
    }
    if rng.random_bool(0.6) {
        let spoilt = rng.random_range(0.05..0.9);
        for page in from / PAGE..end.div_ceil(PAGE) {
            if rng.random_bool(spoilt) {
                spoil(&file, (page * PAGE).max(from), ((page + 1) * PAGE).min(end), rng);
            }
        }
        damage.push(format!(
            "{}: {spoilt:.2} of the pages behind {from} spoilt",
            path.display()
        ));
    }
}

fn spoil(file: &File, from: u64, to: u64, rng: &mut StdRng) {
    let mut bytes = vec![0; (to - from) as usize];
    if rng.random_bool(0.5) {
        rng.fill_bytes(&mut bytes);
    }
    file.write_all_at(&bytes, from).expect("a file of ours");
}

fn remove(path: &Path, damage: &mut Damage) {
    if fs::remove_file(path).is_ok() {
        damage.push(format!("{}: never created", path.display()));
    }
}

/// Base offsets of the segments of a partition, ascending.
pub fn segments(dir: &Path) -> Vec<i64> {
    let names = fs::read_dir(dir)
        .expect("a folder of ours")
        .flatten()
        .map(|e| e.file_name());
    let mut bases: Vec<i64> = names
        .filter_map(|n| n.to_string_lossy().strip_suffix(".log").and_then(|b| b.parse().ok()))
        .collect();
    bases.sort_unstable();
    bases
}

/// A file of a segment.
pub fn segment(dir: &Path, base: i64, kind: &str) -> PathBuf {
    dir.join(format!("{base:020}.{kind}"))
}

/// Checks that the folders hold whole batches up to these offsets.
///
/// # Panics
/// When one does not: what a client was told is lost.
pub fn check_whole(log_dir: &Path, flushed: &HashMap<String, i64>) {
    for (name, end) in flushed {
        let dir = log_dir.join(name);
        let base = segments(&dir).into_iter().rfind(|base| base < end);
        let base = base.unwrap_or_else(|| panic!("{name}: nothing below offset {end}, which a client was told of"));
        let path = segment(&dir, base, "log");
        let to = position(&path, base, *end);
        let mut batches = Bytes::from(fs::read(&path).expect("a file of ours")).slice(..to as usize);
        while !batches.is_empty() {
            let read = RecordBatchDecoder::decode(&mut batches);
            if let Err(e) = read {
                panic!("{}: {e} below offset {end}", path.display());
            }
        }
    }
}

/// Where in the file the first batch at or behind `offset` begins.
fn position(path: &Path, base: i64, offset: i64) -> u64 {
    let bytes = fs::read(path).expect("a file of ours");
    let (mut at, mut next) = (0, base);
    while next < offset {
        let header = bytes.get(at..at + 61).unwrap_or_default();
        assert!(
            header.len() == 61,
            "{}: ends at offset {next}, acknowledged are {offset}",
            path.display()
        );
        let number = |from: usize| i32::from_be_bytes(header[from..from + 4].try_into().expect("four bytes"));
        next = i64::from_be_bytes(header[..8].try_into().expect("eight bytes")) + i64::from(number(23)) + 1;
        at += 12 + number(8) as usize;
        assert!(
            at <= bytes.len(),
            "{}: torn below offset {offset}, which is acknowledged",
            path.display()
        );
    }
    at as u64
}

/// The folder of `__consumer_offsets` that holds the group, and the offset behind the last commit of this very offset
/// for this partition. `None` when no folder holds it.
pub fn commit_end(log_dir: &Path, group: &str, topic: &str, partition: i32, offset: i64) -> Option<(String, i64)> {
    let dirs = fs::read_dir(log_dir).expect("the log dir").flatten().map(|e| e.path());
    let mut found = None;
    for dir in dirs {
        let name = dir.file_name().expect("a name").to_string_lossy().into_owned();
        if !name.starts_with("__consumer_offsets-") || name.ends_with("-delete") {
            continue;
        }
        for base in segments(&dir) {
            let bytes = Bytes::from(fs::read(segment(&dir, base, "log")).expect("a file of ours"));
            let mut bytes = whole_batches(bytes);
            while let Ok(batch) = RecordBatchDecoder::decode(&mut bytes) {
                let last = batch.records.last().map_or(0, |r| r.offset);
                let holds = batch.records.iter().any(|r| {
                    let commit = r
                        .key
                        .as_deref()
                        .zip(r.value.as_deref())
                        .and_then(|(k, v)| read_commit(k, v));
                    commit == Some((group.to_owned(), topic.to_owned(), partition, offset))
                });
                if holds {
                    found = Some((name.clone(), last + 1));
                }
                if bytes.is_empty() {
                    break;
                }
            }
        }
    }
    found
}

/// Group, topic, partition and offset of an OffsetCommit record; `None` for another kind of record.
fn read_commit(key: &[u8], value: &[u8]) -> Option<(String, String, i32, i64)> {
    let version = i16::from_be_bytes(key.get(..2)?.try_into().ok()?);
    if !(0..=1).contains(&version) {
        return None;
    }
    let string = |at: usize| {
        let length = i16::from_be_bytes(key.get(at..at + 2)?.try_into().ok()?) as usize;
        let text = String::from_utf8(key.get(at + 2..at + 2 + length)?.to_vec()).ok()?;
        Some((text, at + 2 + length))
    };
    let (group, at) = string(2)?;
    let (topic, at) = string(at)?;
    let partition = i32::from_be_bytes(key.get(at..at + 4)?.try_into().ok()?);
    let offset = i64::from_be_bytes(value.get(2..10)?.try_into().ok()?);
    Some((group, topic, partition, offset))
}
