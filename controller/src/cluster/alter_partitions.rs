//! AlterPartitions: leaders change the ISR of what they lead (rules 28 and 29).

use std::collections::BTreeSet;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, Partition, Topic};
use highwater_proto::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, TopicPartition};

use crate::cluster::election::Voters;
use crate::cluster::{Command, Decision, Refusal, Settings, Steps};

/// Proposals of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterPartitions {
    /// The broker.
    pub broker: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// What it proposes.
    pub proposals: Vec<IsrProposal>,
}

/// The ISR that a leader proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    /// The partition.
    pub key: TopicPartition,
    /// The leader epoch that the proposer leads in.
    pub leader_epoch: LeaderEpoch,
    /// The state that the proposal changes.
    pub partition_epoch: PartitionEpoch,
    /// The members, each with the registration that the leader saw fetch.
    pub isr: Vec<IsrMember>,
}

/// A member of a proposed ISR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsrMember {
    /// The broker.
    pub broker: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
}

/// What became of one proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlteredPartition {
    /// The partition.
    pub key: TopicPartition,
    /// The ISR is the proposed one, or why not. The state to go on from is in the image after the last step.
    pub result: Result<(), Refusal>,
}

impl Command for AlterPartitions {
    /// One result per proposal, in the order of the request.
    type Reply = Vec<AlteredPartition>;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply> {
        let mut steps = Steps::new();
        let mut results = Vec::with_capacity(self.proposals.len());
        let mut seen = BTreeSet::new();
        let known = image
            .node(self.broker)
            .is_some_and(|node| node.epoch == self.broker_epoch);
        for proposal in &self.proposals {
            let result = if !known {
                let message = format!(
                    "broker {} is not registered with epoch {}",
                    self.broker, self.broker_epoch
                );
                Err(Refusal::new(ErrorCode::StaleBrokerEpoch, message))
            } else if !seen.insert(proposal.key) {
                Err(Refusal::new(ErrorCode::InvalidRequest, "the partition is there twice"))
            } else {
                self.alter(image, settings, proposal, &mut steps)
            };
            results.push(AlteredPartition {
                key: proposal.key,
                result,
            });
        }
        Decision {
            steps: steps.finish(),
            reply: results,
        }
    }
}

impl AlterPartitions {
    fn alter(
        &self,
        image: &MetadataImage,
        settings: &Settings,
        proposal: &IsrProposal,
        steps: &mut Steps,
    ) -> Result<(), Refusal> {
        let key = proposal.key;
        let Some(topic) = image.topic_by_id(key.topic_id) else {
            return Err(Refusal::new(ErrorCode::UnknownTopicId, "no topic has this id"));
        };
        let Some(partition) = topic.partition(key.partition) else {
            return Err(Refusal::new(
                ErrorCode::UnknownTopicOrPartition,
                "the topic has no such partition",
            ));
        };
        self.check_epochs(partition, proposal)?;
        if let Err(refusal) = check_members(image, partition, self.broker, &proposal.isr) {
            if refusal.code == ErrorCode::IneligibleReplica {
                // The leader counts the joiner no longer. A copy of the proposal that is still on its way has to find
                // another partition epoch: by then the joiner may be eligible, and lack what was committed meanwhile.
                steps.push(Change::PutPartition(topic.id, key.partition, (**partition).clone()));
            }
            return Err(refusal);
        }
        let members: Vec<NodeId> = proposal.isr.iter().map(|member| member.broker).collect();
        let same: BTreeSet<&NodeId> = members.iter().collect();
        if same == partition.isr.iter().collect() {
            return Ok(());
        }
        steps.push(Change::PutPartition(
            topic.id,
            key.partition,
            with_isr(image, settings, topic, partition, members),
        ));
        Ok(())
    }

    fn check_epochs(&self, partition: &Partition, proposal: &IsrProposal) -> Result<(), Refusal> {
        let refuse = |code, message: String| Err(Refusal::new(code, message));
        let (ours, theirs) = (partition.leader_epoch, proposal.leader_epoch);
        if theirs > ours || proposal.partition_epoch > partition.epoch {
            let message = "the proposal is ahead of this controller".to_owned();
            return refuse(ErrorCode::NotController, message);
        }
        if theirs < ours {
            let message = format!("leader epoch {theirs} is fenced, the partition is at {ours}");
            return refuse(ErrorCode::FencedLeaderEpoch, message);
        }
        if partition.leader != Some(self.broker) {
            return refuse(
                ErrorCode::InvalidRequest,
                format!("broker {} does not lead the partition", self.broker),
            );
        }
        if proposal.partition_epoch < partition.epoch {
            let message = format!(
                "partition epoch {} is old, the partition is at {}",
                proposal.partition_epoch, partition.epoch
            );
            return refuse(ErrorCode::InvalidUpdateVersion, message);
        }
        Ok(())
    }
}

fn check_members(
    image: &MetadataImage,
    partition: &Partition,
    leader: NodeId,
    isr: &[IsrMember],
) -> Result<(), Refusal> {
    let unique: BTreeSet<NodeId> = isr.iter().map(|member| member.broker).collect();
    let subset = unique.len() == isr.len() && unique.iter().all(|node| partition.replicas.contains(node));
    if !subset || !unique.contains(&leader) {
        let message = "the ISR must hold the leader, and replicas only, each once";
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    for member in isr {
        let node = image
            .live_broker(member.broker)
            .filter(|node| node.epoch == member.epoch);
        let joins = !partition.isr.contains(&member.broker);
        let stalled = node.is_some_and(|node| joins && node.disk.stalled);
        // An offline replica that its leader sees fetching has been copied afresh.
        let offline = !joins && partition.offline_replicas.contains(&member.broker);
        if node.is_none() || stalled || offline {
            let message = format!("broker {} is fenced, restarted, stalled or offline", member.broker);
            return Err(Refusal::new(ErrorCode::IneligibleReplica, message));
        }
    }
    Ok(())
}

fn with_isr(
    image: &MetadataImage,
    settings: &Settings,
    topic: &Topic,
    partition: &Partition,
    isr: Vec<NodeId>,
) -> Partition {
    let mut changed = partition.clone();
    Voters::new(image, settings, topic, partition).set_isr(&mut changed, isr);
    let Partition {
        isr, offline_replicas, ..
    } = &mut changed;
    offline_replicas.retain(|node| !isr.contains(node));
    changed
}
