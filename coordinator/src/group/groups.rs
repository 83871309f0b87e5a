//! All groups of a shard, and who answers which request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::Offset;

use super::config::GroupConfig;
use super::effects::{Effects, Env, Token};
use super::membership::ClassicGroup;
use super::offsets::Offsets;
use super::record::Record;
use super::reply::{JoinGroupReply, LeaveGroupReply, LeftMember, Reply, SyncGroupReply};
use super::request::{Heartbeat, JoinGroup, LeaveGroup, Request, SyncGroup};
use super::state::GroupState;
use super::time::Now;
use super::timers::{Timer, Timers};

/// A timer that comes later than this means that the process, not the member, was silent.
const LATE: Duration = Duration::from_secs(1);
/// What everybody then gets to be heard of: the usual heartbeat interval.
const GRACE: Duration = Duration::from_secs(3);

/// A scan is not followed by the next one at once, whatever the configuration says.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// The groups of one shard.
#[derive(Debug)]
pub struct Groups {
    config: Arc<GroupConfig>,
    groups: HashMap<Arc<str>, ClassicGroup>,
    timers: Timers,
    pub(super) offsets: Offsets,
    pub(super) next_offset: Offset,
}

impl Groups {
    /// No groups; records are replayed into it before it is asked anything.
    #[must_use]
    pub fn new(config: Arc<GroupConfig>) -> Self {
        Self {
            config,
            groups: HashMap::new(),
            timers: Timers::default(),
            offsets: Offsets::default(),
            next_offset: Offset(0),
        }
    }

    /// The whole log has been replayed; the next record will be appended at `log_end`. Every session starts afresh.
    pub fn loaded(&mut self, log_end: Offset, now: Now, effects: &mut Effects) {
        self.next_offset = log_end;
        self.drop_deleted();
        let interval = self.config.offsets_retention_check_interval.max(MIN_CHECK_INTERVAL);
        self.timers
            .schedule(Timer::OffsetExpiration, now.monotonic.saturating_add(interval));
        for id in self.group_ids() {
            self.with_group(&id, now, effects, |group, env| {
                group.read_subscriptions();
                for member_id in group.member_ids() {
                    group.restart_session(&member_id, env);
                }
                if group.member_count() > env.config.max_size {
                    group.prepare_rebalance(env);
                }
            });
        }
    }

    /// Handles one request. The reply is among the effects, now or those of a later call.
    pub fn handle(&mut self, token: Token, request: Request, image: &MetadataImage, now: Now, effects: &mut Effects) {
        match request {
            Request::JoinGroup(request) => self.join_group(token, request, now, effects),
            Request::SyncGroup(request) => self.sync_group(token, request, now, effects),
            Request::OffsetCommit(request) => {
                self.with_env(now, effects, |groups, env| groups.offset_commit(token, request, env));
            }
            other => {
                let reply = self.with_env(now, effects, |groups, env| groups.answer(other, image, env));
                effects.replies.extend(reply.map(|reply| (token, reply)));
            }
        }
    }

    /// Requests that are answered at once; `None` for those that are not among them.
    fn answer(&mut self, request: Request, image: &MetadataImage, env: &mut Env<'_>) -> Option<Reply> {
        match request {
            Request::Heartbeat(request) => Some(Reply::Heartbeat(self.heartbeat(&request, env))),
            Request::LeaveGroup(request) => Some(Reply::LeaveGroup(self.leave_group(request, env))),
            Request::OffsetFetch(request) => Some(Reply::OffsetFetch(self.offset_fetch(&request, image))),
            Request::OffsetDelete(request) => Some(Reply::OffsetDelete(self.offset_delete(request, env))),
            Request::ListGroups(request) => Some(Reply::ListGroups(self.list_groups(&request))),
            Request::DescribeGroups(ids) => Some(Reply::DescribeGroups(self.describe_groups(&ids))),
            Request::DeleteGroups(ids) => Some(Reply::DeleteGroups(self.delete_groups(ids, env))),
            Request::JoinGroup(_) | Request::SyncGroup(_) | Request::OffsetCommit(_) => None,
        }
    }

