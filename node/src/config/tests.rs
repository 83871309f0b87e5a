use std::io::Write as _;

use super::*;

fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<NodeConfig, LoadError> {
    let pairs = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    let mut properties = tempfile::NamedTempFile::new().unwrap();
    properties.write_all(file.as_bytes()).unwrap();
    let sources = Sources {
        file: Some(properties.path().to_owned()),
        environment: pairs(environment),
        flags: pairs(flags),
    };
    NodeConfig::load(Profile::Standalone, &sources)
}

fn refused(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    load(file, environment, flags).unwrap_err().to_string()
}

#[test]
fn a_flag_holds_over_the_environment_and_that_over_the_file() {
    let file = "num.partitions=2\nlog.retention.hours=2\nfetch.max.bytes=2000";
    let environment = [
        ("HIGHWATER_NUM_PARTITIONS", "3"),
        ("HIGHWATER_LOG_RETENTION_HOURS", "3"),
        ("PATH", "/bin"),
    ];
    let config = load(file, &environment, &[("num.partitions", "4")]).unwrap();
    assert_eq!(config.broker.topics.partitions, 4);
    assert_eq!(config.fixed.values["log.retention.hours"], "3");
    assert_eq!(config.broker.network.fetch_max_bytes, 2000);
    assert_eq!(config.origins["num.partitions"], Origin::Flag);
    assert_eq!(
        config.origins["log.retention.hours"],
        Origin::Environment("HIGHWATER_LOG_RETENTION_HOURS".to_owned())
    );
    assert!(matches!(
        config.origins["fetch.max.bytes"],
        Origin::File { line: 3, .. }
    ));
}

#[test]
fn standalone_needs_no_configuration() {
    let config = NodeConfig::load(Profile::Standalone, &Sources::default()).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("./highwater-data"));
    assert_eq!(config.http_listener, "127.0.0.1:9644");
    assert_eq!((config.node_id, config.rack), (None, None));
    let [listener] = config.listeners.all.as_slice() else {
        panic!("one listener")
    };
    assert_eq!(listener.bind_address(), "127.0.0.1:9092");
    assert_eq!(
        (listener.advertised_host.as_str(), listener.advertised_port),
        ("127.0.0.1", Some(9092))
    );
    assert_eq!(config.session.timeout, Duration::from_secs(5));
}

/// The keys and values of the file that Apache Kafka ships.
const SERVER_PROPERTIES: &str = "
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

#[test]
fn the_file_that_apache_kafka_ships_works() {
    let config = load(SERVER_PROPERTIES, &[], &[]).unwrap();
    assert_eq!(config.node_id, Some(NodeId(1)));
    assert_eq!(config.data_dir, PathBuf::from("/tmp/kraft-combined-logs"));
    let names: Vec<_> = config
        .listeners
        .all
        .iter()
        .map(|listener| listener.name.as_str())
        .collect();
    assert_eq!(names, ["PLAINTEXT"]);
    assert_eq!(config.listeners.all[0].bind_address(), "0.0.0.0:9092");
    assert_eq!(config.listeners.all[0].advertised_host, "localhost");
    assert!(config.ignored.iter().any(|ignored| ignored.key == "process.roles"));
}

