//! What the members of a consumer group are subscribed to, as far as the coordinator has to know it: offsets of these
//! topics neither expire nor can be deleted.

use std::collections::BTreeSet;

use bytes::{Buf as _, Bytes};
use highwater_proto::kafka::Message as _;
use highwater_proto::kafka::records::consumer_protocol_subscription::ConsumerProtocolSubscription;

/// Topics of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subscription {
    /// These.
    Topics(BTreeSet<String>),
    /// A subscription could not be read: it counts as one to everything.
    Everything,
}

impl Subscription {
    /// The topics of all members together.
    pub(super) fn of(metadata: impl Iterator<Item = Bytes>) -> Self {
        let mut topics = BTreeSet::new();
        for subscription in metadata {
            match read(subscription) {
                Some(subscribed) => topics.extend(subscribed),
                None => return Self::Everything,
            }
        }
        Self::Topics(topics)
    }

    pub(super) fn contains(&self, topic: &str) -> bool {
        match self {
            Self::Topics(topics) => topics.contains(topic),
            Self::Everything => true,
        }
    }
}

/// The topics of one subscription: a version, then the body in that version. Newer versions only add fields at the end.
fn read(mut bytes: Bytes) -> Option<Vec<String>> {
    let version = bytes.try_get_i16().ok().filter(|version| *version >= 0)?;
    let known = version.min(*ConsumerProtocolSubscription::VERSIONS.end());
    let subscription = ConsumerProtocolSubscription::decode(&mut bytes, known).ok()?;
    Some(subscription.topics.iter().map(|topic| topic.to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_0(topics: &[&str]) -> Bytes {
        let mut bytes = vec![0, 0];
        bytes.extend((topics.len() as i32).to_be_bytes());
        for topic in topics {
            bytes.extend((topic.len() as i16).to_be_bytes());
            bytes.extend(topic.as_bytes());
        }
        bytes.extend((-1_i32).to_be_bytes());
        bytes.into()
    }

    #[test]
    fn the_topics_of_all_members_count() {
        let subscription = Subscription::of([version_0(&["a", "b"]), version_0(&["c"])].into_iter());
        assert!(subscription.contains("b") && subscription.contains("c"));
        assert!(!subscription.contains("d"));
    }

    #[test]
    fn a_subscription_that_cannot_be_read_counts_as_everything() {
        let subscription = Subscription::of([version_0(&["a"]), Bytes::from_static(b"??")].into_iter());
        assert!(subscription.contains("anything"));
    }

    #[test]
    fn a_group_without_members_is_subscribed_to_nothing() {
        assert!(!Subscription::of(std::iter::empty()).contains("a"));
    }
}
