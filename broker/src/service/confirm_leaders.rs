//! ConfirmLeaders: a leader asks whether this broker knows a later one.

use highwater_proto::grpc::confirm_leaders_request::Leadership;
use highwater_proto::grpc::{ConfirmLeadersRequest, ConfirmLeadersResponse};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::{LeaderEpoch, NodeId, PartitionIndex, TopicId};
use tonic::Status;
use uuid::Uuid;

use super::{Service, code};

/// Most partitions of one question.
pub(super) const MAX_LEADERSHIPS: usize = 1_000;

pub(super) fn handle(service: &Service, request: &ConfirmLeadersRequest) -> Result<ConfirmLeadersResponse, Status> {
    if request.leaderships.len() > MAX_LEADERSHIPS {
        return Err(Status::invalid_argument(format!(
            "more than {MAX_LEADERSHIPS} leaderships in one question"
        )));
    }
    let broker = &service.broker;
    if NodeId(request.witness) != broker.node_id() {
        return Err(Status::failed_precondition("another broker is meant"));
    }
    let image = broker.image();
    // An earlier process of this broker may have led: what it knew is in the image of this one's registration.
    if image.revision.get() < broker.epoch().get() {
        return Err(Status::unavailable("this broker has not seen the cluster yet"));
    }
    let errors = request.leaderships.iter().map(|leadership| {
        let error = check(service, &image, leadership).err();
        error.map_or(0, code)
    });
    Ok(ConfirmLeadersResponse {
        errors: errors.collect(),
    })
}

/// Looks at the image first: what it says has been carried out here, and what is carried out meanwhile shows in the
/// partition before it leads.
fn check(service: &Service, image: &MetadataImage, leadership: &Leadership) -> Result<(), ErrorCode> {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let topic_id = TopicId(Uuid::from_slice(&leadership.topic_id).map_err(|_| unknown)?);
    let index = PartitionIndex(leadership.partition);
    let epoch = LeaderEpoch(leadership.leader_epoch);
    let decided = image.partition(topic_id, index).ok_or(unknown)?;
    let replica = service.broker.partitions().get(topic_id, index);
    let newest = replica.map_or(decided.leader_epoch, |it| it.leader_epoch().max(decided.leader_epoch));
    if newest > epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    Ok(())
}
