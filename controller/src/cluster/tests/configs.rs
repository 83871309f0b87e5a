//! Config changes: rules 106 and 170.

use super::*;

fn alteration(name: &str, value: Option<&str>, operation: AlterOperation) -> Alteration {
    Alteration {
        name: name.into(),
        value: value.map(str::to_owned),
        operation,
    }
}

fn on(resource_type: ResourceType, name: &str, alterations: &[Alteration]) -> ResourceAlteration {
    ResourceAlteration {
        resource_type,
        name: name.into(),
        alterations: alterations.to_vec(),
        replace: false,
    }
}

fn alter(cluster: &mut Cluster, resource: ResourceAlteration) -> Result<(), Refusal> {
    cluster
        .run(&AlterConfigs {
            resources: vec![resource],
            validate_only: false,
        })
        .remove(0)
        .result
}

#[test]
fn rule_170_lists_grow_from_the_default_and_never_double() {
    let mut cluster = Cluster::with_brokers(1);
    // The one topic that may be compacted.
    let name = "__consumer_offsets";
    cluster.create(topic(name, 1, 1)).unwrap();
    let mut step = |kind, value: Option<&str>| {
        let change = alteration("cleanup.policy", value, kind);
        alter(&mut cluster, on(ResourceType::Topic, name, &[change])).unwrap();
        cluster
            .image
            .topic(name)
            .unwrap()
            .configs
            .get("cleanup.policy")
            .cloned()
    };
    assert_eq!(
        step(AlterOperation::Append, Some("compact")).as_deref(),
        Some("delete,compact")
    );
    assert_eq!(
        step(AlterOperation::Append, Some("compact")).as_deref(),
        Some("delete,compact")
    );
    assert_eq!(
        step(AlterOperation::Subtract, Some("delete")).as_deref(),
        Some("compact")
    );
    assert_eq!(
        step(AlterOperation::Subtract, Some("delete")).as_deref(),
        Some("compact")
    );
    assert_eq!(step(AlterOperation::Delete, None), None);
    assert_eq!(step(AlterOperation::Delete, None), None);
}

#[test]
fn rule_106_refusals() {
    let mut cluster = Cluster::with_brokers(1);
    cluster.create(topic("a", 1, 1)).unwrap();
    let set = |name: &str, value: &str| alteration(name, Some(value), AlterOperation::Set);
    let retention = [set("retention.ms", "1")];
    let on_topic = |alterations: &[Alteration]| on(ResourceType::Topic, "a", alterations);
    let append = alteration("retention.ms", Some("1"), AlterOperation::Append);
    let null = alteration("retention.ms", None, AlterOperation::Set);
    let long = "x".repeat(32_768);
    let cases = [
        (on_topic(&[append]), ErrorCode::InvalidConfig, "for lists only"),
        (
            on_topic(&[null]),
            ErrorCode::InvalidRequest,
            "retention.ms: needs a value",
        ),
        (
            on_topic(&[set("retention.ms", "1"), set("retention.ms", "2")]),
            ErrorCode::InvalidRequest,
            "twice",
        ),
        (
            on_topic(&[set("nonsense", "1")]),
            ErrorCode::InvalidConfig,
            "unknown topic config",
        ),
        (
            on_topic(&[set("retention.ms", &long)]),
            ErrorCode::InvalidConfig,
            "longer than 32767 characters",
        ),
        (
            on(ResourceType::Topic, "b", &retention),
            ErrorCode::UnknownTopicOrPartition,
            "'b' does not exist",
        ),
        (
            on(ResourceType::Topic, "", &retention),
            ErrorCode::InvalidRequest,
            "not allowed",
        ),
        (
            on(ResourceType::Topic, "a b", &retention),
            ErrorCode::InvalidTopicException,
            "invalid",
        ),
        (
            on(ResourceType::Broker, "9", &retention),
            ErrorCode::BrokerIdNotRegistered,
            "No node with id 9",
        ),
        (
            on(ResourceType::Broker, "x", &retention),
            ErrorCode::InvalidRequest,
            "must be an integer",
        ),
        (
            on(ResourceType::Unknown(3), "x", &retention),
            ErrorCode::InvalidRequest,
            "Unexpected resource type 3",
        ),
    ];
    for (resource, code, text) in cases {
        refused(alter(&mut cluster, resource), code, text);
    }
    let twice = AlterConfigs {
        resources: vec![on_topic(&retention), on_topic(&retention)],
        validate_only: false,
    };
    let mut results = cluster.run(&twice);
    assert_eq!(results.len(), 1);
    refused(results.remove(0).result, ErrorCode::InvalidRequest, "at most once");
    assert!(cluster.image.topic("a").unwrap().configs.is_empty());
}

#[test]
fn rule_106_other_resources_are_applied_all_the_same() {
    let mut cluster = Cluster::with_brokers(1);
    cluster.create(topic("a", 1, 1)).unwrap();
    let good = [alteration("log.retention.ms", Some("1"), AlterOperation::Set)];
    let bad = [alteration("nonsense", Some("1"), AlterOperation::Set)];
    let resources = vec![
        on(ResourceType::Broker, "", &good),
        on(ResourceType::Broker, "1", &bad),
        on(
            ResourceType::Topic,
            "a",
            &[alteration("retention.ms", Some("1"), AlterOperation::Set)],
        ),
    ];
    let only_checked = AlterConfigs {
        resources: resources.clone(),
        validate_only: true,
    };
    let revision = cluster.image.revision;
    cluster.run(&only_checked);
    assert_eq!(cluster.image.revision, revision);
    let ok: Vec<bool> = cluster
        .run(&AlterConfigs {
            resources,
            validate_only: false,
        })
        .iter()
        .map(|altered| altered.result.is_ok())
        .collect();
    assert_eq!(ok, [true, false, true]);
    assert_eq!(cluster.image.configs.len(), 1);
    assert_eq!(cluster.image.topic("a").unwrap().configs["retention.ms"], "1");
}

#[test]
fn alter_configs_deletes_what_is_not_sent() {
    let mut cluster = Cluster::with_brokers(1);
    cluster.create(topic("a", 1, 1)).unwrap();
    let both = [
        alteration("retention.ms", Some("1"), AlterOperation::Set),
        alteration("min.insync.replicas", Some("2"), AlterOperation::Set),
    ];
    alter(&mut cluster, on(ResourceType::Topic, "a", &both)).unwrap();
    let replace = ResourceAlteration {
        replace: true,
        ..on(ResourceType::Topic, "a", &both[..1])
    };
    alter(&mut cluster, replace).unwrap();
    let configs = &cluster.image.topic("a").unwrap().configs;
    assert_eq!(configs.keys().collect::<Vec<_>>(), ["retention.ms"]);
    assert_eq!(cluster.image.topic("a").unwrap().partitions.len(), 1);
}
