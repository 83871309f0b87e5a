//! The first decision in an empty store: the cluster's identity.

use highwater_proto::metadata::{Change, ClusterInfo, MetadataImage};

use crate::cluster::{Command, Decision, Settings};

/// Version of the store's layout that this release writes and reads.
pub const FORMAT_VERSION: i32 = 1;

/// A controller became active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The id that the cluster gets if it has none (22 characters of base64url).
    pub cluster_id: String,
}

impl Command for Bootstrap {
    type Reply = ();

    fn decide(&self, image: &MetadataImage, _: &Settings) -> Decision<()> {
        if !image.cluster.cluster_id.is_empty() {
            return Decision::unchanged(());
        }
        let info = ClusterInfo {
            cluster_id: self.cluster_id.clone(),
            generation: 1,
            format_version: FORMAT_VERSION,
        };
        Decision {
            steps: vec![vec![Change::PutCluster(info)]],
            reply: (),
        }
    }
}
