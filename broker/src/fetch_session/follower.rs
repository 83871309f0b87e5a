//! Sessions of followers: one per follower broker, of any number of partitions. A request costs by what it names and by what
//! happened since the one before; what did neither is not looked at.

use std::collections::HashMap;
use std::sync::Arc;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{NodeId, PartitionIndex, TopicId, TopicPartition};
use parking_lot::{Mutex, MutexGuard};

use super::{FetchPartition, ForgottenPartition, SentState, TopicKey};
use crate::partition::Feed;

/// Most partitions of one session.
const MAX_PARTITIONS: usize = 1_000_000;
/// Of a partition that was never sent, or was sent with an error: no real high watermark equals it.
const NEVER_SENT: i64 = -1;

/// The sessions of all followers of a broker. Only brokers that the image names have one.
#[derive(Debug, Default)]
pub struct FollowerSessions {
    by_node: Mutex<HashMap<NodeId, Arc<FollowerSession>>>,
}

/// The session of one follower.
#[derive(Debug)]
pub struct FollowerSession {
    id: i32,
    /// Where partitions put themselves in.
    pub feed: Arc<Feed>,
    state: Mutex<SessionState>,
}

/// What a session remembers.
#[derive(Debug, Default)]
pub struct SessionState {
    /// Epoch that the next request must name.
    pub next_epoch: i32,
    looks: u64,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    positions: HashMap<TopicPartition, u32, foldhash::fast::RandomState>,
}

/// One partition of a session.
#[derive(Debug)]
pub struct Slot {
    /// The partition.
    pub key: TopicPartition,
    /// What the follower asked for last.
    pub wanted: FetchPartition,
    /// It was sent something that changes what it asks for: until it has said so, it is sent nothing more.
    pub awaits_follower: bool,
    /// The look at the session in which it was looked at last.
    pub looked: u64,
    /// The look of the request that named it last.
    pub named: u64,
    high_watermark: i64,
    log_start: i64,
}

/// A request in its session.
#[derive(Debug)]
pub struct FollowerRequest {
    /// The session.
    pub session: Arc<FollowerSession>,
    /// What the session's `next_epoch` is as long as no other request has come.
    pub epoch: i32,
    /// The first of its session: everything is answered.
    pub is_full: bool,
    /// Slots of the partitions named.
    pub named: Vec<u32>,
    /// Partitions that the follower fetches no longer.
    pub forgotten: Vec<TopicPartition>,
}

impl FollowerSessions {
    /// Number of sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_node.lock().len()
    }

    /// True without sessions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins a session, which ends the one that the follower had.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with more partitions than any broker has.
    pub fn begin(
        &self,
        node: NodeId,
        partitions: Vec<FetchPartition>,
        mut new_id: impl FnMut() -> i32,
    ) -> Result<FollowerRequest, ErrorCode> {
        if partitions.len() > MAX_PARTITIONS {
            return Err(ErrorCode::InvalidRequest);
        }
        let mut state = SessionState {
            next_epoch: 1,
            ..SessionState::default()
        };
        let named = partitions.into_iter().filter_map(|it| state.put(it)).collect();
        let session = Arc::new(FollowerSession {
            id: new_id().max(1),
            feed: Arc::default(),
            state: Mutex::new(state),
        });
        let before = self.by_node.lock().insert(node, Arc::clone(&session));
        if let Some(before) = before {
            before.end();
        }
        Ok(FollowerRequest {
            session,
            epoch: 1,
            is_full: true,
            named,
            forgotten: Vec::new(),
        })
    }

    /// The next request of a session. One that waits is woken: it is answered with nothing.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`
    pub fn go_on(
        &self,
        node: NodeId,
        id: i32,
        epoch: i32,
        partitions: Vec<FetchPartition>,
        forgotten: Vec<ForgottenPartition>,
    ) -> Result<FollowerRequest, ErrorCode> {
        let session = self.by_node.lock().get(&node).filter(|it| it.id == id).cloned();
        let session = session.ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let mut state = session.state.lock();
        if state.next_epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if state.positions.len() + partitions.len() > MAX_PARTITIONS {
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        let named = partitions.into_iter().filter_map(|it| state.put(it)).collect();
        let forgotten = forgotten.into_iter().filter_map(|it| state.forget(&it)).collect();
        // Epochs go on at 1 after 2^31-1: 0 would be a full fetch.
        state.next_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        let epoch = state.next_epoch;
        drop(state);
        session.feed.wake();
        Ok(FollowerRequest {
            session,
            epoch,
            is_full: false,
            named,
            forgotten,
        })
    }
}

impl FollowerSession {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.id
    }

    /// What it remembers.
    pub fn lock(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock()
    }

    /// The follower began another one.
    fn end(&self) {
        self.state.lock().next_epoch = -1;
        self.feed.close();
        self.feed.wake();
    }
}

impl SessionState {
    /// A number for one look at the session, in which no partition is looked at twice.
    pub fn next_look(&mut self) -> u64 {
        self.looks += 1;
        self.looks
    }

