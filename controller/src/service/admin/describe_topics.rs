//! DescribeTopics: what topics are and how they fare.

use std::sync::Arc;

use grpc::describe_topics_response::{Missing, Topic as WireTopic};
use highwater_proto::grpc;
use highwater_proto::metadata::{MetadataImage, Topic, convert};
use highwater_proto::types::TopicPartition;

use crate::cluster::overview::Health;
use crate::cluster::replica_sizes::ReplicaSizes;
use crate::service::Shared;
use crate::service::admin::count;
use crate::service::replica_sizes::{self, Shrinking};

pub(super) async fn handle(shared: &Shared, request: &grpc::DescribeTopicsRequest) -> grpc::DescribeTopicsResponse {
    let image = shared.updates.image();
    // Brokers are asked only while there is something to copy.
    let is_copied = |topic: &Topic| topic.partitions.iter().any(|partition| !partition.adding.is_empty());
    let asked = |topic: &Topic| request.all || request.names.iter().any(|name| **name == *topic.name);
    let sizes = if image.topics().any(|topic| is_copied(topic) && asked(topic)) {
        replica_sizes::gather(shared, replica_sizes::FOR_STATUS).await
    } else {
        Arc::default()
    };
    let row = |topic: &Topic| row(shared, &image, &sizes, topic);
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

fn row(shared: &Shared, image: &MetadataImage, sizes: &ReplicaSizes, topic: &Topic) -> WireTopic {
    let health = Health::of_topic(image, &shared.config.settings, topic);
    let bytes = topic.indexed_partitions().map(|(partition, state)| {
        let key = TopicPartition {
            topic_id: topic.id,
            partition,
        };
        sizes.lacking(&key, state)
    });
    let bytes = bytes.fold(0, u64::saturating_add);
    let pace = |bytes| {
        shared
            .sizes
            .eta_seconds(Shrinking::Reassignment(topic.id), shared.clock.now(), bytes)
    };
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
        bytes_remaining: replica_sizes::wire(bytes),
        eta_seconds: (health.reassigning > 0).then(|| pace(bytes)).flatten(),
        partition_states: topic.partitions.iter().map(|partition| (&**partition).into()).collect(),
    }
}
