//! ElectLeaders.

use std::collections::BTreeMap;

use grpc::elect_leaders_request::Election;
use grpc::elect_leaders_response::Result as WireResult;
use highwater_proto::grpc;
use highwater_proto::types::PartitionIndex;
use tonic::Status;

use crate::cluster::{ElectLeaders, ElectionType};
use crate::service::Shared;
use crate::service::rpc::outcome;

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
    let command = ElectLeaders {
        election,
        partitions: (!request.all).then(|| named.collect()),
        ends: BTreeMap::new(),
    };
    let decided = shared.decided(command).await?;
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
