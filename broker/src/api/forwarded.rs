//! What all forwarded APIs share: finding the shard, handing the raw body over, and turning what went wrong on the way
//! into the API's own answer.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use highwater_node::telemetry::Trace;
use highwater_proto::kafka::{ApiKey, ByteStr, DecodeError, ErrorCode, Message, Reader, Request};
use highwater_proto::types::{ShardId, ShardKind};

use crate::api::{RawRequest, RequestContext, answer};
use crate::forward::{Forwarded, ForwardedRequest, shard_of};
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
    Some(dispatch_to::<A>(request, shard))
}

/// Forwards a request as it came to one shard, or says why that cannot be found.
pub(super) fn dispatch_to<A: GroupRequest>(request: RawRequest, shard: Result<ShardId, ErrorCode>) -> Pending {
    let api = A::Request::API_KEY;
    // Handed over before the future is made: in the order of arrival.
    let handed_over = shard.map(|shard| {
        let body = request.body.clone();
        send(&request.context, shard, api, request.version, body)
    });
    Pending::Later(Box::pin(async move {
        let outcome = match handed_over {
            Ok(reply) => reply.await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(reply) => {
                let metrics = request.context.broker.metrics();
                reply
                    .errors
                    .iter()
                    .for_each(|(error, count)| metrics.errors_seen(api, *error, *count));
                raw_answer(api, request.version, request.correlation_id, &reply.body)
            }
            Err(error) => failed_answer::<A>(request, error),
        }
    }))
}

/// Hands one body to the owner of a shard.
pub(super) fn send(
    context: &RequestContext,
    shard: ShardId,
    api: ApiKey,
    version: i16,
    body: Bytes,
) -> impl Future<Output = Result<Forwarded, ErrorCode>> + Send + use<> {
    let forwarded = ForwardedRequest {
        shard,
        api_key: api.code(),
        api_version: version,
        client_id: context.client_id.as_deref().unwrap_or_default().to_owned(),
        client_host: format!("/{}", context.client.host),
        body,
        traceparent: context.trace.as_ref().map(Trace::traceparent).unwrap_or_default(),
    };
    context.broker.forwarder().forward(&context.broker.image(), forwarded)
}

/// The shard of a group.
///
/// # Errors
/// `NOT_COORDINATOR` while `__consumer_offsets` does not exist: the client asks FindCoordinator, which creates it.
pub(super) fn shard_of_group(context: &RequestContext, group: &str) -> Result<ShardId, ErrorCode> {
    let image = context.broker.image();
    let partitions = image
        .topic(ShardKind::Group.topic())
        .map_or(0, |topic| topic.partitions.len());
    shard_of(ShardKind::Group, group, partitions).ok_or(ErrorCode::NotCoordinator)
}

/// Decodes what a coordinator answered.
pub(super) fn decode_reply<R: Message>(reply: Forwarded, version: i16) -> Result<R, ErrorCode> {
    let mut body = reply.body;
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

/// How many items of a request are answered that ask what an earlier one asks: a short request must not ask for a reply
/// without bound.
const MAX_REPEATS: usize = 16;

/// The items of a request that belong to one shard, on their way as a request of their own.
struct Part<F> {
    /// Place in the whole request, and group.
    groups: Vec<(usize, ByteStr)>,
    /// The reply to come, or why nothing was sent.
    reply: Result<F, ErrorCode>,
}

/// A request on its way to the shards of its groups.
pub(super) struct Parts<F> {
    parts: Vec<Part<F>>,
    /// Places of items that ask what an earlier one asks, and the place of that one.
    repeats: Vec<(usize, usize)>,
}

/// One item of a request that is split.
pub(super) trait Item {
    /// The group it asks about.
    fn group(&self) -> &ByteStr;

    /// Whether another item with this group asks for the same answer if this is true of it, too.
    fn says_group_only(&self) -> bool;
}

impl Item for ByteStr {
    fn group(&self) -> &ByteStr {
        self
    }

    fn says_group_only(&self) -> bool {
        true
    }
}

/// Splits the items of a request by the shard of their groups and hands each part over, in the order of first
/// appearance. Split by shard rather than by group, so that one large request does not take up the whole queue to a
/// coordinator. What was asked before is not asked again.
pub(super) fn split<T: Item, F>(
    context: &RequestContext,
    items: Vec<T>,
    hand_over: impl Fn(ShardId, Vec<T>) -> Result<F, ErrorCode>,
) -> Parts<F> {
    struct Share<T> {
        shard: Result<ShardId, ErrorCode>,
        groups: Vec<(usize, ByteStr)>,
        items: Vec<T>,
    }
    let mut shares: Vec<Share<T>> = Vec::new();
    let mut share_of: HashMap<Result<ShardId, ErrorCode>, usize> = HashMap::new();
    let mut places: HashMap<ByteStr, usize> = HashMap::new();
    let mut repeats = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let group = item.group().clone();
        let mut shard = shard_of_group(context, &group);
        if item.says_group_only() {
            let first = *places.entry(group.clone()).or_insert(index);
            if first < index && repeats.len() < MAX_REPEATS {
                repeats.push((index, first));
                continue;
            }
            if first < index {
                shard = Err(ErrorCode::InvalidRequest);
            }
        }
        let at = *share_of.entry(shard).or_insert_with(|| {
            shares.push(Share {
                shard,
                groups: Vec::new(),
                items: Vec::new(),
            });
            shares.len() - 1
        });
        if let Some(share) = shares.get_mut(at) {
            share.groups.push((index, group));
            share.items.push(item);
        }
    }
    let hand_over = |share: Share<T>| Part {
        groups: share.groups,
        reply: share.shard.and_then(|shard| hand_over(shard, share.items)),
    };
    Parts {
        parts: shares.into_iter().map(hand_over).collect(),
        repeats,
    }
}

/// Waits for one part of a split request after the other (they are all under way) and puts the answers together in the
/// order of the request. What failed becomes the own answer of each group of that part.
pub(super) async fn gather<T, F>(split: Parts<F>, failed: impl Fn(ByteStr, ErrorCode) -> T) -> Vec<T>
where
    T: Clone,
    F: Future<Output = Result<Vec<T>, ErrorCode>>,
{
    let mut answers = BTreeMap::new();
    for part in split.parts {
        let outcome = match part.reply {
            Ok(reply) => reply.await,
            Err(error) => Err(error),
        };
        let groups = part.groups.into_iter();
        match outcome {
            Ok(found) if found.len() == groups.len() => {
                answers.extend(groups.zip(found).map(|((index, _), answer)| (index, answer)));
            }
            outcome => {
                let error = outcome.err().unwrap_or(ErrorCode::UnknownServerError);
                answers.extend(groups.map(|(index, group)| (index, failed(group, error))));
            }
        }
    }
    for (index, first) in split.repeats {
        if let Some(answer) = answers.get(&first).cloned() {
            answers.insert(index, answer);
        }
    }
    answers.into_values().collect()
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
            let (api, context) = (A::Request::API_KEY, &request.context);
            answer(context, api, request.version, request.correlation_id, &response)
        }
        Err(_) => Answer::Close,
    }
}
