//! What clients were told, and what therefore must hold: nothing acknowledged is lost, nothing is there twice where the
//! producer is idempotent, order is kept, and neither high watermarks nor committed offsets go back.

use kafka_protocol::records::Record;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// A partition and an offset.
pub type Place = (i32, i64);

/// All that the clients of one topic were told.
#[derive(Default)]
pub struct History {
    /// The number in each acknowledged record, by partition and offset.
    pub acknowledged: HashMap<Place, u64>,
    /// Partition and number of records that were acknowledged without their offset: librdkafka knows that a batch is there
    /// when the next one of an idempotent producer is taken, though its own answer was lost or said that it took too long.
    pub acknowledged_somewhere: HashSet<(i32, u64)>,
    /// What a consumer was given, by partition and offset: it must stay.
    pub read: HashMap<Place, u64>,
    /// The last acknowledged commit of each partition.
    pub committed: HashMap<i32, i64>,
    /// A partition and offset that the last acknowledged commit brought forward.
    pub last_commit: Option<Place>,
    /// Errors that no client should have seen, and broken promises seen on the way.
    pub wrong: Vec<String>,
}

/// A history that several clients write.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<History>>);

impl Shared {
    /// Looks at it, or adds to it.
    ///
    /// # Panics
    /// When another holder has panicked.
    pub fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().expect("no holder panics")
    }

    /// Notes a broken promise.
    pub fn wrong(&self, what: String) {
        self.lock().wrong.push(what);
    }

    /// A record was acknowledged.
    pub fn acknowledged(&self, place: Place, number: u64) {
        let mut history = self.lock();
        if place.1 < 0 {
            history.acknowledged_somewhere.insert((place.0, number));
            return;
        }
        if let Some(other) = history.acknowledged.insert(place, number) {
            let twice = format!("{place:?} was acknowledged for {other} and for {number}");
            history.wrong.push(twice);
        }
    }

    /// A consumer was given a record.
    pub fn read(&self, place: Place, number: u64) {
        let mut history = self.lock();
        if let Some(before) = history.read.insert(place, number).filter(|before| *before != number) {
            let changed = format!("{place:?} was read as {before} and then as {number}");
            history.wrong.push(changed);
        }
    }

    /// A commit was acknowledged.
    pub fn committed(&self, places: &[Place]) {
        let mut history = self.lock();
        for (partition, offset) in places {
            if let Some(before) = history
                .committed
                .insert(*partition, *offset)
                .filter(|before| before > offset)
            {
                let back = format!("the group was sent back from {before} to {offset} in partition {partition}");
                history.wrong.push(back);
            }
        }
        history.last_commit = places.first().copied();
    }
}

/// How a producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Idempotent: every record once, in order.
    Once,
    /// Not idempotent, one request at a time: a record may be there again, in order.
    AtLeastOnce,
}

impl History {
    /// How many records were acknowledged, with their offset or without.
    #[must_use]
    pub fn count_acknowledged(&self) -> u64 {
        (self.acknowledged.len() + self.acknowledged_somewhere.len()) as u64
    }

    /// Fails when a promise was broken on the way.
    ///
    /// # Panics
    /// With all that went wrong.
    pub fn check(&self, when: &str) {
        assert!(self.wrong.is_empty(), "{when}: {}", self.wrong.join("\n"));
    }

    /// Checks a partition, read from its start, against the history: `records` are all that there are, `sent` numbers
    /// were sent to it. Returns what is wrong.
    pub fn check_partition(
        &self,
        partition: i32,
        records: &[Record],
        delivery: Delivery,
        sent: &BTreeSet<u64>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let (mut seen, mut last) = (HashSet::new(), None);
        for (expected, record) in records.iter().enumerate() {
            let number = number_of(record.value.as_deref());
            let place = (partition, record.offset);
            if record.offset != expected as i64 {
                wrong.push(format!("{place:?}: a gap, {expected} was expected"));
                break;
            }
            let new = seen.insert(number);
            match delivery {
                Delivery::Once if !new => wrong.push(format!("{place:?}: {number} is there twice")),
                Delivery::Once
                    if self.acknowledged.get(&place) != Some(&number)
                        && !self.acknowledged_somewhere.contains(&(partition, number)) =>
                {
                    let told = self.acknowledged.get(&place);
                    wrong.push(format!("{place:?} holds {number}, acknowledged was {told:?}"));
                }
                _ => {}
            }
            if new && last >= Some(number) {
                wrong.push(format!("{place:?}: {number} comes after {last:?}"));
            }
            last = last.max(Some(number));
            if let Some(read) = self.read.get(&place).filter(|read| **read != number) {
                wrong.push(format!("{place:?} holds {number}, a consumer was given {read}"));
            }
        }
        let at = |offset: i64| records.get(offset as usize).map(|r| number_of(r.value.as_deref()));
        for (place, number) in self.acknowledged.iter().filter(|(place, _)| place.0 == partition) {
            if at(place.1) != Some(*number) {
                wrong.push(format!(
                    "lost: {place:?} was acknowledged for {number}, there is {:?}",
                    at(place.1)
                ));
            }
        }
        let somewhere = self.acknowledged_somewhere.iter();
        for (_, number) in somewhere.filter(|(of, number)| *of == partition && !seen.contains(number)) {
            wrong.push(format!("lost: {number} was acknowledged in partition {partition}"));
        }
        let end = records.len() as i64;
        let gone = self
            .read
            .keys()
            .filter(|place| place.0 == partition && place.1 >= end)
            .count();
        if gone > 0 {
            wrong.push(format!(
                "partition {partition}: {gone} records that a consumer was given are gone"
            ));
        }
        let missing: Vec<u64> = sent
            .iter()
            .filter(|number| !seen.contains(number))
            .copied()
            .take(10)
            .collect();
        if !missing.is_empty() {
            wrong.push(format!(
                "partition {partition} lacks {missing:?}, which were sent and never given up"
            ));
        }
        let unsent: Vec<u64> = seen
            .iter()
            .filter(|number| !sent.contains(number))
            .copied()
            .take(10)
            .collect();
        if !unsent.is_empty() {
            wrong.push(format!(
                "partition {partition} holds {unsent:?}, which nobody sent there"
            ));
        }
        wrong.truncate(20);
        wrong
    }

