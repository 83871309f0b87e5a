//! Random histories with power losses: what was flushed is there, nothing is invented.
//!
//! The disk is a model beside real files: a file keeps what it held at its last flush; of everything later any part may
//! be there, be missing, be zeroed or be garbage; creations, renames and removals that were not flushed may not have
//! happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsRawFd as _;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Append so many batches at once.
    Append(u8),
    /// Another leader.
    NextEpoch,
    /// Cut at this share of the log; a new leader follows.
    Truncate(u8),
    /// Delete records below this share of what is flushed, and their segments.
    Delete(u8),
    /// A flush as a whole.
    Flush,
    /// A flush begins: its completion comes later.
    BeginFlush,
    EndFlush,
    /// The flush point is due.
    FlushPoint,
    /// The process is killed; the kernel still has everything.
    Kill,
    /// A clean stop.
    Stop,
    /// All power is lost. The seed decides about what was not flushed.
    PowerLoss(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1..4_u8).prop_map(Step::Append),
        2 => Just(Step::NextEpoch),
        2 => any::<u8>().prop_map(Step::Truncate),
        1 => any::<u8>().prop_map(Step::Delete),
        4 => Just(Step::Flush),
        2 => Just(Step::BeginFlush),
        2 => Just(Step::EndFlush),
        3 => Just(Step::FlushPoint),
        1 => Just(Step::Kill),
        1 => Just(Step::Stop),
        3 => any::<u64>().prop_map(Step::PowerLoss),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_was_flushed_survives_and_nothing_is_invented(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            world.run(&step);
        }
        world.run(&Step::PowerLoss(7));
    }
}

/// What of the partition's directory is on disk for certain.
#[derive(Default)]
struct Durable {
    /// The directory itself.
    created: bool,
    names: BTreeSet<String>,
    /// Contents by inode name as of the last flush.
    contents: BTreeMap<String, Vec<u8>>,
}

struct World {
    temp: TempDir,
    log: Option<Log>,
    durable: Durable,
    in_flight: Option<FlushOutcome>,
    epoch: i32,
    seed: u64,
    /// The producer's next sequence: with one producer, the log end.
    sequence: i32,
    /// The log as it should be, and as it was before each truncation that a power loss may undo.
    model: Vec<Batch>,
    lineages: Vec<Vec<Batch>>,
}

