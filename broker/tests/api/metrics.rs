use highwater_node::clock::Clock;
use highwater_node::telemetry::Metrics;
use highwater_proto::kafka::messages::describe_topic_partitions::DescribeTopicPartitionsRequest;
use highwater_proto::kafka::messages::describe_topic_partitions::request::TopicRequest;
use highwater_proto::kafka::messages::heartbeat::HeartbeatRequest;

use crate::fetch::request as fetch_request;
use crate::produce::produce;
use crate::support::{TestBroker, batch};

#[tokio::test]
async fn dashboards_find_kafkas_names_and_the_right_figures() {
    let broker = TestBroker::start().await;
    broker.create("t", 2, &[]).await;
    let mut client = broker.connect().await;
    let records = batch(&["a", "b", "c"]);
    let size = records.len();
    assert_eq!(produce(&mut client, "t", -1, records).await.error_code, 0);
    assert_eq!(produce(&mut client, "unknown", -1, batch(&["a"])).await.error_code, 3);
    let _ = client.call(12, &fetch_request(12, "t", 0, 0)).await;
    let missing = TopicRequest {
        name: "missing".into(),
        ..Default::default()
    };
    let describe = DescribeTopicPartitionsRequest {
        topics: vec![missing],
        response_partition_limit: 10,
        ..Default::default()
    };
    assert_eq!(client.call(0, &describe).await.topics[0].error_code, 3);
    // There is no __consumer_offsets here: the broker refuses by itself.
    let heartbeat = HeartbeatRequest {
        group_id: "g".into(),
        ..Default::default()
    };
    assert_eq!(client.call(4, &heartbeat).await.error_code, 16);
    let registry = Metrics::new(&Clock::system());
    broker.broker.metrics().register(&registry, &broker.broker);
    let text = registry.encode().unwrap();
    for expected in [
        format!("kafka_server_brokertopicmetrics_bytesin_total {size}.0"),
        format!("kafka_server_brokertopicmetrics_bytesin_total{{topic=\"t\"}} {size}.0"),
        "kafka_server_brokertopicmetrics_messagesin_total{topic=\"t\"} 3.0".to_owned(),
        format!("kafka_server_brokertopicmetrics_bytesout_total{{topic=\"t\"}} {size}.0"),
        "kafka_server_brokertopicmetrics_failedproducerequests_total 1.0".to_owned(),
        "kafka_network_requestmetrics_requests_total{request=\"Produce\"} 2.0".to_owned(),
        "kafka_network_requestmetrics_errors_total{request=\"Produce\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"} 1.0"
            .to_owned(),
        "kafka_network_requestmetrics_errors_total{request=\"DescribeTopicPartitions\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"} 1.0"
            .to_owned(),
        "kafka_network_requestmetrics_errors_total{request=\"Heartbeat\",error=\"NOT_COORDINATOR\"} 1.0".to_owned(),
        "kafka_network_requestmetrics_totaltimems_count{request=\"Produce\"} 2.0".to_owned(),
        "kafka_cluster_partition_replicascount{topic=\"t\",partition=\"0\"} 1.0".to_owned(),
        "kafka_log_logmanager_offlinelogdirectorycount 0.0".to_owned(),
        "kafka_server_replicamanager_partitioncount 2.0".to_owned(),
        "kafka_server_replicamanager_leadercount 2.0".to_owned(),
        "kafka_server_replicamanager_underreplicatedpartitions 0.0".to_owned(),
        "kafka_cluster_partition_underminisr{topic=\"t\",partition=\"0\"} 0.0".to_owned(),
        format!("kafka_log_log_size{{topic=\"t\",partition=\"0\"}} {size}.0"),
        "kafka_log_log_logendoffset{topic=\"t\",partition=\"0\"} 3.0".to_owned(),
        "kafka_server_socket_server_metrics_connection_count 1.0".to_owned(),
    ] {
        assert!(
            text.lines().any(|line| line == expected),
            "{expected} is not in\n{text}"
        );
    }
    for expected in [
        "kafka_network_requestmetrics_totaltimems{request=\"Produce\",quantile=\"0.99\"}",
        "kafka_log_logflushstats_logflushrateandtimems{quantile=\"0.99\"}",
        "\nkafka_log_logflushstats_logflushrateandtimems_count ",
        "\nkafka_network_socketserver_networkprocessoravgidle_percent ",
        "\nkafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent ",
        "highwater_request_duration_seconds_bucket{le=\"+Inf\",request=\"Produce\"} 2",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}
