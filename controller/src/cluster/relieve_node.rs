//! Gray failures (design section 4): a broker is there, but its disk takes so long that everybody waits for it. It leaves
//! the ISRs in which min ISR remains; its leaderships are handed over before, by [`crate::cluster::MoveLeaders`].

use highwater_proto::metadata::{Change, MetadataImage};
use highwater_proto::types::NodeId;

use crate::cluster::election::Voters;
use crate::cluster::{Command, Decision, Settings, Steps};

/// A broker that stalls leaves ISRs. It joins again, by its leaders, once it stalls no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelieveNode {
    /// The broker.
    pub node: NodeId,
}

impl Command for RelieveNode {
    /// How many ISRs it left.
    type Reply = usize;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<usize> {
        let stalls = image.live_broker(self.node).is_some_and(|node| node.disk.stalled);
        if !stalls {
            return Decision::unchanged(0);
        }
        let mut steps = Steps::new();
        let mut left = 0;
        for topic in image.topics() {
            for (index, partition) in topic.indexed_partitions() {
                if partition.leader.is_none()
                    || partition.leader == Some(self.node)
                    || !partition.isr.contains(&self.node)
                {
                    continue;
                }
                let voters = Voters::new(image, settings, topic, partition);
                if partition.isr.len() <= voters.min_isr() {
                    continue;
                }
                let others = partition.isr.iter().copied().filter(|member| *member != self.node);
                let mut changed = (**partition).clone();
                voters.set_isr(&mut changed, others.collect());
                steps.push(Change::PutPartition(topic.id, index, changed));
                left += 1;
            }
        }
        Decision {
            steps: steps.finish(),
            reply: left,
        }
    }
}
