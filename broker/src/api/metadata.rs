//! Metadata (3): brokers, topics and where their partitions are. Asking for a topic may create it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::metadata::request::MetadataRequestTopic;
use highwater_proto::kafka::messages::metadata::response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use highwater_proto::kafka::messages::metadata::{MetadataRequest, MetadataResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::metadata::{MetadataImage, Partition, Topic};
use highwater_proto::types::{NodeId, PartitionIndex, TopicId, is_internal_topic, is_legal_topic_name};

use super::cluster_view::{CLUSTER_OPERATIONS, ClusterView, NO_NODE, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS, ids};
use super::{Api, RequestContext, auto_create};

/// Handler of Metadata.
pub(super) struct Metadata;

impl Api for Metadata {
    type Request = MetadataRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=13;

    async fn handle(context: &RequestContext, version: i16, request: MetadataRequest) -> MetadataResponse {
        let broker = &context.broker;
        let answer = Answerer {
            view: ClusterView::new(&broker.image(), &context.client.listener),
            image: &broker.image(),
            asked: broker.node_id(),
            version,
            request: &request,
        }
        .answer();
        // The answer does not wait: clients ask again, as they do of Apache Kafka.
        if request.allow_auto_topic_creation && !answer.missing.is_empty() {
            auto_create::start(broker, answer.missing);
        }
        answer.response
    }
}

/// An answer, and topics that do not exist but could.
struct MetadataAnswer {
    response: MetadataResponse,
    missing: Vec<String>,
}

struct Answerer<'a> {
    image: &'a MetadataImage,
    view: ClusterView<'a>,
    asked: NodeId,
    version: i16,
    request: &'a MetadataRequest,
}

/// The topics that a request asks for.
enum Asked<'a> {
    All,
    Names(Vec<&'a str>),
    Ids(Vec<TopicId>),
    /// Ids, or no name, in a version that does not allow it (10 and 11 have the fields, but not the meaning).
    Illegal(&'a [MetadataRequestTopic]),
}

impl<'a> Answerer<'a> {
    fn answer(&self) -> MetadataAnswer {
        let mut missing = Vec::new();
        let topics = match self.asked_topics() {
            Asked::All => self.image.topics().map(|topic| self.topic(topic)).collect(),
            Asked::Names(names) => names.into_iter().map(|name| self.by_name(name, &mut missing)).collect(),
            Asked::Ids(ids) => ids.into_iter().map(|id| self.by_id(id)).collect(),
            Asked::Illegal(topics) => topics.iter().map(refuse).collect(),
        };
        let brokers = self.view.live_brokers().map(|(node, endpoint)| MetadataResponseBroker {
            node_id: node.id.get(),
            host: ByteStr::from(endpoint.host.as_str()),
            port: i32::from(endpoint.port),
            rack: node.registration.rack.as_deref().map(ByteStr::from),
            ..Default::default()
        });
        let mut response = MetadataResponse {
            brokers: brokers.collect(),
            cluster_id: Some(ByteStr::from(self.image.cluster.cluster_id.as_str())),
            controller_id: self.view.controller_id(self.asked),
            topics,
            ..Default::default()
        };
        if self.request.include_cluster_authorized_operations {
            response.cluster_authorized_operations = CLUSTER_OPERATIONS;
        }
        MetadataAnswer { response, missing }
    }

    fn asked_topics(&self) -> Asked<'a> {
        let topics = match &self.request.topics {
            None => return Asked::All,
            Some(topics) if topics.is_empty() && self.version == 0 => return Asked::All,
            Some(topics) => topics,
        };
        let by_id = topics.iter().any(|topic| !topic.topic_id.is_nil());
        if self.version < 12 && (by_id || topics.iter().any(|topic| topic.name.is_none())) {
            return Asked::Illegal(topics);
        }
        if by_id {
            // Names beside ids are ignored.
            let ids: BTreeSet<_> = topics
                .iter()
                .map(|topic| TopicId(topic.topic_id))
                .filter(|id| !id.is_zero())
                .collect();
            return Asked::Ids(ids.into_iter().collect());
        }
        let names: BTreeSet<&str> = topics.iter().filter_map(|topic| topic.name.as_deref()).collect();
        Asked::Names(names.into_iter().collect())
    }

    fn by_name(&self, name: &str, missing: &mut Vec<String>) -> MetadataResponseTopic {
        if let Some(topic) = self.image.topic(name) {
            return self.topic(topic);
        }
        let error = if is_legal_topic_name(name) {
            missing.push(name.to_owned());
            ErrorCode::UnknownTopicOrPartition
        } else {
            ErrorCode::InvalidTopicException
        };
        MetadataResponseTopic {
            error_code: error.code(),
            name: Some(ByteStr::from(name)),
            is_internal: is_internal_topic(name),
            ..Default::default()
        }
    }

    fn by_id(&self, id: TopicId) -> MetadataResponseTopic {
        match self.image.topic_by_id(id) {
            Some(topic) => self.topic(topic),
            None => MetadataResponseTopic {
                error_code: ErrorCode::UnknownTopicId.code(),
                name: None,
                topic_id: id.0,
                ..Default::default()
            },
        }
    }

    fn topic(&self, topic: &Topic) -> MetadataResponseTopic {
        let partitions = topic
            .indexed_partitions()
            .map(|(index, partition)| self.partition(index, partition));
        let asked = self.request.include_topic_authorized_operations;
        MetadataResponseTopic {
            name: Some(ByteStr::from(&*topic.name)),
            topic_id: topic.id.0,
            is_internal: is_internal_topic(&topic.name),
            partitions: partitions.collect(),
            topic_authorized_operations: if asked { TOPIC_OPERATIONS } else { OPERATIONS_NOT_ASKED },
            ..Default::default()
        }
    }

    fn partition(&self, index: PartitionIndex, partition: &Partition) -> MetadataResponsePartition {
        let view = self.view.partition(partition);
        let mut row = MetadataResponsePartition {
            error_code: view.error.code(),
            partition_index: index.get(),
            leader_id: view.leader,
            leader_epoch: partition.leader_epoch.get(),
            replica_nodes: ids(&partition.replicas),
            isr_nodes: ids(&partition.isr),
            offline_replicas: view.offline,
            ..Default::default()
        };
        if self.version < 6 && view.error == ErrorCode::ListenerNotFound {
            row.error_code = ErrorCode::LeaderNotAvailable.code();
        }
        if self.version == 0 {
            self.leave_out_unreachable(&mut row);
        }
        row
    }

    /// Version 0 names only replicas that can be reached.
    fn leave_out_unreachable(&self, row: &mut MetadataResponsePartition) {
        let full = (row.replica_nodes.len(), row.isr_nodes.len());
        row.replica_nodes.retain(|id| self.view.is_reachable(NodeId(*id)));
        row.isr_nodes.retain(|id| self.view.is_reachable(NodeId(*id)));
        if row.leader_id != NO_NODE && (row.replica_nodes.len(), row.isr_nodes.len()) != full {
            row.error_code = ErrorCode::ReplicaNotAvailable.code();
        }
    }
}

fn refuse(topic: &MetadataRequestTopic) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        // These versions have no null name.
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
