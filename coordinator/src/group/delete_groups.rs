//! DeleteGroups (rules 86, 146).

use std::sync::Arc;

use highwater_proto::kafka::ErrorCode;

use super::effects::Env;
use super::groups::Groups;
use super::record::Record;
use super::state::GroupState;

impl Groups {
    /// Deletes groups without members, with all their offsets.
    pub(super) fn delete_groups(&mut self, ids: Vec<Arc<str>>, env: &mut Env<'_>) -> Vec<(Arc<str>, ErrorCode)> {
        let delete = |id: Arc<str>| {
            let outcome = self.delete_group(&id, env);
            (id, outcome)
        };
        ids.into_iter().map(delete).collect()
    }

    fn delete_group(&mut self, id: &Arc<str>, env: &mut Env<'_>) -> ErrorCode {
        match self.group(id).map(|group| group.state) {
            None => return ErrorCode::GroupIdNotFound,
            Some(GroupState::Empty) => {}
            Some(_) => return ErrorCode::NonEmptyGroup,
        }
        let mut records = Vec::new();
        for (topic, partition) in self.offsets.keys_of(id) {
            records.push(Record::offset_tombstone(id, &topic, partition));
        }
        // The group goes last: what is left after a crash in between is a group that can be deleted again.
        records.push(Record::group_tombstone(id));
        env.append_each(records);
        self.offsets.remove_group(id);
        self.forget_group(id, env.timers);
        ErrorCode::None
    }
}
