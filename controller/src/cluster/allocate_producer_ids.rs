//! Producer ids, cluster-unique, handed out in blocks (rule 58).

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage};
use highwater_proto::types::{BrokerEpoch, NodeId, ProducerId};

use crate::cluster::{Command, Decision, Refusal, Settings};

/// Ids in a block, as in Apache Kafka.
pub const PRODUCER_ID_BLOCK: i32 = 1_000;

/// A broker has run out of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocateProducerIds {
    /// The broker.
    pub node: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
}

/// Ids that nobody else gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first.
    pub first: ProducerId,
    /// How many.
    pub count: i32,
}

impl Command for AllocateProducerIds {
    type Reply = Result<ProducerIdBlock, Refusal>;

    fn decide(&self, image: &MetadataImage, _: &Settings) -> Decision<Self::Reply> {
        if image.node(self.node).is_none_or(|node| node.epoch != self.epoch) {
            let message = format!("broker {} is not registered with epoch {}", self.node, self.epoch);
            return Decision::unchanged(Err(Refusal::new(ErrorCode::StaleBrokerEpoch, message)));
        }
        let first = image.next_producer_id;
        let Some(next) = first.get().checked_add(i64::from(PRODUCER_ID_BLOCK)) else {
            let message = "all producer ids are used up";
            return Decision::unchanged(Err(Refusal::new(ErrorCode::UnknownServerError, message)));
        };
        let block = ProducerIdBlock {
            first,
            count: PRODUCER_ID_BLOCK,
        };
        Decision {
            steps: vec![vec![Change::PutProducerIds(ProducerId(next))]],
            reply: Ok(block),
        }
    }
}
