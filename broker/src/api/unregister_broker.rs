//! UnregisterBroker (64): passed to the controller.

use std::ops::RangeInclusive;

use highwater_proto::grpc;
use highwater_proto::kafka::messages::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::controller_call::{Controller, ask, code_and_text, deadline, outcome};
use super::{Api, RequestContext};

/// Handler of UnregisterBroker.
pub(super) struct UnregisterBroker;

/// The request names no time; this is what Java clients wait.
const TIMEOUT_MS: i32 = 30_000;

impl Api for UnregisterBroker {
    type Request = UnregisterBrokerRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=0;

    async fn handle(context: &RequestContext, _: i16, request: UnregisterBrokerRequest) -> UnregisterBrokerResponse {
        let asked = grpc::UnregisterBrokerRequest {
            broker_id: request.broker_id,
            epoch: None,
        };
        let call = |mut controller: Controller| async move { controller.unregister_broker(asked).await };
        let answer = ask(&context.broker, deadline(TIMEOUT_MS), call).await;
        let result = answer.and_then(|decided| outcome(decided.outcome));
        let (error_code, error_message) = code_and_text(&result);
        UnregisterBrokerResponse {
            error_code,
            error_message,
            ..Default::default()
        }
    }
}
