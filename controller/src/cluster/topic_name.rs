//! Topic names (rule 102).

use std::collections::BTreeMap;

use highwater_proto::kafka::ErrorCode;
use highwater_proto::metadata::MetadataImage;

use crate::cluster::Refusal;

const MAX_NAME_LENGTH: usize = 249;
/// Kafka's own metadata topic, which is no topic of ours and of nobody.
const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// Checks the form of a topic name.
///
/// # Errors
/// `INVALID_TOPIC_EXCEPTION` with Kafka's reason.
pub fn validate_topic_name(name: &str) -> Result<(), Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let reason = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if matches!(name, "." | "..") {
        format!("'{name}' is not allowed")
    } else if name.len() > MAX_NAME_LENGTH {
        let shown: String = name.chars().take(MAX_NAME_LENGTH).collect();
        format!("the length of '{shown}' is longer than the max allowed length {MAX_NAME_LENGTH}")
    } else if !name.chars().all(legal) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(Refusal::new(
        ErrorCode::InvalidTopicException,
        format!("Topic name is invalid: {reason}"),
    ))
}

/// Names that are taken, with `.` and `_` as the same character, as in metric names.
#[derive(Default)]
pub(super) struct Collisions(Option<BTreeMap<String, String>>);

impl Collisions {
    /// Checks a new name against the topics that exist.
    pub(super) fn check(&mut self, image: &MetadataImage, name: &str) -> Result<(), Refusal> {
        if name == CLUSTER_METADATA_TOPIC {
            let message = format!("Creation of internal topic {name} is prohibited.");
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        validate_topic_name(name)?;
        if image.topic(name).is_some() {
            return Err(Refusal::new(
                ErrorCode::TopicAlreadyExists,
                format!("Topic '{name}' already exists."),
            ));
        }
        if !name.contains(['.', '_']) {
            return Ok(());
        }
        let taken = self.0.get_or_insert_with(|| {
            let ambiguous = image.topics().filter(|topic| topic.name.contains(['.', '_']));
            ambiguous
                .map(|topic| (normalized(&topic.name), topic.name.to_string()))
                .collect()
        });
        match taken.get(&normalized(name)) {
            Some(existing) => {
                let message = format!("Topic '{name}' collides with existing topic: {existing}");
                Err(Refusal::new(ErrorCode::InvalidTopicException, message))
            }
            None => Ok(()),
        }
    }
}

fn normalized(name: &str) -> String {
    name.replace('.', "_")
}
