//! Planned moves of leaderships (design section 4): the leader takes no more appends, its successor fetches the rest, and
//! then it leads.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use highwater_proto::grpc::session_request::Request as Said;
use highwater_proto::grpc::session_response::{self as wire, Response as Answer};
use highwater_proto::metadata::MetadataImage;
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
    let prepared = prepare(shared, &moves).await;
    let is_ready = |wanted: &LeaderMove| prepared.ready.contains(&wanted.key);
    let moves: Vec<LeaderMove> = moves
        .into_iter()
        .filter(|wanted| unready == Unready::Moves || is_ready(wanted))
        .collect();
    let (wanted, unready) = (moves.len(), moves.iter().filter(|it| !is_ready(it)).count());
    let decided = shared.decider.decide(MoveLeaders { moves }).await?;
    prepared.end(shared, &decided.image);
    let moved = decided.reply.iter().filter(|result| result.is_ok()).count();
    tracing::info!(wanted, moved, unready, "leaderships were handed over");
    Ok(moved)
}

/// Leaders that were asked to hand over, and take no appends for now.
#[must_use]
pub(crate) struct Prepared {
    /// The partitions of which the successors have everything.
    ready: HashSet<TopicPartition>,
    asked: Vec<Asked>,
}

/// What one leader was asked.
struct Asked {
    leader: NodeId,
    question: i64,
    moves: Vec<LeaderMove>,
}

impl Prepared {
    /// Tells the leaders which of them stay, so that they take appends again. `image` is that after the decision. Without a
    /// word (nobody knows what became of the decision) they do so by themselves after two seconds.
    pub(crate) fn end(self, shared: &Shared, image: &MetadataImage) {
        for asked in self.asked {
            let kept = kept(image, &asked.moves);
            if kept.is_empty() {
                continue;
            }
            let keep = wire::Keep {
                question: asked.question,
                replicas: kept.iter().map(questions::replica).collect(),
            };
            // A leader that is not heard from any more is about to be fenced.
            let _ = shared.sessions.tell(asked.leader, Answer::Keep(keep));
        }
    }
}

/// The partitions whose leader was not replaced.
fn kept(image: &MetadataImage, moves: &[LeaderMove]) -> Vec<TopicPartition> {
    let same_epoch = |wanted: &&LeaderMove| {
        let partition = image.partition(wanted.key.topic_id, wanted.key.partition);
        partition.is_some_and(|partition| partition.leader_epoch == wanted.leader_epoch)
    };
    moves.iter().filter(same_epoch).map(|wanted| wanted.key).collect()
}

/// Asks the leaders to hand over. Whatever moves the leaderships has to follow at once, and then [`Prepared::end`].
pub(crate) async fn prepare(shared: &Shared, moves: &[LeaderMove]) -> Prepared {
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
    let mut prepared = Prepared {
        ready: HashSet::new(),
        asked: Vec::new(),
    };
    for (ready, asked) in join_all(asked).await {
        prepared.ready.extend(ready);
        prepared.asked.push(asked);
    }
    prepared
}

/// The partitions of which the successors have everything, and what was asked.
async fn ready(shared: &Shared, leader: NodeId, moves: &[LeaderMove]) -> (Vec<TopicPartition>, Asked) {
    let wire_moves = moves.iter().map(|wanted| wire::LeaderMove {
        replica: Some(questions::replica(&wanted.key)),
        leader_epoch: wanted.leader_epoch.get(),
        target: wanted.target.get(),
    });
    let wire_moves = wire_moves.collect();
    let mut asked = Asked {
        leader,
        question: 0,
        moves: moves.to_vec(),
    };
    let number = &mut asked.question;
    let question = |question| {
        *number = question;
        Answer::HandOver(wire::HandOver {
            question,
            moves: wire_moves,
        })
    };
    let ready = match questions::ask(shared, leader, PATIENCE, question).await {
        Some(Said::HandedOver(answer)) => {
            let ready = answer.ready.iter().map(questions::partition);
            ready.filter_map(Result::ok).collect()
        }
        _ => {
            tracing::warn!(%leader, "a leader did not hand over in time");
            Vec::new()
        }
    };
    (ready, asked)
}
