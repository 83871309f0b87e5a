use bytes::Bytes;
use highwater_proto::kafka::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use highwater_proto::kafka::{ApiKey, ErrorCode, Message};
use tokio::io::AsyncWriteExt;

use crate::support::TestBroker;

fn request() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "highwater-test".into(),
        client_software_version: "1.0".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn every_version_lists_what_is_served() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for version in 0..=4 {
        let mut request = request();
        if version < 3 {
            request = ApiVersionsRequest::default();
        }
        let response = client.call(version, &request).await;
        assert_eq!(response.error_code, 0);
        let range = |key: ApiKey| {
            let api = response.api_keys.iter().find(|api| api.api_key == key.code()).unwrap();
            (api.min_version, api.max_version)
        };
        assert_eq!(
            range(ApiKey::Produce),
            (0, 13),
            "old librdkafka compresses only if 0 is advertised"
        );
        assert_eq!(range(ApiKey::Fetch), (4, 18));
        assert_eq!(range(ApiKey::ApiVersions), (0, 4));
        if version >= 3 {
            assert!(response.finalized_features_epoch >= 1, "the cluster's one clock");
            assert!(response.finalized_features.is_empty());
        }
    }
}

/// What Apache Kafka 4.1 serves of the APIs of this version: key, lowest, highest.
const KAFKA_4_1: [(i16, i16, i16); 33] = [
    (0, 0, 13),
    (1, 4, 18),
    (2, 1, 10),
    (3, 0, 13),
    (8, 2, 9),
    (9, 1, 9),
    (10, 0, 6),
    (11, 0, 9),
    (12, 0, 4),
    (13, 0, 5),
    (14, 0, 5),
    (15, 0, 6),
    (16, 0, 5),
    (18, 0, 4),
    (19, 2, 7),
    (20, 1, 6),
    (21, 0, 2),
    (22, 0, 5),
    (23, 2, 4),
    (32, 1, 4),
    (33, 0, 2),
    (35, 1, 4),
    (37, 0, 3),
    (42, 0, 2),
    (43, 0, 2),
    (44, 0, 1),
    (45, 0, 1),
    (46, 0, 0),
    (47, 0, 0),
    (60, 0, 2),
    (64, 0, 0),
    (74, 0, 1),
    (75, 0, 0),
];

#[tokio::test]
async fn the_ranges_are_those_of_kafka_and_transactions_are_not_advertised() {
    let broker = TestBroker::start().await;
    let response = broker.connect().await.call(3, &request()).await;
    let mut served: Vec<_> = response
        .api_keys
        .iter()
        .map(|api| (api.api_key, api.min_version, api.max_version))
        .collect();
    served.sort_unstable();
    assert_eq!(served, KAFKA_4_1);
}

#[tokio::test]
async fn an_unknown_version_is_answered_in_version_0_and_the_connection_lives_on() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    // Version 99 with a header of version 2, correlation id 7, no client id, and whatever the version's body may be.
    let frame = [0, 0, 0, 14, 0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0, 1, 2, 3];
    client.stream.write_all(&frame).await.unwrap();
    let mut answer = client.receive_frame().await.unwrap();
    assert_eq!(answer.split_to(4), Bytes::from_static(&[0, 0, 0, 7]));
    let answer = ApiVersionsResponse::decode(&mut answer, 0).unwrap();
    assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion.code());
    assert_eq!(answer.api_keys.len(), 1);
    assert_eq!((answer.api_keys[0].api_key, answer.api_keys[0].max_version), (18, 4));
    assert_eq!(client.call(3, &request()).await.error_code, 0);
}

#[tokio::test]
async fn a_bad_software_name_is_an_invalid_request() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let bad = ApiVersionsRequest {
        client_software_name: "no spaces".into(),
        ..request()
    };
    let response = client.call(3, &bad).await;
    assert_eq!(response.error_code, ErrorCode::InvalidRequest.code());
    assert!(response.api_keys.is_empty());
}
