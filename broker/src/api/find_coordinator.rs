//! FindCoordinator: the leader broker of the shard's partition, as Kafka answers; any broker then serves the group by
//! forwarding. A missing `__consumer_offsets` is created, and until it has leaders the answer is
//! `COORDINATOR_NOT_AVAILABLE` (rules 87, 172).

use std::ops::RangeInclusive;
use std::sync::Arc;

use highwater_proto::kafka::messages::find_coordinator::response::Coordinator;
use highwater_proto::kafka::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::ShardKind;

use crate::api::{Api, RequestContext};
use crate::forward::shard_of;
use crate::internal_topics;

/// `key_type` of consumer groups.
const GROUP: i8 = 0;
/// `key_type` of transactions.
const TRANSACTION: i8 = 1;
/// First version with many keys.
const MANY_KEYS: i16 = 4;

/// See the module.
#[derive(Debug)]
pub struct FindCoordinator;

impl Api for FindCoordinator {
    type Request = FindCoordinatorRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=6;

    async fn handle(
        context: &RequestContext,
        version: i16,
        request: FindCoordinatorRequest,
    ) -> FindCoordinatorResponse {
        // One image for all keys: an answer does not mix two.
        let image = context.broker.image();
        if version >= MANY_KEYS {
            // A key of two bytes is answered with a host name or a text: as much as requests may have is enough.
            let mut left = context.broker.limits().max_request_bytes;
            let find = |key: ByteStr| {
                if left == 0 {
                    return refused(key, ErrorCode::InvalidRequest, None);
                }
                let found = coordinator(context, &image, request.key_type, key);
                left = left.saturating_sub(size(&found));
                found
            };
            let coordinators = request.coordinator_keys.into_iter().map(find).collect();
            return FindCoordinatorResponse {
                coordinators,
                ..FindCoordinatorResponse::default()
            };
        }
        let found = coordinator(context, &image, request.key_type, request.key);
        FindCoordinatorResponse {
            error_code: found.error_code,
            error_message: found.error_message,
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            ..FindCoordinatorResponse::default()
        }
    }
}

fn coordinator(context: &RequestContext, image: &MetadataImage, key_type: i8, key: ByteStr) -> Coordinator {
    match find(context, image, key_type, &key) {
        Ok(mut found) => {
            found.key = key;
            found
        }
        Err((error, message)) => refused(key, error, Some(ByteStr::from(message))),
    }
}

fn refused(key: ByteStr, error: ErrorCode, error_message: Option<ByteStr>) -> Coordinator {
    Coordinator {
        key,
        node_id: -1,
        port: -1,
        error_code: error.code(),
        error_message,
        ..Coordinator::default()
    }
}

/// About what it takes on the wire, in bytes: numbers and lengths are fewer than 20.
fn size(coordinator: &Coordinator) -> usize {
    let message = coordinator.error_message.as_deref().map_or(0, str::len);
    20 + coordinator.key.len() + coordinator.host.len() + message
}

fn find(
    context: &RequestContext,
    image: &MetadataImage,
    key_type: i8,
    key: &str,
) -> Result<Coordinator, (ErrorCode, &'static str)> {
    match key_type {
        GROUP => {}
        // Never a retriable code: a client would ask for ever.
        TRANSACTION => {
            return Err((
                ErrorCode::InvalidRequest,
                "transactions are not supported by this version",
            ));
        }
        _ => {
            return Err((
                ErrorCode::InvalidRequest,
                "the coordinator type is not supported by this version",
            ));
        }
    }
    let not_available = |why| (ErrorCode::CoordinatorNotAvailable, why);
    let Some(topic) = image.topic(ShardKind::Group.topic()) else {
        internal_topics::create_in_background(Arc::clone(&context.broker), ShardKind::Group);
        return Err(not_available("the internal topic of the coordinator is being created"));
    };
    let shard = shard_of(ShardKind::Group, key, topic.partitions.len())
        .ok_or(not_available("the internal topic of the coordinator has no partitions"))?;
    let leader = image
        .partition(topic.id, shard.index)
        .and_then(|partition| partition.leader)
        .ok_or(not_available("the coordinator's partition has no leader"))?;
    let endpoint = image
        .nodes
        .get(&leader)
        .filter(|node| node.is_live())
        .and_then(|node| node.endpoint(&context.client.listener))
        .ok_or(not_available("the coordinator is not reachable through this listener"))?;
    Ok(Coordinator {
        node_id: leader.get(),
        host: ByteStr::from(endpoint.host.as_str()),
        port: i32::from(endpoint.port),
        ..Coordinator::default()
    })
}
