//! Kafka's numbers of the things that have configs.

/// A topic.
pub(super) const TOPIC: i8 = 2;
/// A broker; without a name the defaults of all brokers.
pub(super) const BROKER: i8 = 4;
/// The log levels of a broker, which are not changed this way here.
pub(super) const BROKER_LOGGER: i8 = 8;
/// A subscription to the metrics of clients, which brokers here do not collect.
pub(super) const CLIENT_METRICS: i8 = 16;
/// A consumer group.
pub(super) const GROUP: i8 = 32;
