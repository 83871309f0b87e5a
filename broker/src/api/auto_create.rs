//! Creates topics that clients ask about and that do not exist, where `auto.create.topics.enable` allows it.

use std::sync::Arc;

use highwater_node::telemetry::Trace;
use highwater_proto::grpc;
use highwater_proto::grpc::create_topics_request::CreatableTopic;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{CONSUMER_OFFSETS_TOPIC, ShardKind, is_internal_topic};

use super::controller_call::{Controller, ask, deadline, outcome};
use super::create_topics::new_topic_id;
use crate::broker::Broker;
use crate::internal_topics;

/// Time for the controller to create them.
const TIMEOUT_MS: i32 = 30_000;

/// Starts the creation of topics with the broker's defaults. Returns at once; a topic that is already being created is
/// not asked for twice.
pub(super) fn start(broker: &Arc<Broker>, names: Vec<String>) {
    if !broker.config().topics.auto_create {
        return;
    }
    let (internal, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| is_internal_topic(name));
    if internal.iter().any(|name| name == CONSUMER_OFFSETS_TOPIC) {
        internal_topics::create_in_background(Arc::clone(broker), ShardKind::Group);
    }
    let names = broker.creating().begin(names);
    if names.is_empty() {
        return;
    }
    let (broker, trace) = (Arc::clone(broker), Trace::current());
    tokio::spawn(async move {
        Trace::scope_of(trace, create(&broker, &names)).await;
        broker.creating().end(&names);
    });
}

async fn create(broker: &Broker, names: &[String]) {
    let creatable = |name: &String| CreatableTopic {
        name: name.clone(),
        partitions: -1,
        replication_factor: -1,
        topic_id: new_topic_id(),
        ..Default::default()
    };
    let topics = names.iter().map(creatable).collect();
    let asked = grpc::CreateTopicsRequest {
        topics,
        validate_only: false,
    };
    let call = |mut controller: Controller| {
        let asked = asked.clone();
        async move { controller.create_topics(asked).await }
    };
    match ask(broker, deadline(TIMEOUT_MS), call).await {
        Ok(decided) => {
            for result in decided.results {
                match outcome(result.outcome) {
                    // Somebody else was faster.
                    Err(refused) if refused.code == ErrorCode::TopicAlreadyExists => {}
                    Err(refused) => {
                        tracing::info!(topic = result.name, reason = refused.message, "topic is not created");
                    }
                    Ok(()) => tracing::info!(topic = result.name, "topic created because a client asked for it"),
                }
            }
        }
        Err(refused) => tracing::info!(reason = refused.message, "topics are not created"),
    }
}
