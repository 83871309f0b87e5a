//! What is forwarded is advertised as far as all coordinators serve it: any of them may get it.

use highwater_proto::kafka::ApiKey;
use highwater_proto::kafka::messages::api_versions::ApiVersionsRequest;
use highwater_proto::metadata::{Change, NodeRole, NodeState};
use highwater_proto::types::NodeId;

use crate::cluster::{Cluster, node};

const FIRST: NodeId = NodeId(1_000_000);
const SECOND: NodeId = NodeId(1_000_001);

fn coordinator(id: NodeId, ranges: &[(ApiKey, i16, i16)]) -> Vec<Change> {
    let mut changes = node(id, NodeRole::Coordinator, "GRPC", "coordinator", 1);
    if let Change::PutNodeRegistration(_, registration) = &mut changes[0] {
        let ranges = ranges.iter().map(|(key, low, high)| (key.code(), *low, *high));
        registration.api_ranges = ranges.collect();
    }
    changes.into()
}

async fn advertised(cluster: &Cluster, key: ApiKey) -> Option<(i16, i16)> {
    let mut client = cluster.connect().await;
    let request = ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    let versions = client.call(3, &request).await;
    let found = versions.api_keys.into_iter().find(|it| it.api_key == key.code());
    found.map(|it| (it.min_version, it.max_version))
}

#[tokio::test]
async fn several_coordinators_are_advertised_by_what_they_have_in_common() {
    let cluster = Cluster::start().await;
    cluster
        .change(coordinator(
            FIRST,
            &[(ApiKey::Heartbeat, 0, 4), (ApiKey::OffsetCommit, 2, 9)],
        ))
        .await;
    assert_eq!(advertised(&cluster, ApiKey::Heartbeat).await, Some((0, 4)));
    assert_eq!(advertised(&cluster, ApiKey::OffsetCommit).await, Some((2, 9)));

    cluster.change(coordinator(SECOND, &[(ApiKey::Heartbeat, 1, 3)])).await;
    assert_eq!(advertised(&cluster, ApiKey::Heartbeat).await, Some((1, 3)));
    assert_eq!(advertised(&cluster, ApiKey::OffsetCommit).await, None);

    let fenced = Change::PutNodeState(SECOND, NodeState::Fenced);
    cluster.change(vec![fenced]).await;
    assert_eq!(advertised(&cluster, ApiKey::OffsetCommit).await, Some((2, 9)));
}
