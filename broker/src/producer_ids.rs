//! Producer ids of this broker: blocks that the controller hands out, unique in the cluster for all time.

use std::time::Duration;

use highwater_proto::grpc::AllocateProducerIdsRequest;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::ProducerId;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::broker::Broker;

/// How long a producer waits for the controller before it is told to come back.
const ALLOCATION_TIMEOUT: Duration = Duration::from_secs(5);

/// The rest of the current block.
#[derive(Debug, Default)]
pub struct ProducerIds {
    /// Held while the next block is asked for, so that it is asked for once.
    block: Mutex<Block>,
}

#[derive(Debug, Default)]
struct Block {
    next: i64,
    end: i64,
}

impl Block {
    fn take(&mut self) -> Option<ProducerId> {
        (self.next < self.end).then(|| {
            self.next += 1;
            ProducerId(self.next - 1)
        })
    }
}

impl ProducerIds {
    /// An id that nobody ever had.
    ///
    /// # Errors
    /// `COORDINATOR_LOAD_IN_PROGRESS`, which every producer retries, while the controller gives no block.
    pub async fn next(&self, broker: &Broker) -> Result<ProducerId, ErrorCode> {
        timeout(ALLOCATION_TIMEOUT, self.take(broker))
            .await
            .unwrap_or(Err(ErrorCode::CoordinatorLoadInProgress))
    }

    async fn take(&self, broker: &Broker) -> Result<ProducerId, ErrorCode> {
        let mut block = self.block.lock().await;
        if block.next >= block.end {
            *block = allocate(broker).await?;
        }
        block.take().ok_or(ErrorCode::CoordinatorLoadInProgress)
    }
}

async fn allocate(broker: &Broker) -> Result<Block, ErrorCode> {
    let not_now = |reason: &dyn std::fmt::Display| {
        tracing::info!(%reason, "no producer ids from the controller yet");
        ErrorCode::CoordinatorLoadInProgress
    };
    let request = AllocateProducerIdsRequest {
        broker_id: broker.node_id().get(),
        broker_epoch: broker.epoch().get(),
    };
    let answer = broker.controller().allocate_producer_ids(request).await;
    let block = answer.map_err(|status| not_now(&status))?.into_inner();
    match block.outcome {
        Some(outcome) if outcome.code == 0 && block.count > 0 => {}
        Some(outcome) => return Err(not_now(&outcome.message.unwrap_or_default())),
        None => return Err(not_now(&"no outcome")),
    }
    Ok(Block {
        next: block.first,
        end: block.first.saturating_add(i64::from(block.count)),
    })
}