#[test]
fn what_is_wrong_is_named_with_key_value_what_is_allowed_and_where_it_was_set() {
    let message = refused("\nnum.partitions=many", &[], &[]);
    for part in ["num.partitions", "\"many\"", "32-bit number", "line 2"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    let message = refused("", &[], &[("segment.bites", "1")]);
    assert!(
        message.contains("segment.bites") && message.contains("unknown") && message.contains("flag"),
        "{message}"
    );
    let message = refused("", &[("HIGHWATER_LOG_SEGMENT_BYTES", "1")], &[]);
    assert!(
        message.contains("at least 1048576") && message.contains("HIGHWATER_LOG_SEGMENT_BYTES"),
        "{message}"
    );
    assert!(refused("", &[("HIGHWATER_NUM_PARTITION", "1")], &[]).contains("HIGHWATER_NUM_PARTITION"));
    assert!(refused("a=\\uzzzz", &[], &[]).contains("line 1"));
    assert!(refused("authorizer.class.name=a.B", &[], &[]).contains("not supported yet"));
    assert!(refused("log.dirs=/a,/b", &[], &[]).contains("exactly one directory"));
    assert!(refused("node.id=1\nbroker.id=2", &[], &[]).contains("broker.id"));
    assert!(parse_set("novalue").unwrap_err().to_string().contains("key=value"));
    let missing = Sources {
        file: Some(PathBuf::from("/does/not/exist.properties")),
        ..Sources::default()
    };
    let message = NodeConfig::load(Profile::Standalone, &missing).unwrap_err().to_string();
    assert!(message.contains("/does/not/exist.properties"), "{message}");
}

#[test]
fn variables_of_kubernetes_services_are_left_aside() {
    let environment = [
        ("HIGHWATER_SERVICE_HOST", "10.0.0.1"),
        ("HIGHWATER_BROKER_SERVICE_PORT_KAFKA", "9092"),
        ("HIGHWATER_PORT", "tcp://10.0.0.1:9092"),
        ("HIGHWATER_BROKER_PORT_9092_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(load("", &environment, &[]).is_ok());
}

#[test]
fn listeners_that_cannot_work_are_refused() {
    let cases = [
        ("listeners=SSL://:9093", "PLAINTEXT"),
        ("listeners=OTHER://:9093", "OTHER is missing"),
        (
            "listeners=PLAINTEXT://:9092\nadvertised.listeners=OUTSIDE://a:1",
            "OUTSIDE is not one",
        ),
        ("advertised.listeners=PLAINTEXT://0.0.0.0:9092", "all interfaces"),
        ("inter.broker.listener.name=INSIDE", "INSIDE"),
        (
            "listeners=CONTROLLER://:9093\ncontroller.listener.names=CONTROLLER",
            "at least one",
        ),
    ];
    for (file, expected) in cases {
        let message = refused(file, &[], &[]);
        assert!(message.contains(expected), "{expected} in {message}");
    }
}

fn of_cluster(flags: &[(&str, &str)]) -> Result<NodeConfig, LoadError> {
    let flags = flags
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let sources = Sources {
        flags: flags.collect(),
        ..Sources::default()
    };
    NodeConfig::load(Profile::Cluster, &sources)
}

#[test]
fn what_others_dial_is_never_an_address_that_means_all_interfaces() {
    let unset = of_cluster(&[]).unwrap().cluster.grpc;
    assert_eq!(unset.bind_address(9191), "0.0.0.0:9191");
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert_eq!(unset.advertised(9191), (machine, 9191));
    let loopback = of_cluster(&[("grpc.listener", "127.0.0.1:0")]).unwrap().cluster.grpc;
    assert_eq!(loopback.advertised(41000), ("127.0.0.1".to_owned(), 41000));
    let told = [("grpc.listener", ":1"), ("grpc.advertised.listener", "[fd00::1]:2")];
    let told = of_cluster(&told).unwrap().cluster.grpc;
    assert_eq!(
        (told.bind_address(9), told.advertised(1)),
        ("0.0.0.0:1".to_owned(), ("fd00::1".to_owned(), 2))
    );
    for wrong in ["0.0.0.0:9191", ":9191", "host:0", "host", "::1:9"] {
        let message = of_cluster(&[("grpc.advertised.listener", wrong)])
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("grpc.advertised.listener") && message.contains("host:port"),
            "{message}"
        );
    }
}

#[test]
fn controllers_are_dialable_addresses_and_a_node_of_a_cluster_needs_one() {
    let key = "controller.quorum.bootstrap.servers";
    let config = of_cluster(&[(key, "a:9190, [::1]:9191")]).unwrap().cluster;
    let expected = [("a".to_owned(), 9190), ("::1".to_owned(), 9191)];
    assert_eq!(config.required_controllers().unwrap(), expected);
    for wrong in ["a", "a:9190,a:9190", "0.0.0.0:9190", "a:0", "a:9190,"] {
        let message = of_cluster(&[(key, wrong)]).unwrap_err().to_string();
        assert!(
            message.contains(key) && message.contains("list of host:port"),
            "{message}"
        );
    }
    let message = of_cluster(&[])
        .unwrap()
        .cluster
        .required_controllers()
        .unwrap_err()
        .to_string();
    assert!(message.contains(key) && message.contains("host:port"), "{message}");
}

#[test]
fn keys_of_a_cluster_are_refused_where_there_is_one_process() {
    for key in [
        "cluster.name",
        "etcd.endpoints",
        "grpc.listener",
        "grpc.advertised.listener",
    ] {
        let message = refused("", &[], &[(key, "a:1")]);
        assert!(
            message.contains(key) && message.contains("highwater-broker"),
            "{message}"
        );
    }
    assert!(
        of_cluster(&[("cluster.name", "a/b")])
            .unwrap_err()
            .to_string()
            .contains("cluster.name")
    );
    let config = load("controller.quorum.bootstrap.servers=localhost:9093", &[], &[]).unwrap();
    assert!(
        config
            .ignored
            .iter()
            .any(|it| it.key == "controller.quorum.bootstrap.servers")
    );
}

#[test]
fn etcd_is_spoken_to_as_configured() {
    assert_eq!(of_cluster(&[]).unwrap().etcd, None);
    let plain = of_cluster(&[("etcd.endpoints", "a:2379,http://b:2379"), ("cluster.name", "x")]);
    let plain = plain.unwrap().etcd.unwrap();
    assert_eq!(plain.endpoints, ["http://a:2379", "http://b:2379"]);
    assert_eq!((plain.cluster.as_str(), plain.tls, plain.user), ("x", None, None));
    let (endpoints, ca) = (("etcd.endpoints", "a:2379"), ("etcd.tls.ca.file", "ca.pem"));
    let secret = of_cluster(&[endpoints, ca, ("etcd.username", "u"), ("etcd.password.file", "p")]);
    let secret = secret.unwrap().etcd.unwrap();
    assert_eq!(secret.endpoints, ["https://a:2379"]);
    assert_eq!(secret.user.unwrap().name, "u");
    assert_eq!(secret.tls.unwrap().identity, None);
    for (wrong, named) in [
        (vec![endpoints, ("etcd.username", "u")], "etcd.password.file"),
        (vec![endpoints, ca, ("etcd.tls.cert.file", "c")], "etcd.tls.key.file"),
        (vec![("etcd.endpoints", "https://a:2379")], "etcd.tls.ca.file"),
        (vec![("etcd.endpoints", "http://a:2379"), ca], "in the clear"),
        (vec![("etcd.endpoints", "unix://a")], "host:port"),
        (vec![endpoints, ("etcd.lease.ttl.ms", "10")], "etcd.lease.ttl.ms"),
    ] {
        let message = of_cluster(&wrong).unwrap_err().to_string();
        assert!(message.contains(named), "{message}");
    }
}
