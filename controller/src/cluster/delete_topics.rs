//! DeleteTopics (rule 105).

use std::collections::BTreeSet;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::{Change, MetadataImage, Topic};
use highwater_proto::types::TopicId;

use crate::cluster::{Command, Decision, Refusal, Settings, Steps};

/// A request to delete topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteTopics {
    /// The topics.
    pub targets: Vec<TopicTarget>,
}

/// One topic, by exactly one of name and id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicTarget {
    /// By name.
    pub name: Option<String>,
    /// By id; zero = by name.
    pub topic_id: TopicId,
}

/// What became of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Name, if the request gave it or the topic was there.
    pub name: Option<String>,
    /// Id, if the request gave it or the topic was there.
    pub topic_id: TopicId,
    /// Gone, or why not.
    pub result: Result<(), Refusal>,
}

impl Command for DeleteTopics {
    /// One result per target, in the order of the request.
    type Reply = Vec<DeletedTopic>;

    fn decide(&self, image: &MetadataImage, settings: &Settings) -> Decision<Self::Reply> {
        let ambiguous = self.ambiguous(image);
        let mut steps = Steps::new();
        let mut results = Vec::with_capacity(self.targets.len());
        for target in &self.targets {
            let mut deleted = DeletedTopic {
                name: target.name.clone(),
                topic_id: target.topic_id,
                result: Ok(()),
            };
            match find(image, settings, target) {
                Ok(topic) if ambiguous.contains(&topic.id) => {
                    deleted.result = Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name or id."));
                }
                Ok(topic) => {
                    deleted.name = Some(topic.name.to_string());
                    deleted.topic_id = topic.id;
                    // The topic key goes first; the partitions are swept by `reconcile`.
                    steps.push(Change::DeleteTopic {
                        name: topic.name.to_string(),
                        topic_id: topic.id,
                    });
                }
                Err(refusal) => deleted.result = Err(refusal),
            }
            results.push(deleted);
        }
        Decision {
            steps: steps.finish(),
            reply: results,
        }
    }
}

impl DeleteTopics {
    /// Topics that are named more than once, by name or id.
    fn ambiguous(&self, image: &MetadataImage) -> BTreeSet<TopicId> {
        let mut seen = BTreeSet::new();
        let mut twice = BTreeSet::new();
        for target in &self.targets {
            let topic = match &target.name {
                Some(name) => image.topic(name),
                None => image.topic_by_id(target.topic_id),
            };
            if let Some(topic) = topic
                && !seen.insert(topic.id)
            {
                twice.insert(topic.id);
            }
        }
        twice
    }
}

fn find<'a>(image: &'a MetadataImage, settings: &Settings, target: &TopicTarget) -> Result<&'a Topic, Refusal> {
    if !settings.delete_topic_enable {
        return Err(Refusal::new(
            ErrorCode::TopicDeletionDisabled,
            "Topic deletion is disabled.",
        ));
    }
    let found = match (&target.name, target.topic_id.is_zero()) {
        (Some(_), false) => {
            let message = "You may not specify both topic name and topic id.";
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        (None, true) => {
            let message = "Neither topic name nor id were specified.";
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        (Some(name), true) => image.topic(name).ok_or_else(|| {
            let message = "This server does not host this topic-partition.";
            Refusal::new(ErrorCode::UnknownTopicOrPartition, message)
        }),
        (None, false) => image
            .topic_by_id(target.topic_id)
            .ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicId, "This server does not host this topic ID.")),
    };
    found.map(|topic| &**topic)
}
