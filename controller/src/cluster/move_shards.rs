//! Planned moves of shards, once their owners have released them or have had their time.

use highwater_proto::metadata::{Change, MetadataImage, NodeState, ShardAssignment};
use highwater_proto::types::CoordinatorEpoch;

use crate::cluster::shards::ShardMove;
use crate::cluster::{Command, Decision, Settings, Steps};

/// Assigns shards to their next owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveShards {
    /// What was planned; what is no longer so is left out.
    pub moves: Vec<ShardMove>,
}

impl Command for MoveShards {
    /// How many shards moved.
    type Reply = usize;

    fn decide(&self, image: &MetadataImage, _: &Settings) -> Decision<usize> {
        let mut steps = Steps::new();
        let mut moved = 0;
        for planned in self.moves.iter().filter(|planned| stands(image, planned)) {
            let takes = image
                .node(planned.to)
                .is_some_and(|node| node.state == NodeState::Active);
            // The owner has released the shard: without another one it gets it anew.
            let owner = if takes { planned.to } else { planned.from };
            let assignment = ShardAssignment {
                owner: Some(owner),
                epoch: CoordinatorEpoch(planned.epoch.get().saturating_add(1)),
            };
            steps.push(Change::PutShard(planned.shard, assignment));
            moved += usize::from(takes);
        }
        Decision {
            steps: steps.finish(),
            reply: moved,
        }
    }
}

/// The assignment is still the one that was planned to end.
fn stands(image: &MetadataImage, planned: &ShardMove) -> bool {
    let assigned = image.shards.get(&planned.shard);
    assigned.is_some_and(|it| it.owner == Some(planned.from) && it.epoch == planned.epoch)
}