    /// What a group has committed, it has read: the records below that no member was given.
    pub fn skipped(&self, partition: i32) -> Vec<i64> {
        let committed = self.committed.get(&partition).copied().unwrap_or(0);
        (0..committed)
            .filter(|offset| !self.read.contains_key(&(partition, *offset)))
            .take(10)
            .collect()
    }
}

/// The number that a record of ours carries.
///
/// # Panics
/// When it is none of ours.
pub fn number_of(payload: Option<&[u8]>) -> u64 {
    let text = std::str::from_utf8(payload.unwrap_or_default()).unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("every value starts with its number")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::{Producer, batch};
    use kafka_protocol::records::RecordBatchDecoder;

    fn log(numbers: &[u64]) -> Vec<Record> {
        let values: Vec<String> = numbers.iter().map(|n| format!("{n} x")).collect();
        let pairs: Vec<(Option<&str>, &str)> = values.iter().map(|v| (None, v.as_str())).collect();
        RecordBatchDecoder::decode(&mut batch(&pairs, Producer::NONE))
            .expect("a batch")
            .records
    }

    fn told(numbers: &[u64]) -> History {
        let shared = Shared::default();
        for (offset, number) in numbers.iter().enumerate() {
            shared.acknowledged((0, offset as i64), *number);
        }
        std::mem::take(&mut *shared.lock())
    }

    #[test]
    fn a_whole_log_is_found_whole_and_each_fault_is_named() {
        let sent = BTreeSet::from([1, 2, 3]);
        let check = |log_of: &[u64], told_of: &[u64], delivery| {
            told(told_of)
                .check_partition(0, &log(log_of), delivery, &sent)
                .join("; ")
        };
        assert_eq!(check(&[1, 2, 3], &[1, 2, 3], Delivery::Once), "");
        assert_eq!(check(&[1, 1, 2, 3], &[1], Delivery::AtLeastOnce), "");
        assert!(check(&[1, 2], &[1, 2, 3], Delivery::Once).contains("lost: (0, 2)"));
        assert!(check(&[1, 2, 2, 3], &[1, 2, 2, 3], Delivery::Once).contains("2 is there twice"));
        assert!(check(&[1, 3, 2], &[1, 3, 2], Delivery::Once).contains("2 comes after Some(3)"));
        assert!(check(&[1, 2, 3], &[1, 3], Delivery::Once).contains("acknowledged was Some(3)"));
        assert!(check(&[1, 3], &[1, 3], Delivery::Once).contains("lacks [2]"));
        assert!(check(&[1, 2, 3, 9], &[1, 2, 3], Delivery::AtLeastOnce).contains("nobody sent"));
    }

    #[test]
    fn what_was_acknowledged_without_an_offset_is_there_once() {
        let sent = BTreeSet::from([1, 2, 3]);
        let check = |log_of: &[u64]| {
            let shared = Shared::default();
            shared.acknowledged((0, 0), 1);
            shared.acknowledged((0, -1001), 2);
            shared.acknowledged((0, -1001), 3);
            assert!(shared.lock().wrong.is_empty());
            assert_eq!(shared.lock().count_acknowledged(), 3);
            shared
                .lock()
                .check_partition(0, &log(log_of), Delivery::Once, &sent)
                .join("; ")
        };
        assert_eq!(check(&[1, 2, 3]), "");
        assert!(check(&[1, 2]).contains("lost: 3 was acknowledged"));
        assert!(check(&[1, 2, 2, 3]).contains("2 is there twice"));
    }

    #[test]
    fn what_was_read_stays_and_commits_never_go_back() {
        let shared = Shared::default();
        shared.read((0, 0), 1);
        shared.read((0, 1), 2);
        shared.committed(&[(0, 2)]);
        assert!(shared.lock().wrong.is_empty() && shared.lock().skipped(0).is_empty());
        let gone = shared
            .lock()
            .check_partition(0, &log(&[1]), Delivery::AtLeastOnce, &BTreeSet::from([1, 2]));
        assert!(
            gone.join(";").contains("1 records that a consumer was given are gone"),
            "{gone:?}"
        );
        shared.read((0, 1), 3);
        shared.committed(&[(0, 1)]);
        assert_eq!(shared.lock().wrong.len(), 2);
        shared.committed(&[(0, 4)]);
        assert_eq!(shared.lock().skipped(0), [2, 3]);
    }
}
