//! A classic group: its members and its generation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::TimestampMs;

use super::effects::Token;
use super::member::Member;
use super::request::MemberProtocol;
use super::state::GroupState;
use super::subscription::Subscription;

/// Protocol type of consumer groups.
pub(super) const CONSUMER: &str = "consumer";

/// A classic group. A group that only has offsets is one without protocol type and members ("simple").
#[derive(Debug)]
pub(super) struct ClassicGroup {
    pub(super) id: Arc<str>,
    pub(super) state: GroupState,
    /// When the group came into its state.
    pub(super) state_since: Option<TimestampMs>,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol_name: Option<Arc<str>>,
    pub(super) generation: i32,
    pub(super) leader: Option<Arc<str>>,
    /// Topics of the members; `None` if the group is not one of consumers.
    pub(super) subscription: Option<Subscription>,
    /// Set while the first rebalance of an empty group waits for more members.
    pub(super) initial_delay: Option<InitialDelay>,
    /// Ids handed out to members that have not joined with them yet.
    pub(super) pending_join: BTreeSet<Arc<str>>,
    /// Members of the generation that have not synced yet.
    pub(super) pending_sync: BTreeSet<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    static_members: HashMap<Arc<str>, Arc<str>>,
    /// How many members support a protocol.
    support: HashMap<Arc<str>, usize>,
    awaiting_join: usize,
}

/// The wait for more members after the first join of an empty group.
#[derive(Clone, Copy, Debug)]
pub(super) struct InitialDelay {
    /// The present wait.
    pub(super) wait: Duration,
    /// How much of the rebalance timeout is left behind it.
    pub(super) remaining: Duration,
    /// Somebody came during the present wait.
    pub(super) member_added: bool,
}

