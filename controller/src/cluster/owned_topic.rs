//! What the owner of a topic asks for it. The topic is named by its id, so that a later one of the same name is never
//! meant, and by its owner: two who declare the same topic do not undo each other's work.

use std::collections::BTreeMap;

use highwater_proto::config::{AlterOperation, Alteration};
use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, Topic};
use highwater_proto::types::TopicId;

use crate::cluster::{
    AlterConfigs, Command, CreatePartitions, Decision, DeleteTopics, Refusal, ResourceAlteration, ResourceType,
    Settings, TopicGrowth, TopicTarget,
};

/// A task for a topic with this id and this owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedTopic<T> {
    /// The topic.
    pub topic_id: TopicId,
    /// Its owner; `None` = the topic has none.
    pub owner: Option<String>,
    /// What is asked for.
    pub task: T,
}

/// What can be asked for a topic.
pub trait TopicTask {
    /// What the task answers.
    type Done;

    /// True if the owner that is named is that of the topic.
    fn may(&self, topic: &Topic, owner: Option<&str>) -> bool {
        topic.owner.as_deref() == owner
    }

    /// Decides, for a topic that is there and whose owner is the one that was named.
    fn decide(
        &self,
        image: &MetadataImage,
        settings: &Settings,
        topic: &Topic,
        owner: Option<&str>,
    ) -> Decision<Result<Self::Done, Refusal>>;
}

impl<T: TopicTask> Command for OwnedTopic<T> {
    type Reply = Result<T::Done, Refusal>;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply> {
        let Some(topic) = image.topic_by_id(self.topic_id) else {
            let message = format!("No topic has the id {}.", self.topic_id);
            return Decision::unchanged(Err(Refusal::new(ErrorCode::UnknownTopicId, message)));
        };
        let owner = self.owner.as_deref();
        if !self.task.may(topic, owner) {
            let message = match &topic.owner {
                Some(owner) => format!("Topic '{}' belongs to {owner}.", topic.name),
                None => format!("Topic '{}' belongs to nobody.", topic.name),
            };
            return Decision::unchanged(Err(Refusal::new(ErrorCode::PolicyViolation, message)));
        }
        self.task.decide(image, settings, topic, owner)
    }
}

fn with_owner(image: &MetadataImage, topic: &Topic, owner: Option<&str>) -> Decision<Result<(), Refusal>> {
    if topic.owner.as_deref() == owner {
        return Decision::unchanged(Ok(()));
    }
    let put = Change::PutTopic {
        name: topic.name.to_string(),
        topic_id: topic.id,
        partition_count: image.declared_partition_count(topic.id).unwrap_or_default(),
        configs: (*topic.configs).clone(),
        owner: owner.map(str::to_owned),
    };
    Decision {
        steps: vec![vec![put]],
        reply: Ok(()),
    }
}

/// A topic without an owner gets this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdoptTopic;

impl TopicTask for AdoptTopic {
    type Done = ();

    fn may(&self, topic: &Topic, owner: Option<&str>) -> bool {
        topic.owner.as_deref().is_none_or(|of| owner == Some(of))
    }

    fn decide(
        &self,
        image: &MetadataImage,
        _: &Settings,
        topic: &Topic,
        owner: Option<&str>,
    ) -> Decision<Result<(), Refusal>> {
        with_owner(image, topic, owner)
    }
}

/// The topic is nobody's from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseTopic;

impl TopicTask for ReleaseTopic {
    type Done = ();

    fn may(&self, topic: &Topic, owner: Option<&str>) -> bool {
        topic.owner.as_deref().is_none_or(|of| owner == Some(of))
    }

    fn decide(
        &self,
        image: &MetadataImage,
        _: &Settings,
        topic: &Topic,
        _: Option<&str>,
    ) -> Decision<Result<(), Refusal>> {
        with_owner(image, topic, None)
    }
}

/// The topic goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteTopic;

impl TopicTask for DeleteTopic {
    type Done = ();

    fn decide(
        &self,
        image: &MetadataImage,
        settings: &Settings,
        topic: &Topic,
        _: Option<&str>,
    ) -> Decision<Result<(), Refusal>> {
        let target = TopicTarget {
            name: None,
            topic_id: topic.id,
        };
        let decision = DeleteTopics { targets: vec![target] }.decide(image, settings);
        Decision {
            steps: decision.steps,
            reply: decision.reply.into_iter().try_for_each(|deleted| deleted.result),
        }
    }
}

/// More partitions, if there are as many as the owner thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrowTopic {
    /// The count that the owner saw.
    pub expected: i32,
    /// The count that it wants.
    pub count: i32,
}

impl TopicTask for GrowTopic {
    type Done = ();

    fn decide(
        &self,
        image: &MetadataImage,
        settings: &Settings,
        topic: &Topic,
        _: Option<&str>,
    ) -> Decision<Result<(), Refusal>> {
        let current = topic.partitions.len() as i32;
        if current == self.count {
            return Decision::unchanged(Ok(()));
        }
        if current != self.expected {
            let message = format!(
                "Topic '{}' has {current} partition(s), not {}.",
                topic.name, self.expected
            );
            return Decision::unchanged(Err(Refusal::new(ErrorCode::InvalidUpdateVersion, message)));
        }
        let growth = TopicGrowth {
            name: topic.name.to_string(),
            count: self.count,
            assignments: None,
        };
        let create = CreatePartitions {
            topics: vec![growth],
            validate_only: false,
        };
        let decision = create.decide(image, settings);
        Decision {
            steps: decision.steps,
            reply: decision.reply.into_iter().try_for_each(|grown| grown.result),
        }
    }
}

/// Configs are set and unset; others stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigureTopic {
    /// Configs with their values.
    pub set: BTreeMap<String, String>,
    /// Configs that get their defaults.
    pub unset: Vec<String>,
}

impl TopicTask for ConfigureTopic {
    type Done = ();

    fn decide(
        &self,
        image: &MetadataImage,
        settings: &Settings,
        topic: &Topic,
        _: Option<&str>,
    ) -> Decision<Result<(), Refusal>> {
        let set = self.set.iter().map(|(name, value)| Alteration {
            name: name.clone(),
            value: Some(value.clone()),
            operation: AlterOperation::Set,
        });
        let unset = self.unset.iter().map(|name| Alteration {
            name: name.clone(),
            value: None,
            operation: AlterOperation::Delete,
        });
        let alter = AlterConfigs {
            resources: vec![ResourceAlteration {
                resource_type: ResourceType::Topic,
                name: topic.name.to_string(),
                alterations: set.chain(unset).collect(),
                replace: false,
            }],
            validate_only: false,
        };
        let decision = alter.decide(image, settings);
        Decision {
            steps: decision.steps,
            reply: decision.reply.into_iter().try_for_each(|altered| altered.result),
        }
    }
}
