//! Asks followers whether they know a later leader. One question per follower is under way; what comes meanwhile goes
//! into the next one together, so their number does not grow with the shards.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use highwater_node::telemetry::Trace;
use highwater_node::transport::{Channel, Dialer};
use highwater_proto::grpc::broker_client::BrokerClient;
use highwater_proto::grpc::{ConfirmLeadersRequest, confirm_leaders_request};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::MetadataImage;
use highwater_proto::metadata::convert::uuid_bytes;
use highwater_proto::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, TopicId};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::confirm_leaders::MAX_LEADERSHIPS;
use crate::forward::GRPC_LISTENER;

/// Questions for one follower that wait for the one under way: one per shard is usual.
const QUEUE: usize = 10_000;
/// How long a follower may take. Whoever asks comes again.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What a leader believes of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leadership {
    pub(super) topic_id: TopicId,
    pub(super) partition: PartitionIndex,
    pub(super) leader_epoch: LeaderEpoch,
}

struct Question {
    leadership: Leadership,
    answer: oneshot::Sender<Result<(), ErrorCode>>,
    trace: Option<Trace>,
}

/// The followers that are asked, each by a task of its own that ends with this.
pub(super) struct Witnesses {
    dialer: Dialer,
    queues: Mutex<HashMap<NodeId, (BrokerEpoch, mpsc::Sender<Question>)>>,
}

impl std::fmt::Debug for Witnesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witnesses").finish_non_exhaustive()
    }
}

impl Witnesses {
    pub(super) fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            queues: Mutex::default(),
        }
    }

    /// Asks all of `witnesses`.
    ///
    /// # Errors
    /// 74 when one of them knows a later leader, 3 when it does not know the partition, 7 when one did not answer.
    pub(super) async fn ask(
        &self,
        image: &MetadataImage,
        leadership: Leadership,
        witnesses: &[NodeId],
    ) -> Result<(), ErrorCode> {
        let asked = witnesses.iter().map(|witness| {
            let sent = self.send(image, leadership, *witness);
            async move { sent?.await.unwrap_or(Err(ErrorCode::RequestTimedOut)) }
        });
        try_join_all(asked).await.map(drop)
    }

    fn send(
        &self,
        image: &MetadataImage,
        leadership: Leadership,
        witness: NodeId,
    ) -> Result<oneshot::Receiver<Result<(), ErrorCode>>, ErrorCode> {
        let unreachable = ErrorCode::RequestTimedOut;
        let node = image.node(witness).ok_or(unreachable)?;
        let mut queues = self.queues.lock();
        if queues.get(&witness).is_none_or(|(epoch, _)| *epoch != node.epoch) {
            let endpoint = node.endpoint(GRPC_LISTENER).ok_or(unreachable)?;
            let (sender, questions) = mpsc::channel(QUEUE);
            let client = BrokerClient::new(self.dialer.channel(&endpoint.host, endpoint.port));
            tokio::spawn(ask_on(witness, client, questions));
            queues.retain(|id, _| image.node(*id).is_some());
            queues.insert(witness, (node.epoch, sender));
        }
        let (_, queue) = queues.get(&witness).ok_or(unreachable)?;
        let (answer, answered) = oneshot::channel();
        let question = Question {
            leadership,
            answer,
            trace: Trace::current(),
        };
        queue.try_send(question).map_err(|_| unreachable)?;
        Ok(answered)
    }
}

/// Asks one follower until nobody has questions any more.
async fn ask_on(witness: NodeId, mut client: BrokerClient<Channel>, mut questions: mpsc::Receiver<Question>) {
    let mut asked = Vec::new();
    while questions.recv_many(&mut asked, MAX_LEADERSHIPS).await > 0 {
        let request = ConfirmLeadersRequest {
            witness: witness.get(),
            leaderships: asked.iter().map(|question| wire(question.leadership)).collect(),
        };
        // Asked for many at once; it is part of one trace.
        let trace = asked.iter_mut().find_map(|question| question.trace.take());
        let answered = Trace::scope_of(trace, client.confirm_leaders(request));
        let answers = match tokio::time::timeout(TIMEOUT, answered).await {
            Ok(Ok(response)) => response.into_inner().errors,
            Ok(Err(status)) => {
                tracing::debug!(%witness, %status, "a follower does not say who leads");
                Vec::new()
            }
            Err(_) => {
                tracing::debug!(%witness, "a follower does not say in time who leads");
                Vec::new()
            }
        };
        let mut answers = answers.into_iter();
        for question in asked.drain(..) {
            let answer = match answers.next() {
                Some(0) => Ok(()),
                Some(code) => Err(i16::try_from(code).map_or(ErrorCode::UnknownServerError, ErrorCode::from_code)),
                None => Err(ErrorCode::RequestTimedOut),
            };
            // Whoever asked may have given up.
            let _ = question.answer.send(answer);
        }
    }
}

fn wire(leadership: Leadership) -> confirm_leaders_request::Leadership {
    confirm_leaders_request::Leadership {
        topic_id: uuid_bytes(leadership.topic_id.0),
        partition: leadership.partition.get(),
        leader_epoch: leadership.leader_epoch.get(),
    }
}
