//! What the controller asks of nodes on their session streams, and their answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use highwater_proto::grpc;
use highwater_proto::grpc::session_request::{ReplicaRef, Request as Said};
use highwater_proto::grpc::session_response::{AskLogEnds, Response as Answer};
use highwater_proto::metadata::MetadataImage;
use highwater_proto::metadata::convert::{self, ConvertError};
use highwater_proto::types::{LeaderEpoch, NodeId, Offset, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use crate::cluster::election::LogEnds;
use crate::service::Shared;

/// How long the logs' ends may take: who does not answer by then is not elected uncleanly this time.
const LOG_ENDS_WAIT: Duration = Duration::from_secs(1);
/// Replicas that one question names.
pub(super) const REPLICAS_PER_QUESTION: usize = 20_000;

/// Questions that wait for their answers.
pub(crate) struct Questions {
    next: AtomicI64,
    open: Mutex<HashMap<i64, (NodeId, oneshot::Sender<Said>)>>,
}

impl Default for Questions {
    fn default() -> Self {
        // So that a late answer to another controller is none to this one.
        let (random, _) = Uuid::new_v4().as_u64_pair();
        Self {
            next: AtomicI64::new((random >> 2) as i64),
            open: Mutex::default(),
        }
    }
}

impl Questions {
    /// The answer of a node; one that nobody waits for (any more) is dropped.
    pub(crate) fn answered(&self, node: NodeId, question: i64, said: Said) {
        let mut open = self.open.lock();
        if open.get(&question).is_some_and(|(asked, _)| *asked == node)
            && let Some((_, asker)) = open.remove(&question)
        {
            // Whoever asked may have gone away.
            let _ = asker.send(said);
        }
    }
}

/// Asks a node and waits for its answer; `None` without a session, or without an answer in time.
pub(super) async fn ask(
    shared: &Shared,
    node: NodeId,
    patience: Duration,
    question: impl FnOnce(i64) -> Answer,
) -> Option<Said> {
    let questions = &shared.sessions.questions;
    let id = questions.next.fetch_add(1, Ordering::Relaxed);
    let (asker, answer) = oneshot::channel();
    questions.open.lock().insert(id, (node, asker));
    let answer = if shared.sessions.tell(node, question(id)) {
        tokio::time::timeout(patience, answer).await.ok().and_then(Result::ok)
    } else {
        None
    };
    questions.open.lock().remove(&id);
    answer
}

/// Where the logs of these partitions end, by all replicas that are live when the last answer is there, as far as they
/// answer in time.
pub(super) async fn log_ends(shared: &Shared, keys: &BTreeSet<TopicPartition>) -> BTreeMap<TopicPartition, LogEnds> {
    let deadline = Instant::now() + LOG_ENDS_WAIT;
    let mut asked: BTreeSet<(NodeId, TopicPartition)> = BTreeSet::new();
    let mut ends: BTreeMap<TopicPartition, LogEnds> = BTreeMap::new();
    loop {
        let mut missing = live_replicas(&shared.updates.image(), keys);
        // Somebody may have become live meanwhile.
        missing.retain(|replica| asked.insert(*replica));
        if missing.is_empty() || Instant::now() >= deadline {
            return ends;
        }
        for (node, key, end) in ask_all(shared, missing, deadline).await {
            ends.entry(key).or_default().insert(node, end);
        }
    }
}

fn live_replicas(image: &MetadataImage, keys: &BTreeSet<TopicPartition>) -> Vec<(NodeId, TopicPartition)> {
    let mut replicas = Vec::new();
    for key in keys {
        let Some(partition) = image.partition(key.topic_id, key.partition) else {
            continue;
        };
        let live = partition
            .replicas
            .iter()
            .filter(|node| image.live_broker(**node).is_some());
        replicas.extend(live.map(|node| (*node, *key)));
    }
    replicas
}

async fn ask_all(shared: &Shared, replicas: Vec<(NodeId, TopicPartition)>, deadline: Instant) -> Vec<LogEnd> {
    let mut by_node: BTreeMap<NodeId, Vec<ReplicaRef>> = BTreeMap::new();
    for (node, key) in replicas {
        by_node.entry(node).or_default().push(replica(&key));
    }
    let mut questions = Vec::new();
    for (node, replicas) in by_node {
        for some in replicas.chunks(REPLICAS_PER_QUESTION) {
            let replicas = some.to_vec();
            let ask = |question| Answer::AskLogEnds(AskLogEnds { question, replicas });
            questions.push(ask_log_ends(shared, node, deadline, ask));
        }
    }
    join_all(questions).await.into_iter().flatten().collect()
}

type LogEnd = (NodeId, TopicPartition, (LeaderEpoch, Offset));

async fn ask_log_ends(
    shared: &Shared,
    node: NodeId,
    deadline: Instant,
    question: impl FnOnce(i64) -> Answer,
) -> Vec<LogEnd> {
    let patience = deadline.saturating_duration_since(Instant::now());
    let Some(Said::LogEnds(answer)) = ask(shared, node, patience, question).await else {
        tracing::warn!(%node, "a broker did not say in time where its logs end");
        return Vec::new();
    };
    let end = |log: grpc::session_request::LogEnd| {
        let replica = log.replica.ok_or(ConvertError::Missing("replica"))?;
        Ok((
            node,
            partition(&replica)?,
            (LeaderEpoch(log.last_epoch), Offset(log.end)),
        ))
    };
    let ends: Result<Vec<LogEnd>, ConvertError> = answer.ends.into_iter().map(end).collect();
    ends.unwrap_or_else(|error| {
        tracing::warn!(%node, %error, "a broker's answer cannot be read");
        Vec::new()
    })
}

/// As it stands on the wire.
pub(super) fn replica(key: &TopicPartition) -> ReplicaRef {
    ReplicaRef {
        topic_id: convert::uuid_bytes(key.topic_id.0),
        partition: key.partition.get(),
    }
}

/// From the wire.
pub(super) fn partition(replica: &ReplicaRef) -> Result<TopicPartition, ConvertError> {
    Ok(TopicPartition {
        topic_id: convert::topic_id(&replica.topic_id)?,
        partition: convert::partition_index(replica.partition)?,
    })
}
