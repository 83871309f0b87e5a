//! Asks brokers how large their replicas are: when somebody wants to know, and not more often than answers grow old. While
//! nothing moves and nobody asks, nothing is said about sizes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use highwater_proto::grpc::session_request::{ReplicaSizes as Told, Request as Said};
use highwater_proto::grpc::session_response::{AskReplicaSizes, Response as Answer};
use highwater_proto::metadata::convert::{self, ConvertError};
use highwater_proto::types::{NodeId, TopicId, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::cluster::replica_sizes::{Pace, ReplicaSizes};
use crate::service::Shared;
use crate::service::questions::{REPLICAS_PER_QUESTION, ask, replica};

/// How old answers may be that somebody looks at.
pub(super) const FOR_STATUS: Duration = Duration::from_secs(2);
/// How old answers may be that moves are planned on.
pub(super) const FOR_PLANS: Duration = Duration::from_secs(10);
/// How long one answer may take; of a broker that does not answer nothing is known.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Answers of one broker, of [`REPLICAS_PER_QUESTION`] each.
const MOST_ANSWERS: usize = 100;
/// Paces that are remembered.
const MOST_PACES: usize = 1_024;

/// What a pace is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shrinking {
    /// What a broker has that drains.
    Drain(NodeId),
    /// What a topic's reassignments have to copy.
    Reassignment(TopicId),
    /// What a rebalance has to copy.
    Rebalance,
}

/// What brokers told last.
pub(crate) struct SizeBook {
    told: Mutex<Option<(Duration, Arc<ReplicaSizes>)>>,
    /// One round of questions at a time.
    asking: Semaphore,
    paces: Mutex<BTreeMap<Shrinking, Pace>>,
}

impl Default for SizeBook {
    fn default() -> Self {
        Self {
            told: Mutex::default(),
            asking: Semaphore::new(1),
            paces: Mutex::default(),
        }
    }
}

impl SizeBook {
    fn newest(&self, now: Duration, age: Duration) -> Option<Arc<ReplicaSizes>> {
        let told = self.told.lock();
        let (at, sizes) = told.as_ref()?;
        (now.saturating_sub(*at) <= age).then(|| Arc::clone(sizes))
    }

    /// So much is left of something. Answers for how many seconds it may go on.
    pub(super) fn eta_seconds(&self, what: Shrinking, now: Duration, bytes: u64) -> Option<i64> {
        let mut paces = self.paces.lock();
        if bytes == 0 {
            paces.remove(&what);
            return Some(0);
        }
        if paces.len() >= MOST_PACES && !paces.contains_key(&what) {
            paces.pop_first();
        }
        let left = paces.entry(what).or_default().left(now, bytes)?;
        i64::try_from(left.as_secs()).ok()
    }
}

/// How large replicas are, as brokers told no longer ago than `age`.
pub(super) async fn gather(shared: &Shared, age: Duration) -> Arc<ReplicaSizes> {
    let book = &shared.sizes;
    if let Some(sizes) = book.newest(shared.clock.now(), age) {
        return sizes;
    }
    // Never closed; whoever waited finds what the one before has got.
    let _turn = book.asking.acquire().await;
    if let Some(sizes) = book.newest(shared.clock.now(), age) {
        return sizes;
    }
    let image = shared.updates.image();
    let brokers = image.live_brokers().map(|node| node.id);
    let answers = join_all(brokers.map(|node| async move { (node, ask_one(shared, node).await) })).await;
    let mut sizes = ReplicaSizes::default();
    for (node, told) in answers {
        for (key, bytes) in told {
            sizes.insert(node, key, bytes);
        }
    }
    let sizes = Arc::new(sizes);
    *book.told.lock() = Some((shared.clock.now(), Arc::clone(&sizes)));
    sizes
}

async fn ask_one(shared: &Shared, node: NodeId) -> Vec<(TopicPartition, u64)> {
    let mut all: Vec<(TopicPartition, u64)> = Vec::new();
    for _ in 0..MOST_ANSWERS {
        let after = all.last().map(|(key, _)| replica(key));
        let question = |question| {
            Answer::AskReplicaSizes(AskReplicaSizes {
                question,
                after,
                limit: i32::try_from(REPLICAS_PER_QUESTION).unwrap_or(i32::MAX),
            })
        };
        let Some(Said::ReplicaSizes(told)) = ask(shared, node, ANSWER_WAIT, question).await else {
            tracing::debug!(%node, "a broker did not say in time how large its replicas are");
            return all;
        };
        match read(&told) {
            Ok(some) if !some.is_empty() => all.extend(some),
            Ok(_) => return all,
            Err(error) => {
                tracing::warn!(%node, %error, "a broker's answer cannot be read");
                return all;
            }
        }
        if !told.more {
            return all;
        }
    }
    all
}

fn read(told: &Told) -> Result<Vec<(TopicPartition, u64)>, ConvertError> {
    let mut sizes = Vec::new();
    for topic in &told.topics {
        let topic_id = convert::topic_id(&topic.topic_id)?;
        if topic.partitions.len() != topic.bytes.len() {
            return Err(ConvertError::Missing("bytes"));
        }
        for (partition, bytes) in topic.partitions.iter().zip(&topic.bytes) {
            let key = TopicPartition {
                topic_id,
                partition: convert::partition_index(*partition)?,
            };
            sizes.push((
                key,
                u64::try_from(*bytes).map_err(|_| ConvertError::OutOfRange("bytes"))?,
            ));
        }
    }
    Ok(sizes)
}

/// As a message carries it.
pub(super) fn wire(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
