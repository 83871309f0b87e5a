//! What the controller asks of this broker on its session: where logs end, and to hand leaderships over.

use std::sync::Arc;
use std::time::Duration;

use highwater_node::data_dir::{DataDir, Decommissioned};
use highwater_node::session::{ControllerLink, LeaderMove, LogEnd, Question, Reply};
use highwater_proto::types::TopicPartition;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::partition::HandOver;
use crate::partitions::Partitions;

/// How long a leader waits for its successor.
const HAND_OVER_WAIT: Duration = Duration::from_millis(500);
/// How long a leader takes no appends without hearing how it ended: the wait, and the time that the controller's decision
/// may take. After that it goes on as leader.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(2);
/// How soon, and how often at least, it looks how far the successors are.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_millis(16);

/// Answers questions until the broker stops.
pub(crate) fn answer(broker: &Arc<Broker>, link: &ControllerLink, data_dir: Arc<DataDir>, mark: Decommissioned) {
    let Some(mut questions) = link.questions() else { return };
    let (broker, link) = (Arc::clone(broker), link.clone());
    let mark = Arc::new(mark);
    tokio::spawn(async move {
        while let Some(question) = questions.recv().await {
            let (partitions, link) = (Arc::clone(broker.partitions()), link.clone());
            let (data_dir, mark) = (Arc::clone(&data_dir), Arc::clone(&mark));
            // Each for itself: a hand-over waits.
            tokio::spawn(async move {
                if let Some(reply) = reply(&partitions, question, data_dir, mark).await {
                    link.reply(reply);
                }
            });
        }
    });
}

/// This broker is unregistered; its session ends. No answer if the disk does not take the mark.
async fn retire(id: i64, data_dir: Arc<DataDir>, mark: Arc<Decommissioned>) -> Option<Reply> {
    let marking = tokio::task::spawn_blocking(move || data_dir.write_decommissioned(&mark));
    match marking.await {
        Ok(Ok(())) => {
            tracing::warn!(
                "this broker was unregistered: its data directory is marked, and what is in it counts no more"
            );
            Some(Reply::Retired { id })
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "this broker was unregistered, but its data directory cannot be marked: do not use it again");
            None
        }
        Err(_) => None,
    }
}

async fn reply(
    partitions: &Partitions,
    question: Question,
    data_dir: Arc<DataDir>,
    mark: Arc<Decommissioned>,
) -> Option<Reply> {
    let reply = match question {
        Question::LogEnds { id, replicas } => Reply::LogEnds {
            id,
            ends: replicas.iter().filter_map(|key| log_end(partitions, key)).collect(),
        },
        Question::HandOver { id, moves } => Reply::HandedOver {
            id,
            ready: hand_over(partitions, id, moves).await,
        },
        Question::Keep { id, kept } => {
            let kept = kept
                .iter()
                .filter_map(|key| partitions.get(key.topic_id, key.partition));
            kept.for_each(|partition| partition.end_hand_over(id));
            return None;
        }
        // A broker owns no shards: nothing of them is in flight here.
        Question::Release { id, shards } => Reply::Released { id, shards },
        Question::ReplicaSizes { id, after, limit } => {
            let (sizes, more) = sizes(partitions, after, limit);
            Reply::ReplicaSizes { id, sizes, more }
        }
        Question::Retire { id } => return retire(id, data_dir, mark).await,
    };
    Some(reply)
}

fn log_end(partitions: &Partitions, key: &TopicPartition) -> Option<LogEnd> {
    let (last_epoch, end) = partitions.get(key.topic_id, key.partition)?.last_epoch_and_end()?;
    Some(LogEnd {
        key: *key,
        last_epoch,
        end,
    })
}

/// So many replicas after `after`, in order, with their bytes, and whether there are more. Those whose storage failed have
/// no size.
fn sizes(partitions: &Partitions, after: Option<TopicPartition>, limit: usize) -> (Vec<(TopicPartition, u64)>, bool) {
    page(
        partitions.all(),
        |replica| replica.key(),
        |replica| Some(replica.ends()?.size),
        after,
        limit,
    )
}

fn page<R>(
    mut replicas: Vec<R>,
    key: impl Fn(&R) -> TopicPartition,
    size: impl Fn(&R) -> Option<u64>,
    after: Option<TopicPartition>,
    limit: usize,
) -> (Vec<(TopicPartition, u64)>, bool) {
    replicas.retain(|replica| after.is_none_or(|after| key(replica) > after));
    replicas.sort_unstable_by_key(|replica| key(replica));
    let mut sizes = replicas
        .iter()
        .filter_map(|replica| Some((key(replica), size(replica)?)));
    let some = sizes.by_ref().take(limit).collect();
    (some, sizes.next().is_some())
}

/// Takes no more appends for these partitions, and waits until the next leaders have everything. Answers which have it.
async fn hand_over(partitions: &Partitions, id: i64, moves: Vec<LeaderMove>) -> Vec<TopicPartition> {
    let begin = |wanted: LeaderMove| {
        let partition = partitions.get(wanted.key.topic_id, wanted.key.partition)?;
        let begun = partition.begin_hand_over(id, wanted.leader_epoch, wanted.target, HAND_OVER_LIMIT);
        begun.then_some((partition, wanted))
    };
    let mut open: Vec<_> = moves.into_iter().filter_map(begin).collect();
    let deadline = Instant::now() + HAND_OVER_WAIT;
    let mut pause = FIRST_LOOK;
    let mut ready = Vec::with_capacity(open.len());
    loop {
        let late = Instant::now() >= deadline;
        open.retain(|(partition, wanted)| {
            let progress = partition.hand_over(wanted.leader_epoch, wanted.target);
            let done = progress == HandOver::Ready || (late && progress == HandOver::Unacknowledged);
            if done {
                ready.push(wanted.key);
            }
            !done && progress != HandOver::Void
        });
        if open.is_empty() || late {
            return ready;
        }
        tokio::time::sleep(pause).await;
        pause = LONGEST_LOOK.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use highwater_proto::types::{PartitionIndex, TopicId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn sizes_come_in_pages_that_leave_nothing_out() {
        let key = |n: i32| TopicPartition {
            topic_id: TopicId(Uuid::from_u128(n as u128 / 4)),
            partition: PartitionIndex(n % 4),
        };
        // Every third has no size, the last ones among them.
        let size = |n: &i32| (n % 3 != 0).then_some(*n as u64);
        let all: Vec<i32> = (0..10).rev().collect();
        let (mut told, mut after, mut more) = (Vec::new(), None, true);
        while more {
            let some;
            (some, more) = page(all.clone(), |n| key(*n), size, after, 2);
            assert!(some.len() <= 2);
            after = some.last().map(|(key, _)| *key);
            told.extend(some);
        }
        let wanted: Vec<_> = (0..10).filter_map(|n| Some((key(n), size(&n)?))).collect();
        assert_eq!(told, wanted);
        assert_eq!(page(Vec::<i32>::new(), |n| key(*n), size, None, 2), (Vec::new(), false));
    }
}
