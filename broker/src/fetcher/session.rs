//! The follower's side of a fetch session (KIP-227): the leader remembers what is fetched, so that a request names only
//! what changed since the one before. Pure.

use std::collections::HashMap;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::fetch::request::{FetchPartition, FetchTopic, ForgottenTopic};
use highwater_proto::types::{TopicId, TopicPartition};

use crate::partition::FetchPoint;

/// Epoch of a request that begins a session and names everything.
const FULL: i32 = 0;

/// What is fetched from one leader, and what of it the leader knows.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    /// 0 while there is none.
    id: i32,
    /// Of the next request.
    epoch: i32,
    wanted: HashMap<TopicPartition, Wanted, foldhash::fast::RandomState>,
    /// Wanted partitions that the next request has to name. A partition may be in here that is not wanted any more.
    changed: Vec<TopicPartition>,
    /// What the leader knows and is not wanted any more.
    forgotten: Vec<TopicPartition>,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    point: FetchPoint,
    /// The leader has heard of it in this session.
    known: bool,
    /// It is in `changed`.
    changed: bool,
}

/// The part of a Fetch request that the session is about.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SessionRequest {
    pub(super) id: i32,
    pub(super) epoch: i32,
    pub(super) topics: Vec<FetchTopic>,
    pub(super) forgotten: Vec<ForgottenTopic>,
}

impl FetchSession {
    /// Fetches a partition from here on, or from another point.
    pub(super) fn put(&mut self, key: TopicPartition, point: FetchPoint) {
        let wanted = self.wanted.entry(key).or_insert(Wanted {
            point,
            known: false,
            changed: false,
        });
        if wanted.known && wanted.point == point {
            return;
        }
        wanted.point = point;
        if !std::mem::replace(&mut wanted.changed, true) {
            self.changed.push(key);
        }
    }

    /// Fetches a partition no longer.
    pub(super) fn remove(&mut self, key: TopicPartition) {
        if self.wanted.remove(&key).is_some_and(|wanted| wanted.known) {
            self.forgotten.push(key);
        }
    }

    /// Where a partition is fetched from, and whether the leader knows that already.
    pub(super) fn point(&self, key: TopicPartition) -> Option<(FetchPoint, bool)> {
        self.wanted.get(&key).map(|wanted| (wanted.point, !wanted.changed))
    }

    /// True if there is something that the leader does not know yet, in a session that it knows.
    pub(super) fn has_news(&self) -> bool {
        self.epoch != FULL && !(self.changed.is_empty() && self.forgotten.is_empty())
    }

    /// True if the next request begins a session.
    pub(super) fn is_new(&self) -> bool {
        self.epoch == FULL
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// The next request. `max_bytes` is per partition.
    pub(super) fn request(&mut self, max_bytes: i32) -> SessionRequest {
        let full = self.epoch == FULL;
        let mut named = std::mem::take(&mut self.changed);
        let forgotten = std::mem::take(&mut self.forgotten);
        if full {
            named.clear();
            named.extend(self.wanted.keys());
        }
        named.sort_unstable();
        // Removed and wanted again: it is in there twice.
        named.dedup();
        let mut topics: Vec<FetchTopic> = Vec::new();
        for key in &named {
            let Some(wanted) = self.wanted.get_mut(key) else {
                continue;
            };
            (wanted.known, wanted.changed) = (true, false);
            let partition = fetch_partition(key, &wanted.point, max_bytes);
            match topics.last_mut().filter(|topic| topic.topic_id == key.topic_id.0) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(FetchTopic {
                    topic_id: key.topic_id.0,
                    partitions: vec![partition],
                    ..Default::default()
                }),
            }
        }
        named.clear();
        self.changed = named;
        let epoch = self.epoch;
        self.epoch = match epoch {
            FULL => FULL,
            i32::MAX => 1,
            epoch => epoch + 1,
        };
        SessionRequest {
            id: self.id,
            epoch,
            topics,
            forgotten: if full { Vec::new() } else { self.to_forget(forgotten) },
        }
    }

    /// What is wanted again must not be forgotten: the leader reads what is added before what is forgotten.
    fn to_forget(&self, mut keys: Vec<TopicPartition>) -> Vec<ForgottenTopic> {
        keys.retain(|key| !self.wanted.contains_key(key));
        keys.sort_unstable();
        keys.dedup();
        let by_topic = keys.chunk_by(|one, other| one.topic_id == other.topic_id);
        by_topic
            .map(|keys| ForgottenTopic {
                topic_id: keys[0].topic_id.0,
                partitions: keys.iter().map(|key| key.partition.get()).collect(),
                ..Default::default()
            })
            .collect()
    }

    /// The leader answered. False: its error says that the session is gone, and the next request begins another.
    pub(super) fn answered(&mut self, error: ErrorCode, id: i32) -> bool {
        if error != ErrorCode::None {
            self.restart();
            return false;
        }
        match (id, self.epoch) {
            // Without room for a session each request names everything.
            (0, FULL) => {}
            (0, _) => self.restart(),
            (_, FULL) => (self.id, self.epoch) = (id, 1),
            _ => {}
        }
        true
    }

