//! A toy coordinator, and what the broker makes of its answers: of one error code for every request, as of one that loads
//! a shard, and of descriptions.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::{Stream, StreamExt as _};
use highwater_node::transport::{serve, server};
use highwater_proto::grpc::coordinator_server::{Coordinator, CoordinatorServer};
use highwater_proto::grpc::{ForwardRequest, ForwardResponse};
use highwater_proto::kafka::messages::describe_groups::response::DescribedGroup;
use highwater_proto::kafka::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use highwater_proto::kafka::messages::heartbeat::HeartbeatRequest;
use highwater_proto::kafka::messages::join_group::JoinGroupRequest;
use highwater_proto::kafka::messages::list_groups::ListGroupsRequest;
use highwater_proto::kafka::messages::sync_group::SyncGroupRequest;
use highwater_proto::kafka::{ByteStr, Message as _};
use highwater_proto::metadata::{Change, NodeRole};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::{BROKER, COORDINATOR, Cluster, assigned, led_by, node};
use crate::support::Client;

type Answer = Arc<dyn Fn(&ForwardRequest) -> ForwardResponse + Send + Sync>;

struct Toy(Answer);

#[tonic::async_trait]
impl Coordinator for Toy {
    type ForwardStream = Pin<Box<dyn Stream<Item = Result<ForwardResponse, Status>> + Send>>;

    async fn forward(
        &self,
        requests: Request<Streaming<ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let answer = Arc::clone(&self.0);
        let reply = move |request: Result<ForwardRequest, Status>| {
            let request = request?;
            Ok(ForwardResponse {
                correlation: request.correlation,
                ..answer(&request)
            })
        };
        Ok(Response::new(Box::pin(requests.into_inner().map(reply))))
    }
}

/// A cluster whose two shards are owned by a coordinator that answers like this.
async fn answering(answer: impl Fn(&ForwardRequest) -> ForwardResponse + Send + Sync + 'static) -> Cluster {
    let cluster = Cluster::start().await;
    cluster.create_offsets(2).await;
    let router = server().add_service(CoordinatorServer::new(Toy(Arc::new(answer))));
    let listener = cluster.network.listen("coordinator", 1).unwrap();
    tokio::spawn(serve(router, listener, CancellationToken::new(), Duration::ZERO));
    let registered = node(COORDINATOR, NodeRole::Coordinator, "GRPC", "coordinator", 1);
    let changes: Vec<Change> = registered.into_iter().chain([assigned(0, 1), assigned(1, 1)]).collect();
    cluster.change(changes).await;
    cluster
}

async fn refusing(error: i32) -> Cluster {
    answering(move |_| ForwardResponse {
        error,
        ..ForwardResponse::default()
    })
    .await
}

/// Describes every group that it is asked for once, as often as it is; nobody knows one called "unknown".
fn describing(request: &ForwardRequest) -> ForwardResponse {
    let version = request.api_version as i16;
    let asked = DescribeGroupsRequest::decode(&mut request.body.clone(), version).unwrap();
    let describe = |group_id: &ByteStr| DescribedGroup {
        group_id: group_id.clone(),
        error_code: if &**group_id == "unknown" { 69 } else { 0 },
        protocol_data: format!("{} asked", asked.groups.iter().filter(|it| *it == group_id).count()).into(),
        ..Default::default()
    };
    let response = DescribeGroupsResponse {
        groups: asked.groups.iter().map(describe).collect(),
        ..Default::default()
    };
    let mut body = BytesMut::new();
    response.encode(&mut body, version).unwrap();
    ForwardResponse {
        body: body.freeze(),
        ..ForwardResponse::default()
    }
}

async fn described(client: &mut Client, version: i16, groups: &[&str], operations: bool) -> Vec<DescribedGroup> {
    let request = DescribeGroupsRequest {
        groups: groups.iter().map(|group| (*group).into()).collect(),
        include_authorized_operations: operations,
        ..Default::default()
    };
    client.call(version, &request).await.groups
}

#[tokio::test]
async fn a_group_that_is_named_again_is_asked_for_once_and_answered_again() {
    let cluster = answering(describing).await;
    let mut client = cluster.connect().await;
    // "a" and "c" are of one shard, "b" is of the other.
    let names = ["a", "b", "a", "c", "b", "a"];
    let groups = described(&mut client, 5, &names, false).await;
    let rows: Vec<_> = groups
        .iter()
        .map(|it| (&*it.group_id, it.error_code, &*it.protocol_data))
        .collect();
    assert_eq!(rows, names.map(|name| (name, 0, "1 asked")));

    let many = described(&mut client, 5, &["a"; 100], false).await;
    let errors: Vec<_> = many.iter().map(|it| it.error_code).collect();
    assert_eq!(errors.len(), 100);
    assert!(errors[..17].iter().all(|error| *error == 0), "{errors:?}");
    assert!(errors[17..].iter().all(|error| *error == 42), "{errors:?}");
}

#[tokio::test]
async fn everything_is_allowed_on_a_group_and_told_who_asks() {
    let cluster = answering(describing).await;
    let mut client = cluster.connect().await;
    for version in 3..=6 {
        let asked = described(&mut client, version, &["a", "b", "unknown"], true).await;
        let operations: Vec<_> = asked.iter().map(|it| it.authorized_operations).collect();
        // Read, delete, describe, describe and alter configs; nothing of a group that has an error.
        assert_eq!(operations, [3400, 3400, i32::MIN], "v{version}");
        let not_asked = described(&mut client, version, &["a"], false).await;
        assert_eq!(not_asked[0].authorized_operations, i32::MIN, "v{version}");
    }
}

#[tokio::test]
async fn members_of_a_loading_shard_get_what_their_clients_expect() {
    let cluster = refusing(14).await;
    let mut client = cluster.connect().await;
    let join = client
        .call(
            9,
            &JoinGroupRequest {
                group_id: "g".into(),
                ..Default::default()
            },
        )
        .await;
    assert_eq!(join.error_code, 14);
    // Clients give up at 14 in both.
    let sync = client
        .call(
            5,
            &SyncGroupRequest {
                group_id: "g".into(),
                ..Default::default()
            },
        )
        .await;
    assert_eq!(sync.error_code, 27, "join again");
    let beat = client
        .call(
            4,
            &HeartbeatRequest {
                group_id: "g".into(),
                ..Default::default()
            },
        )
        .await;
    assert_eq!(beat.error_code, 0, "stay");
}

#[tokio::test]
async fn a_list_of_groups_is_whole_or_refused() {
    let cluster = refusing(14).await;
    let listed = cluster.connect().await.call(5, &ListGroupsRequest::default()).await;
    assert_eq!((listed.error_code, listed.groups.len()), (14, 0), "a shard that loads");

    let cluster = refusing(16).await;
    let mut client = cluster.connect().await;
    let listed = client.call(5, &ListGroupsRequest::default()).await;
    assert_eq!(
        listed.error_code, 14,
        "a shard on the move, whose partition is led here: nobody else answers for it"
    );
    cluster.change(vec![led_by(0, None, 1), led_by(1, None, 1)]).await;
    assert_ne!(BROKER, COORDINATOR);
    let listed = client.call(5, &ListGroupsRequest::default()).await;
    assert_eq!(listed.error_code, 0, "shards that others answer for");
}
