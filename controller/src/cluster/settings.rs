//! What decisions depend on besides the image: the controller's own configuration.

use std::time::Duration;

use highwater_proto::config::{BrokerLayers, ConfigError, ConfigReader, StaticValues};
use highwater_proto::metadata::{ConfigResource, MetadataImage, Partition, Topic};

/// Topic config: the fewest in-sync replicas that acks=all needs.
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
/// Topic config: may a replica outside of the ISR and ELR lead.
const UNCLEAN_LEADER_ELECTION: &str = "unclean.leader.election.enable";

/// The controller's configuration, under Kafka's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `num.partitions`
    pub num_partitions: i32,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// `min.insync.replicas` of topics that do not set it.
    pub min_insync_replicas: i32,
    /// `unclean.leader.election.enable` of topics that do not set it.
    pub unclean_leader_election: bool,
    /// `delete.topic.enable`
    pub delete_topic_enable: bool,
    /// `disk.stall.ms`: a flush that is unfinished for so long makes its disk a stalled one.
    pub disk_stall: Duration,
    /// `auto.leader.rebalance.enable`
    pub auto_leader_rebalance: bool,
    /// `leader.imbalance.check.interval.seconds`
    pub leader_imbalance_check_interval: Duration,
    /// `auto.rebalance.enable`
    pub auto_rebalance: bool,
    /// `rebalance.moves.per.broker`
    pub rebalance_moves_per_broker: usize,
    /// `rebalance.bytes.per.broker`
    pub rebalance_bytes_per_broker: u64,
    /// What the process was started with: the layer below dynamic configs.
    pub fixed: StaticValues,
}

impl Settings {
    /// Reads the settings from what the process was started with.
    ///
    /// # Errors
    /// If a value cannot be read.
    pub fn new(fixed: StaticValues) -> Result<Self, ConfigError> {
        let layers = BrokerLayers::fixed(&fixed);
        let read = ConfigReader::new(&layers);
        let settings = Self {
            num_partitions: read.number("num.partitions")?,
            default_replication_factor: read.number("default.replication.factor")?,
            min_insync_replicas: read.number(MIN_INSYNC_REPLICAS)?,
            unclean_leader_election: read.boolean(UNCLEAN_LEADER_ELECTION)?,
            delete_topic_enable: read.boolean("delete.topic.enable")?,
            auto_leader_rebalance: read.boolean("auto.leader.rebalance.enable")?,
            leader_imbalance_check_interval: Duration::from_secs(
                read.number("leader.imbalance.check.interval.seconds")?,
            ),
            auto_rebalance: read.boolean("auto.rebalance.enable")?,
            rebalance_moves_per_broker: read.number("rebalance.moves.per.broker")?,
            rebalance_bytes_per_broker: read.number("rebalance.bytes.per.broker")?,
            disk_stall: Duration::from_millis(read.number("disk.stall.ms")?),
            fixed: StaticValues::default(),
        };
        Ok(Self { fixed, ..settings })
    }

    /// Min ISR of a partition: never more than it has replicas (rule 19).
    #[must_use]
    pub fn min_isr(&self, image: &MetadataImage, topic: &Topic, partition: &Partition) -> usize {
        let set = resolve(image, topic, MIN_INSYNC_REPLICAS).and_then(|value| value.parse().ok());
        let min = usize::try_from(set.unwrap_or(self.min_insync_replicas))
            .unwrap_or(1)
            .max(1);
        min.min(partition.replication_factor())
    }

    /// True if the topic takes an unclean leader rather than none.
    #[must_use]
    pub fn unclean_allowed(&self, image: &MetadataImage, topic: &Topic) -> bool {
        let set = resolve(image, topic, UNCLEAN_LEADER_ELECTION).map(|value| value.eq_ignore_ascii_case("true"));
        set.unwrap_or(self.unclean_leader_election)
    }
}

/// The topic's own value, else the dynamic default of the cluster.
fn resolve<'a>(image: &'a MetadataImage, topic: &'a Topic, name: &str) -> Option<&'a str> {
    let own = topic.configs.get(name);
    let value = own.or_else(|| {
        image
            .config(&ConfigResource::ClusterDefault)
            .and_then(|configs| configs.get(name))
    });
    value.map(|value| value.trim())
}
