//! ElectLeaders (43): passed to the controller.

use std::ops::RangeInclusive;

use highwater_proto::grpc;
use highwater_proto::grpc::elect_leaders_request::{Election, TopicPartition};
use highwater_proto::kafka::messages::elect_leaders::request::TopicPartitions;
use highwater_proto::kafka::messages::elect_leaders::response::{PartitionResult, ReplicaElectionResult};
use highwater_proto::kafka::messages::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};

use super::controller_call::{Controller, Refused, ask, code_and_text, deadline, outcome};
use super::{Api, RequestContext};

/// Handler of ElectLeaders.
pub(super) struct ElectLeaders;

/// Kafka's numbers of the kinds of elections. Version 0 knows the first one only, and does not say so.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

impl Api for ElectLeaders {
    type Request = ElectLeadersRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=2;

    async fn handle(context: &RequestContext, _: i16, request: ElectLeadersRequest) -> ElectLeadersResponse {
        let election = match request.election_type {
            PREFERRED => Election::Preferred,
            UNCLEAN => Election::Unclean,
            unknown => {
                let message = format!("Unknown election type {unknown}");
                return fail(&request, &Err(Refused::new(ErrorCode::InvalidRequest, message)));
            }
        };
        let named = request.topic_partitions.iter().flatten();
        let asked = grpc::ElectLeadersRequest {
            election: election.into(),
            partitions: named.flat_map(partitions).collect(),
            all: request.topic_partitions.is_none(),
        };
        let call = |mut controller: Controller| {
            let asked = asked.clone();
            async move { controller.elect_leaders(asked).await }
        };
        match ask(&context.broker, deadline(request.timeout_ms), call).await {
            Ok(decided) => ElectLeadersResponse {
                replica_election_results: match &request.topic_partitions {
                    Some(topics) => {
                        let mut outcomes = decided.results.into_iter().map(|result| outcome(result.outcome));
                        // One result for each that was asked for, in their order.
                        rows(topics, || outcomes.next().unwrap_or_else(|| outcome(None)))
                    }
                    None => by_topic(decided),
                },
                ..Default::default()
            },
            Err(refused) => fail(&request, &Err(refused)),
        }
    }
}

fn partitions(topic: &TopicPartitions) -> impl Iterator<Item = TopicPartition> {
    topic.partitions.iter().map(|partition| TopicPartition {
        topic: topic.topic.to_string(),
        partition: *partition,
    })
}

/// The whole request failed; every row says so too.
fn fail(request: &ElectLeadersRequest, failed: &Result<(), Refused>) -> ElectLeadersResponse {
    ElectLeadersResponse {
        error_code: code_and_text(failed).0,
        replica_election_results: rows(request.topic_partitions.as_deref().unwrap_or_default(), || {
            failed.clone()
        }),
        ..Default::default()
    }
}

fn rows(topics: &[TopicPartitions], mut result: impl FnMut() -> Result<(), Refused>) -> Vec<ReplicaElectionResult> {
    let mut rows = Vec::with_capacity(topics.len());
    for topic in topics {
        let partitions = topic.partitions.iter();
        rows.push(ReplicaElectionResult {
            partition_result: partitions.map(|partition| row(*partition, &result())).collect(),
            topic: topic.topic.clone(),
            ..Default::default()
        });
    }
    rows
}

/// Results of the controller's own choosing: those of one topic come after each other.
fn by_topic(decided: grpc::ElectLeadersResponse) -> Vec<ReplicaElectionResult> {
    let mut rows: Vec<ReplicaElectionResult> = Vec::new();
    for result in decided.results {
        let partition = row(result.partition, &outcome(result.outcome));
        match rows.last_mut() {
            Some(last) if *last.topic == *result.topic => last.partition_result.push(partition),
            _ => rows.push(ReplicaElectionResult {
                topic: ByteStr::from(result.topic),
                partition_result: vec![partition],
                ..Default::default()
            }),
        }
    }
    rows
}

fn row(partition_id: i32, result: &Result<(), Refused>) -> PartitionResult {
    let (error_code, error_message) = code_and_text(result);
    PartitionResult {
        partition_id,
        error_code,
        error_message,
        ..Default::default()
    }
}