impl ClassicGroup {
    pub(super) fn new(id: Arc<str>) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            state_since: None,
            protocol_type: None,
            protocol_name: None,
            generation: 0,
            leader: None,
            subscription: None,
            initial_delay: None,
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            support: HashMap::new(),
            awaiting_join: 0,
        }
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(super) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    pub(super) fn member_ids(&self) -> Vec<Arc<str>> {
        self.members.keys().cloned().collect()
    }

    pub(super) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(super) fn static_member_id(&self, instance_id: &str) -> Option<&Arc<str>> {
        self.static_members.get(instance_id)
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(super) fn is_in(&self, state: GroupState) -> bool {
        self.state == state
    }

    pub(super) fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    pub(super) fn awaiting_join_count(&self) -> usize {
        self.awaiting_join
    }

    pub(super) fn transition(&mut self, state: GroupState, now: TimestampMs) {
        self.state = state;
        self.state_since = Some(now);
    }

    /// The longest rebalance timeout of the members.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.members()
            .map(|member| member.rebalance_timeout)
            .max()
            .unwrap_or_default()
    }

    /// Nobody is missing in the join phase.
    pub(super) fn all_joined(&self) -> bool {
        self.awaiting_join == self.members.len() && self.pending_join.is_empty()
    }

    /// Adds a member; the first one is the leader and decides the protocol type.
    pub(super) fn add(&mut self, member: Member, protocol_type: &Arc<str>) {
        if self.members.is_empty() {
            self.protocol_type = Some(Arc::clone(protocol_type));
        }
        if self.leader.is_none() {
            self.leader = Some(Arc::clone(&member.id));
        }
        self.pending_join.remove(&member.id);
        self.insert(member);
    }

    fn insert(&mut self, member: Member) {
        for protocol in &member.protocols {
            *self.support.entry(Arc::clone(&protocol.name)).or_default() += 1;
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members
                .insert(Arc::clone(instance_id), Arc::clone(&member.id));
        }
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        if let Some(replaced) = self.members.insert(Arc::clone(&member.id), member) {
            self.forget(&replaced);
        }
    }

    fn forget(&mut self, member: &Member) {
        for protocol in &member.protocols {
            if let Some(count) = self.support.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.support.remove(&protocol.name);
                }
            }
        }
        self.awaiting_join -= usize::from(member.awaiting_join.is_some());
    }

    /// Removes a member or a pending id.
    pub(super) fn remove(&mut self, member_id: &str) -> Option<Member> {
        self.pending_join.remove(member_id);
        self.pending_sync.remove(member_id);
        let member = self.members.remove(member_id)?;
        self.forget(&member);
        if let Some(instance_id) = &member.instance_id
            && self.static_members.get(instance_id) == Some(&member.id)
        {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member another id. Its parked requests are handed back: they belong to the old one.
    pub(super) fn replace_static(&mut self, old_id: &str, new_id: &Arc<str>) -> Option<(Option<Token>, Option<Token>)> {
        let was_leader = self.is_leader(old_id);
        let was_pending = self.pending_sync.contains(old_id);
        let mut member = self.remove(old_id)?;
        let parked = (member.awaiting_join.take(), member.awaiting_sync.take());
        member.id = Arc::clone(new_id);
        self.insert(member);
        if was_leader {
            self.leader = Some(Arc::clone(new_id));
        }
        if was_pending {
            self.pending_sync.insert(Arc::clone(new_id));
        }
        Some(parked)
    }

    /// Changes a member through a function, keeping the counts right.
    pub(super) fn update<T>(&mut self, member_id: &str, change: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let mut member = self.members.remove(member_id)?;
        self.forget(&member);
        let result = change(&mut member);
        self.insert(member);
        Some(result)
    }

    /// Parks a SyncGroup; an older one of the same member is handed back.
    pub(super) fn park_sync(&mut self, member_id: &str, token: Token) -> Option<Token> {
        self.members.get_mut(member_id)?.awaiting_sync.replace(token)
    }

    /// Takes the parked SyncGroup.
    pub(super) fn take_sync(&mut self, member_id: &str) -> Option<Token> {
        self.members.get_mut(member_id)?.awaiting_sync.take()
    }

    /// Takes the parked JoinGroup.
    pub(super) fn take_join(&mut self, member_id: &str) -> Option<Token> {
        let token = self.members.get_mut(member_id)?.awaiting_join.take()?;
        self.awaiting_join -= 1;
        Some(token)
    }

    pub(super) fn set_assignment(&mut self, member_id: &str, assignment: bytes::Bytes) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.assignment = assignment;
        }
    }

    pub(super) fn set_joined(&mut self, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.is_new = false;
        }
    }

    /// True if a member with this type and these protocols could be one of the group.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[MemberProtocol]) -> bool {
        if self.is_in(GroupState::Empty) {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| self.is_candidate(&protocol.name))
    }

    fn is_candidate(&self, protocol: &str) -> bool {
        self.support.get(protocol).copied().unwrap_or_default() == self.members.len()
    }

    /// The protocol with most votes among those that every member supports: each member votes for its first.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members() {
            if let Some(name) = member.vote(|name| self.is_candidate(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(name, _)| Arc::clone(name))
    }

    /// Makes a joined member the leader if the present one has not joined. False if nobody has.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let joined = |member: &Member| member.awaiting_join.is_some();
        if self
            .leader
            .as_deref()
            .and_then(|id| self.member(id))
            .is_some_and(joined)
        {
            return true;
        }
        let Some(elected) = self.members().find(|member| joined(member)) else {
            return false;
        };
        self.leader = Some(Arc::clone(&elected.id));
        true
    }

    /// The next generation, of the members that are there.
    pub(super) fn next_generation(&mut self, now: TimestampMs) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.protocol_name = None;
            self.leader = None;
            self.transition(GroupState::Empty, now);
        } else {
            self.protocol_name = self.select_protocol();
            self.transition(GroupState::CompletingRebalance, now);
        }
        self.read_subscriptions();
    }

    /// Reads the topics of all members anew.
    pub(super) fn read_subscriptions(&mut self) {
        self.subscription = self.is_consumer().then(|| {
            let protocol = self.protocol_name.as_deref().unwrap_or_default();
            Subscription::of(self.members.values().map(|member| member.metadata(protocol)))
        });
    }

    /// True if a member may consume the topic.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscription
            .as_ref()
            .is_some_and(|subscription| subscription.contains(topic))
    }

    /// Checks that a request comes from the member it names.
    pub(super) fn validate_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_member_id(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if **current != *member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }
}