    /// Begins a session anew: the connection broke, or the leader does not know it.
    pub(super) fn restart(&mut self) {
        self.id = 0;
        self.epoch = FULL;
        self.changed.clear();
        self.forgotten.clear();
        for wanted in self.wanted.values_mut() {
            (wanted.known, wanted.changed) = (false, false);
        }
    }
}

/// The key of a partition in an answer.
pub(super) fn key(topic: uuid::Uuid, partition: i32) -> TopicPartition {
    TopicPartition {
        topic_id: TopicId(topic),
        partition: highwater_proto::types::PartitionIndex(partition),
    }
}

fn fetch_partition(key: &TopicPartition, point: &FetchPoint, max_bytes: i32) -> FetchPartition {
    FetchPartition {
        partition: key.partition.get(),
        current_leader_epoch: point.leader_epoch.get(),
        fetch_offset: point.offset.get(),
        last_fetched_epoch: point.last_epoch.get(),
        log_start_offset: point.log_start.get(),
        partition_max_bytes: max_bytes,
        high_watermark: point.high_watermark.get(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use highwater_proto::types::{LeaderEpoch, NodeId, Offset};
    use uuid::Uuid;

    use super::*;

    fn at(partition: i32) -> TopicPartition {
        key(Uuid::from_u128(7), partition)
    }

    fn from(offset: i64) -> FetchPoint {
        FetchPoint {
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(3),
            offset: Offset(offset),
            last_epoch: LeaderEpoch(2),
            log_start: Offset(0),
            high_watermark: Offset(i64::MAX),
        }
    }

    fn named(request: &SessionRequest) -> Vec<(i32, i64)> {
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|it| (it.partition, it.fetch_offset)).collect()
    }

    fn forgotten(request: &SessionRequest) -> Vec<i32> {
        request
            .forgotten
            .iter()
            .flat_map(|topic| topic.partitions.clone())
            .collect()
    }

    #[test]
    fn after_the_first_request_only_changes_are_named() {
        let mut session = FetchSession::default();
        for partition in 0..3 {
            session.put(at(partition), from(10));
        }
        let request = session.request(100);
        assert_eq!((request.id, request.epoch), (0, 0));
        assert_eq!(named(&request), [(0, 10), (1, 10), (2, 10)]);
        assert!(session.answered(ErrorCode::None, 55));

        session.put(at(1), from(20));
        session.put(at(2), from(10));
        let request = session.request(100);
        assert_eq!((request.id, request.epoch), (55, 1));
        assert_eq!(named(&request), [(1, 20)], "the same point again is no change");
        assert!(session.answered(ErrorCode::None, 55));

        session.remove(at(0));
        session.remove(at(1));
        session.put(at(1), from(20));
        let request = session.request(100);
        assert_eq!((request.epoch, named(&request)), (2, vec![(1, 20)]));
        assert_eq!(forgotten(&request), [0], "what is wanted again is not forgotten");
    }

    #[test]
    fn a_lost_session_names_everything_again() {
        let mut session = FetchSession::default();
        session.put(at(0), from(1));
        session.put(at(1), from(1));
        session.request(100);
        assert!(session.answered(ErrorCode::None, 55));
        session.remove(at(0));
        assert!(!session.answered(ErrorCode::FetchSessionIdNotFound, 0));
        let request = session.request(100);
        assert_eq!((request.id, request.epoch), (0, 0));
        assert_eq!(named(&request), [(1, 1)]);
        assert!(request.forgotten.is_empty(), "a new session knows nothing to forget");
    }

    #[test]
    fn without_room_for_a_session_every_request_is_full() {
        let mut session = FetchSession::default();
        session.put(at(0), from(1));
        session.request(100);
        assert!(session.answered(ErrorCode::None, 0));
        let request = session.request(100);
        assert_eq!((request.epoch, named(&request)), (0, vec![(0, 1)]));
    }

    #[test]
    fn epochs_go_on_at_one() {
        let mut session = FetchSession {
            id: 5,
            epoch: i32::MAX,
            ..FetchSession::default()
        };
        assert_eq!(session.request(1).epoch, i32::MAX);
        assert_eq!(session.request(1).epoch, 1);
    }

    #[test]
    fn a_request_may_follow_before_the_answer_to_the_one_before() {
        let mut session = FetchSession::default();
        session.put(at(0), from(1));
        session.request(100);
        assert!(!session.has_news(), "there is no session to tell");
        assert!(session.answered(ErrorCode::None, 55));
        assert_eq!(session.request(100).epoch, 1);
        assert!(!session.has_news());
        session.put(at(1), from(1));
        assert!(session.has_news());
        assert_eq!(
            session.point(at(1)),
            Some((from(1), false)),
            "what comes now is about something else"
        );
        let request = session.request(100);
        assert_eq!((request.epoch, named(&request)), (2, vec![(1, 1)]));
        assert!(session.answered(ErrorCode::None, 55));
        assert!(session.answered(ErrorCode::None, 55));
        assert_eq!(session.request(100).epoch, 3);
    }
}
