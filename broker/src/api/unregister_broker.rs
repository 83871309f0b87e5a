//! UnregisterBroker (64): passed to the controller.

use std::ops::RangeInclusive;

use highwater_proto::grpc;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use highwater_proto::types::NodeId;

use super::controller_call::{Controller, ask_again, code_and_text, deadline, done_before, outcome};
use super::{Api, RequestContext};

/// Handler of UnregisterBroker.
pub(super) struct UnregisterBroker;

/// The request names no time; this is what Java clients wait.
const TIMEOUT_MS: i32 = 30_000;

impl Api for UnregisterBroker {
    type Request = UnregisterBrokerRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=0;

    async fn handle(context: &RequestContext, _: i16, request: UnregisterBrokerRequest) -> UnregisterBrokerResponse {
        // Should the first attempt have been carried out, a broker that registers with this id later is another one.
        let image = context.broker.image();
        let known = image.node(NodeId(request.broker_id)).map(|node| node.epoch.get());
        let call = |mut controller: Controller, maybe_done: bool| {
            let asked = grpc::UnregisterBrokerRequest {
                broker_id: request.broker_id,
                epoch: known.filter(|_| maybe_done),
            };
            async move { controller.unregister_broker(asked).await }
        };
        let answer = ask_again(&context.broker, deadline(TIMEOUT_MS), call).await;
        let result = answer.and_then(|(decided, maybe_done)| {
            let maybe_done = maybe_done && known.is_some();
            let gone = done_before(outcome(decided.outcome), maybe_done, ErrorCode::BrokerIdNotRegistered);
            done_before(gone, maybe_done, ErrorCode::StaleBrokerEpoch)
        });
        let (error_code, error_message) = code_and_text(&result);
        UnregisterBrokerResponse {
            error_code,
            error_message,
            ..Default::default()
        }
    }
}