    /// One of its partitions.
    pub fn slot(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Adds a partition or takes over what changed about it. `None` for one that is named by name.
    fn put(&mut self, wanted: FetchPartition) -> Option<u32> {
        let key = key(&wanted.topic, wanted.index)?;
        if let Some(slot) = self.positions.get(&key).copied() {
            let known = self.slot(slot)?;
            known.wanted = wanted;
            known.awaits_follower = false;
            return Some(slot);
        }
        let fresh = Slot {
            key,
            wanted,
            awaits_follower: false,
            looked: 0,
            named: 0,
            high_watermark: NEVER_SENT,
            log_start: NEVER_SENT,
        };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).ok()?
            }
        };
        *self.slots.get_mut(slot as usize)? = Some(fresh);
        self.positions.insert(key, slot);
        Some(slot)
    }

    fn forget(&mut self, forgotten: &ForgottenPartition) -> Option<TopicPartition> {
        let key = key(&forgotten.topic, forgotten.index)?;
        let slot = self.positions.remove(&key)?;
        *self.slots.get_mut(slot as usize)? = None;
        self.free.push(slot);
        Some(key)
    }
}

impl Slot {
    /// True if the follower has to be sent this: an answer lists only what is news (rule 46).
    #[must_use]
    pub fn is_news(&self, state: &SentState) -> bool {
        state.error != ErrorCode::None
            || state.has_records
            || state.must_send
            || self.high_watermark != state.high_watermark
            || self.log_start != state.log_start
    }

    /// The follower is sent this.
    pub fn sent(&mut self, state: &SentState) {
        let failed = state.error != ErrorCode::None;
        self.high_watermark = if failed { NEVER_SENT } else { state.high_watermark };
        self.log_start = if failed { NEVER_SENT } else { state.log_start };
        self.awaits_follower = failed || state.has_records || state.must_send;
    }
}

fn key(topic: &TopicKey, index: i32) -> Option<TopicPartition> {
    match topic {
        TopicKey::Id(id) => Some(TopicPartition {
            topic_id: TopicId(id.0),
            partition: PartitionIndex(index),
        }),
        TopicKey::Name(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const NODE: NodeId = NodeId(3);

    fn partition(index: i32, offset: i64) -> FetchPartition {
        FetchPartition {
            topic: TopicKey::Id(TopicId(Uuid::from_u128(9))),
            index,
            current_leader_epoch: 0,
            fetch_offset: offset,
            last_fetched_epoch: 0,
            log_start: 0,
            high_watermark: i64::MAX,
            max_bytes: 100,
        }
    }

    fn forgotten(index: i32) -> ForgottenPartition {
        ForgottenPartition {
            topic: TopicKey::Id(TopicId(Uuid::from_u128(9))),
            index,
        }
    }

    fn state(high_watermark: i64) -> SentState {
        SentState {
            error: ErrorCode::None,
            high_watermark,
            log_start: 0,
            has_records: false,
            must_send: false,
        }
    }

    #[test]
    fn requests_of_a_session_follow_each_other() {
        let sessions = FollowerSessions::default();
        let first = sessions
            .begin(NODE, vec![partition(0, 1), partition(1, 1)], || 77)
            .unwrap();
        assert_eq!((first.session.id(), first.named.len()), (77, 2));
        let next = sessions
            .go_on(NODE, 77, 1, vec![partition(1, 5)], vec![forgotten(0)])
            .unwrap();
        assert_eq!((next.epoch, &next.named, next.forgotten.len()), (2, &vec![1], 1));
        assert_eq!(next.session.lock().slot(1).unwrap().wanted.fetch_offset, 5);
        assert!(next.session.lock().slot(0).is_none());
        let go_on = |id, epoch| {
            sessions
                .go_on(NODE, id, epoch, Vec::new(), Vec::new())
                .map(|it| it.epoch)
        };
        assert_eq!(go_on(77, 1), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(go_on(5, 2), Err(ErrorCode::FetchSessionIdNotFound));
        let other = sessions.begin(NODE, vec![partition(0, 1)], || 78).unwrap();
        assert_eq!(go_on(77, 2), Err(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(next.session.lock().next_epoch, -1, "whoever waits in it is told");
        assert_eq!((other.epoch, sessions.len()), (1, 1));
    }

    #[test]
    fn only_news_are_sent_and_the_follower_has_to_react_to_records_first() {
        let sessions = FollowerSessions::default();
        let request = sessions.begin(NODE, vec![partition(0, 1)], || 77).unwrap();
        let mut session = request.session.lock();
        let slot = session.slot(0).unwrap();
        assert!(slot.is_news(&state(4)));
        slot.sent(&state(4));
        assert!(!slot.is_news(&state(4)) && slot.is_news(&state(5)) && !slot.awaits_follower);
        let records = SentState {
            has_records: true,
            ..state(4)
        };
        assert!(slot.is_news(&records));
        slot.sent(&records);
        assert!(slot.awaits_follower);
        let error = SentState {
            error: ErrorCode::FencedLeaderEpoch,
            ..state(-1)
        };
        slot.sent(&error);
        assert!(
            slot.awaits_follower && slot.is_news(&state(4)),
            "said again once the error is over"
        );
        drop(session);
        sessions.go_on(NODE, 77, 1, vec![partition(0, 2)], Vec::new()).unwrap();
        assert!(!request.session.lock().slot(0).unwrap().awaits_follower);
    }
}