    fn join_group(&mut self, token: Token, request: JoinGroup, now: Now, effects: &mut Effects) {
        let known = self.groups.contains_key(&request.group_id);
        let timeouts = self.config.min_session_timeout..=self.config.max_session_timeout;
        let refused = if request.group_id.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else if !timeouts.contains(&request.session_timeout) {
            Some(ErrorCode::InvalidSessionTimeout)
        } else if !known && !request.member_id.is_empty() {
            Some(ErrorCode::UnknownMemberId)
        } else {
            None
        };
        if let Some(error) = refused {
            let reply = Reply::JoinGroup(JoinGroupReply::refused(request.member_id, error));
            effects.replies.push((token, reply));
            return;
        }
        let id = Arc::clone(&request.group_id);
        if !known {
            self.ensure_group(&id);
            let created = self.with_group(&id, now, effects, |group, env| {
                let supported = group.supports(&request.protocol_type, &request.protocols);
                if supported {
                    group.transition(GroupState::Empty, env.now.wall);
                    env.append(vec![Record::group_metadata(group)]);
                }
                supported
            });
            if created == Some(false) {
                self.groups.remove(&id);
                let refused = JoinGroupReply::refused(request.member_id, ErrorCode::InconsistentGroupProtocol);
                effects.replies.push((token, Reply::JoinGroup(refused)));
                return;
            }
        }
        self.with_group(&id, now, effects, |group, env| group.join(token, request, env));
    }

    fn sync_group(&mut self, token: Token, request: SyncGroup, now: Now, effects: &mut Effects) {
        let refused = if request.group_id.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else if self
            .group(&request.group_id)
            .is_none_or(|group| group.is_in(GroupState::Empty))
        {
            Some(ErrorCode::UnknownMemberId)
        } else {
            None
        };
        if let Some(error) = refused {
            effects
                .replies
                .push((token, Reply::SyncGroup(SyncGroupReply::refused(error))));
            return;
        }
        let id = Arc::clone(&request.group_id);
        self.with_group(&id, now, effects, |group, env| group.sync(token, request, env));
    }

    fn heartbeat(&self, request: &Heartbeat, env: &mut Env<'_>) -> ErrorCode {
        if request.group_id.is_empty() {
            return ErrorCode::InvalidGroupId;
        }
        match self.group(&request.group_id) {
            Some(group) => group.heartbeat(request, env),
            None => ErrorCode::UnknownMemberId,
        }
    }

    fn leave_group(&mut self, request: LeaveGroup, env: &mut Env<'_>) -> LeaveGroupReply {
        if request.group_id.is_empty() {
            return LeaveGroupReply {
                error: ErrorCode::InvalidGroupId,
                members: Vec::new(),
            };
        }
        let members = match self.groups.get_mut(&request.group_id) {
            Some(group) => group.leave(request, env),
            None => {
                let unknown = request.members.into_iter().map(|member| LeftMember {
                    member_id: member.member_id,
                    instance_id: member.instance_id,
                    error: ErrorCode::UnknownMemberId,
                });
                unknown.collect()
            }
        };
        LeaveGroupReply {
            error: ErrorCode::None,
            members,
        }
    }

    /// Does what is due. If deadlines come up late, all are postponed: whoever spoke meanwhile waits in a queue behind
    /// this call.
    pub fn tick(&mut self, now: Now, effects: &mut Effects) {
        let late = self
            .timers
            .next()
            .map_or(Duration::ZERO, |deadline| now.monotonic.saturating_sub(deadline));
        if late > LATE {
            self.timers.postpone(late + GRACE);
        }
        while let Some(timer) = self.timers.pop_due(now.monotonic) {
            match timer {
                Timer::Session(group, member) => {
                    self.with_group(&group, now, effects, |group, env| group.session_expired(&member, env));
                }
                Timer::Join(group) => {
                    self.with_group(&group, now, effects, ClassicGroup::join_expired);
                }
                Timer::PendingSync(group) => {
                    self.with_group(&group, now, effects, ClassicGroup::pending_sync_expired);
                }
                Timer::OffsetExpiration => {
                    let interval = self.config.offsets_retention_check_interval.max(MIN_CHECK_INTERVAL);
                    let next = now.monotonic.saturating_add(interval);
                    self.timers.schedule(Timer::OffsetExpiration, next);
                    self.with_env(now, effects, Self::expire_offsets);
                }
            }
        }
    }

