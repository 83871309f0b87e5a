//! ListPartitionReassignments (46): what is on its way, from this broker's image.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use highwater_proto::kafka::ByteStr;
use highwater_proto::kafka::messages::list_partition_reassignments::response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use highwater_proto::kafka::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use highwater_proto::metadata::{MetadataImage, Partition, Topic};
use highwater_proto::types::PartitionIndex;

use super::cluster_view::ids;
use super::{Api, RequestContext};

/// Handler of ListPartitionReassignments.
pub(super) struct ListPartitionReassignments;

impl Api for ListPartitionReassignments {
    type Request = ListPartitionReassignmentsRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=0;

    async fn handle(
        context: &RequestContext,
        _: i16,
        request: ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        list(&context.broker.image(), &request)
    }
}

fn list(image: &MetadataImage, request: &ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse {
    let topics = match &request.topics {
        None => image
            .topics()
            .filter_map(|topic| row(topic, topic.indexed_partitions().map(|(index, _)| index)))
            .collect(),
        // Topics that are not there are left out. Each partition is listed once, however often it is named: three lists of
        // replicas are much longer than its number.
        Some(asked) => {
            let mut named: BTreeMap<&str, BTreeSet<PartitionIndex>> = BTreeMap::new();
            for topic in asked {
                let indexes = topic.partition_indexes.iter().copied().map(PartitionIndex);
                named.entry(&topic.name).or_default().extend(indexes);
            }
            let rows = named.into_iter();
            rows.filter_map(|(name, indexes)| row(image.topic(name)?, indexes.into_iter()))
                .collect()
        }
    };
    ListPartitionReassignmentsResponse {
        topics,
        error_message: None,
        ..Default::default()
    }
}

/// A topic with those of the partitions that are on their way; none if none is.
fn row(topic: &Topic, indexes: impl Iterator<Item = PartitionIndex>) -> Option<OngoingTopicReassignment> {
    let ongoing = |index: PartitionIndex| {
        let partition: &Partition = topic.partition(index)?;
        partition.is_reassigning().then(|| OngoingPartitionReassignment {
            partition_index: index.get(),
            replicas: ids(&partition.replicas),
            adding_replicas: ids(&partition.adding),
            removing_replicas: ids(&partition.removing),
            ..Default::default()
        })
    };
    let partitions: Vec<_> = indexes.filter_map(ongoing).collect();
    (!partitions.is_empty()).then(|| OngoingTopicReassignment {
        name: ByteStr::from(&*topic.name),
        partitions,
        ..Default::default()
    })
}