fn tiny() -> Arc<LogConfig> {
    with(|c| (c.segment_bytes, c.index_interval_bytes) = (1200, 150))
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            temp: temp(),
            log: None,
            durable: Durable::default(),
            in_flight: None,
            epoch: 0,
            seed: 0,
            sequence: 0,
            model: Vec::new(),
            lineages: Vec::new(),
        };
        world.open(Offset(0));
        world
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn dir(&self) -> std::path::PathBuf {
        self.temp.path().join("topic-0")
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append(count) => self.append(*count),
            Step::NextEpoch => self.epoch += 1,
            Step::Truncate(share) => self.truncate(*share),
            Step::Delete(share) => self.delete(*share),
            Step::Flush => {
                self.end_flush();
                self.begin_flush();
                self.end_flush();
            }
            Step::BeginFlush => self.begin_flush(),
            Step::EndFlush => self.end_flush(),
            Step::FlushPoint => self.log().log_dir.write_flush_points().unwrap(),
            Step::Kill => {
                let flushed = self.log().flushed_end();
                self.log = None;
                self.open(flushed);
            }
            Step::Stop => self.stop(),
            Step::PowerLoss(seed) => {
                let flushed = self.log().flushed_end();
                self.log = None;
                self.lose_power(*seed);
                self.open(flushed);
                self.lineages.clear();
            }
        }
    }

    fn append(&mut self, count: u8) {
        let epoch = self.epoch;
        let batches: Vec<Batch> = (0..count)
            .map(|_| {
                self.seed += 1;
                let records = 1 + self.seed as i64 % 3;
                let batch = super::records(
                    BatchBuilder::new().producer(ProducerId(5), ProducerEpoch(0), self.sequence),
                    self.seed,
                    records,
                );
                self.sequence += records as i32;
                batch
            })
            .collect();
        let appended = self.log().append_as_leader(&batches, LeaderEpoch(epoch), NOW).unwrap();
        assert!(!appended.duplicate);
        let mut offset = appended.base_offset;
        for mut batch in batches {
            batch.header.base_offset = offset;
            batch.header.leader_epoch = LeaderEpoch(epoch);
            offset = batch.header.next_offset();
            self.model.push(batch);
        }
    }

    fn truncate(&mut self, share: u8) {
        let log = self.log();
        let (start, end) = (log.log_start().0, log.log_end().0);
        let at = Offset(start + (end - start) * i64::from(share) / 255);
        self.lineages.push(self.model.clone());
        if self.log().truncate_to(at).unwrap() {
            self.sync_names();
            self.note_cut();
        }
        self.model.retain(|batch| batch.header.last_offset() < at);
        self.epoch += 1;
        self.sequence = self.log().log_end().0 as i32;
        match self.model.last() {
            Some(last) => assert_eq!(self.log.as_ref().unwrap().log_end(), last.header.next_offset()),
            None => assert!(self.log().log_end() <= at),
        }
    }

    fn delete(&mut self, share: u8) {
        let log = self.log();
        let flushed = log.flushed_end();
        let at = Offset(log.log_start().0 + (flushed.0 - log.log_start().0).max(0) * i64::from(share) / 255);
        log.raise_log_start(at).unwrap();
        let retired = log.retention(NOW, flushed).unwrap();
        if !retired.is_empty() {
            set_segments_aside(std::slice::from_ref(&retired)).unwrap();
            remove_segments(&[retired]).unwrap();
            self.sync_names();
        }
    }

    fn begin_flush(&mut self) {
        if self.in_flight.is_none()
            && let Some(ticket) = self.log().take_flush_ticket()
        {
            self.in_flight = Some(self.flush(ticket));
        }
    }

    fn end_flush(&mut self) {
        if let Some(outcome) = self.in_flight.take() {
            self.log().complete_flush(&outcome);
        }
    }

    /// Carries a flush out and takes note of what is on disk by it.
    fn flush(&mut self, ticket: FlushTicket) -> FlushOutcome {
        let links = ticket
            .files
            .iter()
            .map(|dirty| format!("/proc/self/fd/{}", dirty.file.as_raw_fd()));
        let flushed: Vec<_> = links.map(|link| fs::read_link(link).unwrap()).collect();
        let (dir, created, epochs) = (
            ticket.dir.is_some(),
            ticket.created.is_some(),
            ticket.epoch_checkpoint.is_some(),
        );
        let outcome = ticket.flush();
        assert!(outcome.is_flushed());
        let mut names: Vec<String> = flushed
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.extend(epochs.then(|| super::leader_epochs::FILE_NAME.to_owned()));
        for name in names {
            // A file that was unlinked meanwhile has no name to be found under.
            if let Ok(content) = fs::read(self.dir().join(&name)) {
                self.durable.contents.insert(name, content);
            }
        }
        if dir {
            self.sync_names();
        }
        self.durable.created |= created;
        outcome
    }

    /// A cut waits for the disk: what is left of the last segment.
    fn note_cut(&mut self) {
        if let Some(cut) = self.names().into_iter().rfind(|name| name.ends_with(".log")) {
            let content = fs::read(self.dir().join(&cut)).unwrap();
            self.durable.contents.insert(cut, content);
        }
    }

    fn sync_names(&mut self) {
        self.durable.names = self.names();
        let names = &self.durable.names;
        self.durable.contents.retain(|name, _| names.contains(name));
    }

    fn names(&self) -> BTreeSet<String> {
        super::log_dir::list(&self.dir())
            .unwrap_or_default()
            .into_iter()
            .collect()
    }

    fn stop(&mut self) {
        self.end_flush();
        self.log().prepare_close().unwrap();
        if let Some(ticket) = self.log().take_flush_ticket() {
            let outcome = self.flush(ticket);
            self.log().complete_flush(&outcome);
        }
        let log = self.log.take().unwrap();
        log.log_dir.close_clean().unwrap();
        let end = log.log_end();
        drop(log);
        let before = self.model.clone();
        self.open(end);
        assert_eq!(self.model, before);
        self.lineages.clear();
        assert_eq!(self.log().flushed_end(), end, "a clean stop needs no flush");
    }

    /// A process starts: everything below `flushed` must be there.
    fn open(&mut self, flushed: Offset) {
        self.in_flight = None;
        let log_dir = LogDir::open(self.temp.path(), 64).unwrap();
        let (log, recovery) = try_open(&log_dir, &tiny()).unwrap();
        assert_eq!(recovery.short, None);
        if !self.dir().is_dir() {
            self.durable = Durable::default(); // moved aside
        }
        if recovery.removed_segments > 0 {
            self.sync_names();
        }
        if recovery.cut_bytes > 0 {
            self.note_cut();
        }
        let found = read_all(&log);
        let mut history = self.check(&log, &found, flushed);
        self.sequence = log.log_end().0 as i32;
        // What lies below the log start may be read again if the start was not on disk.
        history.extend(found);
        self.model = history;
        self.epoch += 1;
        self.log = Some(log);
    }

    /// Returns what was appended before the first batch found.
    fn check(&self, log: &Log, found: &[Batch], flushed: Offset) -> Vec<Batch> {
        for pair in found.windows(2) {
            assert_eq!(pair[0].header.next_offset(), pair[1].header.base_offset);
            assert!(pair[0].header.leader_epoch <= pair[1].header.leader_epoch);
        }
        let below =
            |batch: &&Batch| batch.header.last_offset() < flushed && batch.header.last_offset() >= log.log_start();
        for batch in self.model.iter().filter(below) {
            assert!(
                found.contains(batch),
                "flushed batch at {} is lost",
                batch.header.base_offset
            );
        }
        assert!(
            log.log_end() >= flushed,
            "the log ends at {} below {flushed}",
            log.log_end()
        );
        let before = |lineage: &Vec<Batch>| {
            let from = match found.first() {
                Some(first) => lineage.iter().position(|batch| batch == first)?,
                None => lineage.partition_point(|batch| batch.header.base_offset < log.log_end()),
            };
            lineage[from..].starts_with(found).then(|| lineage[..from].to_vec())
        };
        let history = self.lineages.iter().chain([&self.model]).rev().find_map(before);
        let history = history.expect("the log holds what was never appended");
        for batch in found.iter().filter(|batch| batch.header.base_offset >= log.log_start()) {
            assert_eq!(
                log.leader_epochs().epoch_at(batch.header.base_offset),
                Some(batch.header.leader_epoch)
            );
        }
        for batch in found.iter().rev().take(RETAINED_BATCHES) {
            assert_eq!(
                log.check_sequence(&batch.header).unwrap().map(|b| b.base_offset()),
                Some(batch.header.base_offset)
            );
        }
        let records = found.iter().flat_map(|batch| batch.iter().unwrap().map(Result::unwrap));
        let visible = records
            .filter(|record| record.offset >= log.log_start())
            .map(|record| record.timestamp)
            .max();
        let largest = max_timestamp(log).map(|found| found.timestamp);
        assert_eq!(largest, visible);
        history
    }

    /// Replaces the data directory by one that the disk may hold now.
    fn lose_power(&mut self, seed: u64) {
        let mut random = Random(seed | 1);
        let after = temp();
        for entry in fs::read_dir(self.temp.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), after.path().join(entry.file_name())).unwrap();
            }
        }
        let mut now = Durable {
            created: self.durable.created,
            ..Durable::default()
        };
        if self.dir().is_dir() && (self.durable.created || random.below(2) == 0) {
            let to = after.path().join("topic-0");
            fs::create_dir(&to).unwrap();
            for name in self.durable.names.union(&self.names()) {
                let current = fs::read(self.dir().join(name)).ok();
                let flushed = self.durable.contents.get(name);
                let certain = self.durable.names.contains(name) && current.is_some();
                if !certain && random.below(2) == 0 {
                    continue;
                }
                let content = surviving(name, flushed, current.as_ref(), &mut random);
                fs::write(to.join(name), &content).unwrap();
                now.contents.insert(name.clone(), content);
                now.names.insert(name.clone());
            }
            now.created = true;
        }
        self.durable = now;
        self.temp = after;
    }
}

/// What a file may hold after a power loss.
fn surviving(name: &str, flushed: Option<&Vec<u8>>, current: Option<&Vec<u8>>, random: &mut Random) -> Vec<u8> {
    let empty = Vec::new();
    let old = flushed.unwrap_or(&empty);
    let new = current.unwrap_or(old);
    if name == super::leader_epochs::FILE_NAME {
        // Replaced as a whole: one or the other.
        return if flushed.is_some() && random.below(2) == 0 {
            old.clone()
        } else {
            new.clone()
        };
    }
    let common = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    if common < old.len() && random.below(2) == 0 {
        return old.clone(); // cut or rewritten since: that may not have happened
    }
    let cut = common + random.below(new.len() - common + 1);
    let mut content = new[..cut].to_vec();
    let page = [64, 512, 4096][random.below(3)];
    for chunk in content[common..].chunks_mut(page) {
        match random.below(6) {
            0 => chunk.fill(0),
            1 => chunk.iter_mut().for_each(|byte| *byte ^= random.next() as u8),
            _ => {}
        }
    }
    content
}

/// xorshift: the same seed, the same power loss.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound
    }
}