    /// When [`Self::tick`] has something to do, in monotonic time. May be too early, never too late.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Where the log will end when all records decided so far are in it.
    #[must_use]
    pub fn applied_end(&self) -> Offset {
        self.next_offset
    }

    /// Groups and their members.
    pub fn sizes(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.groups.values().map(|group| (&group.id, group.member_count()))
    }

    /// All committed offsets: group, topic, partition, offset.
    pub fn committed(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, i32, &super::CommittedOffset)> {
        self.groups.keys().flat_map(|group| {
            let topics = self.offsets.of_group(group);
            topics.flat_map(move |(topic, partitions)| {
                partitions
                    .iter()
                    .map(move |(partition, stored)| (group, topic, *partition, stored))
            })
        })
    }

    pub(super) fn group(&self, id: &str) -> Option<&ClassicGroup> {
        self.groups.get(id)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &ClassicGroup> {
        self.groups.values()
    }

    /// Ids in their order, so that the same state gives the same records.
    pub(super) fn group_ids(&self) -> Vec<Arc<str>> {
        let mut ids: Vec<_> = self.groups.keys().cloned().collect();
        ids.sort_unstable();
        ids
    }

    /// The group, which comes into being as a simple one.
    pub(super) fn ensure_group(&mut self, id: &Arc<str>) -> &mut ClassicGroup {
        self.groups
            .entry(Arc::clone(id))
            .or_insert_with(|| ClassicGroup::new(Arc::clone(id)))
    }

    pub(super) fn put_group(&mut self, group: ClassicGroup) {
        self.groups.insert(Arc::clone(&group.id), group);
    }

    pub(super) fn remove_group(&mut self, id: &str) {
        self.groups.remove(id);
    }

    /// Drops a group and its timers.
    pub(super) fn forget_group(&mut self, id: &Arc<str>, timers: &mut Timers) {
        if let Some(group) = self.groups.remove(id) {
            for member_id in group.pending_join.iter().cloned().chain(group.member_ids()) {
                timers.cancel(&Timer::Session(Arc::clone(id), member_id));
            }
            timers.cancel(&Timer::Join(Arc::clone(id)));
            timers.cancel(&Timer::PendingSync(Arc::clone(id)));
        }
    }

    /// Runs a decision that concerns more than one group.
    pub(super) fn with_env<T>(
        &mut self,
        now: Now,
        effects: &mut Effects,
        decide: impl FnOnce(&mut Self, &mut Env<'_>) -> T,
    ) -> T {
        let config = Arc::clone(&self.config);
        let mut timers = std::mem::take(&mut self.timers);
        let mut next_offset = self.next_offset;
        let mut env = Env {
            config: &config,
            timers: &mut timers,
            next_offset: &mut next_offset,
            effects,
            now,
        };
        let result = decide(self, &mut env);
        self.timers = timers;
        self.next_offset = next_offset;
        result
    }

    /// Runs a decision that concerns one group; `None` if there is no such group.
    fn with_group<T>(
        &mut self,
        id: &str,
        now: Now,
        effects: &mut Effects,
        decide: impl FnOnce(&mut ClassicGroup, &mut Env<'_>) -> T,
    ) -> Option<T> {
        let group = self.groups.get_mut(id)?;
        let mut env = Env {
            config: &self.config,
            timers: &mut self.timers,
            next_offset: &mut self.next_offset,
            effects,
            now,
        };
        Some(decide(group, &mut env))
    }
}
