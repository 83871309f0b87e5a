//! What the controller asks of this broker on its session: where logs end, and to hand leaderships over.

use std::sync::Arc;
use std::time::Duration;

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
pub(crate) fn answer(broker: &Arc<Broker>, link: &ControllerLink) {
    let Some(mut questions) = link.questions() else { return };
    let (broker, link) = (Arc::clone(broker), link.clone());
    tokio::spawn(async move {
        while let Some(question) = questions.recv().await {
            let (partitions, link) = (Arc::clone(broker.partitions()), link.clone());
            // Each for itself: a hand-over waits.
            tokio::spawn(async move {
                if let Some(reply) = reply(&partitions, question).await {
                    link.reply(reply);
                }
            });
        }
    });
}

async fn reply(partitions: &Partitions, question: Question) -> Option<Reply> {
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
