//! Groups with a hand-moved clock and a log that keeps everything.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, MetadataUpdate, Partition};
use highwater_proto::types::{Offset, PartitionIndex, Revision, TimestampMs, TopicId};
use uuid::Uuid;

use crate::group::*;

pub(super) const SESSION: Duration = Duration::from_secs(10);
pub(super) const REBALANCE: Duration = Duration::from_secs(60);
pub(super) const START: i64 = 1_700_000_000_000;

pub(super) struct Harness {
    pub(super) groups: Groups,
    pub(super) config: Arc<GroupConfig>,
    pub(super) image: MetadataImage,
    pub(super) now: Now,
    pub(super) log: Vec<Record>,
    replies: HashMap<Token, Reply>,
    tokens: u64,
    uuids: HashSet<Uuid>,
}

impl Harness {
    pub(super) fn new() -> Self {
        Self::with(GroupConfig::default())
    }

    pub(super) fn with(config: GroupConfig) -> Self {
        let config = Arc::new(config);
        let mut harness = Self {
            groups: Groups::new(Arc::clone(&config)),
            config,
            image: MetadataImage::default(),
            now: Now {
                wall: TimestampMs(START),
                monotonic: Duration::ZERO,
            },
            log: Vec::new(),
            replies: HashMap::new(),
            tokens: 0,
            uuids: HashSet::new(),
        };
        harness.load();
        harness
    }

    /// What a new owner of the shard knows.
    pub(super) fn reload(&mut self) {
        self.groups = Groups::new(Arc::clone(&self.config));
        for (offset, record) in self.log.iter().enumerate() {
            self.groups
                .replay(Offset(offset as i64), None, &record.key, record.value.as_deref())
                .unwrap();
        }
        self.load();
    }

    fn load(&mut self) {
        let mut effects = Effects::default();
        self.groups
            .loaded(Offset(self.log.len() as i64), self.now, &mut effects);
        self.take(effects);
    }

    pub(super) fn take(&mut self, effects: Effects) {
        self.log.extend(effects.records.into_iter().flatten());
        for (token, reply) in effects.replies {
            assert!(
                self.replies.insert(token, reply).is_none(),
                "{token:?} is answered twice"
            );
        }
    }

