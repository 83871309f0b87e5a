//! Offsets and groups that nobody needs any more (rules 85, 145, 146).

use std::collections::BTreeSet;
use std::sync::Arc;

use highwater_proto::metadata::MetadataImage;
use highwater_proto::types::TimestampMs;

use super::effects::Env;
use super::groups::Groups;
use super::membership::ClassicGroup;
use super::offsets::CommittedOffset;
use super::record::Record;
use super::state::GroupState;

/// From when on the retention of a group's offsets counts.
enum Retention {
    /// The group needs its offsets.
    Forever,
    /// From when the group turned empty.
    Since(TimestampMs),
    /// From when each was committed.
    SinceCommit,
}

impl Groups {
    /// Writes tombstones for expired offsets, and for empty groups that have no offsets left.
    pub(super) fn expire_offsets(&mut self, env: &mut Env<'_>) {
        for id in self.group_ids() {
            let Some(group) = self.group(&id) else { continue };
            let retention = group.offset_retention();
            if matches!(retention, Retention::Forever) {
                continue;
            }
            let is_empty = group.is_in(GroupState::Empty) && group.pending_join.is_empty();
            let expired = self.expired_offsets(group, &retention, env);
            let mut records: Vec<Record> = expired
                .iter()
                .map(|(topic, partition)| Record::offset_tombstone(&id, topic, *partition))
                .collect();
            for (topic, partition) in expired {
                self.offsets.remove(&id, &topic, partition);
            }
            if is_empty && self.offsets.is_empty(&id) {
                records.push(Record::group_tombstone(&id));
                self.forget_group(&id, env.timers);
            }
            env.append_each(records);
        }
    }

    fn expired_offsets(&self, group: &ClassicGroup, retention: &Retention, env: &Env<'_>) -> Vec<(Arc<str>, i32)> {
        let kept_for = i64::try_from(env.config.offsets_retention.as_millis()).unwrap_or(i64::MAX);
        let now = env.now.wall;
        let mut expired = Vec::new();
        for (topic, partitions) in self.offsets.of_group(&group.id) {
            if group.is_subscribed_to(topic) {
                continue;
            }
            for (partition, stored) in partitions {
                let due = stored.is_expired(retention, kept_for, now);
                if due && !self.offsets.is_pending(&group.id, topic, *partition) {
                    expired.push((Arc::clone(topic), *partition));
                }
            }
        }
        expired
    }

    /// Writes tombstones for offsets of topics that are gone; a topic of the same name starts without.
    pub fn topics_changed(&mut self, image: &MetadataImage, now: super::Now, effects: &mut super::Effects) {
        let is_gone = |id: &highwater_proto::types::TopicId| !id.is_zero() && image.topic_by_id(*id).is_none();
        let gone: BTreeSet<_> = self.offsets.topic_ids().filter(is_gone).collect();
        if gone.is_empty() {
            return;
        }
        let mut records = Vec::new();
        for (group, topic, partition) in self.offsets.keys_of_topics(&gone) {
            self.offsets.remove(&group, &topic, partition);
            records.push(Record::offset_tombstone(&group, &topic, partition));
        }
        self.with_env(now, effects, |_, env| env.append_each(records));
    }
}

impl ClassicGroup {
    fn offset_retention(&self) -> Retention {
        match (&self.protocol_type, self.state) {
            (None, _) => Retention::SinceCommit,
            (Some(_), GroupState::Empty) => self.state_since.map_or(Retention::SinceCommit, Retention::Since),
            (Some(_), GroupState::Stable) if self.subscription.is_some() => Retention::SinceCommit,
            (Some(_), _) => Retention::Forever,
        }
    }
}

impl CommittedOffset {
    fn is_expired(&self, retention: &Retention, kept_for_ms: i64, now: TimestampMs) -> bool {
        let since = match (self.expire_timestamp, retention) {
            (Some(expires), _) => return now >= expires,
            (None, Retention::Forever) => return false,
            (None, Retention::Since(since)) => *since,
            (None, Retention::SinceCommit) => self.commit_timestamp,
        };
        now.get().saturating_sub(since.get()) >= kept_for_ms
    }
}
