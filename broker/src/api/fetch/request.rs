//! From the request as it is on the wire to what the fetch session makes of it.

use std::sync::Arc;

use highwater_proto::kafka::messages::fetch::FetchRequest;
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::metadata::{MetadataImage, Topic};
use highwater_proto::types::TopicId;

use super::{SESSIONS_FROM, TOPIC_IDS_FROM};
use crate::fetch_session::{FetchPartition, ForgottenPartition, SessionRequest, TopicKey};

pub(super) fn session_request(request: FetchRequest, version: i16, privileged: bool) -> SessionRequest {
    let by_id = version >= TOPIC_IDS_FROM;
    let key = |name: &ByteStr, id| {
        if by_id {
            TopicKey::Id(TopicId(id))
        } else {
            TopicKey::Name(name.clone())
        }
    };
    let mut partitions = Vec::with_capacity(request.topics.iter().map(|topic| topic.partitions.len()).sum());
    for topic in &request.topics {
        let topic_key = key(&topic.topic, topic.topic_id);
        partitions.extend(topic.partitions.iter().map(|partition| FetchPartition {
            topic: topic_key.clone(),
            index: partition.partition,
            current_leader_epoch: partition.current_leader_epoch,
            fetch_offset: partition.fetch_offset,
            last_fetched_epoch: partition.last_fetched_epoch,
            log_start: partition.log_start_offset,
            high_watermark: partition.high_watermark,
            max_bytes: partition.partition_max_bytes,
        }));
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let topic_key = key(&topic.topic, topic.topic_id);
        forgotten.extend(topic.partitions.iter().map(|index| ForgottenPartition {
            topic: topic_key.clone(),
            index: *index,
        }));
    }
    let (session_id, session_epoch) = if version >= SESSIONS_FROM {
        (request.session_id, request.session_epoch)
    } else {
        (0, -1)
    };
    SessionRequest {
        session_id,
        session_epoch,
        privileged,
        partitions,
        forgotten,
    }
}

/// The topic of the partition, if both exist.
pub(super) fn resolve_partition<'a>(image: &'a MetadataImage, wanted: &FetchPartition) -> Result<&'a Topic, ErrorCode> {
    let topic = resolve(image, &wanted.topic)?;
    match usize::try_from(wanted.index) {
        Ok(index) if index < topic.partitions.len() => Ok(topic),
        _ => Err(ErrorCode::UnknownTopicOrPartition),
    }
}

/// The topic, or the error of a request that names none that exists.
pub(super) fn resolve<'a>(image: &'a MetadataImage, topic: &TopicKey) -> Result<&'a Topic, ErrorCode> {
    match topic {
        TopicKey::Name(name) => image
            .topic(name)
            .map(Arc::as_ref)
            .ok_or(ErrorCode::UnknownTopicOrPartition),
        TopicKey::Id(id) => image.topic_by_id(*id).map(Arc::as_ref).ok_or(ErrorCode::UnknownTopicId),
    }
}
