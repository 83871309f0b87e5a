//! ElectLeaders.

use std::collections::BTreeMap;

use grpc::elect_leaders_request::Election;
use grpc::elect_leaders_response::Result as WireResult;
use highwater_proto::grpc;
use highwater_proto::metadata::Topic;
use highwater_proto::types::{PartitionIndex, TopicPartition};
use tonic::Status;

use crate::cluster::election::LogEnds;
use crate::cluster::{ElectLeaders, ElectionType};
use crate::service::rpc::outcome;
use crate::service::{Shared, hand_over, questions};

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::ElectLeadersRequest,
) -> Result<grpc::ElectLeadersResponse, Status> {
    let election = match request.election() {
        Election::Preferred => ElectionType::Preferred,
        Election::Unclean => ElectionType::Unclean,
    };
    let named = request.partitions.into_iter();
    let named = named.map(|partition| (partition.topic, PartitionIndex(partition.partition)));
    let partitions: Option<Vec<_>> = (!request.all).then(|| named.collect());
    let mut command = ElectLeaders {
        election,
        partitions,
        ends: BTreeMap::new(),
    };
    let prepared = match election {
        ElectionType::Preferred => {
            // Those that are not ready in time move all the same: the preferred leader is in sync.
            let moves = command.planned_moves(&shared.updates.image(), &shared.config.settings);
            Some(hand_over::prepare(shared, &moves).await)
        }
        ElectionType::Unclean => {
            command.ends = log_ends(shared, command.partitions.as_deref()).await;
            None
        }
    };
    let decided = shared.decided(command).await?;
    if let Some(prepared) = prepared {
        prepared.end(shared, &decided.image);
    }
    let results = decided.reply.into_iter().map(|elected| WireResult {
        outcome: outcome(&elected.result),
        topic: elected.topic,
        partition: elected.partition.get(),
    });
    Ok(grpc::ElectLeadersResponse {
        results: results.collect(),
        revision: decided.image.revision.get(),
    })
}

/// Where the logs end of those partitions that have no leader: the longest log leads.
async fn log_ends(shared: &Shared, named: Option<&[(String, PartitionIndex)]>) -> BTreeMap<TopicPartition, LogEnds> {
    let image = shared.updates.image();
    let key = |topic: &Topic, partition| TopicPartition {
        topic_id: topic.id,
        partition,
    };
    let keys: Vec<TopicPartition> = match named {
        Some(named) => {
            let known = named
                .iter()
                .filter_map(|(name, index)| Some(key(image.topic(name)?, *index)));
            known.collect()
        }
        None => {
            let all = image.topics().flat_map(|topic| {
                let indexes = topic.indexed_partitions();
                indexes.map(|(index, _)| key(topic, index))
            });
            all.collect()
        }
    };
    let headless = keys.into_iter().filter(|key| {
        let partition = image.partition(key.topic_id, key.partition);
        partition.is_some_and(|partition| partition.leader.is_none())
    });
    questions::log_ends(shared, &headless.collect()).await
}
