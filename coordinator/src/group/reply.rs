//! What a shard of groups answers.

use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;

/// The answer to a [`Request`](super::Request) of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// JoinGroup
    JoinGroup(JoinGroupReply),
    /// SyncGroup
    SyncGroup(SyncGroupReply),
    /// Heartbeat
    Heartbeat(ErrorCode),
    /// LeaveGroup
    LeaveGroup(LeaveGroupReply),
    /// OffsetCommit
    OffsetCommit(Vec<CommittedTopic>),
    /// OffsetFetch
    OffsetFetch(Vec<FetchedGroup>),
    /// OffsetDelete
    OffsetDelete(OffsetDeleteReply),
    /// ListGroups
    ListGroups(Vec<ListedGroup>),
    /// DescribeGroups
    DescribeGroups(Vec<DescribedGroup>),
    /// DeleteGroups: groups and what became of them.
    DeleteGroups(Vec<(Arc<str>, ErrorCode)>),
}

/// JoinGroup
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupReply {
    /// The outcome.
    pub error: ErrorCode,
    /// The generation joined; -1 with an error.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The chosen protocol.
    pub protocol_name: Option<Arc<str>>,
    /// Member id of the leader.
    pub leader: Arc<str>,
    /// The leader must not compute an assignment.
    pub skip_assignment: bool,
    /// The member.
    pub member_id: Arc<str>,
    /// For the leader: everybody.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Member id.
    pub member_id: Arc<str>,
    /// Instance id.
    pub instance_id: Option<Arc<str>>,
    /// Its metadata of the chosen protocol.
    pub metadata: Bytes,
}

/// SyncGroup
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupReply {
    /// The outcome.
    pub error: ErrorCode,
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The chosen protocol.
    pub protocol_name: Option<Arc<str>>,
    /// The member's assignment.
    pub assignment: Bytes,
}

/// LeaveGroup
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupReply {
    /// The outcome for the request as a whole.
    pub error: ErrorCode,
    /// The outcome per member, in the order of the request.
    pub members: Vec<LeftMember>,
}

/// What became of a leaving member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    /// Member id as asked.
    pub member_id: Arc<str>,
    /// Instance id as asked.
    pub instance_id: Option<Arc<str>>,
    /// The outcome.
    pub error: ErrorCode,
}

/// OffsetCommit, one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its partitions, in the order of the request.
    pub partitions: Vec<CommittedPartition>,
}

/// OffsetCommit or OffsetDelete, one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedPartition {
    /// The partition.
    pub partition: i32,
    /// The outcome.
    pub error: ErrorCode,
}

/// OffsetFetch, one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedGroup {
    /// The group.
    pub group_id: Arc<str>,
    /// The outcome for the group as a whole.
    pub error: ErrorCode,
    /// Its offsets.
    pub topics: Vec<FetchedTopic>,
}

/// OffsetFetch, one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<FetchedPartition>,
}

/// OffsetFetch, one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    /// The partition.
    pub partition: i32,
    /// The committed offset; -1 if there is none.
    pub offset: i64,
    /// Its leader epoch; -1 if unknown.
    pub leader_epoch: i32,
    /// The text that was committed with it.
    pub metadata: Box<str>,
    /// The outcome.
    pub error: ErrorCode,
}

/// OffsetDelete
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteReply {
    /// The outcome for the request as a whole.
    pub error: ErrorCode,
    /// The outcome per partition.
    pub topics: Vec<CommittedTopic>,
}

/// ListGroups, one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group.
    pub group_id: Arc<str>,
    /// Its protocol type; empty if it has none.
    pub protocol_type: Arc<str>,
    /// Its state.
    pub state: &'static str,
    /// Its type.
    pub group_type: &'static str,
}

/// DescribeGroups, one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// The group.
    pub group_id: Arc<str>,
    /// False for a group that does not exist.
    pub exists: bool,
    /// Its state.
    pub state: &'static str,
    /// Its protocol type; empty if it has none.
    pub protocol_type: Arc<str>,
    /// The chosen protocol; empty unless stable.
    pub protocol: Arc<str>,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// DescribeGroups, one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Member id.
    pub member_id: Arc<str>,
    /// Instance id.
    pub instance_id: Option<Arc<str>>,
    /// Client id.
    pub client_id: Arc<str>,
    /// Client address.
    pub client_host: Arc<str>,
    /// Its metadata of the chosen protocol; empty unless stable.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

impl JoinGroupReply {
    /// A refusal.
    pub(super) fn refused(member_id: Arc<str>, error: ErrorCode) -> Self {
        Self {
            error,
            generation: -1,
            protocol_type: None,
            protocol_name: None,
            leader: Arc::from(""),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        }
    }
}

impl SyncGroupReply {
    /// A refusal.
    pub(super) fn refused(error: ErrorCode) -> Self {
        Self {
            error,
            protocol_type: None,
            protocol_name: None,
            assignment: Bytes::new(),
        }
    }
}
