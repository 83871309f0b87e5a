//! All sessions of a broker, bounded (rule 126).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::kafka::ErrorCode;
use parking_lot::Mutex;

use super::session::Session;
use super::{FetchPartition, FollowerSessions, SentState, SessionRequest, TopicKey};

/// A session unused for so long gives way to a new one.
const EVICTABLE_AFTER: Duration = Duration::from_secs(120);
/// Most partitions of one session: with the number of sessions it bounds what clients can make the broker remember.
const MAX_SESSION_PARTITIONS: usize = 100_000;

/// The sessions of a broker.
#[derive(Debug)]
pub struct FetchSessions {
    followers: FollowerSessions,
    slots: usize,
    entries: Mutex<HashMap<i32, Entry, foldhash::fast::RandomState>>,
}

#[derive(Debug)]
struct Entry {
    session: Arc<Mutex<Session>>,
    privileged: bool,
    created: Duration,
    last_used: Duration,
    partitions: usize,
}

/// How one fetch request is to be answered.
#[derive(Debug)]
pub struct FetchContext {
    kind: Kind,
    /// What to read, in this order.
    pub partitions: Vec<FetchPartition>,
}

#[derive(Debug)]
enum Kind {
    /// All partitions are listed, nothing is remembered.
    Sessionless,
    /// All partitions are listed, and remembered if there is room.
    Full { privileged: bool },
    /// Only partitions with news are listed.
    Incremental {
        id: i32,
        epoch: i32,
        session: Arc<Mutex<Session>>,
    },
}

