//! PartitionDirectories: how many directories of partitions are on the disk. The operator asks before it removes a broker:
//! the answer is that of the disk, not of the metadata.

use std::sync::Arc;

use highwater_proto::grpc::PartitionDirectoriesResponse;
use tonic::Status;

use super::Service;
use crate::log::PartitionDirectories;

pub(super) async fn handle(service: &Service) -> Result<PartitionDirectoriesResponse, Status> {
    let broker = &service.broker;
    let log_dir = Arc::clone(broker.partitions().log_dir());
    // One listing of a large directory at a time is enough; others wait with the cold reads.
    let _permit = broker.limits().cold_reads.acquire().await;
    let counting = tokio::task::spawn_blocking(move || PartitionDirectories::count(log_dir.root()));
    let counted = counting
        .await
        .map_err(|_| Status::unavailable("the broker is stopping"))?;
    let counts = counted.map_err(|error| Status::internal(error.to_string()))?;
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    Ok(PartitionDirectoriesResponse {
        broker_id: broker.node_id().get(),
        broker_epoch: broker.epoch().get(),
        partitions: count(counts.partitions),
        deleted: count(counts.deleted),
        strays: count(counts.strays),
    })
}
