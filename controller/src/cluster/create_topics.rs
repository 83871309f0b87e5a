//! CreateTopics (rules 102, 103, 168).

use std::collections::{BTreeMap, BTreeSet};

use highwater_proto::config::validate_topic_configs;
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, Partition};
use highwater_proto::types::{NodeId, PartitionIndex, TopicId};

use crate::cluster::placement::{Placement, new_partition};
use crate::cluster::topic_name::Collisions;
use crate::cluster::{Command, Decision, ManualAssignment, Refusal, Settings, Steps, manual_assignment};

/// Partitions that one request may create.
pub const MAX_PARTITIONS_PER_REQUEST: usize = 10_000;

/// A request for topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateTopics {
    /// The topics.
    pub topics: Vec<CreatableTopic>,
    /// Answer as if, but create nothing.
    pub validate_only: bool,
}

/// One topic as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreatableTopic {
    /// Name.
    pub name: String,
    /// Partition count; -1 = `num.partitions`.
    pub partitions: i32,
    /// Replication factor; -1 = `default.replication.factor`.
    pub replication_factor: i32,
    /// Replica lists in place of the two.
    pub assignments: Vec<ManualAssignment>,
    /// Configs; a value is `None` where the client sent null.
    pub configs: Vec<(String, Option<String>)>,
    /// Chosen by the caller: a repeated request finds its own topic and succeeds.
    pub topic_id: TopicId,
    /// Who declares it; clients of Kafka are nobody in particular.
    pub owner: Option<String>,
}

/// What became of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Name.
    pub name: String,
    /// The topic, or why there is none.
    pub result: Result<TopicShape, Refusal>,
}

/// A topic as it was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicShape {
    /// Identity.
    pub topic_id: TopicId,
    /// Partition count.
    pub partitions: i32,
    /// Replication factor.
    pub replication_factor: i32,
    /// Configs that are set.
    pub configs: BTreeMap<String, String>,
}

impl Command for CreateTopics {
    /// One result per name, in the order of the request; a name that is there twice has one.
    type Reply = Vec<CreatedTopic>;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply> {
        if self.asked_partitions(settings) > MAX_PARTITIONS_PER_REQUEST {
            return Decision::unchanged(self.refuse_all());
        }
        let mut batch = Batch {
            image,
            settings,
            placement: Placement::new(image),
            collisions: Collisions::default(),
            ids: BTreeSet::new(),
            steps: Steps::new(),
        };
        let mut results = Vec::with_capacity(self.topics.len());
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for topic in &self.topics {
            *names.entry(&topic.name).or_default() += 1;
        }
        for topic in &self.topics {
            let result = match names.get_mut(topic.name.as_str()) {
                Some(1) => batch.create(topic),
                // Several: the first one answers for all of them.
                Some(count) if *count > 1 => {
                    *count = 0;
                    Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
                }
                _ => continue,
            };
            results.push(CreatedTopic {
                name: topic.name.clone(),
                result,
            });
        }
        let steps = if self.validate_only {
            Vec::new()
        } else {
            batch.steps.finish()
        };
        Decision { steps, reply: results }
    }
}

impl CreateTopics {
    fn asked_partitions(&self, settings: &Settings) -> usize {
        let asked = self.topics.iter().map(|topic| {
            let count = if topic.partitions == -1 {
                settings.num_partitions
            } else {
                topic.partitions
            };
            if topic.assignments.is_empty() {
                usize::try_from(count).unwrap_or(0)
            } else {
                topic.assignments.len()
            }
        });
        asked.sum()
    }

    fn refuse_all(&self) -> Vec<CreatedTopic> {
        let message = "Excessively large number of partitions per request.";
        let names: BTreeSet<&str> = self.topics.iter().map(|topic| topic.name.as_str()).collect();
        let refuse = |name: &str| CreatedTopic {
            name: name.to_owned(),
            result: Err(Refusal::new(ErrorCode::PolicyViolation, message)),
        };
        names.into_iter().map(refuse).collect()
    }
}

