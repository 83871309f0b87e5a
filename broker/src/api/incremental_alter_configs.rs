//! IncrementalAlterConfigs (44): sets, deletes, appends to and subtracts from single configs.

use std::ops::RangeInclusive;

use highwater_proto::grpc::alter_configs_request::{Alteration, Operation};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::incremental_alter_configs::request::{AlterConfigsResource, AlterableConfig};
use highwater_proto::kafka::messages::incremental_alter_configs::response::AlterConfigsResourceResponse;
use highwater_proto::kafka::messages::incremental_alter_configs::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::config_alteration::{ResourceChange, alter};
use super::controller_call::{Refused, code_and_text};
use super::{Api, RequestContext};

/// Handler of IncrementalAlterConfigs.
pub(super) struct IncrementalAlterConfigs;

impl Api for IncrementalAlterConfigs {
    type Request = IncrementalAlterConfigsRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=1;

    async fn handle(
        context: &RequestContext,
        _: i16,
        request: IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        let changes = request.resources.iter().map(change).collect();
        let results = alter(&context.broker, changes, false, request.validate_only).await;
        let responses = request.resources.into_iter().zip(results).map(|(resource, result)| {
            let (error_code, error_message) = code_and_text(&result);
            AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                ..Default::default()
            }
        });
        IncrementalAlterConfigsResponse {
            responses: responses.collect(),
            ..Default::default()
        }
    }
}

fn change(resource: &AlterConfigsResource) -> ResourceChange {
    ResourceChange {
        kind: resource.resource_type,
        name: resource.resource_name.to_string(),
        alterations: resource.configs.iter().map(alteration).collect(),
    }
}

fn alteration(config: &AlterableConfig) -> Result<Alteration, Refused> {
    let operation = match config.config_operation {
        0 => Operation::Set,
        1 => Operation::Delete,
        2 => Operation::Append,
        3 => Operation::Subtract,
        other => {
            let message = format!("Unknown operation type {other} for config {}.", &*config.name);
            return Err(Refused::new(ErrorCode::InvalidRequest, message));
        }
    };
    Ok(Alteration {
        name: config.name.to_string(),
        value: config.value.as_ref().map(ToString::to_string),
        operation: operation.into(),
    })
}
