//! A broker says how its disk fares: how much room it has left, so that leaders of partitions that it replicates slow
//! down too, and whether it stalls, so that others lead.

use highwater_proto::metadata::{Change, MetadataImage, NodeDisk};
use highwater_proto::types::{BrokerEpoch, NodeId};

use crate::cluster::{Command, Decision, Settings, Steps};

/// What a heartbeat said of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportDisk {
    /// The broker.
    pub node: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// How the disk fares.
    pub disk: NodeDisk,
}

impl ReportDisk {
    /// True if the image says something else.
    #[must_use]
    pub fn is_news(&self, image: &MetadataImage) -> bool {
        image
            .node(self.node)
            .is_some_and(|node| node.epoch == self.epoch && node.disk != self.disk)
    }
}

impl Command for ReportDisk {
    type Reply = ();

    fn decide(&self, image: &MetadataImage, _settings: &Settings) -> Decision<()> {
        let mut steps = Steps::new();
        if self.is_news(image) {
            steps.push(Change::PutNodeDisk(self.node, self.disk));
        }
        Decision {
            steps: steps.finish(),
            reply: (),
        }
    }
}
