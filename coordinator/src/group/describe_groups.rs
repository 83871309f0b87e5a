//! DescribeGroups (rule 86).

use std::sync::Arc;

use bytes::Bytes;

use super::groups::Groups;
use super::membership::ClassicGroup;
use super::reply::{DescribedGroup, DescribedMember};
use super::state::{DEAD, GroupState};

impl Groups {
    /// What the groups look like now, in the order of the request. Brokers name each once.
    pub(super) fn describe_groups(&self, group_ids: &[Arc<str>]) -> Vec<DescribedGroup> {
        let describe = |id: &Arc<str>| match self.group(id) {
            Some(group) => group.describe(),
            None => DescribedGroup {
                group_id: Arc::clone(id),
                exists: false,
                state: DEAD,
                protocol_type: Arc::from(""),
                protocol: Arc::from(""),
                members: Vec::new(),
            },
        };
        group_ids.iter().map(describe).collect()
    }
}

impl ClassicGroup {
    /// Protocol and metadata are told only of a stable group: before, they are about to change.
    fn describe(&self) -> DescribedGroup {
        let protocol = self.protocol_name.clone().filter(|_| self.is_in(GroupState::Stable));
        let members = self.members().map(|member| DescribedMember {
            member_id: Arc::clone(&member.id),
            instance_id: member.instance_id.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            metadata: protocol
                .as_deref()
                .map_or_else(Bytes::new, |protocol| member.metadata(protocol)),
            assignment: member.assignment.clone(),
        });
        DescribedGroup {
            group_id: Arc::clone(&self.id),
            exists: true,
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: members.collect(),
            protocol: protocol.unwrap_or_default(),
        }
    }
}
