//! A broker says that replicas on it cannot be used any more: a damaged log, a failed disk. Others lead and stay in sync;
//! the replica comes back when its leader says that it has everything again.

use std::collections::BTreeSet;

use highwater_proto::metadata::{Change, MetadataImage};
use highwater_proto::types::{BrokerEpoch, NodeId, TopicPartition};

use crate::cluster::election::Voters;
use crate::cluster::{Command, Decision, Settings, Steps};

/// Replicas that a broker cannot use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportOfflineReplicas {
    /// The broker.
    pub node: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// The partitions.
    pub replicas: BTreeSet<TopicPartition>,
}

impl Command for ReportOfflineReplicas {
    type Reply = ();

    /// The replica leaves ISR and ELR, and leads nothing. The last member of an ISR keeps its seat, because nobody else
    /// has what it may still have; as an offline replica it is not elected.
    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<()> {
        let mut steps = Steps::new();
        let known = image.node(self.node).is_some_and(|node| node.epoch == self.epoch);
        for key in self.replicas.iter().filter(|_| known) {
            let Some(topic) = image.topic_by_id(key.topic_id) else {
                continue;
            };
            let Some(partition) = topic.partition(key.partition) else {
                continue;
            };
            if !partition.replicas.contains(&self.node) {
                continue;
            }
            let mut changed = (**partition).clone();
            if !changed.offline_replicas.contains(&self.node) {
                changed.offline_replicas.push(self.node);
            }
            Voters::new(image, settings, topic, partition).fence(&mut changed, self.node);
            if !changed.isr.is_empty() && changed.isr != [self.node] {
                changed.elr.retain(|member| *member != self.node);
            }
            if changed != **partition {
                steps.push(Change::PutPartition(topic.id, key.partition, changed));
            }
        }
        Decision {
            steps: steps.finish(),
            reply: (),
        }
    }
}
