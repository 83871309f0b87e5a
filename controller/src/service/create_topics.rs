//! CreateTopics. Topics without an id get one here: chance is no business of the core.

use grpc::create_topics_request::{Assignment, CreatableTopic as WireTopic};
use grpc::create_topics_response::Result as WireResult;
use highwater_proto::grpc;
use highwater_proto::metadata::convert;
use highwater_proto::types::{NodeId, PartitionIndex, TopicId};
use tonic::Status;
use uuid::Uuid;

use crate::cluster::{CreatableTopic, CreateTopics, ManualAssignment};
use crate::service::Shared;
use crate::service::rpc::{malformed, outcome};

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::CreateTopicsRequest,
) -> Result<grpc::CreateTopicsResponse, Status> {
    let topics = request
        .topics
        .into_iter()
        .map(creatable)
        .collect::<Result<_, Status>>()?;
    let decided = shared
        .decided(CreateTopics {
            topics,
            validate_only: request.validate_only,
        })
        .await?;
    let results = decided.reply.into_iter().map(|created| {
        let outcome = outcome(&created.result);
        let name = created.name;
        match created.result {
            Ok(shape) => WireResult {
                name,
                outcome,
                topic_id: convert::uuid_bytes(shape.topic_id.0),
                partitions: shape.partitions,
                replication_factor: shape.replication_factor,
                configs: shape.configs.into_iter().collect(),
            },
            Err(_) => WireResult {
                name,
                outcome,
                topic_id: convert::uuid_bytes(TopicId::ZERO.0),
                partitions: -1,
                replication_factor: -1,
                configs: Default::default(),
            },
        }
    });
    Ok(grpc::CreateTopicsResponse {
        results: results.collect(),
        revision: decided.image.revision.get(),
    })
}

fn creatable(topic: WireTopic) -> Result<CreatableTopic, Status> {
    let topic_id = match topic.topic_id.is_empty() {
        true => new_topic_id(),
        false => convert::topic_id(&topic.topic_id).map_err(malformed)?,
    };
    Ok(CreatableTopic {
        name: topic.name,
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments(topic.assignments),
        configs: topic
            .configs
            .into_iter()
            .map(|entry| (entry.name, entry.value))
            .collect(),
        topic_id,
        owner: None,
    })
}

pub(super) fn assignments(assignments: Vec<Assignment>) -> Vec<ManualAssignment> {
    let manual = |assignment: Assignment| ManualAssignment {
        partition: PartitionIndex(assignment.partition),
        brokers: assignment.brokers.into_iter().map(NodeId).collect(),
    };
    assignments.into_iter().map(manual).collect()
}

/// A random id whose text form does not look like a flag, as Kafka's.
pub(super) fn new_topic_id() -> TopicId {
    loop {
        let id = TopicId(Uuid::new_v4());
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}
