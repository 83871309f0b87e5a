//! Partitions whose ends lie outside of their leaders' logs: the leader deleted what comes next, or has less.

use std::collections::HashMap;
use std::sync::Arc;

use highwater_proto::kafka::messages::fetch::FetchRequest;
use highwater_proto::kafka::messages::list_offsets::request::{ListOffsetsPartition, ListOffsetsTopic};
use highwater_proto::kafka::messages::list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};
use highwater_proto::types::{Offset, PartitionIndex, TopicId, TopicPartition};

use super::task::{FETCH_VERSION, Fetcher, RoundError, answer_limit};
use crate::partition::{FetchPoint, FollowError};

const LIST_OFFSETS_VERSION: i16 = 7;
/// `timestamp` of ListOffsets for the log start and the log end.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

impl Fetcher {
    /// For partitions whose ends lie outside of their leader's logs (rule 128): asks where those begin and end.
    pub(super) async fn fit_into_leaders_logs(
        &mut self,
        asked: Vec<(TopicPartition, FetchPoint)>,
    ) -> Result<Vec<TopicPartition>, RoundError> {
        let starts = self.leader_offsets(&asked, EARLIEST).await?;
        let ends = self.leader_offsets(&asked, LATEST).await?;
        let now = self.broker.clock().now_ms();
        let mut touched = Vec::new();
        for (key, point) in asked {
            let Some(followed) = self.followed.get(&key) else {
                continue;
            };
            let (Some(start), Some(end)) = (starts.get(&key).copied(), ends.get(&key).copied()) else {
                self.failed(key);
                continue;
            };
            let partition = Arc::clone(&followed.partition);
            let cut = tokio::task::spawn_blocking(move || partition.fit_into_leaders_log(&point, start, end, now));
            match cut.await? {
                // Nothing was wrong with it, as far as one can see here: the leader may see it soon.
                Ok(false) => self.failed(key),
                Ok(true) | Err(FollowError::Outdated) => touched.push(key),
                Err(error) => self.answer_unusable(key, &error),
            }
        }
        Ok(touched)
    }

    async fn skip_answer(&mut self) -> Result<(), RoundError> {
        let mut connection = self.connect().await?;
        let limit = answer_limit(&self.broker);
        let skipped = connection.receive_within::<FetchRequest>(FETCH_VERSION, limit).await?;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.connection = Some(connection);
        self.session
            .answered(ErrorCode::from_code(skipped.error_code), skipped.session_id);
        // What was said only there has to be said again.
        self.session.restart();
        Ok(())
    }

    async fn leader_offsets(
        &mut self,
        asked: &[(TopicPartition, FetchPoint)],
        timestamp: i64,
    ) -> Result<HashMap<TopicPartition, Offset>, RoundError> {
        let image = self.broker.image();
        let name = |id: TopicId| image.topic_by_id(id).map(|topic| ByteStr::from(&*topic.name));
        let topics = asked.iter().filter_map(|(key, point)| {
            Some(ListOffsetsTopic {
                name: name(key.topic_id)?,
                partitions: vec![ListOffsetsPartition {
                    partition_index: key.partition.get(),
                    current_leader_epoch: point.leader_epoch.get(),
                    timestamp,
                    ..Default::default()
                }],
                ..Default::default()
            })
        });
        while self.in_flight > 0 {
            // Answers come in order; what these fetches bring will be asked for again.
            self.skip_answer().await?;
        }
        let request = ListOffsetsRequest {
            replica_id: self.broker.node_id().get(),
            topics: topics.collect(),
            ..Default::default()
        };
        let mut connection = self.connect().await?;
        connection.send(LIST_OFFSETS_VERSION, &request).await?;
        let limit = answer_limit(&self.broker);
        let response: ListOffsetsResponse = connection
            .receive_within::<ListOffsetsRequest>(LIST_OFFSETS_VERSION, limit)
            .await?;
        self.connection = Some(connection);
        let mut offsets = HashMap::new();
        for topic in response.topics {
            let Some(id) = image.topic(&topic.name).map(|topic| topic.id) else {
                continue;
            };
            for found in topic
                .partitions
                .iter()
                .filter(|it| it.error_code == 0 && it.offset >= 0)
            {
                let key = TopicPartition {
                    topic_id: id,
                    partition: PartitionIndex(found.partition_index),
                };
                offsets.insert(key, Offset(found.offset));
            }
        }
        Ok(offsets)
    }
}
