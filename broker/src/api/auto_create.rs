//! Creates topics that clients ask about and that do not exist, where `auto.create.topics.enable` allows it.

use std::collections::HashSet;
use std::sync::Arc;

use highwater_proto::grpc;
use highwater_proto::grpc::create_topics_request::CreatableTopic;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{CONSUMER_OFFSETS_TOPIC, ShardKind, is_internal_topic};

use super::controller_call::{Controller, ask, deadline, outcome};
use super::create_topics::new_topic_id;
use crate::broker::Broker;
use crate::internal_topics;

/// Topics that are being created at a time; what is beyond comes with the client's next question.
const MAX_IN_FLIGHT: usize = 1_000;
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
    let broker = Arc::clone(broker);
    tokio::spawn(async move {
        create(&broker, &names).await;
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

/// Topics that this broker is having created.
#[derive(Debug, Default)]
pub struct Creating {
    names: parking_lot::Mutex<HashSet<String>>,
}

impl Creating {
    /// Those of the names that are not being created yet.
    fn begin(&self, names: Vec<String>) -> Vec<String> {
        let mut creating = self.names.lock();
        let mut begun = Vec::new();
        for name in names {
            if creating.len() < MAX_IN_FLIGHT && creating.insert(name.clone()) {
                begun.push(name);
            }
        }
        begun
    }

    fn end(&self, names: &[String]) {
        let mut creating = self.names.lock();
        for name in names {
            creating.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_asked_for_once_at_a_time_and_never_too_many() {
        let creating = Creating::default();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(creating.begin(names(&["a", "b"])), ["a", "b"]);
        assert_eq!(creating.begin(names(&["b", "c"])), ["c"]);
        creating.end(&names(&["b"]));
        assert_eq!(creating.begin(names(&["a", "b"])), ["b"]);
        let many: Vec<String> = (0..MAX_IN_FLIGHT).map(|n| n.to_string()).collect();
        assert_eq!(creating.begin(many).len(), MAX_IN_FLIGHT - 3);
    }
}
