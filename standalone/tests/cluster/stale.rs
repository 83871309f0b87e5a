//! The trace that breaks weaker designs: a shard's owner and the leader that confirms it stand still together, both are
//! replaced, a commit is acknowledged, and then they go on with what they knew.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use highwater_node::transport::Dialer;
use highwater_proto::grpc::coordinator_client::CoordinatorClient;
use highwater_proto::grpc::{ForwardRequest, ForwardResponse};
use highwater_proto::kafka::messages::offset_fetch::OffsetFetchResponse;
use highwater_proto::kafka::{ApiKey, Message};
use highwater_proto::types::{NodeId, ShardId};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::client::{Client, offset_fetch};
use crate::cluster::{Cluster, LIMIT};

const VERSION: i16 = 5;
const GROUP: &str = "g";

/// A broker whose image is old: it asks a coordinator that it takes for the owner.
struct Door {
    runtime: Runtime,
    shard: ShardId,
    requests: mpsc::Sender<ForwardRequest>,
    replies: mpsc::Receiver<ForwardResponse>,
    asked: u64,
}

impl Door {
    fn open(cluster: &Cluster, coordinator: NodeId, shard: ShardId) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let image = cluster.image();
        let endpoint = image.node(coordinator).unwrap().endpoint("GRPC").unwrap().clone();
        let (requests, outgoing) = mpsc::channel(1_024);
        let (sender, replies) = mpsc::channel(1_024);
        runtime.block_on(async move {
            let mut client = CoordinatorClient::new(Dialer::tcp().channel(&endpoint.host, endpoint.port));
            let answered = client.forward(ReceiverStream::new(outgoing)).await.unwrap();
            let mut answered = answered.into_inner();
            tokio::spawn(async move {
                while let Ok(Some(reply)) = answered.message().await {
                    let _ = sender.send(reply).await;
                }
            });
        });
        Self {
            runtime,
            shard,
            requests,
            replies,
            asked: 0,
        }
    }

    fn ask(&mut self) {
        let mut body = BytesMut::new();
        offset_fetch(GROUP, "t").encode(&mut body, VERSION).unwrap();
        self.asked += 1;
        let request = ForwardRequest {
            correlation: self.asked,
            image_revision: 0,
            shard: Some(self.shard.into()),
            api_key: ApiKey::OffsetFetch.code().into(),
            api_version: VERSION.into(),
            client_host: "/127.0.0.1".to_owned(),
            body: body.freeze(),
            ..ForwardRequest::default()
        };
        self.requests.blocking_send(request).unwrap();
    }

    /// The offset, if it is answered.
    fn answer(&mut self) -> Result<i64, i32> {
        let mut reply = self.runtime.block_on(async {
            let reply = tokio::time::timeout(LIMIT, self.replies.recv());
            reply.await.expect("an answer").expect("the stream stands")
        });
        if reply.error != 0 {
            return Err(reply.error);
        }
        let answer = OffsetFetchResponse::decode(&mut reply.body, VERSION).unwrap();
        match answer.error_code {
            0 => Ok(answer.topics[0].partitions[0].committed_offset),
            error => Err(error.into()),
        }
    }
}

fn commit(client: &mut Client, offset: i64) {
    let started = Instant::now();
    loop {
        match client.commit(GROUP, -1, "", "t", offset) {
            0 => return,
            14..=16 => assert!(started.elapsed() < LIMIT),
            error => panic!("error {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_owner_and_its_leader_that_were_replaced_while_they_stood_still_answer_nothing_old() {
    let mut cluster = Cluster::start();
    cluster.start_coordinator();
    cluster.start_coordinator();
    let first = cluster.addresses.lock().unwrap()[0];
    let mut client = Client::connect(first);
    client.create_with("t", 1, 3);
    client.find_coordinator(GROUP);
    commit(&mut client, 1);

    let (shard, owner, leader) = cluster.shard_of(GROUP);
    let (owner, leader) = (owner.unwrap(), leader.unwrap());
    let mut door = Door::open(&cluster, owner, shard);
    door.ask();
    assert_eq!(door.answer(), Ok(1));

    let frozen = (cluster.freeze_coordinator(owner), cluster.freeze_broker(leader));
    cluster.wait_until(|| {
        let (_, next_owner, next_leader) = cluster.shard_of(GROUP);
        next_owner.is_some_and(|it| it != owner) && next_leader.is_some_and(|it| it != leader)
    });
    commit(&mut Client::connect(cluster.other_address(leader)), 2);

    for _ in 0..20 {
        door.ask();
    }
    drop(frozen);
    for _ in 0..20 {
        let answer = door.answer();
        assert!(
            !matches!(answer, Ok(offset) if offset < 2),
            "{answer:?} after 2 was acknowledged"
        );
    }
}
