use std::time::Duration;

use super::*;

fn values(pairs: &[(&str, &str)]) -> Values {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn started_with(pairs: &[(&str, &str)]) -> StaticValues {
    StaticValues {
        profile: Profile::Standalone,
        values: values(pairs),
    }
}

fn resolve(topic: &[(&str, &str)], fixed: &[(&str, &str)]) -> TopicConfig {
    TopicConfig::resolve(&values(topic), &BrokerLayers::fixed(&started_with(fixed))).unwrap()
}

#[test]
fn the_tables_have_every_config_of_apache_kafka() {
    // 37 of Apache Kafka 4.4 and our own write.caching; 267 broker configs that 4.3 lists, 3 of 4.4, process.roles,
    // 2 that it takes only while it runs, 29 own.
    assert_eq!(topic_definitions().count(), 37 + 1);
    assert_eq!(broker_definitions().count(), 267 + 3 + 1 + 2 + 29);
}

#[test]
fn every_default_is_a_valid_value_and_every_key_is_documented() {
    for definition in topic_definitions().chain(broker_definitions()) {
        for profile in [Profile::Standalone, Profile::Cluster] {
            if let Some(default) = profile.default_of(definition) {
                let parsed = definition.parse(default);
                assert!(parsed.is_ok(), "{}: {}", definition.name, parsed.unwrap_err());
            }
        }
        assert!(definition.documentation.ends_with('.'), "{}", definition.name);
        if let Some(default) = definition.default {
            assert!(
                definition.check(default).is_ok(),
                "{} accepts its default",
                definition.name
            );
        }
    }
}

#[test]
fn every_synonym_exists_and_has_the_topic_configs_type_but_for_hours_and_minutes() {
    for topic in topic_definitions() {
        for synonym in topic_synonyms(topic.name) {
            let broker = broker_definition(synonym.key).unwrap_or_else(|| panic!("{}", synonym.key));
            assert!(synonym.scale != 1 || broker.kind == topic.kind, "{}", synonym.key);
        }
    }
}

#[test]
fn topic_defaults_are_apache_kafkas() {
    let config = resolve(&[], &[]);
    assert_eq!(config.max_message_bytes, 1_048_588);
    assert_eq!(config.segment_bytes, 1 << 30);
    assert_eq!(config.retention_bytes, None);
    assert_eq!(config.retention, Some(Duration::from_secs(7 * 24 * 3600)));
    assert_eq!(config.segment_age, Duration::from_secs(7 * 24 * 3600));
    assert_eq!(config.file_delete_delay, Duration::from_secs(60));
    assert_eq!(config.timestamp_after_max, Duration::from_secs(3600));
    assert_eq!(config.timestamp_before_max.as_millis(), i64::MAX as u128);
    assert_eq!((config.cleanup_delete, config.cleanup_compact), (true, false));
    assert_eq!(
        (config.compression, config.timestamp_type),
        (Compression::Producer, TimestampType::CreateTime)
    );
    assert!(!config.write_caching && !config.unclean_leader_election);
    assert_eq!(config.min_insync_replicas, 1);
}

#[test]
fn a_cluster_wants_three_replicas_of_which_two_are_in_sync() {
    let fixed = StaticValues {
        profile: Profile::Cluster,
        values: Values::new(),
    };
    let layers = BrokerLayers::fixed(&fixed);
    let config = BrokerConfig::resolve(&layers).unwrap();
    assert_eq!(
        (
            config.topics.replication_factor,
            config.offsets.topic_replication_factor
        ),
        (3, 3)
    );
    assert_eq!(
        TopicConfig::resolve(&Values::new(), &layers)
            .unwrap()
            .min_insync_replicas,
        2
    );
    let alone = started_with(&[]);
    let config = BrokerConfig::resolve(&BrokerLayers::fixed(&alone)).unwrap();
    assert_eq!(
        (
            config.topics.replication_factor,
            config.offsets.topic_replication_factor
        ),
        (1, 1)
    );
}

#[test]
fn retention_comes_from_milliseconds_before_minutes_before_hours() {
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(resolve(&[], &[("log.retention.hours", "24")]).retention, Some(day));
    let minutes = [("log.retention.hours", "24"), ("log.retention.minutes", "5")];
    assert_eq!(resolve(&[], &minutes).retention, Some(Duration::from_secs(300)));
    let all = [
        ("log.retention.hours", "24"),
        ("log.retention.minutes", "5"),
        ("log.retention.ms", "7"),
    ];
    assert_eq!(resolve(&[], &all).retention, Some(Duration::from_millis(7)));
    assert_eq!(
        resolve(&[("retention.ms", "9")], &all).retention,
        Some(Duration::from_millis(9))
    );
    assert_eq!(resolve(&[], &[("log.retention.minutes", "-1")]).retention, None);
}

#[test]
fn a_layer_comes_before_the_next_whatever_the_synonym() {
    let fixed = started_with(&[("log.retention.ms", "4")]);
    let (broker, default) = (
        values(&[("log.retention.ms", "2")]),
        values(&[("log.retention.ms", "3")]),
    );
    let layers = BrokerLayers {
        broker: Some(&broker),
        default: Some(&default),
        fixed: &fixed,
    };
    let described = describe_topic(&values(&[("retention.ms", "1")]), &layers);
    let retention = described.iter().find(|config| config.name == "retention.ms").unwrap();
    let synonyms: Vec<_> = retention
        .synonyms
        .iter()
        .map(|s| (s.name, s.value.as_deref().unwrap(), s.source.code()))
        .collect();
    let expected = [
        ("retention.ms", "1", 1),
        ("log.retention.ms", "2", 2),
        ("log.retention.ms", "3", 3),
        ("log.retention.ms", "4", 4),
        ("log.retention.hours", "168", 5),
    ];
    assert_eq!(synonyms, expected);
    assert_eq!((retention.value.as_deref(), retention.source.code()), (Some("1"), 1));
    assert_eq!((retention.kind.code(), retention.read_only), (5, false));
}

#[test]
fn a_topic_shows_its_value_in_its_own_unit_and_synonyms_in_theirs() {
    let fixed = started_with(&[("log.retention.hours", "2")]);
    let described = describe_topic(&Values::new(), &BrokerLayers::fixed(&fixed));
    let retention = described.iter().find(|config| config.name == "retention.ms").unwrap();
    assert_eq!(
        (retention.value.as_deref(), retention.source),
        (Some("7200000"), ConfigSource::StaticBroker)
    );
    assert_eq!(retention.synonyms[0].value.as_deref(), Some("2"));
    let names: Vec<_> = described.iter().map(|config| config.name).collect();
    assert!(names.is_sorted());
    let throttled = described
        .iter()
        .find(|config| config.name == "leader.replication.throttled.replicas")
        .unwrap();
    assert_eq!(
        (throttled.value.as_deref(), throttled.source, throttled.synonyms.len()),
        (Some(""), ConfigSource::Default, 0)
    );
}

#[test]
fn a_broker_shows_what_is_set_what_may_change_and_no_secrets() {
    let fixed = started_with(&[("num.partitions", "3"), ("delegation.token.secret.key", "hush")]);
    let described = describe_broker(&BrokerLayers::fixed(&fixed));
    let find = |name: &str| described.iter().find(|config| config.name == name).unwrap();
    let partitions = find("num.partitions");
    assert_eq!(
        (partitions.value.as_deref(), partitions.source),
        (Some("3"), ConfigSource::StaticBroker)
    );
    assert!(partitions.read_only);
    assert!(!find("log.retention.ms").read_only);
    let secret = find("delegation.token.secret.key");
    assert_eq!((secret.value.as_deref(), secret.sensitive), (None, true));
    assert!(secret.synonyms.iter().all(|synonym| synonym.value.is_none()));
    assert_eq!(find("node.id").value, None);
}

#[test]
fn the_default_broker_resource_shows_only_what_is_set_for_all() {
    let described = describe_broker_defaults(&values(&[("log.retention.ms", "5")]));
    assert_eq!(described.len(), 1);
    assert_eq!((described[0].name, described[0].source.code()), ("log.retention.ms", 3));
}

#[test]
fn values_are_read_as_kafka_reads_them() {
    let accepted = [
        ("segment.bytes", " 1048576 "),
        ("preallocate", "FALSE"),
        ("min.cleanable.dirty.ratio", "0.50"),
        ("compression.gzip.level", "-1"),
        ("compression.zstd.level", "-131072"),
        ("cleanup.policy", ""),
        ("retention.ms", "-1"),
        ("leader.replication.throttled.replicas", ""),
    ];
    for (key, value) in accepted {
        assert_eq!(
            validate_topic_configs("t", &values(&[(key, value)])),
            Ok(()),
            "{key}={value}"
        );
    }
    let refused = [
        ("segment.bytes", "1048575"),
        ("segment.bytes", "2147483648"),
        ("segment.bytes", "1MB"),
        ("segment.ms", "0"),
        ("preallocate", "yes"),
        ("compression.gzip.level", "0"),
        ("compression.gzip.level", "10"),
        ("compression.lz4.level", "18"),
        ("compression.type", "brotli"),
        ("message.timestamp.type", "createtime"),
        ("cleanup.policy", "delete,delete"),
        ("cleanup.policy", "shred"),
        ("retention.ms", "-2"),
        ("min.insync.replicas", "0"),
        ("no.such.config", "1"),
    ];
    for (key, value) in refused {
        let error = validate_topic_configs("t", &values(&[(key, value)])).unwrap_err();
        assert_eq!((error.key.as_str(), error.kind.code()), (key, 40), "{error}");
    }
}

#[test]
fn what_is_not_implemented_accepts_only_its_default_and_says_why() {
    assert_eq!(
        validate_topic_configs("t", &values(&[("delete.retention.ms", "86400000")])),
        Ok(())
    );
    let error = validate_topic_configs("t", &values(&[("remote.storage.enable", "true")])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid value \"true\" for remote.storage.enable: \
         only the default (false) is supported: tiered storage is not supported yet"
    );
}

#[test]
fn only_internal_topics_can_be_compacted() {
    for policy in ["compact", "compact,delete", "delete, compact"] {
        let configs = values(&[("cleanup.policy", policy)]);
        assert_eq!(
            validate_topic_configs("orders", &configs).unwrap_err().kind,
            ConfigErrorKind::InvalidConfig
        );
        assert_eq!(validate_topic_configs("__consumer_offsets", &configs), Ok(()));
    }
    let offsets = BrokerConfig::resolve(&BrokerLayers::fixed(&started_with(&[])))
        .unwrap()
        .offsets;
    assert_eq!(
        validate_topic_configs("__consumer_offsets", &offsets.topic_configs()),
        Ok(())
    );
    let config = TopicConfig::resolve(&offsets.topic_configs(), &BrokerLayers::fixed(&started_with(&[]))).unwrap();
    assert_eq!(
        (config.cleanup_delete, config.cleanup_compact, config.segment_bytes),
        (false, true, 104_857_600)
    );
}

#[test]
fn a_dynamic_broker_config_is_accepted_only_if_it_takes_effect() {
    let fixed = started_with(&[("max.connections", "100")]);
    let check = |key, value, all| validate_broker_configs(&values(&[(key, value)]), all, &fixed).map_err(|e| e.kind);
    assert_eq!(check("log.retention.ms", "1000", true), Ok(()));
    assert_eq!(check("log.write.caching", "true", false), Ok(()));
    assert_eq!(check("max.connections", "100", false), Ok(()));
    assert_eq!(
        check("max.connections", "200", false),
        Err(ConfigErrorKind::InvalidConfig)
    );
    assert_eq!(check("num.partitions", "4", true), Err(ConfigErrorKind::InvalidRequest));
    assert_eq!(
        check("listeners", "PLAINTEXT://:9092", true),
        Err(ConfigErrorKind::InvalidRequest)
    );
    assert_eq!(
        check("log.segment.bytes", "1", true),
        Err(ConfigErrorKind::InvalidConfig)
    );
    assert_eq!(check("num.io.threads", "16", true), Err(ConfigErrorKind::InvalidConfig));
    assert_eq!(check("nonsense", "1", true), Err(ConfigErrorKind::InvalidConfig));
}

#[test]
fn a_process_starts_with_what_it_obeys_and_with_what_only_apache_kafka_has() {
    let check = |key, value| validate_static_configs(&values(&[(key, value)])).map_err(|error| error.to_string());
    assert_eq!(check("num.io.threads", "16"), Ok(()));
    assert_eq!(check("process.roles", "broker,controller"), Ok(()));
    assert_eq!(check("transaction.state.log.min.isr", "1"), Ok(()));
    assert!(check("num.io.threads", "0").unwrap_err().contains("at least 1"));
    assert!(
        check("authorizer.class.name", "x.Y")
            .unwrap_err()
            .contains("not supported yet")
    );
    assert!(check("num.partition", "1").unwrap_err().contains("unknown"));
}

fn alteration(name: &str, operation: AlterOperation, value: Option<&str>) -> Alteration {
    Alteration {
        name: name.to_owned(),
        value: value.map(ToOwned::to_owned),
        operation,
    }
}

#[test]
fn append_and_subtract_start_from_the_stored_value_else_from_the_built_in_default() {
    let append = [alteration("cleanup.policy", AlterOperation::Append, Some("compact"))];
    let subtract = [alteration(
        "cleanup.policy",
        AlterOperation::Subtract,
        Some("delete,compact"),
    )];
    let unset = alter(ConfigScope::Topic, &Values::new(), &append).unwrap();
    assert_eq!(unset, values(&[("cleanup.policy", "delete,compact")]));
    assert_eq!(
        alter(ConfigScope::Topic, &unset, &append).unwrap(),
        unset,
        "present values are not doubled"
    );
    assert_eq!(
        alter(ConfigScope::Topic, &unset, &subtract).unwrap(),
        values(&[("cleanup.policy", "")])
    );
    let stored = values(&[("cleanup.policy", "compact")]);
    assert_eq!(alter(ConfigScope::Topic, &stored, &append).unwrap(), stored);
}

#[test]
fn alterations_are_refused_as_kafka_refuses_them() {
    use AlterOperation::{Append, Delete, Set, Subtract};
    let refused = |alterations: &[Alteration]| {
        alter(ConfigScope::Topic, &Values::new(), alterations)
            .unwrap_err()
            .kind
            .code()
    };
    assert_eq!(refused(&[alteration("retention.ms", Append, Some("1"))]), 40);
    assert_eq!(refused(&[alteration("no.such.config", Append, Some("1"))]), 40);
    for operation in [Set, Append, Subtract] {
        assert_eq!(refused(&[alteration("cleanup.policy", operation, None)]), 42);
    }
    let twice = [
        alteration("retention.ms", Set, Some("1")),
        alteration("retention.ms", Delete, None),
    ];
    assert_eq!(refused(&twice), 42);
    assert_eq!(
        refused(&[alteration(
            "leader.replication.throttled.replicas",
            Set,
            Some(&"1".repeat(32_768))
        )]),
        40
    );
    assert_eq!(
        alter(
            ConfigScope::Topic,
            &Values::new(),
            &[alteration("retention.ms", Delete, None)]
        ),
        Ok(Values::new())
    );
}

#[test]
fn replacing_keeps_nothing_that_was_not_sent() {
    assert_eq!(
        replace([("retention.ms", Some("1"))]),
        Ok(values(&[("retention.ms", "1")]))
    );
    assert_eq!(replace([("retention.ms", None)]).unwrap_err().kind.code(), 42);
    assert_eq!(
        replace([("a", Some("1")), ("a", Some("2"))]).unwrap_err().kind.code(),
        42
    );
}

#[test]
fn listener_lists_are_read_with_names_in_any_case_and_ipv6_hosts() {
    let parsed = parse_listeners("listeners", "plaintext://:9092, IN-TERNAL://[::1]:0").unwrap();
    let entry = |name: &str, host: &str, port| ListenerEntry {
        name: name.to_owned(),
        host: host.to_owned(),
        port,
    };
    assert_eq!(parsed, [entry("PLAINTEXT", "", 9092), entry("IN-TERNAL", "::1", 0)]);
    for wrong in [
        "PLAINTEXT:9092",
        "://a:1",
        "A://h",
        "A://h:x",
        "A://h:70000",
        "A://:1,A://:2",
        "A://:1,B://:1",
        "A://::1:9",
    ] {
        let error = parse_listeners("listeners", wrong).unwrap_err();
        assert!(
            error.to_string().contains(wrong) && error.to_string().contains("NAME://host:port"),
            "{error}"
        );
    }
}

#[test]
fn connection_limits_per_address_are_read() {
    let fixed = started_with(&[
        ("max.connections.per.ip.overrides", "10.0.0.1:5, ::1:7"),
        ("connections.max.idle.ms", "-1"),
    ]);
    let network = BrokerConfig::resolve(&BrokerLayers::fixed(&fixed)).unwrap().network;
    assert_eq!(network.max_connections_per_ip_overrides.get("::1"), Some(&7));
    assert_eq!(network.max_connections_per_ip_overrides.get("10.0.0.1"), Some(&5));
    assert_eq!(
        (network.connections_max_idle, network.queued_max_request_bytes),
        (None, None)
    );
    let fixed = started_with(&[("group.min.session.timeout.ms", "1800001")]);
    assert!(BrokerConfig::resolve(&BrokerLayers::fixed(&fixed)).is_err());
}

#[test]
fn memory_for_requests_is_what_was_asked_for_or_refused() {
    let queued = |pairs: &[(&str, &str)]| {
        let fixed = started_with(pairs);
        let config = BrokerConfig::resolve(&BrokerLayers::fixed(&fixed));
        config.map(|config| config.network.queued_max_request_bytes)
    };
    assert_eq!(queued(&[("queued.max.request.bytes", "-1")]), Ok(None));
    assert_eq!(
        queued(&[("queued.max.request.bytes", "209715200")]),
        Ok(Some(209_715_200))
    );
    for small in ["0", "1048576", "209715199"] {
        let refused = queued(&[("queued.max.request.bytes", small)]).unwrap_err().to_string();
        for part in [
            "queued.max.request.bytes",
            small,
            "socket.request.max.bytes (209715200)",
        ] {
            assert!(refused.contains(part), "{refused}");
        }
    }
    let smaller_requests = ("socket.request.max.bytes", "524288");
    assert_eq!(
        queued(&[("queued.max.request.bytes", "1048576"), smaller_requests]),
        Ok(Some(1_048_576))
    );
}

#[test]
fn segments_of_the_offsets_topic_are_as_large_as_was_asked_for() {
    let small = started_with(&[("offsets.topic.segment.bytes", "1048576")]);
    let offsets = BrokerConfig::resolve(&BrokerLayers::fixed(&small)).unwrap().offsets;
    assert_eq!(
        offsets.topic_configs().get("segment.bytes").map(String::as_str),
        Some("1048576")
    );
    let refused = validate_static_configs(&values(&[("offsets.topic.segment.bytes", "1048575")])).unwrap_err();
    assert!(refused.to_string().contains("at least 1048576"), "{refused}");
}

#[test]
fn replication_rates_change_while_brokers_run() {
    let fixed = started_with(&[]);
    for rate in [
        "leader.replication.throttled.rate",
        "follower.replication.throttled.rate",
    ] {
        for cluster_wide in [true, false] {
            let accepted = validate_broker_configs(&values(&[(rate, "1000")]), cluster_wide, &fixed);
            assert!(accepted.is_ok(), "{accepted:?}");
        }
    }
    let refused = validate_broker_configs(&values(&[("replica.fetch.max.bytes", "1000")]), true, &fixed);
    assert!(refused.is_err(), "read at start only");
}
