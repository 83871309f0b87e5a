//! InitProducerId (22): ids for idempotent producers, which any broker hands out of its own block.

use std::ops::RangeInclusive;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::kafka::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use highwater_proto::record::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID};
use highwater_proto::types::{ProducerEpoch, ProducerId};

use super::{Api, RequestContext};

/// Handler of InitProducerId.
pub(super) struct InitProducerId;

impl Api for InitProducerId {
    type Request = InitProducerIdRequest;
    const VERSIONS: RangeInclusive<i16> = 0..=5;

    async fn handle(context: &RequestContext, _: i16, request: InitProducerIdRequest) -> InitProducerIdResponse {
        if let Some(error) = refuse(&request) {
            return failed(error);
        }
        match context.broker.producer_ids().next(&context.broker).await {
            Ok(id) => answer(ErrorCode::None, id, ProducerEpoch(0)),
            Err(error) => failed(error),
        }
    }
}

/// Transactions are not served: that must not be a code after which clients ask again.
fn refuse(request: &InitProducerIdRequest) -> Option<ErrorCode> {
    let half = (request.producer_id == NO_PRODUCER_ID.get()) != (request.producer_epoch == NO_PRODUCER_EPOCH.get());
    (half || request.transactional_id.is_some()).then_some(ErrorCode::InvalidRequest)
}

fn failed(error: ErrorCode) -> InitProducerIdResponse {
    answer(error, NO_PRODUCER_ID, NO_PRODUCER_EPOCH)
}

fn answer(error: ErrorCode, id: ProducerId, epoch: ProducerEpoch) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: error.code(),
        producer_id: id.get(),
        producer_epoch: epoch.get(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use highwater_proto::kafka::ByteStr;

    use super::*;

    #[test]
    fn rule_166_half_an_identity_and_transactions_are_refused() {
        let code = |transactional_id: Option<&str>, producer_id, producer_epoch| {
            refuse(&InitProducerIdRequest {
                transactional_id: transactional_id.map(ByteStr::from),
                producer_id,
                producer_epoch,
                ..Default::default()
            })
        };
        assert_eq!(code(None, -1, -1), None);
        assert_eq!(code(None, 5, 0), None, "an idempotent producer that starts over");
        assert_eq!(code(None, 5, -1), Some(ErrorCode::InvalidRequest));
        assert_eq!(code(None, -1, 0), Some(ErrorCode::InvalidRequest));
        assert_eq!(code(Some("t"), -1, -1), Some(ErrorCode::InvalidRequest));
        assert_eq!(code(Some(""), -1, -1), Some(ErrorCode::InvalidRequest));
        let answer = failed(ErrorCode::InvalidRequest);
        assert_eq!((answer.producer_id, answer.producer_epoch), (-1, -1));
    }
}
