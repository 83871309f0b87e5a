//! What a shard of groups is asked. The fields are those of Kafka's requests, free of versions: what depends on a
//! version has become a field of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::TopicId;
use uuid::Uuid;

/// One request to the groups of a shard.
#[derive(Clone, Debug)]
pub enum Request {
    /// JoinGroup
    JoinGroup(JoinGroup),
    /// SyncGroup
    SyncGroup(SyncGroup),
    /// Heartbeat
    Heartbeat(Heartbeat),
    /// LeaveGroup
    LeaveGroup(LeaveGroup),
    /// OffsetCommit
    OffsetCommit(OffsetCommit),
    /// OffsetFetch
    OffsetFetch(OffsetFetch),
    /// OffsetDelete
    OffsetDelete(OffsetDelete),
    /// ListGroups
    ListGroups(ListGroups),
    /// DescribeGroups, with the ids of the groups.
    DescribeGroups(Vec<Arc<str>>),
    /// DeleteGroups, with the ids of the groups.
    DeleteGroups(Vec<Arc<str>>),
}

impl Request {
    /// Bytes of the longest name that may be stored. Flexible versions of the requests allow longer ones than records do.
    #[must_use]
    pub fn longest_name(&self) -> usize {
        let longest = |names: &[&str]| names.iter().map(|name| name.len()).max().unwrap_or_default();
        let optional = |name: &Option<Arc<str>>| name.as_deref().map_or(0, str::len);
        let ids = |ids: &[Arc<str>]| ids.iter().map(|id| id.len()).max().unwrap_or_default();
        match self {
            Self::JoinGroup(request) => {
                let protocols = request.protocols.iter().map(|protocol| protocol.name.len()).max();
                let names = [
                    &*request.group_id,
                    &request.client_id,
                    &request.client_host,
                    &request.protocol_type,
                ];
                longest(&names)
                    .max(optional(&request.instance_id))
                    .max(protocols.unwrap_or_default())
            }
            Self::SyncGroup(request) => request.group_id.len(),
            Self::Heartbeat(request) => request.group_id.len(),
            Self::LeaveGroup(request) => request.group_id.len(),
            Self::OffsetCommit(request) => request.group_id.len(),
            Self::OffsetFetch(request) => request
                .groups
                .iter()
                .map(|group| group.group_id.len())
                .max()
                .unwrap_or_default(),
            Self::OffsetDelete(request) => request.group_id.len(),
            Self::ListGroups(_) => 0,
            Self::DescribeGroups(groups) | Self::DeleteGroups(groups) => ids(groups),
        }
    }
}

/// A protocol that a member supports, with what it tells the others under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberProtocol {
    /// Name, for consumers that of the assignor.
    pub name: Arc<str>,
    /// Opaque to the coordinator but for consumers, whose subscription it is.
    pub metadata: Bytes,
}

/// JoinGroup
#[derive(Clone, Debug)]
pub struct JoinGroup {
    /// The group.
    pub group_id: Arc<str>,
    /// Empty for a member that has none yet.
    pub member_id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<Arc<str>>,
    /// Client id of the request header.
    pub client_id: Arc<str>,
    /// The client's address, as Kafka writes it.
    pub client_host: Arc<str>,
    /// The member is lost after this long without a heartbeat.
    pub session_timeout: Duration,
    /// How long a rebalance waits for this member.
    pub rebalance_timeout: Duration,
    /// `consumer`, `connect`, ...
    pub protocol_type: Arc<str>,
    /// Supported protocols, the preferred one first.
    pub protocols: Vec<MemberProtocol>,
    /// Randomness for the member id, should one be made.
    pub member_uuid: Uuid,
    /// From version 4: a dynamic member must join with the id that its first join is answered with (KIP-394).
    pub requires_known_member_id: bool,
    /// From version 9: the reply can tell a returning static leader to skip the assignment (KIP-814).
    pub supports_skip_assignment: bool,
}

