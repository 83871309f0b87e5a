//! AlterPartitions: answers with the state to go on from, whether the proposal was taken or not.

use grpc::alter_partitions_request::Proposal;
use grpc::alter_partitions_response::Result as WireResult;
use grpc::session_request::ReplicaRef;
use highwater_proto::grpc;
use highwater_proto::metadata::convert;
use highwater_proto::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicPartition};
use tonic::Status;

use crate::cluster::{AlterPartitions, IsrMember, IsrProposal, ReportOfflineReplicas};
use crate::service::Shared;
use crate::service::rpc::{malformed, outcome};

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::AlterPartitionsRequest,
) -> Result<grpc::AlterPartitionsResponse, Status> {
    let proposals = request
        .proposals
        .into_iter()
        .map(proposal)
        .collect::<Result<_, Status>>()?;
    let (broker, broker_epoch) = (NodeId(request.broker_id), BrokerEpoch(request.broker_epoch));
    if !request.offline.is_empty() {
        let replica = |replica: ReplicaRef| {
            Ok(TopicPartition {
                topic_id: convert::topic_id(&replica.topic_id).map_err(malformed)?,
                partition: PartitionIndex(replica.partition),
            })
        };
        let replicas = request.offline.into_iter().map(replica);
        shared
            .decided(ReportOfflineReplicas {
                node: broker,
                epoch: broker_epoch,
                replicas: replicas.collect::<Result<_, Status>>()?,
            })
            .await?;
    }
    let command = AlterPartitions {
        broker,
        broker_epoch,
        proposals,
    };
    let decided = shared.decided(command).await?;
    let image = &decided.image;
    let results = decided.reply.into_iter().map(|altered| {
        let state = image.partition(altered.key.topic_id, altered.key.partition);
        WireResult {
            topic_id: convert::uuid_bytes(altered.key.topic_id.0),
            partition: altered.key.partition.get(),
            outcome: outcome(&altered.result),
            partition_state: state.map(|partition| (&**partition).into()),
        }
    });
    Ok(grpc::AlterPartitionsResponse {
        results: results.collect(),
        revision: image.revision.get(),
    })
}

fn proposal(proposal: Proposal) -> Result<IsrProposal, Status> {
    let isr = proposal.isr.into_iter();
    let member = |member: grpc::alter_partitions_request::IsrMember| IsrMember {
        broker: NodeId(member.broker),
        epoch: BrokerEpoch(member.broker_epoch),
    };
    Ok(IsrProposal {
        key: TopicPartition {
            topic_id: convert::topic_id(&proposal.topic_id).map_err(malformed)?,
            partition: PartitionIndex(proposal.partition),
        },
        leader_epoch: LeaderEpoch(proposal.leader_epoch),
        partition_epoch: PartitionEpoch(proposal.partition_epoch),
        isr: isr.map(member).collect(),
    })
}