impl FetchSessions {
    /// Room for `slots` sessions (`max.incremental.fetch.session.cache.slots`).
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            followers: FollowerSessions::default(),
            slots,
            entries: Mutex::new(HashMap::default()),
        }
    }

    /// Those of followers.
    #[must_use]
    pub fn followers(&self) -> &FollowerSessions {
        &self.followers
    }

    /// Number of sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.lock().len() + self.followers.len()
    }

    /// True without sessions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds or ends the session that a request names, and says what to read.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`, `FETCH_SESSION_TOPIC_ID_ERROR`: the answer to the whole
    /// request.
    pub fn begin(&self, request: SessionRequest, now: Duration) -> Result<FetchContext, ErrorCode> {
        let SessionRequest {
            session_id,
            session_epoch,
            privileged,
            partitions,
            forgotten,
        } = request;
        if session_epoch <= 0 {
            if session_id != 0 {
                self.entries.lock().remove(&session_id);
            }
            let kind = if session_epoch == 0 {
                Kind::Full { privileged }
            } else {
                Kind::Sessionless
            };
            return Ok(FetchContext { kind, partitions });
        }
        let session = {
            let mut entries = self.entries.lock();
            let entry = entries.get_mut(&session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
            entry.last_used = entry.last_used.max(now);
            Arc::clone(&entry.session)
        };
        let mut state = session.lock();
        if state.next_epoch != session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        let switches = |topic: &TopicKey| matches!(topic, TopicKey::Id(_)) != state.uses_ids;
        if partitions.iter().any(|it| switches(&it.topic)) || forgotten.iter().any(|it| switches(&it.topic)) {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        if state.len() + partitions.len() > MAX_SESSION_PARTITIONS {
            // The client begins anew with a full fetch, which gets no session.
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        for partition in &partitions {
            state.put(partition);
        }
        for partition in forgotten {
            state.forget(partition);
        }
        if state.len() == 0 {
            drop(state);
            self.entries.lock().remove(&session_id);
            return Ok(FetchContext {
                kind: Kind::Sessionless,
                partitions: Vec::new(),
            });
        }
        // Epochs go on at 1 after 2^31-1: 0 would be a full fetch.
        state.next_epoch = if session_epoch == i32::MAX {
            1
        } else {
            session_epoch + 1
        };
        let (partitions, epoch, count) = (state.in_order(), state.next_epoch, state.len());
        drop(state);
        if let Some(entry) = self.entries.lock().get_mut(&session_id) {
            entry.partitions = count;
        }
        Ok(FetchContext {
            kind: Kind::Incremental {
                id: session_id,
                epoch,
                session,
            },
            partitions,
        })
    }

    /// Decides what the response lists: `listed` of each partition, in the order of [`FetchContext::partitions`], and
    /// the session id that the response carries (0: none).
    ///
    /// # Errors
    /// `INVALID_FETCH_SESSION_EPOCH` when another request of the session came in meanwhile; with the session's id.
    pub fn finish(
        &self,
        context: &FetchContext,
        sent: &[SentState],
        listed: &mut Vec<bool>,
        now: Duration,
        new_id: impl FnMut() -> i32,
    ) -> Result<i32, (ErrorCode, i32)> {
        listed.clear();
        match &context.kind {
            Kind::Sessionless => {
                listed.resize(sent.len(), true);
                Ok(0)
            }
            Kind::Full { privileged } => {
                listed.resize(sent.len(), true);
                Ok(self.create(*privileged, context, sent, now, new_id))
            }
            Kind::Incremental { id, epoch, session } => {
                let mut state = session.lock();
                if state.next_epoch != *epoch {
                    return Err((ErrorCode::InvalidFetchSessionEpoch, *id));
                }
                listed.extend(
                    context
                        .partitions
                        .iter()
                        .zip(sent)
                        .map(|(it, sent)| state.note(it, sent)),
                );
                Ok(*id)
            }
        }
    }

    /// Remembers the partitions of a full fetch if there is room, and answers the new session's id, else 0.
    fn create(
        &self,
        privileged: bool,
        context: &FetchContext,
        sent: &[SentState],
        now: Duration,
        mut new_id: impl FnMut() -> i32,
    ) -> i32 {
        let count = context.partitions.len();
        if count == 0 || count > MAX_SESSION_PARTITIONS || self.slots == 0 {
            return 0;
        }
        let mut entries = self.entries.lock();
        if entries.len() >= self.slots && !make_room(&mut entries, privileged, count, now) {
            return 0;
        }
        let uses_ids = matches!(context.partitions[0].topic, TopicKey::Id(_));
        let mut session = Session::new(uses_ids);
        for (partition, sent) in context.partitions.iter().zip(sent) {
            session.put(partition);
            session.note(partition, sent);
        }
        let id = loop {
            let id = new_id();
            if id > 0 && !entries.contains_key(&id) {
                break id;
            }
        };
        let partitions = session.len();
        let session = Arc::new(Mutex::new(session));
        entries.insert(
            id,
            Entry {
                session,
                privileged,
                created: now,
                last_used: now,
                partitions,
            },
        );
        id
    }
}

type Entries = HashMap<i32, Entry, foldhash::fast::RandomState>;

/// Gives up one session for a new one of `count` partitions, if the rules allow it.
fn make_room(entries: &mut Entries, privileged: bool, count: usize, now: Duration) -> bool {
    let stale = entries.iter().min_by_key(|(_, entry)| entry.last_used);
    if let Some((id, entry)) = stale
        && now.saturating_sub(entry.last_used) > EVICTABLE_AFTER
    {
        let id = *id;
        entries.remove(&id);
        return true;
    }
    let evictable = |entry: &Entry| {
        if privileged && !entry.privileged {
            return true;
        }
        privileged >= entry.privileged
            && now.saturating_sub(entry.created) > EVICTABLE_AFTER
            && entry.partitions < count
    };
    // Sessions of consumers go first, the smallest of them.
    let victim = entries
        .iter()
        .filter(|(_, entry)| evictable(entry))
        .min_by_key(|(_, entry)| (entry.privileged, entry.partitions))
        .map(|(id, _)| *id);
    victim.and_then(|id| entries.remove(&id)).is_some()
}
