//! Registration of a process start: identity, incarnations, epochs (design section 4).

use highwater_proto::metadata::{Change, MetadataImage, Node, NodeRegistration, NodeRole, NodeState};
use highwater_proto::types::{BrokerEpoch, NodeId};

use crate::cluster::election::{Distrust, Voters};
use crate::cluster::{Command, Decision, Settings, Steps, fence_node};

/// First id that brokers without `node.id` get.
const FIRST_BROKER_ID: i32 = 1;
/// First id that coordinators get: far from the ids that people give to brokers.
const FIRST_COORDINATOR_ID: i32 = 1_000_000;

/// A process wants to take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterNode {
    /// `node.id`; absent: the next free one.
    pub node_id: Option<NodeId>,
    /// The cluster that its data directory belongs to; empty on the first start.
    pub cluster_id: String,
    /// What it says of itself.
    pub registration: NodeRegistration,
}

/// The registration is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The node's id.
    pub node: NodeId,
    /// Its epoch, if this incarnation was registered before; else it is the revision of the last step.
    pub epoch: Option<BrokerEpoch>,
}

/// Why a process may not take part; it prints this and stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationRefused {
    /// The data directory is of another cluster.
    #[error("the data directory belongs to cluster {theirs}, this is cluster {ours}")]
    ForeignCluster {
        /// The cluster id in the data directory.
        theirs: String,
        /// This cluster.
        ours: String,
    },
    /// The data directory is another node's.
    #[error("the data directory {directory} belongs to node {owner}, not to node {node}")]
    ForeignDirectory {
        /// The directory id.
        directory: uuid::Uuid,
        /// Whose it is.
        owner: NodeId,
        /// Who came with it.
        node: NodeId,
    },
    /// The id is taken by a node of the other role.
    #[error("node id {0} is registered with another role")]
    OtherRole(NodeId),
    /// An id below zero.
    #[error("node id {0} is negative")]
    NegativeId(NodeId),
    /// A broker without a directory id.
    #[error("a broker needs a directory id")]
    NoDirectory,
    /// No process start is named.
    #[error("the incarnation is missing")]
    NoIncarnation,
    /// All ids are taken.
    #[error("no free node id is left")]
    NoFreeId,
}

/// True for a process start that was registered (`epoch`; 0 = never) and whose place a later one has taken: it must not
/// take it back.
#[must_use]
pub fn is_superseded(image: &MetadataImage, id: NodeId, incarnation: uuid::Uuid, epoch: BrokerEpoch) -> bool {
    let known = image.node(id);
    epoch.get() > 0 && known.is_some_and(|node| node.registration.incarnation != incarnation && node.epoch > epoch)
}

impl Command for RegisterNode {
    type Reply = Result<Registered, RegistrationRefused>;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply> {
        match self.identify(image) {
            Err(refused) => Decision::unchanged(Err(refused)),
            Ok((node, known)) => {
                if let Some(known) = known
                    && known.registration.incarnation == self.registration.incarnation
                {
                    return Decision::unchanged(Ok(Registered {
                        node,
                        epoch: Some(known.epoch),
                    }));
                }
                let steps = self.steps(image, settings, node, known);
                Decision {
                    steps,
                    reply: Ok(Registered { node, epoch: None }),
                }
            }
        }
    }
}

impl RegisterNode {
    /// The id that this process has or gets, and the node that holds it so far.
    fn identify<'a>(&self, image: &'a MetadataImage) -> Result<(NodeId, Option<&'a Node>), RegistrationRefused> {
        let ours = &image.cluster.cluster_id;
        if !self.cluster_id.is_empty() && self.cluster_id != *ours {
            let theirs = self.cluster_id.clone();
            return Err(RegistrationRefused::ForeignCluster {
                theirs,
                ours: ours.clone(),
            });
        }
        let registration = &self.registration;
        if registration.incarnation.is_nil() {
            return Err(RegistrationRefused::NoIncarnation);
        }
        let directory = registration.directory_id;
        if registration.role == NodeRole::Broker && directory.is_nil() {
            return Err(RegistrationRefused::NoDirectory);
        }
        // The answer to a first registration may have been lost before the id was written down.
        let same = image.nodes.values().find(|node| {
            let theirs = &node.registration;
            theirs.incarnation == registration.incarnation || (!directory.is_nil() && theirs.directory_id == directory)
        });
        let id = match (self.node_id, same) {
            (Some(id), _) if id.get() < 0 => return Err(RegistrationRefused::NegativeId(id)),
            (Some(id), Some(owner)) if owner.id != id => {
                return Err(RegistrationRefused::ForeignDirectory {
                    directory,
                    owner: owner.id,
                    node: id,
                });
            }
            (Some(id), _) => id,
            (None, Some(owner)) => owner.id,
            (None, None) => next_free_id(image, registration.role).ok_or(RegistrationRefused::NoFreeId)?,
        };
        let known = image.node(id).map(|node| &**node);
        if known.is_some_and(|known| known.registration.role != registration.role) {
            return Err(RegistrationRefused::OtherRole(id));
        }
        Ok((id, known))
    }

    fn steps(
        &self,
        image: &MetadataImage,
        settings: &Settings,
        id: NodeId,
        known: Option<&Node>,
    ) -> Vec<crate::cluster::Step> {
        let mut steps = Steps::new();
        if let Some(known) = known {
            fence_node::fence(image, settings, id, &mut steps);
            // Another or a new directory: all replicas are empty.
            let emptied = known.registration.directory_id != self.registration.directory_id;
            begin_anew(image, settings, id, emptied, &mut steps);
            // Only when the last of these is committed is the new incarnation registered.
            steps.cut();
        }
        steps.push_group(vec![
            Change::PutNodeRegistration(id, self.registration.clone()),
            Change::PutNodeState(id, NodeState::Fenced),
        ]);
        steps.finish()
    }
}

/// What was known of the replicas of an earlier process start: those that were offline are looked at again before the
/// node is unfenced; if its directory is another one they all leave ISR and ELR.
fn begin_anew(image: &MetadataImage, settings: &Settings, id: NodeId, emptied: bool, steps: &mut Steps) {
    for topic in image.topics() {
        for (index, partition) in topic.indexed_partitions() {
            if !partition.replicas.contains(&id) {
                continue;
            }
            let voters = Voters::new(image, settings, topic, partition).without(id);
            let mut changed = (**partition).clone();
            voters.fence(&mut changed, id);
            let fenced = changed.clone();
            changed.offline_replicas.retain(|node| *node != id);
            if emptied {
                voters.distrust(&mut changed, id, Distrust::Lost);
            }
            if changed != fenced {
                steps.push(Change::PutPartition(topic.id, index, changed));
            }
        }
    }
}

fn next_free_id(image: &MetadataImage, role: NodeRole) -> Option<NodeId> {
    let (first, last) = match role {
        NodeRole::Broker => (FIRST_BROKER_ID, FIRST_COORDINATOR_ID - 1),
        NodeRole::Coordinator => (FIRST_COORDINATOR_ID, i32::MAX),
    };
    (first..=last).map(NodeId).find(|id| image.node(*id).is_none())
}