    pub(super) fn send(&mut self, request: Request) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        let mut effects = Effects::default();
        self.groups.handle(token, request, &self.image, self.now, &mut effects);
        self.take(effects);
        token
    }

    pub(super) fn reply(&mut self, token: Token) -> Reply {
        self.replies.remove(&token).expect("a reply")
    }

    pub(super) fn is_parked(&self, token: Token) -> bool {
        !self.replies.contains_key(&token)
    }

    /// Lets time pass, stopping at every deadline on the way.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now.monotonic + by;
        loop {
            let next = self
                .groups
                .next_deadline()
                .filter(|deadline| *deadline <= end)
                .unwrap_or(end);
            let next = next.max(self.now.monotonic);
            let passed = next - self.now.monotonic;
            self.now.monotonic = next;
            self.now.wall = TimestampMs(self.now.wall.get() + passed.as_millis() as i64);
            let mut effects = Effects::default();
            self.groups.tick(self.now, &mut effects);
            self.take(effects);
            if next == end && self.groups.next_deadline().is_none_or(|deadline| deadline > end) {
                return;
            }
        }
    }

    pub(super) fn create_topic(&mut self, name: &str, partitions: i32) -> TopicId {
        let topic_id = TopicId(Uuid::new_v4());
        let mut changes: Vec<_> = (0..partitions)
            .map(|index| Change::PutPartition(topic_id, PartitionIndex(index), Partition::default()))
            .collect();
        changes.push(Change::PutTopic {
            name: name.to_owned(),
            topic_id,
            partition_count: partitions,
            configs: Default::default(),
            owner: None,
        });
        self.apply(changes);
        topic_id
    }

    pub(super) fn delete_topic(&mut self, name: &str, topic_id: TopicId) {
        self.apply(vec![Change::DeleteTopic {
            name: name.to_owned(),
            topic_id,
        }]);
    }

    fn apply(&mut self, changes: Vec<Change>) {
        let revision = Revision(self.image.revision.get() + 1);
        self.image = self.image.apply(&MetadataUpdate { revision, changes });
        let mut effects = Effects::default();
        self.groups.topics_changed(&self.image, self.now, &mut effects);
        self.take(effects);
    }

    pub(super) fn join(&mut self, mut request: JoinGroup) -> Token {
        // A copied request is one of another client.
        if request.member_id.is_empty() && !self.uuids.insert(request.member_uuid) {
            request.member_uuid = Uuid::new_v4();
        }
        self.send(Request::JoinGroup(request))
    }

    pub(super) fn joined(&mut self, token: Token) -> JoinGroupReply {
        match self.reply(token) {
            Reply::JoinGroup(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn join_now(&mut self, request: JoinGroup) -> JoinGroupReply {
        let token = self.join(request);
        self.joined(token)
    }

    pub(super) fn sync(&mut self, request: SyncGroup) -> Token {
        self.send(Request::SyncGroup(request))
    }

    pub(super) fn synced(&mut self, token: Token) -> SyncGroupReply {
        match self.reply(token) {
            Reply::SyncGroup(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn sync_now(&mut self, request: SyncGroup) -> SyncGroupReply {
        let token = self.sync(request);
        self.synced(token)
    }

    pub(super) fn heartbeat(&mut self, group: &str, member: &str, generation: i32) -> ErrorCode {
        self.heartbeat_static(group, member, None, generation)
    }

    pub(super) fn heartbeat_static(
        &mut self,
        group: &str,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> ErrorCode {
        let token = self.send(Request::Heartbeat(Heartbeat {
            group_id: group.into(),
            generation,
            member_id: member.into(),
            instance_id: instance.map(Arc::from),
        }));
        match self.reply(token) {
            Reply::Heartbeat(error) => error,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn leave(&mut self, group: &str, members: &[(&str, Option<&str>)]) -> Vec<ErrorCode> {
        let members = members.iter().map(|(member_id, instance_id)| LeavingMember {
            member_id: Arc::from(*member_id),
            instance_id: instance_id.map(Arc::from),
        });
        let token = self.send(Request::LeaveGroup(LeaveGroup {
            group_id: group.into(),
            members: members.collect(),
        }));
        match self.reply(token) {
            Reply::LeaveGroup(reply) if reply.error == ErrorCode::None => {
                reply.members.iter().map(|member| member.error).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn describe(&mut self, group: &str) -> DescribedGroup {
        let token = self.send(Request::DescribeGroups(vec![group.into()]));
        match self.reply(token) {
            Reply::DescribeGroups(mut groups) => groups.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn state(&mut self, group: &str) -> &'static str {
        self.describe(group).state
    }

    /// Commits one offset and tells what the partition is answered.
    pub(super) fn commit(&mut self, commit: OffsetCommit) -> ErrorCode {
        let token = self.send(Request::OffsetCommit(commit));
        match self.reply(token) {
            Reply::OffsetCommit(topics) => topics[0].partitions[0].error,
            other => panic!("{other:?}"),
        }
    }

    /// The offset of partition 0; -1 if there is none.
    pub(super) fn committed(&mut self, group: &str, topic: &str) -> i64 {
        let token = self.send(Request::OffsetFetch(OffsetFetch {
            groups: vec![FetchGroup {
                group_id: group.into(),
                topics: Some(vec![FetchTopic {
                    name: topic.into(),
                    partitions: vec![0],
                }]),
            }],
            require_stable: false,
        }));
        match self.reply(token) {
            Reply::OffsetFetch(groups) => groups[0].topics[0].partitions[0].offset,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn delete_group(&mut self, group: &str) -> ErrorCode {
        let token = self.send(Request::DeleteGroups(vec![group.into()]));
        match self.reply(token) {
            Reply::DeleteGroups(groups) => groups[0].1,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn exists(&mut self, group: &str) -> bool {
        self.describe(group).exists
    }

    /// A stable group of members that join at once; their ids, the leader first.
    pub(super) fn stable(&mut self, group: &str, members: &[JoinGroup]) -> Vec<Arc<str>> {
        let tokens: Vec<_> = members.iter().map(|member| self.join(member.clone())).collect();
        while self.is_parked(tokens[0]) {
            self.advance(Duration::from_secs(1));
        }
        let joined: Vec<_> = tokens.into_iter().map(|token| self.joined(token)).collect();
        let leader = Arc::clone(&joined[0].leader);
        let generation = joined[0].generation;
        let assignments = joined
            .iter()
            .map(|reply| (Arc::clone(&reply.member_id), assignment(&reply.member_id)));
        let assignments: Vec<_> = assignments.collect();
        let mut ids: Vec<_> = joined.into_iter().map(|reply| reply.member_id).collect();
        ids.sort_by_key(|id| *id != leader);
        for id in &ids {
            let assignments = if *id == leader { assignments.clone() } else { Vec::new() };
            let reply = self.sync_now(sync(group, id, generation, assignments));
            assert_eq!((reply.error, reply.assignment), (ErrorCode::None, assignment(id)));
        }
        ids
    }
}

pub(super) fn assignment(member: &str) -> Bytes {
    Bytes::from(format!("assignment of {member}"))
}

/// A dynamic member of before KIP-394, which joins at once.
pub(super) fn member(group: &str) -> JoinGroup {
    JoinGroup {
        group_id: group.into(),
        member_id: "".into(),
        instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", &subscription(&["t"]))],
        member_uuid: Uuid::new_v4(),
        requires_known_member_id: false,
        supports_skip_assignment: true,
    }
}

pub(super) fn static_member(group: &str, instance: &str) -> JoinGroup {
    JoinGroup {
        instance_id: Some(instance.into()),
        ..member(group)
    }
}

/// A join with an id.
pub(super) fn rejoin(request: &JoinGroup, member_id: &str) -> JoinGroup {
    JoinGroup {
        member_id: member_id.into(),
        ..request.clone()
    }
}

pub(super) fn protocol(name: &str, metadata: &[u8]) -> MemberProtocol {
    MemberProtocol {
        name: name.into(),
        metadata: Bytes::copy_from_slice(metadata),
    }
}

/// A consumer's subscription in version 0.
pub(super) fn subscription(topics: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes
}

pub(super) fn sync(group: &str, member: &str, generation: i32, assignments: Vec<(Arc<str>, Bytes)>) -> SyncGroup {
    SyncGroup {
        group_id: group.into(),
        generation,
        member_id: member.into(),
        instance_id: None,
        protocol_type: None,
        protocol_name: None,
        assignments,
    }
}

/// A commit of partition 0 without membership.
pub(super) fn commit(group: &str, topic: &str, offset: i64) -> OffsetCommit {
    OffsetCommit {
        group_id: group.into(),
        generation: -1,
        member_id: "".into(),
        instance_id: None,
        retention: None,
        unknown_group_error: ErrorCode::GroupIdNotFound,
        topics: vec![CommitTopic {
            name: topic.into(),
            topic_id: TopicId::ZERO,
            partitions: vec![CommitPartition {
                partition: 0,
                offset,
                leader_epoch: -1,
                metadata: "".into(),
                refused: None,
            }],
        }],
    }
}

/// A commit of partition 0 by a member.
pub(super) fn commit_as(group: &str, topic: &str, offset: i64, member: &str, generation: i32) -> OffsetCommit {
    OffsetCommit {
        generation,
        member_id: member.into(),
        ..commit(group, topic, offset)
    }
}
