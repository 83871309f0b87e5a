//! The Kafka APIs that brokers serve, one file per API. [`serve!`] lists them; dispatch and the ApiVersions answer
//! both come from that list, so that they cannot disagree.
//!
//! A new API: a file with a type that implements [`Api`] (or [`RawApi`]), and its line in the list.

mod alter_configs;
mod alter_partition_reassignments;
mod api_versions;
mod auto_create;
mod cluster_view;
mod config_alteration;
mod controller_call;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod forwarded;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leader;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod resource_type;
mod sync_group;
#[cfg(test)]
mod test_image;
mod traced;
mod unregister_broker;

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use highwater_node::telemetry::Trace;
use highwater_proto::kafka::{ApiKey, ByteStr, ErrorCode, Message, Request, RequestHeader, RequestPrefix};

use crate::broker::Broker;
use crate::client::Client;
use crate::reply::{Answer, Pending, Reply};

/// Lists the served APIs: `api` for those that implement [`Api`], `raw` for [`RawApi`]. The most frequent come first.
macro_rules! serve {
    ($($kind:ident $handler:ty,)*) => {
        /// Every API that is served.
        pub static SERVED: &[ServedApi] = &[$(ServedApi::$kind::<$handler>()),*];
    };
}

serve! {
    raw produce::Produce,
    raw fetch::Fetch,
    raw heartbeat::Heartbeat,
    raw offset_commit::OffsetCommit,
    api metadata::Metadata,
    api list_offsets::ListOffsets,
    api offset_for_leader_epoch::OffsetForLeaderEpoch,
    api api_versions::ApiVersions,
    api init_producer_id::InitProducerId,
    api find_coordinator::FindCoordinator,
    raw join_group::JoinGroup,
    raw sync_group::SyncGroup,
    raw leave_group::LeaveGroup,
    raw offset_fetch::OffsetFetch,
    raw offset_delete::OffsetDelete,
    raw list_groups::ListGroups,
    raw describe_groups::DescribeGroups,
    raw delete_groups::DeleteGroups,
    api create_topics::CreateTopics,
    api delete_topics::DeleteTopics,
    api create_partitions::CreatePartitions,
    api delete_records::DeleteRecords,
    api alter_partition_reassignments::AlterPartitionReassignments,
    api list_partition_reassignments::ListPartitionReassignments,
    api elect_leaders::ElectLeaders,
    api unregister_broker::UnregisterBroker,
    api describe_configs::DescribeConfigs,
    api alter_configs::AlterConfigs,
    api incremental_alter_configs::IncrementalAlterConfigs,
    api list_config_resources::ListConfigResources,
    api describe_cluster::DescribeCluster,
    api describe_topic_partitions::DescribeTopicPartitions,
    api describe_log_dirs::DescribeLogDirs,
}

/// What a handler knows of a request besides its body.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The broker that was asked.
    pub broker: Arc<Broker>,
    /// Where the request came from.
    pub client: Arc<Client>,
    /// `client.id` of the request header. Does not share the frame.
    pub client_id: Option<ByteStr>,
    /// Follows the request through the cluster, if this one is.
    pub trace: Option<Trace>,
}

/// An API whose requests are decoded whole and answered with a struct.
pub trait Api {
    /// The request; it names the API and the response.
    type Request: Request;
    /// Versions that are served.
    const VERSIONS: RangeInclusive<i16>;

    /// Answers a request. Runs once all earlier requests of the connection are answered. `version` is one of
    /// [`Self::VERSIONS`], but for ApiVersions, which answers any.
    fn handle(
        context: &RequestContext,
        version: i16,
        request: Self::Request,
    ) -> impl Future<Output = ResponseOf<Self>> + Send;
}

/// The response of an API.
pub type ResponseOf<A> = <<A as Api>::Request as Request>::Response;

/// A request before its body is decoded.
#[derive(Debug)]
pub struct RawRequest {
    /// Where it came from.
    pub context: RequestContext,
    /// Its version: one that the API serves.
    pub version: i16,
    /// To be repeated by the response.
    pub correlation_id: i32,
    /// What follows the header.
    pub body: Bytes,
}

/// An API that takes the body as it came: because it decodes and encodes in its own way, has to do something in the
/// order of arrival, or only passes the body on.
pub trait RawApi {
    /// The API.
    const KEY: ApiKey;
    /// Versions that are served.
    const VERSIONS: RangeInclusive<i16>;
    /// True for APIs that coordinators answer: only what all live coordinators serve is advertised.
    const FORWARDED: bool = false;
    /// True if nothing of the body is kept once the request is dispatched, and no longer parked.
    const FREES_FRAME: bool = false;

