//! Where in etcd the cluster's keys are, and the two that are the store's own.

use etcd_client::KeyValue;

use crate::store::Key;
use crate::store::layout::ELECTION_PREFIX;

/// Names of keys in etcd: `/highwater/<cluster>/<key>`.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(cluster: &str) -> Self {
        Self {
            prefix: format!("/highwater/{cluster}/"),
        }
    }

    /// A key as etcd knows it.
    pub(super) fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// What every key of the cluster begins with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The first key behind all of ours: `0` follows on `/`.
    pub(super) fn end(&self) -> String {
        let parent = &self.prefix[..self.prefix.len() - 1];
        format!("{parent}0")
    }

    /// The active controller: exists as long as its lease does.
    pub(super) fn election(&self) -> String {
        self.full(&format!("{ELECTION_PREFIX}leader"))
    }

    /// Written by every transaction of ours: its modification revision is the revision of the last one. A foreign write
    /// to a shared etcd, or the end of a lease, raises etcd's revision but is no revision of ours.
    pub(super) fn marker(&self) -> String {
        self.full("revision")
    }

    /// The key as the cluster knows it; `None` for those that are none of ours.
    pub(super) fn own(&self, found: &KeyValue) -> Option<Key> {
        let key = found.key_str().ok()?;
        key.strip_prefix(&self.prefix).map(ToOwned::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_a_cluster_has_its_keys_and_not_those_of_one_whose_name_is_longer() {
        let keys = Keys::new("a");
        let inside = |key: &str| *keys.prefix() <= *key && *key < *keys.end();
        assert!(inside(&keys.full("cluster")) && inside(&keys.marker()) && inside(&keys.full("topics/\u{10ffff}")));
        let others = ["a-b", "a.b", "ab", "b", "Z"].map(|other| Keys::new(other).full("cluster"));
        assert!(!others.iter().any(|key| inside(key)), "{others:?}");
    }
}
