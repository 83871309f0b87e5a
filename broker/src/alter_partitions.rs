//! AlterPartitions: carries ISR proposals of leaders here to the active controller, many in one request, one request at a
//! time. A proposal ends only by a definite answer: what gets none is sent again, and keeps counting meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use highwater_node::session::Backoff;
use highwater_proto::grpc;
use highwater_proto::grpc::alter_partitions_request::{IsrMember as WireMember, Proposal};
use highwater_proto::grpc::alter_partitions_response::Result as Altered;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Partition as Assignment, convert};
use highwater_proto::types::{PartitionEpoch, PartitionIndex, TopicPartition};

use crate::broker::Broker;
use crate::replica::{IsrAnswer, IsrProposal};

/// Proposals of one request.
const MAX_PROPOSALS: usize = 2_000;
/// How long the controller may take; its answer is as unknown afterwards as before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses while the controller cannot be asked, or answers that it cannot decide.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Starts the task; it ends with the broker.
pub(crate) fn start(broker: &Arc<Broker>) {
    let shutdown = broker.shutdown().clone();
    let broker = Arc::clone(broker);
    shutdown.spawn(async move {
        tokio::select! {
            () = broker.shutdown().triggered() => {}
            () = run(&broker) => {}
        }
    });
}

async fn run(broker: &Broker) {
    let mut open: BTreeSet<TopicPartition> = BTreeSet::new();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        if open.is_empty() {
            open.extend(broker.partitions().proposals().take().await);
        }
        open.extend(broker.partitions().proposals().take_now());
        let batch: Vec<TopicPartition> = open.iter().take(MAX_PROPOSALS).copied().collect();
        match propose(broker, &batch).await {
            Ok(decided) => {
                let before = open.len();
                batch.iter().for_each(|key| {
                    open.remove(key);
                });
                open.extend(batch.iter().filter(|key| !decided.contains(key)));
                if open.len() < before {
                    backoff.reset();
                }
            }
            Err(status) => tracing::debug!(%status, "the controller does not answer ISR proposals; sending them again"),
        }
        if !open.is_empty() {
            tokio::time::sleep(backoff.pause()).await;
        }
    }
}

/// Sends what these partitions propose now. Those that need not be sent again.
async fn propose(broker: &Broker, keys: &[TopicPartition]) -> Result<BTreeSet<TopicPartition>, tonic::Status> {
    let mut decided = BTreeSet::new();
    let mut proposals = Vec::with_capacity(keys.len());
    for key in keys {
        let partition = broker.partitions().get(key.topic_id, key.partition);
        let pending = partition.and_then(|it| it.inspect(|replica| replica.pending_proposal().cloned()));
        match pending {
            Some(proposal) => proposals.push(wire(broker, *key, &proposal)),
            // An image ended it, or the leadership.
            None => {
                decided.insert(*key);
            }
        }
    }
    if proposals.is_empty() {
        return Ok(decided);
    }
    let bases: Vec<i64> = proposals.iter().map(|proposal| proposal.partition_epoch).collect();
    let request = grpc::AlterPartitionsRequest {
        broker_id: broker.node_id().get(),
        broker_epoch: broker.epoch().get(),
        proposals,
    };
    let mut controller = broker.controller();
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, controller.alter_partitions(request)).await;
    let answer = answer.map_err(|_| tonic::Status::deadline_exceeded("no answer in time"))??;
    // One result per proposal, in their order.
    for (result, base) in answer.into_inner().results.into_iter().zip(bases) {
        if let Some(key) = take_result(broker, result, PartitionEpoch(base)) {
            decided.insert(key);
        }
    }
    Ok(decided)
}

fn wire(broker: &Broker, key: TopicPartition, proposal: &IsrProposal) -> Proposal {
    let member = |member: &crate::replica::IsrMember| WireMember {
        broker: member.broker.get(),
        // The leader does not know its own registration.
        broker_epoch: if member.broker == broker.node_id() {
            broker.epoch().get()
        } else {
            member.epoch.get()
        },
    };
    Proposal {
        topic_id: convert::uuid_bytes(key.topic_id.0),
        partition: key.partition.get(),
        leader_epoch: proposal.leader_epoch.get(),
        partition_epoch: proposal.base.get(),
        isr: proposal.isr.iter().map(member).collect(),
    }
}

/// Tells the partition. `Some` if the proposal need not be sent again: it is decided, or an image will decide it.
fn take_result(broker: &Broker, result: Altered, base: PartitionEpoch) -> Option<TopicPartition> {
    let key = TopicPartition {
        topic_id: convert::topic_id(&result.topic_id).ok()?,
        partition: PartitionIndex(result.partition),
    };
    let answer = answer(&result)?;
    if let Some(partition) = broker.partitions().get(key.topic_id, key.partition) {
        let (before, after) = partition.isr_answered(base, answer);
        broker.metrics().isr_changed(before, after);
    }
    Some(key)
}

/// What an outcome means (rule 28). `None`: nothing was decided.
fn answer(result: &Altered) -> Option<IsrAnswer> {
    let code = i16::try_from(result.outcome.as_ref()?.code).ok()?;
    match ErrorCode::from_code(code) {
        ErrorCode::None => {
            let state: Assignment = result.partition_state.clone()?.into();
            Some(IsrAnswer::Committed {
                epoch: state.epoch,
                isr: state.isr,
            })
        }
        ErrorCode::IneligibleReplica | ErrorCode::OperationNotAttempted => Some(IsrAnswer::Refused),
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::InvalidUpdateVersion
        | ErrorCode::InvalidRequest
        | ErrorCode::NewLeaderElected => Some(IsrAnswer::Outdated),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use highwater_proto::types::NodeId;

    use super::*;

    fn result(code: i32, state: Option<grpc::Partition>) -> Altered {
        Altered {
            outcome: Some(grpc::Outcome { code, message: None }),
            partition_state: state,
            ..Altered::default()
        }
    }

    #[test]
    fn only_definite_answers_end_a_proposal() {
        let state = grpc::Partition {
            isr: vec![1, 2],
            epoch: 9,
            leader: Some(1),
            ..grpc::Partition::default()
        };
        assert_eq!(
            answer(&result(0, Some(state))),
            Some(IsrAnswer::Committed {
                epoch: PartitionEpoch(9),
                isr: vec![NodeId(1), NodeId(2)]
            })
        );
        assert_eq!(answer(&result(107, None)), Some(IsrAnswer::Refused));
        for outdated in [3, 42, 74, 95, 100, 108] {
            assert_eq!(answer(&result(outdated, None)), Some(IsrAnswer::Outdated), "{outdated}");
        }
        for undecided in [7, 41, 77, -1] {
            assert_eq!(answer(&result(undecided, None)), None, "{undecided}");
        }
    }
}
