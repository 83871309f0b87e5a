//! Consumer groups of one shard: the classic protocol and committed offsets. Pure: time comes in as an argument,
//! randomness (member ids) with the request, and what has to happen goes out as [`Effects`].
//!
//! Records are applied when they are decided; replies wait outside until the records are durable (`shard`). What is
//! kept in memory only (members of a generation that has not synced, parked requests, timers) dies with the owner.

mod config;
mod delete_groups;
mod describe_groups;
mod effects;
mod groups;
mod heartbeat;
mod join_group;
mod leave_group;
mod list_groups;
mod member;
mod membership;
mod offset_commit;
mod offset_delete;
mod offset_expiration;
mod offset_fetch;
mod offsets;
mod rebalance;
mod record;
mod replay;
mod reply;
mod request;
mod session;
mod state;
mod subscription;
mod sync_group;
mod time;
mod timers;

pub use config::GroupConfig;
pub use effects::{Effects, Token};
pub use groups::Groups;
pub use offsets::CommittedOffset;
pub use record::{Record, UndecodableRecord};
pub use reply::{
    CommittedPartition, CommittedTopic, DescribedGroup, DescribedMember, FetchedGroup, FetchedPartition, FetchedTopic,
    JoinGroupReply, JoinedMember, LeaveGroupReply, LeftMember, ListedGroup, OffsetDeleteReply, Reply, SyncGroupReply,
};
pub use request::{
    CommitPartition, CommitTopic, DeletePartition, DeleteTopic, FetchGroup, FetchTopic, Heartbeat, JoinGroup,
    LeaveGroup, LeavingMember, ListGroups, MemberProtocol, OffsetCommit, OffsetDelete, OffsetFetch, Request, SyncGroup,
};
pub use state::GroupState;
pub use time::Now;

#[cfg(test)]
mod tests;
