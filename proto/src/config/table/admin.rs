//! Creating topics; policies, quotas and metrics reporters.

use super::prelude::*;

pub(super) const DEFINITIONS: &[Definition] = definitions! {
    "alter.config.policy.class.name": Class = None, Any, Low, ReadOnly, JAVA_CLASSES,
        "Class that may veto changes of configs.";
    "alter.log.dirs.replication.quota.window.num": Int = Some("11"), AtLeast(1), Low, ReadOnly, QUOTAS,
        "Samples kept to measure moves between data directories.";
    "alter.log.dirs.replication.quota.window.size.seconds": Int = Some("1"), AtLeast(1), Low, ReadOnly, QUOTAS,
        "Length of one such sample.";
    "auto.create.topics.enable": Boolean = Some("true"), Any, High, ReadOnly, IMPLEMENTED,
        "Whether a topic is created when a client asks for one that does not exist and allows it.";
    "client.quota.callback.class": Class = None, Any, Low, ReadOnly, JAVA_CLASSES,
        "Class that decides client quotas.";
    "config.providers": List = Some(""), Any, Low, ReadOnly, JAVA_CLASSES,
        "Names of the classes that fill placeholders in config values.";
    "controller.quota.window.num": Int = Some("11"), AtLeast(1), Low, ReadOnly, QUOTAS,
        "Samples kept to measure changes of topics and partitions.";
    "controller.quota.window.size.seconds": Int = Some("1"), AtLeast(1), Low, ReadOnly, QUOTAS,
        "Length of one such sample.";
    "create.topic.policy.class.name": Class = None, Any, Low, ReadOnly, JAVA_CLASSES,
        "Class that may veto new topics.";
    "default.replication.factor": Int = Some("1"), Any, Medium, ReadOnly, IMPLEMENTED,
        "Replicas of a topic whose creator does not say how many.";
    "delete.topic.enable": Boolean = Some("true"), Any, High, ReadOnly, IMPLEMENTED,
        "Whether topics can be deleted.";
    "kafka.metrics.polling.interval.secs": Int = Some("10"), AtLeast(1), Low, ReadOnly, JAVA_CLASSES,
        "How often the older metrics reporters are called.";
    "kafka.metrics.reporters": List = Some(""), Any, Low, ReadOnly, JAVA_CLASSES,
        "Classes that report the older kind of metrics.";
    "metric.reporters": List = Some("org.apache.kafka.common.metrics.JmxReporter"), Any, Low, ClusterWide, JAVA_CLASSES,
        "Classes that report metrics. Metrics are served in Prometheus's format on `http.listener`.";
    "metrics.num.samples": Int = Some("2"), AtLeast(1), Low, ReadOnly, JAVA_CLASSES,
        "Samples that Apache Kafka's own metrics are computed from.";
    "metrics.recording.level": String = Some("INFO"), Any, Low, ReadOnly, JAVA_CLASSES,
        "How detailed Apache Kafka's own metrics are.";
    "metrics.sample.window.ms": Long = Some("30000"), AtLeast(1), Low, ReadOnly, JAVA_CLASSES,
        "Length of one such sample.";
    "num.partitions": Int = Some("1"), AtLeast(1), Medium, ReadOnly, IMPLEMENTED,
        "Partitions of a topic whose creator does not say how many.";
    "quota.window.num": Int = Some("11"), AtLeast(1), Low, ReadOnly, QUOTAS,
        "Samples kept to measure client quotas.";
    "quota.window.size.seconds": Int = Some("1"), AtLeast(1), Low, ReadOnly, QUOTAS,
        "Length of one such sample.";
    "replication.quota.window.num": Int = Some("11"), AtLeast(1), Low, ReadOnly, QUOTAS,
        "Samples kept to measure replication throttles.";
    "replication.quota.window.size.seconds": Int = Some("1"), AtLeast(1), Low, ReadOnly, QUOTAS,
        "Length of one such sample.";
    "telemetry.max.bytes": Int = Some("1048576"), AtLeast(1), Low, ReadOnly, default_only("clients cannot push their metrics"),
        "Largest push of client metrics.";
};
