//! AlterConfigs (33): sets all configs of a resource at once; those that are not named fall back to their defaults.

use std::ops::RangeInclusive;

use highwater_proto::grpc::alter_configs_request::{Alteration, Operation};
use highwater_proto::kafka::messages::alter_configs::request::AlterConfigsResource;
use highwater_proto::kafka::messages::alter_configs::response::AlterConfigsResourceResponse;
use highwater_proto::kafka::messages::alter_configs::{AlterConfigsRequest, AlterConfigsResponse};

use super::config_alteration::{ResourceChange, alter};
use super::controller_call::code_and_text;
use super::{Api, RequestContext};

/// Handler of AlterConfigs.
pub(super) struct AlterConfigs;

impl Api for AlterConfigs {
    type Request = AlterConfigsRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=2;

    async fn handle(context: &RequestContext, _: i16, request: AlterConfigsRequest) -> AlterConfigsResponse {
        let changes = request.resources.iter().map(change).collect();
        let results = alter(&context.broker, changes, true, request.validate_only).await;
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
        AlterConfigsResponse {
            responses: responses.collect(),
            ..Default::default()
        }
    }
}

fn change(resource: &AlterConfigsResource) -> ResourceChange {
    let alterations = resource.configs.iter().map(|config| Alteration {
        name: config.name.to_string(),
        value: config.value.as_ref().map(ToString::to_string),
        operation: Operation::Set.into(),
    });
    ResourceChange {
        kind: resource.resource_type,
        name: resource.resource_name.to_string(),
        alterations: Ok(alterations.collect()),
    }
}
