//! Planned moves of leaderships (design section 4): the leader takes no more appends, its successor fetches the rest, and
//! then it leads.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use highwater_proto::grpc::session_request::Request as Said;
use highwater_proto::grpc::session_response::{self as wire, Response as Answer};
use highwater_proto::types::{NodeId, TopicPartition};

use crate::cluster::{LeaderMove, MoveLeaders};
use crate::service::questions::{self, REPLICAS_PER_QUESTION};
use crate::service::{DecisionError, Shared};

/// The leader waits for half a second; the rest is for the way.
const PATIENCE: Duration = Duration::from_millis(800);

/// What becomes of a leadership whose successor lacks records when the time is over. Nothing that was acknowledged by all
/// is lost either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unready {
    /// It moves all the same: the leader is about to go.
    Moves,
    /// It stays where it is, to be tried another time.
    Stays,
}

/// Hands leaderships over and moves them. Answers how many moved.
///
/// # Errors
/// [`DecisionError`]; some may have moved.
pub(crate) async fn hand_over(
    shared: &Shared,
    moves: Vec<LeaderMove>,
    unready: Unready,
) -> Result<usize, DecisionError> {
    if moves.is_empty() {
        return Ok(0);
    }
    let ready = prepare(shared, &moves).await;
    let moves: Vec<LeaderMove> = moves
        .into_iter()
        .filter(|wanted| unready == Unready::Moves || ready.contains(&wanted.key))
        .collect();
    let (wanted, unready) = (moves.len(), moves.iter().filter(|it| !ready.contains(&it.key)).count());
    let decided = shared.decider.decide(MoveLeaders { moves }).await?;
    let moved = decided.reply.iter().filter(|result| result.is_ok()).count();
    tracing::info!(wanted, moved, unready, "leaderships were handed over");
    Ok(moved)
}

/// Asks the leaders to hand over: answers the partitions of which the successors have everything. Whatever moves the
/// leaderships has to follow at once.
pub(crate) async fn prepare(shared: &Shared, moves: &[LeaderMove]) -> HashSet<TopicPartition> {
    let image = shared.updates.image();
    let mut by_leader: BTreeMap<NodeId, Vec<LeaderMove>> = BTreeMap::new();
    for wanted in moves.iter().copied() {
        let partition = image.partition(wanted.key.topic_id, wanted.key.partition);
        if let Some(leader) = partition.and_then(|partition| partition.leader) {
            by_leader.entry(leader).or_default().push(wanted);
        }
    }
    let mut asked = Vec::new();
    for (leader, moves) in &by_leader {
        for some in moves.chunks(REPLICAS_PER_QUESTION) {
            asked.push(ready(shared, *leader, some));
        }
    }
    join_all(asked).await.into_iter().flatten().collect()
}

/// The partitions of which the successors have everything.
async fn ready(shared: &Shared, leader: NodeId, moves: &[LeaderMove]) -> Vec<TopicPartition> {
    let moves = moves.iter().map(|wanted| wire::LeaderMove {
        replica: Some(questions::replica(&wanted.key)),
        leader_epoch: wanted.leader_epoch.get(),
        target: wanted.target.get(),
    });
    let moves = moves.collect();
    let question = |question| Answer::HandOver(wire::HandOver { question, moves });
    match questions::ask(shared, leader, PATIENCE, question).await {
        Some(Said::HandedOver(answer)) => {
            let ready = answer.ready.iter().map(questions::partition);
            ready.filter_map(Result::ok).collect()
        }
        _ => {
            tracing::warn!(%leader, "a leader did not hand over in time");
            Vec::new()
        }
    }
}
