//! Which broker configs a topic config falls back to, and how their unit differs.

/// A broker config that stands in for a topic config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The broker's key.
    pub key: &'static str,
    /// How many of the topic config's units one of the broker's is (3,600,000 for hours).
    pub scale: i64,
}

const MINUTES: i64 = 60 * 1000;
const HOURS: i64 = 60 * MINUTES;

const fn same(key: &'static str) -> Synonym {
    Synonym { key, scale: 1 }
}

const fn scaled(key: &'static str, scale: i64) -> Synonym {
    Synonym { key, scale }
}

/// Topic config, then its synonyms, the strongest first.
const SYNONYMS: &[(&str, &[Synonym])] = &[
    ("cleanup.policy", &[same("log.cleanup.policy")]),
    ("compression.gzip.level", &[same("compression.gzip.level")]),
    ("compression.lz4.level", &[same("compression.lz4.level")]),
    ("compression.type", &[same("compression.type")]),
    ("compression.zstd.level", &[same("compression.zstd.level")]),
    ("delete.retention.ms", &[same("log.cleaner.delete.retention.ms")]),
    ("file.delete.delay.ms", &[same("log.segment.delete.delay.ms")]),
    ("flush.messages", &[same("log.flush.interval.messages")]),
    (
        "flush.ms",
        &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
    ),
    ("index.interval.bytes", &[same("log.index.interval.bytes")]),
    ("local.retention.bytes", &[same("log.local.retention.bytes")]),
    ("local.retention.ms", &[same("log.local.retention.ms")]),
    ("max.compaction.lag.ms", &[same("log.cleaner.max.compaction.lag.ms")]),
    (
        "max.decompressed.message.bytes",
        &[same("max.decompressed.message.bytes")],
    ),
    ("max.message.bytes", &[same("message.max.bytes")]),
    (
        "message.timestamp.after.max.ms",
        &[same("log.message.timestamp.after.max.ms")],
    ),
    (
        "message.timestamp.before.max.ms",
        &[same("log.message.timestamp.before.max.ms")],
    ),
    ("message.timestamp.type", &[same("log.message.timestamp.type")]),
    ("min.cleanable.dirty.ratio", &[same("log.cleaner.min.cleanable.ratio")]),
    ("min.compaction.lag.ms", &[same("log.cleaner.min.compaction.lag.ms")]),
    ("min.insync.replicas", &[same("min.insync.replicas")]),
    ("preallocate", &[same("log.preallocate")]),
    ("remote.copy.lag.bytes", &[same("log.remote.copy.lag.bytes")]),
    ("remote.copy.lag.ms", &[same("log.remote.copy.lag.ms")]),
    ("retention.bytes", &[same("log.retention.bytes")]),
    (
        "retention.ms",
        &[
            same("log.retention.ms"),
            scaled("log.retention.minutes", MINUTES),
            scaled("log.retention.hours", HOURS),
        ],
    ),
    ("segment.bytes", &[same("log.segment.bytes")]),
    ("segment.index.bytes", &[same("log.index.size.max.bytes")]),
    (
        "segment.jitter.ms",
        &[same("log.roll.jitter.ms"), scaled("log.roll.jitter.hours", HOURS)],
    ),
    ("segment.ms", &[same("log.roll.ms"), scaled("log.roll.hours", HOURS)]),
    (
        "unclean.leader.election.enable",
        &[same("unclean.leader.election.enable")],
    ),
    ("write.caching", &[same("log.write.caching")]),
];

/// The broker configs that a topic config falls back to, the strongest first; empty for those that are the topic's alone.
#[must_use]
pub fn topic_synonyms(topic_key: &str) -> &'static [Synonym] {
    SYNONYMS
        .iter()
        .find(|(key, _)| *key == topic_key)
        .map_or(&[], |(_, synonyms)| synonyms)
}

/// A broker config and those that stand in for it where it is not set.
#[must_use]
pub fn broker_synonyms(broker_key: &str) -> &'static [Synonym] {
    SYNONYMS
        .iter()
        .find(|(_, synonyms)| synonyms.first().is_some_and(|first| first.key == broker_key))
        .map_or(&[], |(_, synonyms)| synonyms)
}

/// True for broker configs that are only defaults of topic configs, and may so change at any time.
#[must_use]
pub fn is_topic_default(broker_key: &str) -> bool {
    !broker_synonyms(broker_key).is_empty()
}
