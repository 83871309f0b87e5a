//! The reference of all configs, `docs/configuration.md`. Which processes obey a config is found out: it is set to another
//! value, and looked whether what the process takes of its configuration is another then.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;

use highwater_controller::service::ControllerConfig;
use highwater_coordinator::config::CoordinatorConfig;
use highwater_node::config::{NodeConfig, Sources, render_documentation};
use highwater_proto::config::{
    Allowed, BrokerConfig, BrokerLayers, ConfigType, Definition, Profile, StaticValues, Support, TopicConfig, Values,
    broker_definition, broker_definitions,
};
use highwater_proto::types::NodeId;

/// A key and a value.
type Setting = (&'static str, &'static str);

/// The processes of a cluster.
const PROCESSES: [&str; 3] = ["broker", "controller", "coordinator"];

/// Settings that others need beside them, and values that the type alone does not suggest: key, value, what is set
/// before and after.
const SPECIAL: &[(&str, &str, &[Setting])] = &[
    ("advertised.listeners", "PLAINTEXT://other:1", &[]),
    ("compression.gzip.level", "9", &[("compression.type", "gzip")]),
    ("compression.zstd.level", "9", &[("compression.type", "zstd")]),
    ("controller.quorum.bootstrap.servers", "other:9190", &[]),
    ("etcd.endpoints", "other:2379", &[]),
    ("grpc.advertised.listener", "other:1", &[]),
    ("grpc.listener", "other:1", &[]),
    ("http.listener", "other:1", &[]),
    (
        "inter.broker.listener.name",
        "B",
        &[("listeners", "A://a:1,B://a:2"), TWO],
    ),
    ("listeners", "PLAINTEXT://other:1", &[]),
    ("max.connections.per.ip.overrides", "10.0.0.1:5", &[]),
    ("otel.exporter.otlp.endpoint", "http://other:4317", &[]),
];
const TWO: Setting = ("listener.security.protocol.map", "A:PLAINTEXT,B:PLAINTEXT");

/// What the keys of a cluster that need each other are set to.
const CLUSTER: &[Setting] = &[
    ("controller.quorum.bootstrap.servers", "controller:9190"),
    ("etcd.endpoints", "etcd:2379"),
    ("etcd.username", "user"),
    ("etcd.password.file", "/password"),
    ("etcd.tls.ca.file", "/ca"),
    ("etcd.tls.cert.file", "/cert"),
    ("etcd.tls.key.file", "/key"),
];

/// It is checked and gives nothing: every listener speaks PLAINTEXT. Processes without listeners check it too.
const CHECKED_ONLY: &str = "listener.security.protocol.map";

fn load(profile: Profile, set: &[(&str, &str)]) -> Option<NodeConfig> {
    let mut flags: BTreeMap<&str, &str> = match profile {
        Profile::Cluster => CLUSTER.iter().copied().collect(),
        Profile::Standalone => BTreeMap::new(),
    };
    flags.extend(set.iter().copied());
    let flags = flags.into_iter();
    let sources = Sources {
        flags: flags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        ..Sources::default()
    };
    NodeConfig::load(profile, &sources).ok()
}

fn shown(parts: &[&dyn Debug]) -> String {
    format!("{parts:?}")
}

/// What every process takes, in `highwater_node::process`.
fn of_all(config: &NodeConfig) -> String {
    let mut parts: Vec<&dyn Debug> = vec![
        &config.http_listener,
        &config.logging,
        &config.otel,
        &config.shutdown_grace,
    ];
    if config.fixed.profile == Profile::Cluster {
        parts.extend([
            &config.cluster.grpc as &dyn Debug,
            &config.broker.network.listen_backlog,
        ]);
    }
    shown(&parts)
}

/// What `highwater_controller` takes.
fn of_controller(config: &NodeConfig) -> String {
    let mut taken = ControllerConfig::new("it", config.fixed.clone(), config.session).expect("it was checked");
    taken.settings.fixed = StaticValues::default();
    // With etcd it needs no directory.
    shown(&[&taken, &config.etcd, &config.data_dir])
}

/// What `highwater_coordinator` takes.
fn of_coordinator(config: &NodeConfig) -> String {
    let taken = CoordinatorConfig::of(NodeId(1), config);
    shown(&[
        &taken,
        &config.session.timeout,
        &config.cluster.controllers,
        &config.pod_uid,
    ])
}

