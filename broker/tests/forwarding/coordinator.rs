//! A coordinator that answers every request with one error code, as one that loads a shard does, and the broker's own
//! answers to that.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use highwater_node::transport::{serve, server};
use highwater_proto::grpc::coordinator_server::{Coordinator, CoordinatorServer};
use highwater_proto::grpc::{ForwardRequest, ForwardResponse};
use highwater_proto::kafka::messages::heartbeat::HeartbeatRequest;
use highwater_proto::kafka::messages::join_group::JoinGroupRequest;
use highwater_proto::kafka::messages::list_groups::ListGroupsRequest;
use highwater_proto::kafka::messages::sync_group::SyncGroupRequest;
use highwater_proto::metadata::{Change, NodeRole};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::{BROKER, COORDINATOR, Cluster, assigned, led_by, node};

struct Refusing(i32);

#[tonic::async_trait]
impl Coordinator for Refusing {
    type ForwardStream = Pin<Box<dyn Stream<Item = Result<ForwardResponse, Status>> + Send>>;

    async fn forward(
        &self,
        requests: Request<Streaming<ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let error = self.0;
        let refuse = move |request: Result<ForwardRequest, Status>| {
            Ok(ForwardResponse {
                correlation: request?.correlation,
                error,
                ..ForwardResponse::default()
            })
        };
        Ok(Response::new(Box::pin(requests.into_inner().map(refuse))))
    }
}

/// A cluster whose shards are all owned by a coordinator that refuses everything.
async fn refusing(error: i32) -> Cluster {
    let cluster = Cluster::start().await;
    cluster.create_offsets(2).await;
    let router = server().add_service(CoordinatorServer::new(Refusing(error)));
    let listener = cluster.network.listen("coordinator", 1).unwrap();
    tokio::spawn(serve(router, listener, CancellationToken::new(), Duration::ZERO));
    let registered = node(COORDINATOR, NodeRole::Coordinator, "GRPC", "coordinator", 1);
    let changes: Vec<Change> = registered.into_iter().chain([assigned(0, 1), assigned(1, 1)]).collect();
    cluster.change(changes).await;
    cluster
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
