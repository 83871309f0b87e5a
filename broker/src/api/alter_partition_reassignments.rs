//! AlterPartitionReassignments (45): passed to the controller.

use std::ops::RangeInclusive;

use highwater_proto::grpc;
use highwater_proto::grpc::alter_partition_reassignments_request::{Assignment, Reassignment};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::alter_partition_reassignments::request::ReassignableTopic;
use highwater_proto::kafka::messages::alter_partition_reassignments::response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use highwater_proto::kafka::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};

use super::controller_call::{Controller, Refused, ask_again, code_and_text, deadline, done_before, outcome};
use super::{Api, RequestContext};

/// Handler of AlterPartitionReassignments.
pub(super) struct AlterPartitionReassignments;

impl Api for AlterPartitionReassignments {
    type Request = AlterPartitionReassignmentsRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=1;

    async fn handle(
        context: &RequestContext,
        _: i16,
        request: AlterPartitionReassignmentsRequest,
    ) -> AlterPartitionReassignmentsResponse {
        let asked = grpc::AlterPartitionReassignmentsRequest {
            reassignments: request.topics.iter().flat_map(reassignments).collect(),
            // Before version 1 it may always change.
            allow_replication_factor_change: request.allow_replication_factor_change,
        };
        let call = |mut controller: Controller, _| {
            let asked = asked.clone();
            async move { controller.alter_partition_reassignments(asked).await }
        };
        let mut response = AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            error_message: None,
            ..Default::default()
        };
        match ask_again(&context.broker, deadline(request.timeout_ms), call).await {
            Ok((decided, maybe_done)) => {
                // What an earlier attempt has cancelled is not in progress any more.
                let cancelled = |result| done_before(result, maybe_done, ErrorCode::NoReassignmentInProgress);
                let results = decided.results.into_iter();
                let mut outcomes = results.map(|result| cancelled(outcome(result.outcome)));
                // One result for each that was asked for, in their order.
                response.responses = rows(&request.topics, || outcomes.next().unwrap_or_else(|| outcome(None)));
            }
            Err(refused) => {
                let failed: Result<(), Refused> = Err(refused);
                (response.error_code, response.error_message) = code_and_text(&failed);
                response.responses = rows(&request.topics, || failed.clone());
            }
        }
        response
    }
}

fn reassignments(topic: &ReassignableTopic) -> impl Iterator<Item = Reassignment> {
    topic.partitions.iter().map(|partition| Reassignment {
        topic: topic.name.to_string(),
        partition: partition.partition_index,
        target: partition.replicas.clone().map(|replicas| Assignment { replicas }),
    })
}

fn rows(
    topics: &[ReassignableTopic],
    mut result: impl FnMut() -> Result<(), Refused>,
) -> Vec<ReassignableTopicResponse> {
    let mut rows = Vec::with_capacity(topics.len());
    for topic in topics {
        let partitions = topic.partitions.iter().map(|partition| {
            let (error_code, error_message) = code_and_text(&result());
            ReassignablePartitionResponse {
                partition_index: partition.partition_index,
                error_code,
                error_message,
                ..Default::default()
            }
        });
        rows.push(ReassignableTopicResponse {
            partitions: partitions.collect(),
            name: topic.name.clone(),
            ..Default::default()
        });
    }
    rows
}