/// SyncGroup
#[derive(Clone, Debug)]
pub struct SyncGroup {
    /// The group.
    pub group_id: Arc<str>,
    /// Generation that the member joined.
    pub generation: i32,
    /// The member.
    pub member_id: Arc<str>,
    /// Its instance id.
    pub instance_id: Option<Arc<str>>,
    /// Checked against the group's if given (version 5).
    pub protocol_type: Option<Arc<str>>,
    /// Checked against the chosen one if given (version 5).
    pub protocol_name: Option<Arc<str>>,
    /// From the leader: assignments by member id.
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

/// Heartbeat
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The group.
    pub group_id: Arc<str>,
    /// The member's generation.
    pub generation: i32,
    /// The member.
    pub member_id: Arc<str>,
    /// Its instance id.
    pub instance_id: Option<Arc<str>>,
}

/// LeaveGroup
#[derive(Clone, Debug)]
pub struct LeaveGroup {
    /// The group.
    pub group_id: Arc<str>,
    /// Who leaves.
    pub members: Vec<LeavingMember>,
}

/// A member that leaves: by member id, or by instance id alone.
#[derive(Clone, Debug)]
pub struct LeavingMember {
    /// Member id; empty to remove a static member by its instance id.
    pub member_id: Arc<str>,
    /// Instance id.
    pub instance_id: Option<Arc<str>>,
}

/// OffsetCommit
#[derive(Clone, Debug)]
pub struct OffsetCommit {
    /// The group; may be the empty string.
    pub group_id: Arc<str>,
    /// Generation; negative without group membership.
    pub generation: i32,
    /// The member; empty without group membership.
    pub member_id: Arc<str>,
    /// Its instance id.
    pub instance_id: Option<Arc<str>>,
    /// Versions 2 to 4 may say how long the offsets live.
    pub retention: Option<Duration>,
    /// The answer when the group does not exist and a generation is named: GROUP_ID_NOT_FOUND from version 9,
    /// ILLEGAL_GENERATION before.
    pub unknown_group_error: ErrorCode,
    /// What to commit.
    pub topics: Vec<CommitTopic>,
}

/// Offsets of one topic.
#[derive(Clone, Debug)]
pub struct CommitTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity; zero if the topic is unknown.
    pub topic_id: TopicId,
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// Offset of one partition.
#[derive(Clone, Debug)]
pub struct CommitPartition {
    /// The partition.
    pub partition: i32,
    /// The next offset to consume.
    pub offset: i64,
    /// Leader epoch of the last record consumed; -1 if unknown.
    pub leader_epoch: i32,
    /// Text that goes with it.
    pub metadata: Box<str>,
    /// Why the partition is refused already: the topic or the partition does not exist.
    pub refused: Option<ErrorCode>,
}

/// OffsetFetch
#[derive(Clone, Debug)]
pub struct OffsetFetch {
    /// The groups.
    pub groups: Vec<FetchGroup>,
    /// Offsets with an open transaction answer UNSTABLE_OFFSET_COMMIT.
    pub require_stable: bool,
}

/// Offsets of one group.
#[derive(Clone, Debug)]
pub struct FetchGroup {
    /// The group; may be the empty string.
    pub group_id: Arc<str>,
    /// The topics; `None` for all that have offsets.
    pub topics: Option<Vec<FetchTopic>>,
}

/// Offsets of one topic.
#[derive(Clone, Debug)]
pub struct FetchTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// OffsetDelete
#[derive(Clone, Debug)]
pub struct OffsetDelete {
    /// The group.
    pub group_id: Arc<str>,
    /// What to delete.
    pub topics: Vec<DeleteTopic>,
}

/// Offsets of one topic that go.
#[derive(Clone, Debug)]
pub struct DeleteTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<DeletePartition>,
}

/// Offset of a partition that goes.
#[derive(Clone, Debug)]
pub struct DeletePartition {
    /// The partition.
    pub partition: i32,
    /// Why it is refused already: the topic or the partition does not exist.
    pub refused: Option<ErrorCode>,
}

/// ListGroups
#[derive(Clone, Debug, Default)]
pub struct ListGroups {
    /// States to list, in any case; empty for all.
    pub states: Vec<String>,
    /// Types to list, in any case; empty for all.
    pub types: Vec<String>,
}
