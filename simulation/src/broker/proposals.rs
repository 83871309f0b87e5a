//! AlterPartitions: proposals leave as often as it takes, answers come late, twice or never.

use highwater_broker::replica::IsrAnswer;
use highwater_controller::cluster::{AlterPartitions, IsrMember, IsrProposal};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::TopicPartition;

use super::node_id;
use crate::message::{Altered, Message};
use crate::network::Peer;
use crate::world::World;

impl World {
    /// Some leader sends what it wants, perhaps once more.
    pub(crate) fn propose_some(&mut self) -> bool {
        self.any_replica()
            .is_some_and(|(broker, key)| self.propose(broker, key))
    }

    pub(crate) fn propose(&mut self, broker: usize, key: TopicPartition) -> bool {
        let Some(process) = &self.brokers[broker].process else {
            return false;
        };
        let (Some(local), Some(epoch)) = (process.replicas.get(&key), process.epoch) else {
            return false;
        };
        let Some(proposal) = local.replica.pending_proposal() else {
            return false;
        };
        let members = proposal.isr.iter().map(|member| IsrMember {
            broker: member.broker,
            // The leader itself is left to its shell.
            epoch: if member.broker == node_id(broker) {
                epoch
            } else {
                member.epoch
            },
        });
        let request = AlterPartitions {
            broker: node_id(broker),
            broker_epoch: epoch,
            proposals: vec![IsrProposal {
                key,
                leader_epoch: proposal.leader_epoch,
                partition_epoch: proposal.base,
                isr: members.collect(),
            }],
        };
        let Some(controller) = self.believed_controller() else {
            return false;
        };
        let (from, to) = (Peer::Broker(broker), Peer::Controller(controller));
        if self.network.is_cut(from, to) {
            return false;
        }
        // Requests of their own: they overtake each other.
        let connection = self.network.open(from, to);
        self.network.send(connection, from, Message::Alter(request));
        true
    }

    /// A controller answered.
    pub(crate) fn altered(&mut self, broker: usize, altered: Altered) {
        let answer = match altered.result {
            Ok((epoch, isr)) => IsrAnswer::Committed { epoch, isr },
            Err(ErrorCode::IneligibleReplica | ErrorCode::OperationNotAttempted) => IsrAnswer::Refused,
            Err(
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::InvalidRequest
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::InvalidUpdateVersion
                | ErrorCode::NewLeaderElected,
            ) => IsrAnswer::Outdated,
            // No answer: the proposal is sent again.
            Err(_) => return,
        };
        let Some(local) = self.local(broker, altered.key) else {
            return;
        };
        let effects = local.replica.isr_answered(altered.base, answer);
        self.carry_out(broker, altered.key, effects);
    }
}
