//! AlterPartitions: carries ISR proposals of leaders here to the active controller, many in one request, one request at a
//! time. A proposal ends only by a definite answer: what gets none is sent again, and keeps counting meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_node::session::Backoff;
use highwater_node::telemetry::Trace;
use highwater_proto::grpc;
use highwater_proto::grpc::alter_partitions_request::{IsrMember as WireMember, Proposal};
use highwater_proto::grpc::alter_partitions_response::Result as Altered;
use highwater_proto::grpc::session_request::ReplicaRef;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Partition as Assignment, convert};
use highwater_proto::types::{PartitionEpoch, Revision, TopicPartition};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::partition::News;
use crate::replica::{IsrAnswer, IsrProposal};

/// Proposals of one request.
const MAX_PROPOSALS: usize = 2_000;
/// How long the controller may take; its answer is as unknown afterwards as before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A request that got no answer is carried out within this, or never: controllers act on their own for less, and one that
/// acts takes a broker's requests in their order.
const CARRIED_OUT_WITHIN: Duration = Duration::from_secs(10);
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

/// What the controller has not answered yet.
#[derive(Debug, Default)]
struct Open {
    proposals: BTreeMap<TopicPartition, Option<Unanswered>>,
    offline: BTreeSet<TopicPartition>,
}

/// The last time that a proposal was sent and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unanswered {
    base: PartitionEpoch,
    at: Instant,
}

impl Unanswered {
    /// True if a request that was sent then may still be carried out: a refusal of a later one proves nothing.
    fn may_be_carried_out(&self, base: PartitionEpoch, now: Instant) -> bool {
        self.base == base && now.saturating_duration_since(self.at) < CARRIED_OUT_WITHIN
    }
}

impl Open {
    fn is_empty(&self) -> bool {
        self.proposals.is_empty() && self.offline.is_empty()
    }

    fn add(&mut self, news: News) {
        for key in news.proposals {
            self.proposals.entry(key).or_default();
        }
        self.offline.extend(news.offline);
    }
}

async fn run(broker: &Broker) {
    let mut open = Open::default();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        if open.is_empty() {
            open.add(broker.partitions().reports().take().await);
        }
        open.add(broker.partitions().reports().take_now());
        match report(broker, &mut open).await {
            Ok(true) => backoff.reset(),
            Ok(false) => {}
            Err(status) => tracing::debug!(%status, "the controller does not answer ISR proposals; sending them again"),
        }
        if !open.is_empty() {
            tokio::time::sleep(backoff.pause()).await;
        }
    }
}

/// Sends what these partitions have to say now, as far as one request takes it, and drops what need not be sent again.
/// True if something was decided.
async fn report(broker: &Broker, open: &mut Open) -> Result<bool, tonic::Status> {
    let before = open.proposals.len();
    let mut proposals = Vec::with_capacity(before.min(MAX_PROPOSALS));
    let mut sent = Vec::new();
    open.proposals.retain(|key, _| {
        if proposals.len() >= MAX_PROPOSALS {
            return true;
        }
        let partition = broker.partitions().get(key.topic_id, key.partition);
        let pending = partition.and_then(|it| it.inspect(|replica| replica.pending_proposal().cloned()));
        // Without one an image ended it, or the leadership.
        pending.is_some_and(|proposal| {
            proposals.push(wire(broker, *key, &proposal));
            sent.push((*key, proposal.base));
            true
        })
    });
    let offline: Vec<TopicPartition> = open.offline.iter().take(MAX_PROPOSALS).copied().collect();
    if proposals.is_empty() && offline.is_empty() {
        return Ok(true);
    }
    let replica = |key: &TopicPartition| ReplicaRef {
        topic_id: convert::uuid_bytes(key.topic_id.0),
        partition: key.partition.get(),
    };
    let request = grpc::AlterPartitionsRequest {
        broker_id: broker.node_id().get(),
        broker_epoch: broker.epoch().get(),
        proposals,
        offline: offline.iter().map(replica).collect(),
    };
    let mut controller = broker.controller();
    let asked = Trace::scope_of(
        Trace::background("AlterPartitions"),
        controller.alter_partitions(request),
    );
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, asked).await;
    let answer = answer.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer in time")));
    let at = Instant::now();
    let answer = answer.inspect_err(|_| {
        for (key, base) in &sent {
            open.proposals.insert(*key, Some(Unanswered { base: *base, at }));
        }
    });
    let answer = answer?.into_inner();
    offline.iter().for_each(|key| {
        open.offline.remove(key);
    });
    // Not before all that was decided earlier: an ISR counts together with the min ISR of its time.
    let revision = Revision(answer.revision);
    broker.wait_for_image(revision, Instant::now() + ANSWER_TIMEOUT).await;
    if broker.image().revision < revision {
        return Err(tonic::Status::deadline_exceeded("the metadata does not come"));
    }
    // One result per proposal, in their order.
    for (result, (key, base)) in answer.results.iter().zip(sent) {
        if result.partition != key.partition.get() || result.topic_id != convert::uuid_bytes(key.topic_id.0) {
            continue;
        }
        let unanswered = open.proposals.get(&key).copied().flatten();
        let uncertain = unanswered.is_some_and(|it| it.may_be_carried_out(base, Instant::now()));
        // What is not decided is sent again.
        let Some(answer) = answer_of(result).filter(|it| !(uncertain && *it == IsrAnswer::Refused)) else {
            continue;
        };
        if let Some(partition) = broker.partitions().get(key.topic_id, key.partition) {
            partition.isr_answered(base, answer);
        }
        open.proposals.remove(&key);
    }
    Ok(!offline.is_empty() || open.proposals.len() < before)
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

/// What an outcome means (rule 28). `None`: nothing was decided.
fn answer_of(result: &Altered) -> Option<IsrAnswer> {
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

    #[tokio::test(start_paused = true)]
    async fn a_refusal_proves_nothing_while_an_earlier_request_may_be_carried_out() {
        let unanswered = Unanswered {
            base: PartitionEpoch(5),
            at: Instant::now(),
        };
        let later = Instant::now() + Duration::from_secs(3);
        assert!(unanswered.may_be_carried_out(PartitionEpoch(5), later));
        assert!(
            !unanswered.may_be_carried_out(PartitionEpoch(6), later),
            "that one is void"
        );
        assert!(!unanswered.may_be_carried_out(PartitionEpoch(5), later + CARRIED_OUT_WITHIN));
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
            answer_of(&result(0, Some(state))),
            Some(IsrAnswer::Committed {
                epoch: PartitionEpoch(9),
                isr: vec![NodeId(1), NodeId(2)]
            })
        );
        assert_eq!(answer_of(&result(107, None)), Some(IsrAnswer::Refused));
        for outdated in [3, 42, 74, 95, 100, 108] {
            assert_eq!(
                answer_of(&result(outdated, None)),
                Some(IsrAnswer::Outdated),
                "{outdated}"
            );
        }
        for undecided in [7, 41, 77, -1] {
            assert_eq!(answer_of(&result(undecided, None)), None, "{undecided}");
        }
    }
}
