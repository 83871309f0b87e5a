//! Metadata images for the tests of handlers.

use std::collections::BTreeMap;

use highwater_proto::metadata::{
    Change, ClusterInfo, ConfigResource, Endpoint, MetadataImage, MetadataUpdate, NodeRegistration, NodeRole,
    NodeState, Partition,
};
use highwater_proto::types::{LeaderEpoch, NodeId, PartitionIndex, Revision, TopicId};
use uuid::Uuid;

/// The listener of clients in these tests.
pub(super) const LISTENER: &str = "PLAINTEXT";

/// Builds an image change by change.
#[derive(Default)]
pub(super) struct TestImage {
    changes: Vec<Change>,
}

impl TestImage {
    pub(super) fn new() -> Self {
        let cluster = ClusterInfo {
            cluster_id: "cluster".to_owned(),
            generation: 1,
            format_version: 1,
        };
        Self {
            changes: vec![Change::PutCluster(cluster)],
        }
    }

    /// A broker on these listeners; its address is `b<id>` and 9092.
    pub(super) fn broker(mut self, id: i32, state: NodeState, listeners: &[&str]) -> Self {
        let endpoint = |name: &&str| Endpoint {
            name: (*name).to_owned(),
            host: format!("b{id}"),
            port: 9092,
        };
        let registration = NodeRegistration {
            role: NodeRole::Broker,
            incarnation: Uuid::from_u128(1),
            directory_id: Uuid::from_u128(2),
            endpoints: listeners.iter().map(endpoint).collect(),
            rack: Some(format!("rack{id}")),
            api_ranges: Vec::new(),
            pod_uid: None,
        };
        self.changes.push(Change::PutNodeRegistration(NodeId(id), registration));
        self.changes.push(Change::PutNodeState(NodeId(id), state));
        self
    }

    /// A topic of partitions with (leader, replicas); leader epoch 7 and the live replicas in sync.
    pub(super) fn topic(mut self, name: &str, id: u128, partitions: &[(Option<i32>, &[i32])]) -> Self {
        let topic_id = topic_id(id);
        for (index, (leader, replicas)) in (0..).zip(partitions) {
            let replicas: Vec<NodeId> = replicas.iter().copied().map(NodeId).collect();
            let partition = Partition {
                isr: replicas.clone(),
                replicas,
                leader: leader.map(NodeId),
                leader_epoch: LeaderEpoch(7),
                ..Partition::default()
            };
            self.changes
                .push(Change::PutPartition(topic_id, PartitionIndex(index), partition));
        }
        self.changes.push(Change::PutTopic {
            name: name.to_owned(),
            topic_id,
            partition_count: partitions.len() as i32,
            configs: BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]),
            owner: None,
        });
        self
    }

    pub(super) fn config(mut self, resource: ConfigResource, name: &str, value: &str) -> Self {
        let values = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        self.changes.push(Change::PutConfig(resource, values));
        self
    }

    pub(super) fn build(self) -> MetadataImage {
        MetadataImage::default().apply(&MetadataUpdate {
            revision: Revision(5),
            changes: self.changes,
        })
    }
}

pub(super) fn topic_id(id: u128) -> TopicId {
    TopicId(Uuid::from_u128(id))
}
