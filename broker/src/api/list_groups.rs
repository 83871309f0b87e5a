//! ListGroups: asked of every broker by admin clients, so each answers for the shards whose partition it leads; then
//! nothing is missing or doubled.

use std::ops::RangeInclusive;

use highwater_proto::kafka::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use highwater_proto::kafka::{ApiKey, ErrorCode, Message};
use highwater_proto::types::{PartitionIndex, ShardId, ShardKind};

use crate::api::forwarded::{decode_reply, send};
use crate::api::{RawApi, RawRequest, RequestContext, answer};
use crate::reply::Pending;

/// See the module.
#[derive(Debug)]
pub struct ListGroups;

impl RawApi for ListGroups {
    const KEY: ApiKey = ApiKey::ListGroups;
    const VERSIONS: RangeInclusive<i16> = 0..=5;
    const FORWARDED: bool = true;

    fn dispatch(request: RawRequest) -> Option<Pending> {
        let version = request.version;
        // A body that does not parse closes the connection, also while there is no shard to send it to.
        ListGroupsRequest::decode(&mut request.body.clone(), version).ok()?;
        let replies: Vec<_> = led_shards(&request.context)
            .into_iter()
            .map(|shard| {
                let body = request.body.clone();
                (shard, send(&request.context, shard, ApiKey::ListGroups, version, body))
            })
            .collect();
        Some(Pending::Later(Box::pin(async move {
            let mut response = ListGroupsResponse::default();
            for (shard, reply) in replies {
                let outcome = match reply.await {
                    Ok(body) => decode_reply::<ListGroupsResponse>(body, version),
                    Err(error) => Err(error),
                };
                match outcome.map(|part| (ErrorCode::from_code(part.error_code), part.groups)) {
                    Ok((ErrorCode::None, groups)) => response.groups.extend(groups),
                    // It moves to another coordinator. If this broker leads its partition no longer, whoever does answers
                    // for it (rule 86); if it does, the shard would be missing from everybody's answer.
                    Ok((ErrorCode::NotCoordinator, _)) | Err(ErrorCode::NotCoordinator) => {
                        if leads(&request.context, shard) {
                            response.error_code = ErrorCode::CoordinatorLoadInProgress.code();
                        }
                    }
                    // One shard that loads makes the whole answer wait (rule 86): half a list looks like a whole one.
                    Ok((error, _)) | Err(error) => response.error_code = error.code(),
                }
            }
            if response.error_code != ErrorCode::None.code() {
                response.groups.clear();
            }
            answer(
                &request.context,
                ApiKey::ListGroups,
                version,
                request.correlation_id,
                &response,
            )
        })))
    }
}

fn led_shards(context: &RequestContext) -> Vec<ShardId> {
    let image = context.broker.image();
    let this = context.broker.node_id();
    let partitions = image
        .topic(ShardKind::Group.topic())
        .map(|topic| topic.partitions.as_slice())
        .unwrap_or_default();
    let led = (0..)
        .zip(partitions)
        .filter(|(_, partition)| partition.leader == Some(this));
    led.map(|(index, _)| ShardId {
        kind: ShardKind::Group,
        index: PartitionIndex(index),
    })
    .collect()
}

fn leads(context: &RequestContext, shard: ShardId) -> bool {
    led_shards(context).contains(&shard)
}
