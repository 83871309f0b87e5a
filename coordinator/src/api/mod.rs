//! Kafka's group requests, a file per API: from the forwarded body to what the groups are asked, and from their reply to
//! the body that goes back. Versions exist only here.

mod delete_groups;
mod describe_groups;
mod heartbeat;
mod join_group;
mod leave_group;
mod list_groups;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod sync_group;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use highwater_proto::kafka::{ApiKey, ByteStr, ErrorCode, Message};
use highwater_proto::metadata::MetadataImage;
use uuid::Uuid;

use crate::group::{Reply, Request};

/// What a request is handled with besides its body.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Version of the request and of its reply.
    pub version: i16,
    /// Client id of the request header; empty if the client sent none.
    pub client_id: &'a str,
    /// The client's address, as Kafka writes it.
    pub client_host: &'a str,
    /// Topics and their partitions.
    pub image: &'a MetadataImage,
    /// Randomness for a member id.
    pub member_uuid: Uuid,
}

/// A reply on its way.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// The body without its header.
    pub body: Bytes,
    /// The error codes in it with how often each is there; no entry for success. Brokers count them.
    pub errors: Vec<(i16, i32)>,
}

/// One API that coordinators answer.
struct Api {
    key: ApiKey,
    versions: RangeInclusive<i16>,
    decode: fn(Bytes, &Context<'_>) -> Result<Request, ErrorCode>,
    encode: fn(Reply, i16) -> Result<Encoded, ErrorCode>,
}

macro_rules! api {
    ($key:ident, $versions:expr, $module:ident) => {
        Api {
            key: ApiKey::$key,
            versions: $versions,
            decode: $module::decode,
            encode: $module::encode,
        }
    };
}

/// Everything that is answered. What is registered with the controller, and so what brokers advertise, is this table.
const APIS: [Api; 10] = [
    api!(OffsetCommit, 2..=9, offset_commit),
    api!(OffsetFetch, 1..=9, offset_fetch),
    api!(JoinGroup, 0..=9, join_group),
    api!(Heartbeat, 0..=4, heartbeat),
    api!(LeaveGroup, 0..=5, leave_group),
    api!(SyncGroup, 0..=5, sync_group),
    api!(DescribeGroups, 0..=6, describe_groups),
    api!(ListGroups, 0..=5, list_groups),
    api!(DeleteGroups, 0..=2, delete_groups),
    api!(OffsetDelete, 0..=0, offset_delete),
];

/// API keys with their lowest and highest versions, for the registration.
#[must_use]
pub fn api_ranges() -> Vec<(i16, i16, i16)> {
    APIS.iter()
        .map(|api| (api.key.code(), *api.versions.start(), *api.versions.end()))
        .collect()
}

/// What a forwarded body asks of the groups.
///
/// # Errors
/// `UNSUPPORTED_VERSION` for an API or a version that is not in the table, `INVALID_REQUEST` for a body that is not one.
pub fn decode(api_key: i32, body: Bytes, context: &Context<'_>) -> Result<Request, ErrorCode> {
    let api = find(api_key, context.version)?;
    (api.decode)(body, context)
}

/// The body of a reply.
///
/// # Errors
/// `UNSUPPORTED_VERSION` as for the request, `UNKNOWN_SERVER_ERROR` if the reply does not fit the wire.
pub fn encode(api_key: i32, version: i16, reply: Reply) -> Result<Encoded, ErrorCode> {
    let api = find(api_key, version)?;
    (api.encode)(reply, version)
}

fn find(api_key: i32, version: i16) -> Result<&'static Api, ErrorCode> {
    let served = |api: &&Api| i32::from(api.key.code()) == api_key && api.versions.contains(&version);
    APIS.iter().find(served).ok_or(ErrorCode::UnsupportedVersion)
}

/// Reads a whole message.
fn read<M: Message>(mut body: Bytes, version: i16) -> Result<M, ErrorCode> {
    M::decode(&mut body, version).map_err(|_| ErrorCode::InvalidRequest)
}

/// Writes a whole message.
fn write<M: Message>(message: &M, version: i16) -> Result<Encoded, ErrorCode> {
    let mut body = BytesMut::new();
    message
        .encode(&mut body, version)
        .map_err(|_| ErrorCode::UnknownServerError)?;
    let mut errors: Vec<(i16, i32)> = Vec::new();
    message.visit_errors(&mut |code| {
        if code == ErrorCode::None.code() {
            return;
        }
        match errors.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += 1,
            None => errors.push((code, 1)),
        }
    });
    let body = body.freeze();
    Ok(Encoded { body, errors })
}

/// A name out of the frame: what is kept must not keep the frame alive.
fn name(text: &ByteStr) -> Arc<str> {
    Arc::from(text.as_str())
}

fn optional_name(text: Option<&ByteStr>) -> Option<Arc<str>> {
    text.map(name)
}

fn wire(text: &str) -> ByteStr {
    ByteStr::from(text)
}

fn optional_wire(text: Option<&Arc<str>>) -> Option<ByteStr> {
    text.map(|text| ByteStr::from(&**text))
}

/// Milliseconds of the wire; negative ones count as none.
fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

/// Bytes out of the frame.
fn detached(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// Why a partition cannot be committed to, if the topic or the partition is not known.
fn unknown_partition(image: &MetadataImage, topic: &str, partition: i32) -> Option<ErrorCode> {
    let count = image.topic(topic).map_or(0, |topic| topic.partitions.len());
    let known = usize::try_from(partition).is_ok_and(|index| index < count);
    (!known).then_some(ErrorCode::UnknownTopicOrPartition)
}

#[cfg(test)]
mod tests;