struct Batch<'a> {
    image: &'a MetadataImage,
    settings: &'a Settings,
    placement: Placement<'a>,
    collisions: Collisions,
    ids: BTreeSet<TopicId>,
    steps: Steps,
}

impl Batch<'_> {
    fn create(&mut self, topic: &CreatableTopic) -> Result<TopicShape, Refusal> {
        if let Some(existing) = self
            .image
            .topic(&topic.name)
            .filter(|existing| existing.id == topic.topic_id)
        {
            return Ok(TopicShape {
                topic_id: existing.id,
                partitions: existing.partitions.len() as i32,
                replication_factor: existing
                    .partitions
                    .first()
                    .map_or(-1, |first| first.replicas.len() as i32),
                configs: (*existing.configs).clone(),
            });
        }
        self.collisions.check(self.image, &topic.name)?;
        let taken = self.image.topic_by_id(topic.topic_id).is_some() || self.ids.contains(&topic.topic_id);
        if topic.topic_id.is_zero() || taken {
            let message = format!("The topic id {} is zero or in use.", topic.topic_id);
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        let configs = self.configs(topic)?;
        let replicas = self.replicas(topic)?;
        self.ids.insert(topic.topic_id);
        let shape = TopicShape {
            topic_id: topic.topic_id,
            partitions: replicas.len() as i32,
            replication_factor: replicas.first().map_or(0, |first| first.len() as i32),
            configs,
        };
        let partitions = replicas
            .into_iter()
            .map(|replicas| new_partition(self.image, replicas))
            .collect();
        self.put(topic, &shape, partitions);
        Ok(shape)
    }

    fn configs(&self, topic: &CreatableTopic) -> Result<BTreeMap<String, String>, Refusal> {
        let mut configs = BTreeMap::new();
        for (name, value) in &topic.configs {
            let Some(value) = value else {
                let message = format!("Null value not supported for topic configs: {name}");
                return Err(Refusal::new(ErrorCode::InvalidConfig, message));
            };
            configs.insert(name.clone(), value.clone());
        }
        validate_topic_configs(&topic.name, &configs)?;
        Ok(configs)
    }

    fn replicas(&mut self, topic: &CreatableTopic) -> Result<Vec<Vec<NodeId>>, Refusal> {
        if !topic.assignments.is_empty() {
            let conflict = if topic.replication_factor != -1 {
                "replication factor"
            } else if topic.partitions != -1 {
                "numPartitions"
            } else {
                return manual_assignment::of_new_topic(self.image, &topic.assignments);
            };
            let message = format!("A manual partition assignment was specified, but {conflict} was not set to -1.");
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        if topic.replication_factor < -1 || topic.replication_factor == 0 {
            let message = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
        }
        if topic.partitions < -1 || topic.partitions == 0 {
            let message = "Number of partitions was set to an invalid non-positive value.";
            return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
        }
        let default = |asked: i32, default: i32| if asked == -1 { default } else { asked };
        let partitions = default(topic.partitions, self.settings.num_partitions);
        let factor = default(
            topic.replication_factor,
            i32::from(self.settings.default_replication_factor),
        );
        let factor = usize::try_from(factor).unwrap_or(0);
        self.placement.check(factor)?;
        self.placement.begin_topic(None);
        Ok((0..partitions).map(|_| self.placement.place(factor)).collect())
    }

    /// Partitions first, the topic key last; a topic that fits into a step is one transaction.
    fn put(&mut self, topic: &CreatableTopic, shape: &TopicShape, partitions: Vec<Partition>) {
        let put = Change::PutTopic {
            name: topic.name.clone(),
            topic_id: shape.topic_id,
            partition_count: shape.partitions,
            configs: shape.configs.clone(),
            owner: topic.owner.clone(),
        };
        let mut group: Vec<Change> = (0..)
            .zip(partitions)
            .map(|(index, partition)| Change::PutPartition(shape.topic_id, PartitionIndex(index), partition))
            .collect();
        group.push(put);
        self.steps.push_group(group);
    }
}
