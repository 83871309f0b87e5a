//! ListGroups of three brokers in front of two coordinators: together they tell of every group once.

use std::pin::Pin;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::{Stream, StreamExt as _};
use highwater_node::transport::{serve, server};
use highwater_proto::grpc::coordinator_server::{Coordinator, CoordinatorServer};
use highwater_proto::grpc::{ForwardRequest, ForwardResponse};
use highwater_proto::kafka::Message as _;
use highwater_proto::kafka::messages::list_groups::response::ListedGroup;
use highwater_proto::kafka::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use highwater_proto::metadata::{Change, NodeRole, ShardAssignment};
use highwater_proto::types::{CoordinatorEpoch, NodeId};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::brokers::{Brokers, led};
use crate::cluster::{node, shard};

const COORDINATORS: [i32; 2] = [1_000_000, 1_000_001];

/// Lists one group per shard, named after itself and the shard.
struct Listing(i32);

#[tonic::async_trait]
impl Coordinator for Listing {
    type ForwardStream = Pin<Box<dyn Stream<Item = Result<ForwardResponse, Status>> + Send>>;

    async fn forward(
        &self,
        requests: Request<Streaming<ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let id = self.0;
        let list = move |request: Result<ForwardRequest, Status>| {
            let request = request?;
            let shard = request.shard.unwrap().index;
            let response = ListGroupsResponse {
                groups: vec![ListedGroup {
                    group_id: format!("{id}/{shard}").as_str().into(),
                    ..Default::default()
                }],
                ..Default::default()
            };
            let mut body = BytesMut::new();
            let version = i16::try_from(request.api_version).unwrap();
            response.encode(&mut body, version).unwrap();
            Ok(ForwardResponse {
                correlation: request.correlation,
                body: body.freeze(),
                ..ForwardResponse::default()
            })
        };
        Ok(Response::new(Box::pin(requests.into_inner().map(list))))
    }
}

fn owned(index: i32, owner: i32, epoch: i32) -> Change {
    Change::PutShard(
        shard(index),
        ShardAssignment {
            owner: Some(NodeId(owner)),
            epoch: CoordinatorEpoch(epoch),
        },
    )
}

/// What admin clients see, who ask every broker.
async fn listed(brokers: &Brokers) -> Vec<String> {
    let mut all = Vec::new();
    for broker in 0..3 {
        let mut client = brokers.connect(broker).await;
        let response = client.call(5, &ListGroupsRequest::default()).await;
        assert_eq!(response.error_code, 0, "broker {broker}");
        all.extend(response.groups.iter().map(|group| group.group_id.to_string()));
    }
    all.sort();
    all
}

#[tokio::test]
async fn all_brokers_together_list_every_group_once() {
    let mut brokers = Brokers::start().await;
    let mut changes = Vec::new();
    for id in COORDINATORS {
        let host = format!("coordinator-{id}");
        let listener = brokers.network.listen(&host, 1).unwrap();
        let router = server().add_service(CoordinatorServer::new(Listing(id)));
        tokio::spawn(serve(router, listener, CancellationToken::new(), Duration::ZERO));
        changes.extend(node(NodeId(id), NodeRole::Coordinator, "GRPC", &host, 1));
    }
    brokers.create_offsets(&[0, 1, 2, 0, 1, 0]).await;
    changes.extend((0..6).map(|index| owned(index, COORDINATORS[index as usize % 2], 1)));
    brokers.change(changes).await;
    let [first, second] = COORDINATORS;
    let expected = |owners: [i32; 6]| {
        let mut names: Vec<_> = (0..6).map(|index| format!("{}/{index}", owners[index])).collect();
        names.sort();
        names
    };
    assert_eq!(
        listed(&brokers).await,
        expected([first, second, first, second, first, second])
    );

    // A coordinator is lost, and a broker leads no more.
    let mut moved: Vec<_> = [0, 2, 4].map(|index| owned(index, second, 2)).into();
    moved.extend([0, 3, 5].map(|index| led(index, 2, 1, &[1, 2])));
    brokers.change(moved).await;
    assert_eq!(listed(&brokers).await, expected([second; 6]));
}
