//! ListGroups of one shard (rule 86).

use std::sync::Arc;

use super::groups::Groups;
use super::reply::ListedGroup;
use super::request::ListGroups;

/// Type of groups of the classic protocol.
const CLASSIC: &str = "classic";

impl Groups {
    /// The groups that pass both filters; an empty filter lets everything pass, an unknown word nothing.
    pub(super) fn list_groups(&self, request: &ListGroups) -> Vec<ListedGroup> {
        if !matches(&request.types, CLASSIC) {
            return Vec::new();
        }
        let listed = self
            .groups()
            .filter(|group| matches(&request.states, group.state.name()));
        let listed = listed.map(|group| ListedGroup {
            group_id: Arc::clone(&group.id),
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            state: group.state.name(),
            group_type: CLASSIC,
        });
        listed.collect()
    }
}

fn matches(filter: &[String], word: &str) -> bool {
    filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(word))
}
