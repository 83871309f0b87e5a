//! OffsetForLeaderEpoch (23): where a leader epoch ends, for readers that want to know whether their log was cut.

use std::ops::RangeInclusive;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::offset_for_leader_epoch::request::OffsetForLeaderPartition;
use highwater_proto::kafka::messages::offset_for_leader_epoch::response::{EpochEndOffset, OffsetForLeaderTopicResult};
use highwater_proto::kafka::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use highwater_proto::metadata::Topic;
use highwater_proto::types::LeaderEpoch;

use super::{Api, RequestContext};
use crate::log::EpochEnd;

/// Handler of OffsetForLeaderEpoch.
pub(super) struct OffsetForLeaderEpoch;

impl Api for OffsetForLeaderEpoch {
    type Request = OffsetForLeaderEpochRequest;
    const VERSIONS: RangeInclusive<i16> = 2..=4;

    async fn handle(
        context: &RequestContext,
        _version: i16,
        request: OffsetForLeaderEpochRequest,
    ) -> OffsetForLeaderEpochResponse {
        let image = context.broker.image();
        let topics = request.topics.into_iter().map(|wanted| {
            let topic = image.topic(&wanted.topic);
            let partitions = wanted.partitions.iter().map(|partition| {
                let found = match topic {
                    Some(topic) => look_up(context, topic, partition),
                    None => Err(ErrorCode::UnknownTopicOrPartition),
                };
                response(partition.partition, found)
            });
            OffsetForLeaderTopicResult {
                partitions: partitions.collect(),
                topic: wanted.topic,
                ..Default::default()
            }
        });
        OffsetForLeaderEpochResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }
}

fn look_up(
    context: &RequestContext,
    topic: &Topic,
    wanted: &OffsetForLeaderPartition,
) -> Result<Option<EpochEnd>, ErrorCode> {
    let current = (wanted.current_leader_epoch >= 0).then_some(LeaderEpoch(wanted.current_leader_epoch));
    let partition = context.broker.partitions().find(topic, wanted.partition)?;
    partition.epoch_end(current, LeaderEpoch(wanted.leader_epoch))
}

fn response(partition: i32, found: Result<Option<EpochEnd>, ErrorCode>) -> EpochEndOffset {
    let mut response = EpochEndOffset {
        partition,
        ..Default::default()
    };
    match found {
        Ok(Some(end)) => {
            response.leader_epoch = end.epoch.get();
            response.end_offset = end.end.get();
        }
        Ok(None) => {}
        Err(error) => response.error_code = error.code(),
    }
    response
}
