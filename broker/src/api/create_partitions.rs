//! CreatePartitions (37): passed to the controller.

use std::ops::RangeInclusive;

use highwater_proto::grpc;
use highwater_proto::grpc::create_partitions_request::TopicGrowth;
use highwater_proto::grpc::create_topics_request::Assignment;
use highwater_proto::kafka::messages::create_partitions::request::CreatePartitionsTopic;
use highwater_proto::kafka::messages::create_partitions::response::CreatePartitionsTopicResult;
use highwater_proto::kafka::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
use highwater_proto::kafka::{ByteStr, ErrorCode};

use super::controller_call::{Controller, Refused, ask_again, code_and_text, deadline, done_before, outcome};
use super::{Api, RequestContext};

/// Handler of CreatePartitions.
pub(super) struct CreatePartitions;

impl Api for CreatePartitions {
    type Request = CreatePartitionsRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=3;

    async fn handle(context: &RequestContext, _: i16, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
        let asked = grpc::CreatePartitionsRequest {
            topics: request.topics.iter().map(growth).collect(),
            validate_only: request.validate_only,
        };
        let call = |mut controller: Controller, _| {
            let asked = asked.clone();
            async move { controller.create_partitions(asked).await }
        };
        let results = match ask_again(&context.broker, deadline(request.timeout_ms), call).await {
            Ok((decided, maybe_done)) => {
                let image = context.broker.image();
                let has = |name: &str| image.topic(name).map(|topic| topic.partitions.len());
                let grown = |(result, asked): (grpc::create_partitions_response::Result, &CreatePartitionsTopic)| {
                    let as_asked = usize::try_from(asked.count).ok() == has(&result.name);
                    let result_now = outcome(result.outcome);
                    let grown = done_before(result_now, maybe_done && as_asked, ErrorCode::InvalidPartitions);
                    row(result.name.into(), &grown)
                };
                decided.results.into_iter().zip(&request.topics).map(grown).collect()
            }
            Err(refused) => {
                let failed: Result<(), Refused> = Err(refused);
                request
                    .topics
                    .iter()
                    .map(|topic| row(topic.name.clone(), &failed))
                    .collect()
            }
        };
        CreatePartitionsResponse {
            results,
            ..Default::default()
        }
    }
}

fn growth(topic: &CreatePartitionsTopic) -> TopicGrowth {
    let assignments = topic.assignments.iter().flatten();
    // Assignments stand for the partitions that join, in their order.
    let assignments = (0..).zip(assignments).map(|(partition, assignment)| Assignment {
        partition,
        brokers: assignment.broker_ids.clone(),
    });
    TopicGrowth {
        name: topic.name.to_string(),
        count: topic.count,
        assignments: assignments.collect(),
        has_assignments: topic.assignments.is_some(),
    }
}

fn row(name: ByteStr, result: &Result<(), Refused>) -> CreatePartitionsTopicResult {
    let (error_code, error_message) = code_and_text(result);
    CreatePartitionsTopicResult {
        name,
        error_code,
        error_message,
        ..Default::default()
    }
}
