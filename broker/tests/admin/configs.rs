//! AlterConfigs, IncrementalAlterConfigs, DescribeConfigs.

use highwater_proto::kafka::messages::alter_configs::AlterConfigsRequest;
use highwater_proto::kafka::messages::alter_configs::request as whole;
use highwater_proto::kafka::messages::describe_configs::DescribeConfigsRequest;
use highwater_proto::kafka::messages::describe_configs::request::DescribeConfigsResource;
use highwater_proto::kafka::messages::incremental_alter_configs::IncrementalAlterConfigsRequest;
use highwater_proto::kafka::messages::incremental_alter_configs::request::{AlterConfigsResource, AlterableConfig};

use crate::cluster::Cluster;
use crate::records::produce;
use crate::support::{Client, batch};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;

/// (name, value, source) of configs that are set on the resource itself or by all brokers.
async fn set_configs(client: &mut Client, kind: i8, name: &str) -> Vec<(String, String, i8)> {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        ..Default::default()
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    };
    let answer = client.call(4, &request).await;
    let set = answer.results[0]
        .configs
        .iter()
        .filter(|config| config.config_source < 4);
    set.map(|c| {
        (
            c.name.to_string(),
            c.value.as_deref().unwrap_or_default().to_owned(),
            c.config_source,
        )
    })
    .collect()
}

fn change(kind: i8, name: &str, configs: &[(&str, i8, Option<&str>)]) -> AlterConfigsResource {
    let config = |(name, operation, value): &(&str, i8, Option<&str>)| AlterableConfig {
        name: (*name).into(),
        config_operation: *operation,
        value: value.map(Into::into),
        ..Default::default()
    };
    AlterConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configs: configs.iter().map(config).collect(),
        ..Default::default()
    }
}

async fn alter(client: &mut Client, resources: Vec<AlterConfigsResource>) -> Vec<i16> {
    let request = IncrementalAlterConfigsRequest {
        resources,
        ..Default::default()
    };
    client
        .call(1, &request)
        .await
        .responses
        .iter()
        .map(|r| r.error_code)
        .collect()
}

#[tokio::test]
async fn an_altered_config_shows_when_the_answer_is_there() {
    let cluster = Cluster::start().await;
    cluster.create("t", 1, &[("retention.ms", "1")]).await;
    let mut client = cluster.connect().await;
    let row = |name: &str, value: &str, source| (name.to_owned(), value.to_owned(), source);

    let codes = alter(
        &mut client,
        vec![change(TOPIC, "t", &[("segment.bytes", SET, Some("2000000"))])],
    )
    .await;
    assert_eq!(codes, [0]);
    let both = [row("retention.ms", "1", 1), row("segment.bytes", "2000000", 1)];
    assert_eq!(set_configs(&mut client, TOPIC, "t").await, both);

    alter(&mut client, vec![change(TOPIC, "t", &[("retention.ms", DELETE, None)])]).await;
    assert_eq!(set_configs(&mut client, TOPIC, "t").await, both[1..]);

    let config = whole::AlterableConfig {
        name: "max.message.bytes".into(),
        value: Some("5".into()),
        ..Default::default()
    };
    let resource = whole::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: "t".into(),
        configs: vec![config],
        ..Default::default()
    };
    let request = AlterConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    };
    assert_eq!(client.call(2, &request).await.responses[0].error_code, 0);
    assert_eq!(
        set_configs(&mut client, TOPIC, "t").await,
        [row("max.message.bytes", "5", 1)],
        "all others are gone"
    );

    let everywhere = vec![change(BROKER, "", &[("log.segment.bytes", SET, Some("3000000"))])];
    assert_eq!(alter(&mut client, everywhere).await, [0]);
    let inherited = [row("max.message.bytes", "5", 1), row("segment.bytes", "3000000", 3)];
    assert_eq!(set_configs(&mut client, TOPIC, "t").await, inherited);
    assert_eq!(
        set_configs(&mut client, BROKER, "").await,
        [row("log.segment.bytes", "3000000", 3)]
    );
}

#[tokio::test]
async fn an_altered_config_is_obeyed_when_the_answer_is_there() {
    let cluster = Cluster::start().await;
    cluster.create("t", 1, &[]).await;
    let mut client = cluster.connect().await;
    let too_large = 10;
    let value = "x".repeat(5_000);
    let steps = [
        (TOPIC, "t", "max.message.bytes", Some("1000"), too_large),
        (TOPIC, "t", "max.message.bytes", None, 0),
        (BROKER, "", "message.max.bytes", Some("1000"), too_large),
        (TOPIC, "t", "max.message.bytes", Some("1000000"), 0),
        (TOPIC, "t", "max.message.bytes", None, too_large),
        (BROKER, "", "message.max.bytes", None, 0),
    ];
    for (kind, name, key, to, expected) in steps {
        let operation = if to.is_some() { SET } else { DELETE };
        let changed = vec![change(kind, name, &[(key, operation, to)])];
        assert_eq!(alter(&mut client, changed).await, [0]);
        assert_eq!(
            produce(&mut client, "t", batch(&[&value])).await,
            expected,
            "{key} of {name:?} is {to:?}"
        );
    }
}

#[tokio::test]
async fn results_come_in_the_order_of_the_resources() {
    let cluster = Cluster::start().await;
    cluster.create("t", 1, &[]).await;
    let mut client = cluster.connect().await;
    let good = &[("retention.ms", SET, Some("1"))][..];
    let resources = vec![
        change(TOPIC, "x", good),
        change(BROKER, "1", good),
        change(TOPIC, "t", good),
        change(TOPIC, "twice", good),
        change(TOPIC, "t2", &[("retention.ms", 9, Some("1"))]),
        change(TOPIC, "twice", good),
    ];
    assert_eq!(alter(&mut client, resources).await, [3, 42, 0, 42, 42, 42]);
    let sent: Vec<_> = cluster.controller.altered.lock()[0]
        .resources
        .iter()
        .map(|r| r.resource_name.clone())
        .collect();
    assert_eq!(sent, ["x", "t"]);
}

#[tokio::test]
async fn what_the_broker_refuses_never_reaches_the_controller() {
    let cluster = Cluster::start().await;
    *cluster.controller.away.lock() = true;
    let mut client = cluster.connect().await;
    assert_eq!(
        alter(&mut client, vec![change(BROKER, "7", &[])]).await,
        [42],
        "answered without a controller"
    );
    assert!(alter(&mut client, Vec::new()).await.is_empty());
}
