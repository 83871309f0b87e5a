//! DescribeTopics: what topics are and how they fare.

use grpc::describe_topics_response::{Missing, Topic as WireTopic};
use highwater_proto::grpc;
use highwater_proto::metadata::{MetadataImage, Topic, convert};

use crate::cluster::overview::Health;
use crate::service::Shared;
use crate::service::admin::count;

pub(super) fn handle(shared: &Shared, request: &grpc::DescribeTopicsRequest) -> grpc::DescribeTopicsResponse {
    let image = shared.updates.image();
    let row = |topic: &Topic| row(shared, &image, topic);
    let mut response = grpc::DescribeTopicsResponse {
        revision: image.revision.get(),
        ..Default::default()
    };
    if request.all {
        response.topics = image.topics().map(|topic| row(topic)).collect();
        return response;
    }
    for name in &request.names {
        match image.topic(name) {
            Some(topic) => response.topics.push(row(topic)),
            None => response.missing.push(Missing {
                name: name.clone(),
                // What is swept has no name any more; a new topic of this name does not wait for it.
                deletion_pending: false,
            }),
        }
    }
    response
}

fn row(shared: &Shared, image: &MetadataImage, topic: &Topic) -> WireTopic {
    let health = Health::of_topic(image, &shared.config.settings, topic);
    WireTopic {
        name: topic.name.to_string(),
        topic_id: convert::uuid_bytes(topic.id.0),
        partitions: count(health.partitions),
        replication_factor: count(health.replication_factor),
        configs: topic
            .configs
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        owner: topic.owner.clone(),
        offline_partitions: count(health.offline),
        under_replicated_partitions: count(health.under_replicated),
        reassigning_partitions: count(health.reassigning),
        under_min_isr_partitions: count(health.under_min_isr),
        min_isr: count(health.min_isr),
        partition_states: topic.partitions.iter().map(|partition| (&**partition).into()).collect(),
    }
}
