//! AlterConfigs: incremental, or in place of all that is set.

use grpc::alter_configs_request::{Alteration as WireAlteration, Operation, Resource};
use grpc::alter_configs_response::Result as WireResult;
use highwater_proto::config::{AlterOperation, Alteration};
use highwater_proto::grpc;
use tonic::Status;

use crate::cluster::{AlterConfigs, ResourceAlteration, ResourceType};
use crate::service::Shared;
use crate::service::rpc::outcome;

const TOPIC: i32 = 2;
const BROKER: i32 = 4;
const GROUP: i32 = 32;

pub(super) async fn handle(
    shared: &Shared,
    request: grpc::AlterConfigsRequest,
) -> Result<grpc::AlterConfigsResponse, Status> {
    let command = AlterConfigs {
        resources: request.resources.into_iter().map(resource).collect(),
        validate_only: request.validate_only,
    };
    let decided = shared.decided(command).await?;
    let results = decided.reply.into_iter().map(|altered| WireResult {
        resource_type: number(altered.resource_type),
        resource_name: altered.name,
        outcome: outcome(&altered.result),
    });
    Ok(grpc::AlterConfigsResponse {
        results: results.collect(),
        revision: decided.image.revision.get(),
    })
}

fn resource(resource: Resource) -> ResourceAlteration {
    let resource_type = match resource.resource_type {
        TOPIC => ResourceType::Topic,
        BROKER => ResourceType::Broker,
        GROUP => ResourceType::Group,
        other => ResourceType::Unknown(other),
    };
    let alterations = resource.alterations.into_iter().map(alteration).collect();
    ResourceAlteration {
        resource_type,
        name: resource.resource_name,
        alterations,
        replace: resource.replace,
    }
}

fn alteration(alteration: WireAlteration) -> Alteration {
    let operation = match alteration.operation() {
        Operation::Set => AlterOperation::Set,
        Operation::Delete => AlterOperation::Delete,
        Operation::Append => AlterOperation::Append,
        Operation::Subtract => AlterOperation::Subtract,
    };
    Alteration {
        name: alteration.name,
        value: alteration.value,
        operation,
    }
}

fn number(resource_type: ResourceType) -> i32 {
    match resource_type {
        ResourceType::Topic => TOPIC,
        ResourceType::Broker => BROKER,
        ResourceType::Group => GROUP,
        ResourceType::Unknown(number) => number,
    }
}
