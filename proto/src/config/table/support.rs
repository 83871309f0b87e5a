//! Why configs are not obeyed, where several have the same reason.

use crate::config::Support;

pub(super) const IMPLEMENTED: Support = Support::Implemented;

pub(super) const fn default_only(reason: &'static str) -> Support {
    Support::DefaultOnly(reason)
}

pub(super) const COMPACTION: Support = Support::DefaultOnly("topics are not compacted yet");
pub(super) const CONSUMER_PROTOCOL: Support =
    Support::DefaultOnly("the consumer rebalance protocol (KIP-848) is not served yet");
pub(super) const JAVA_CLASSES: Support = Support::DefaultOnly("Java classes cannot be loaded");
pub(super) const QUOTAS: Support = Support::DefaultOnly("quotas are not supported yet");
pub(super) const SECURITY: Support = Support::DefaultOnly("authentication and authorization are not supported yet");
pub(super) const SHARE_GROUPS: Support = Support::DefaultOnly("share groups are not served yet");
pub(super) const STREAMS_GROUPS: Support = Support::DefaultOnly("streams groups are not served yet");
pub(super) const TIERED_STORAGE: Support = Support::DefaultOnly("tiered storage is not supported yet");
pub(super) const TRANSACTIONS: Support = Support::DefaultOnly("transactions are not served yet");

pub(super) const KRAFT: Support = Support::Ignored("it configures Apache Kafka's own metadata quorum");
pub(super) const SHARE_TOPIC: Support = Support::Ignored("the share-group state topic is not created yet");
pub(super) const THREADS: Support = Support::Ignored("it sizes Apache Kafka's threads and queues");
pub(super) const TRANSACTION_TOPIC: Support = Support::Ignored("the transaction topic is not created yet");