/// What `highwater_broker` takes. All fields are named, so that a new one is given to somebody.
fn of_broker(config: &NodeConfig) -> String {
    let BrokerConfig {
        network,
        // Of these the controller takes the others.
        topics,
        // Of these the coordinator takes the others.
        offsets,
        groups: _,
        retention_check_interval,
        producer_id_expiration,
        replica_lag_time_max,
        replication,
        disk_soft_free_bytes,
        disk_soft_free_percent,
    } = &config.broker;
    let layers = BrokerLayers::fixed(&config.fixed);
    let topic = TopicConfig::resolve(&Values::new(), &layers).expect("it was checked");
    let rates = [
        "leader.replication.throttled.rate",
        "follower.replication.throttled.rate",
    ];
    let rates = rates.map(|key| layers.value(key).expect("it was checked"));
    shown(&[
        &(
            network,
            topics.auto_create,
            offsets.topic_partitions,
            offsets.topic_configs(),
        ),
        &(
            offsets.topic_replication_factor,
            retention_check_interval,
            producer_id_expiration,
        ),
        &(
            replica_lag_time_max,
            replication,
            disk_soft_free_bytes,
            disk_soft_free_percent,
        ),
        &(
            topic,
            rates,
            config.node_id,
            &config.rack,
            &config.data_dir,
            &config.listeners,
        ),
        &(&config.session.timeout, &config.cluster.controllers, &config.pod_uid),
    ])
}

/// What all of them take together.
fn of_any(config: &NodeConfig) -> String {
    [of_all, of_broker, of_controller, of_coordinator]
        .map(|of| of(config))
        .concat()
}

/// Values to try, most of which are allowed.
fn candidates(definition: &Definition) -> Vec<String> {
    let words: &[&str] = match (definition.allowed, definition.kind) {
        (Allowed::OneOf(words) | Allowed::OneOfIgnoreCase(words) | Allowed::ListOf(words), _) => words,
        (_, ConfigType::Boolean) => &["true", "false"],
        (_, ConfigType::Int | ConfigType::Short | ConfigType::Long) => {
            &["5", "700", "20000", "3000000", "4000000000", "1048576", "2", "1"]
        }
        (_, ConfigType::Double) => &["0.5"],
        _ => &["debug", "/other"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The configuration without and with another value of a key; `None` where none is allowed that changes anything.
fn changed(definition: &Definition, profile: Profile) -> Option<(NodeConfig, NodeConfig)> {
    let special = SPECIAL.iter().find(|(key, ..)| *key == definition.name);
    let beside = special.map_or(&[] as &[_], |(_, _, beside)| *beside);
    let before = load(profile, beside)?;
    let values = special.map_or_else(|| candidates(definition), |(_, value, _)| vec![(*value).to_owned()]);
    let mut loaded = values.iter().filter_map(|value| {
        let set = [beside, &[(definition.name, value.as_str())]].concat();
        load(profile, &set)
    });
    let after = loaded.find(|after| of_any(after) != of_any(&before))?;
    Some((before, after))
}

/// `None` if nobody does: no value changes anything.
fn obeyed_by(key: &str) -> Option<String> {
    let definition = broker_definition(key).expect("a row of the page");
    if key == CHECKED_ONLY {
        return Some("broker".to_owned());
    }
    let (before, after) = changed(definition, Profile::Cluster)?;
    let takes = |what: fn(&NodeConfig) -> String| what(&before) != what(&after);
    let all = takes(of_all);
    let parts = [of_broker, of_controller, of_coordinator].map(takes);
    let mut names: Vec<&str> = PROCESSES
        .into_iter()
        .zip(parts)
        .filter_map(|(name, takes)| (takes || all).then_some(name))
        .collect();
    if names.len() == PROCESSES.len() {
        names = vec!["all"];
    }
    let alone = changed(definition, Profile::Standalone).is_some_and(|(_, after)| after.ignored.is_empty());
    let not = if alone { "" } else { "; not `highwater`" };
    Some(format!("{}{not}", names.join(", ")))
}

#[test]
fn the_committed_reference_of_all_configs_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let nobody = RefCell::new(Vec::new());
    let rendered = render_documentation(|key| {
        obeyed_by(key).unwrap_or_else(|| {
            nobody.borrow_mut().push(key.to_owned());
            String::new()
        })
    });
    assert!(
        nobody.borrow().is_empty(),
        "accepted, and nobody obeys them: {nobody:?}"
    );
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &rendered).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == rendered,
        "docs/configuration.md is not current: run the test again with UPDATE_DOCS=1"
    );
}

#[test]
fn it_is_found_out_who_obeys_a_config() {
    for (key, processes) in [
        ("etcd.username", "controller; not `highwater`"),
        (
            "controller.quorum.bootstrap.servers",
            "broker, coordinator; not `highwater`",
        ),
        ("grpc.listener", "all; not `highwater`"),
        ("logging.format", "all"),
        ("group.max.size", "coordinator"),
        ("num.partitions", "controller"),
        ("log.retention.hours", "broker"),
        ("min.insync.replicas", "broker, controller"),
    ] {
        assert_eq!(obeyed_by(key).as_deref(), Some(processes), "{key}");
    }
    let implemented = broker_definitions().filter(|definition| definition.support == Support::Implemented);
    assert!(implemented.count() > 80);
}
