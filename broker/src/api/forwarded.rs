//! What all forwarded APIs share: finding the shard, handing the raw body over, and turning what went wrong on the way
//! into the API's own answer.

use bytes::Bytes;
use highwater_proto::kafka::{ApiKey, ByteStr, DecodeError, ErrorCode, Message, Reader, Request};
use highwater_proto::types::{ShardId, ShardKind};

use crate::api::{RawRequest, RequestContext, answer};
use crate::forward::{ForwardedRequest, shard_of};
use crate::reply::{Answer, Pending, ReplyWriter};

/// An API whose request begins with the group id.
pub(super) trait GroupRequest {
    /// The request.
    type Request: Request;

    /// The answer of this API to an error of the whole request.
    fn failed(version: i16, request: Self::Request, error: ErrorCode) -> <Self::Request as Request>::Response;
}

/// Forwards a request to the shard of the group that it names first.
pub(super) fn dispatch_by_group<A: GroupRequest>(request: RawRequest) -> Option<Pending> {
    let group = leading_string::<A::Request>(&request.body, request.version).ok()?;
    let shard = shard_of_group(&request.context, &group);
    let api = A::Request::API_KEY;
    // Handed over before the future is made: in the order of arrival.
    let handed_over = shard.map(|shard| {
        let body = request.body.clone();
        send(&request.context, shard, api, request.version, body)
    });
    Some(Pending::Later(Box::pin(async move {
        let outcome = match handed_over {
            Ok(reply) => reply.await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(body) => raw_answer(api, request.version, request.correlation_id, &body),
            Err(error) => failed_answer::<A>(request, error),
        }
    })))
}

/// Hands one body to the owner of a shard.
pub(super) fn send(
    context: &RequestContext,
    shard: ShardId,
    api: ApiKey,
    version: i16,
    body: Bytes,
) -> impl Future<Output = Result<Bytes, ErrorCode>> + Send + use<> {
    let forwarded = ForwardedRequest {
        shard,
        api_key: api.code(),
        api_version: version,
        client_id: context.client_id.as_deref().unwrap_or_default().to_owned(),
        client_host: format!("/{}", context.client.host),
        body,
    };
    context.broker.forwarder().forward(&context.broker.image(), forwarded)
}

/// The shard of a group.
///
/// # Errors
/// `COORDINATOR_NOT_AVAILABLE` while `__consumer_offsets` does not exist: FindCoordinator creates it.
pub(super) fn shard_of_group(context: &RequestContext, group: &str) -> Result<ShardId, ErrorCode> {
    let image = context.broker.image();
    let partitions = image
        .topic(ShardKind::Group.topic())
        .map_or(0, |topic| topic.partitions.len());
    shard_of(ShardKind::Group, group, partitions).ok_or(ErrorCode::CoordinatorNotAvailable)
}

/// Decodes what a coordinator answered.
pub(super) fn decode_reply<R: Message>(mut body: Bytes, version: i16) -> Result<R, ErrorCode> {
    R::decode(&mut body, version).map_err(|error| {
        tracing::error!(message = R::NAME, version, %error,
            "a coordinator sent a reply that does not parse; check that all processes run the same version");
        ErrorCode::UnknownServerError
    })
}

/// Encodes a request for one shard.
pub(super) fn encode_request<R: Request>(request: &R, version: i16) -> Result<Bytes, ErrorCode> {
    let mut body = bytes::BytesMut::new();
    request.encode(&mut body, version).map_err(|error| {
        tracing::error!(message = R::NAME, version, %error, "a request cannot be split by shard");
        ErrorCode::UnknownServerError
    })?;
    Ok(body.freeze())
}

/// Waits for one part of a split request after the other; they are all under way. What failed becomes that part's own
/// answer.
pub(super) async fn gather<T, F>(
    parts: Vec<(ByteStr, Result<F, ErrorCode>)>,
    failed: impl Fn(ByteStr, ErrorCode) -> T,
) -> Vec<T>
where
    F: Future<Output = Result<T, ErrorCode>>,
{
    let mut outcomes = Vec::with_capacity(parts.len());
    for (group, part) in parts {
        let outcome = match part {
            Ok(reply) => reply.await,
            Err(error) => Err(error),
        };
        outcomes.push(outcome.unwrap_or_else(|error| failed(group, error)));
    }
    outcomes
}

fn leading_string<R: Request>(body: &Bytes, version: i16) -> Result<String, DecodeError> {
    let mut reader = Reader::new(body, version, R::is_flexible(version));
    Ok(reader.string()?.to_string())
}

fn raw_answer(api: ApiKey, version: i16, correlation_id: i32, body: &[u8]) -> Answer {
    match ReplyWriter::new(api, version, correlation_id) {
        Ok(mut reply) => {
            reply.buffer().extend_from_slice(body);
            Answer::Reply(reply.finish())
        }
        Err(error) => {
            tracing::error!(?api, version, %error, "response header cannot be encoded; the connection is closed");
            Answer::Close
        }
    }
}

fn failed_answer<A: GroupRequest>(mut request: RawRequest, error: ErrorCode) -> Answer {
    // A body that does not parse closes the connection (rule 110); only now is there a reason to look at all of it.
    match A::Request::decode(&mut request.body, request.version) {
        Ok(decoded) => {
            let response = A::failed(request.version, decoded, error);
            answer(A::Request::API_KEY, request.version, request.correlation_id, &response)
        }
        Err(_) => Answer::Close,
    }
}