    /// Starts a request. What happens before this returns happens in the order in which requests arrive. `None` if the
    /// body is none of this API: the connection is then closed.
    fn dispatch(request: RawRequest) -> Option<Pending>;
}

/// An entry of [`SERVED`].
#[derive(Debug)]
pub struct ServedApi {
    /// The API.
    pub key: ApiKey,
    /// Lowest version served.
    pub min_version: i16,
    /// Highest version served.
    pub max_version: i16,
    /// Answered by coordinators.
    pub forwarded: bool,
    /// Nothing of a request's frame is in memory while it waits.
    pub(crate) frees_frame: bool,
    dispatch: fn(RawRequest) -> Option<Pending>,
}

impl ServedApi {
    const fn api<A: Api>() -> Self {
        Self {
            key: <A::Request as Request>::API_KEY,
            min_version: *A::VERSIONS.start(),
            max_version: *A::VERSIONS.end(),
            forwarded: false,
            frees_frame: false,
            dispatch: dispatch_decoded::<A>,
        }
    }

    const fn raw<A: RawApi>() -> Self {
        Self {
            key: A::KEY,
            min_version: *A::VERSIONS.start(),
            max_version: *A::VERSIONS.end(),
            forwarded: A::FORWARDED,
            frees_frame: A::FREES_FRAME,
            dispatch: A::dispatch,
        }
    }

    /// The entry of an API key, if it is served.
    #[must_use]
    pub fn find(key: i16) -> Option<&'static Self> {
        SERVED.iter().find(|served| served.key.code() == key)
    }

    /// True if requests of this version are answered. ApiVersions answers every version, if only to say which to use.
    fn takes(&self, version: i16) -> bool {
        self.key == ApiKey::ApiVersions || (self.min_version..=self.max_version).contains(&version)
    }
}

/// Starts the request of a whole frame. `None` where Kafka closes the connection without an answer: an unknown API, a
/// version that is not served, a header or body that does not parse (rule 110).
pub(crate) fn dispatch(
    broker: &Arc<Broker>,
    client: &Arc<Client>,
    last_client_id: &mut Option<ByteStr>,
    mut frame: Bytes,
) -> Option<(&'static ServedApi, Pending)> {
    let prefix = RequestPrefix::peek(&frame).ok()?;
    let served = ServedApi::find(prefix.api_key).filter(|served| served.takes(prefix.api_version))?;
    let (_, header) = RequestHeader::parse(&mut frame).ok()?;
    // All requests of a connection have the same client id: it is copied out of the frame once.
    if header.client_id != *last_client_id {
        *last_client_id = header.client_id.as_ref().map(ByteStr::detached);
    }
    let context = RequestContext {
        broker: Arc::clone(broker),
        client: Arc::clone(client),
        client_id: last_client_id.clone(),
        trace: traced::begin(served.key, prefix.api_version, last_client_id.as_deref()),
    };
    let trace = context.trace.clone();
    let _entered = trace.as_ref().map(|trace| trace.log_span().entered());
    let request = RawRequest {
        context,
        version: prefix.api_version,
        correlation_id: prefix.correlation_id,
        body: frame,
    };
    let pending = (served.dispatch)(request)?;
    Some((served, traced::within(trace, pending)))
}

fn dispatch_decoded<A: Api>(request: RawRequest) -> Option<Pending> {
    let RawRequest {
        context,
        version,
        correlation_id,
        mut body,
    } = request;
    let api = <A::Request as Request>::API_KEY;
    // Only ApiVersions gets here with a version that it does not have; it is answered as version 0.
    let served = if A::VERSIONS.contains(&version) {
        Some(version)
    } else {
        None
    };
    let decoded = match served {
        Some(version) => A::Request::decode(&mut body, version).ok()?,
        None => A::Request::default(),
    };
    Some(Pending::Later(Box::pin(async move {
        let response = A::handle(&context, version, decoded).await;
        answer(&context, api, served.unwrap_or(0), correlation_id, &response)
    })))
}

/// Encodes a response as the answer to a request, and counts the errors in it.
fn answer<R: Message>(
    context: &RequestContext,
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    response: &R,
) -> Answer {
    count_errors(context, api, response);
    match Reply::encode(api, version, correlation_id, response) {
        Ok(reply) => Answer::Reply(reply),
        Err(error) => {
            tracing::error!(?api, version, %error, "response cannot be encoded; the connection is closed");
            Answer::Close
        }
    }
}

/// Counts the errors of a response: of the whole, of topics, of partitions.
fn count_errors<R: Message>(context: &RequestContext, api: ApiKey, response: &R) {
    let metrics = context.broker.metrics();
    response.visit_errors(&mut |code| metrics.error(api, ErrorCode::from_code(code)));
}
