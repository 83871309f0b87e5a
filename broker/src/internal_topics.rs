//! The topics that coordinators keep their state in: created by the broker when the first client asks for a coordinator,
//! as Kafka does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater_node::telemetry::Trace;
use highwater_proto::grpc::create_topics_request::CreatableTopic;
use highwater_proto::grpc::{ConfigEntry, CreateTopicsRequest};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::types::{Revision, ShardKind};
use tokio::time::Instant;
use uuid::Uuid;

use crate::broker::Broker;

/// How long the controller may take; clients ask again anyway.
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the topic may take to show in this broker's image once it is created: nobody is asked again before.
const IMAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a creation that failed; clients ask much more often.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// Which internal topics are being created by this broker right now.
#[derive(Debug, Default)]
pub struct InternalTopics {
    creating_groups: AtomicBool,
}

/// Starts the creation of the topic of `kind` unless it is under way. Returns at once.
pub fn create_in_background(broker: Arc<Broker>, kind: ShardKind) {
    // Transactions are refused before anybody gets here.
    if kind != ShardKind::Group || broker.internal_topics().creating_groups.swap(true, Ordering::AcqRel) {
        return;
    }
    let trace = Trace::current();
    tokio::spawn(async move {
        let creating = Trace::scope_of(trace, create(&broker));
        let created = tokio::time::timeout(CREATE_TIMEOUT, creating).await;
        match created.unwrap_or_else(|_| Err("the controller did not answer in time".to_owned())) {
            Ok(revision) => {
                tracing::info!(topic = kind.topic(), "internal topic is there");
                broker.wait_for_image(revision, Instant::now() + IMAGE_TIMEOUT).await;
            }
            Err(reason) => {
                tracing::warn!(topic = kind.topic(), reason, "internal topic cannot be created yet");
                tokio::time::sleep(FAILED_PAUSE).await;
            }
        }
        broker.internal_topics().creating_groups.store(false, Ordering::Release);
    });
}

/// Revision at which the topic is there.
async fn create(broker: &Broker) -> Result<Revision, String> {
    let offsets = &broker.config().offsets;
    let topic = CreatableTopic {
        name: ShardKind::Group.topic().to_owned(),
        partitions: offsets.topic_partitions,
        replication_factor: i32::from(offsets.topic_replication_factor),
        configs: offsets
            .topic_configs()
            .into_iter()
            .map(|(name, value)| ConfigEntry {
                name,
                value: Some(value),
            })
            .collect(),
        topic_id: Uuid::new_v4().as_bytes().to_vec().into(),
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        validate_only: false,
    };
    let answer = broker
        .controller()
        .create_topics(request)
        .await
        .map_err(|status| status.to_string())?
        .into_inner();
    let revision = Revision(answer.revision);
    for result in answer.results {
        let outcome = result.outcome.unwrap_or_default();
        if outcome.code != 0 && outcome.code != i32::from(ErrorCode::TopicAlreadyExists.code()) {
            return Err(outcome.message.unwrap_or_else(|| format!("error {}", outcome.code)));
        }
    }
    Ok(revision)
}
