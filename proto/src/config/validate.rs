//! Which changes of configs are accepted.

use crate::config::{
    BrokerLayers, ConfigError, Definition, StaticValues, Support, Update, Values, broker_definition, is_topic_default,
    topic_definition,
};
use crate::types::is_internal_topic;

/// Ends of the names of replication throttles.
const THROTTLED_RATE: &str = ".replication.throttled.rate";

/// Checks the configs of a topic, as they shall be stored: known keys, valid values, nothing but the default where
/// nothing else is implemented.
///
/// # Errors
/// The first config that cannot be accepted.
pub fn validate_topic_configs(topic: &str, configs: &Values) -> Result<(), ConfigError> {
    for (key, value) in configs {
        let definition = topic_definition(key).ok_or_else(|| ConfigError::unknown("topic", key))?;
        definition.check(value)?;
        if key == "cleanup.policy" && !is_internal_topic(topic) && has_item(value, "compact") {
            let reason = "only delete or an empty list are supported: topics are not compacted yet";
            return Err(ConfigError::invalid(key, value, reason));
        }
    }
    Ok(())
}

fn has_item(list: &str, item: &str) -> bool {
    list.split(',').any(|candidate| candidate.trim() == item)
}

/// Checks the dynamic configs of one broker (`cluster_wide` false) or of all brokers, as they shall be stored.
///
/// # Errors
/// The first config that cannot be accepted.
pub fn validate_broker_configs(configs: &Values, cluster_wide: bool, fixed: &StaticValues) -> Result<(), ConfigError> {
    configs.iter().try_for_each(|(key, value)| {
        let definition = broker_definition(key).ok_or_else(|| ConfigError::unknown("broker", key))?;
        match definition.update {
            Update::ReadOnly => return Err(ConfigError::request(key, "cannot be changed while brokers run")),
            Update::PerBroker if cluster_wide => {
                return Err(ConfigError::request(
                    key,
                    "cannot be set for all brokers, only for each one",
                ));
            }
            Update::PerBroker | Update::ClusterWide => {}
        }
        definition.check(value)?;
        check_takes_effect(definition, value, fixed)
    })
}

/// Whether a broker config can be changed while brokers run: the defaults of topics and the rates of replication are read
/// again at every change, the others only at start.
#[must_use]
pub fn is_read_again(definition: &Definition) -> bool {
    let read_again = is_topic_default(definition.name) || definition.name.ends_with(THROTTLED_RATE);
    read_again && definition.update != Update::ReadOnly
}

/// What is accepted is obeyed.
fn check_takes_effect(definition: &'static Definition, value: &str, fixed: &StaticValues) -> Result<(), ConfigError> {
    if definition.support != Support::Implemented || is_read_again(definition) {
        return Ok(());
    }
    let current = BrokerLayers::fixed(fixed).get(definition).map(|found| found.value);
    if current == Some(value) {
        return Ok(());
    }
    let current = current.unwrap_or("not set");
    let reason = format!("only what the process was started with ({current}) is supported; change it and restart");
    Err(ConfigError::invalid(definition.name, value, reason))
}

/// Checks what a process shall be started with. Values of keys that are ignored are only checked for their type.
///
/// # Errors
/// The first config that cannot be accepted, naming key, value and what is allowed.
pub fn validate_static_configs(configs: &Values) -> Result<(), ConfigError> {
    configs.iter().try_for_each(|(key, value)| {
        let definition = broker_definition(key).ok_or_else(|| ConfigError::unknown("broker", key))?;
        match definition.support {
            Support::Ignored(_) => definition.parse(value).map(|_| ()),
            Support::Implemented | Support::DefaultOnly(_) => definition.check(value).map(|_| ()),
        }
    })
}
