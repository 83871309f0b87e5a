//! A broker in this process with its gRPC service, a toy controller behind it, and room for a coordinator.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use highwater_broker::Broker;
use highwater_broker::broker::BrokerParts;
use highwater_broker::partitions::RecoveredLogs;
use highwater_broker::service::Service;
use highwater_node::clock::Clock;
use highwater_node::shutdown::Shutdown;
use highwater_node::transport::{Channel, Dialer, MAX_MESSAGE_BYTES, MemoryNetwork, serve, server};
use highwater_proto::config::{BrokerConfig, BrokerLayers, StaticValues};
use highwater_proto::grpc::broker_client::BrokerClient;
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::grpc::controller_server::ControllerServer;
use highwater_proto::metadata::{
    Change, ClusterInfo, Endpoint, MetadataImage, MetadataUpdate, NodeRegistration, NodeRole, NodeState, Partition,
    ShardAssignment,
};
use highwater_proto::types::{
    BrokerEpoch, CONSUMER_OFFSETS_TOPIC, CoordinatorEpoch, LeaderEpoch, NodeId, PartitionIndex, Revision, ShardId,
    ShardKind, TopicId,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use uuid::Uuid;

use crate::controller::ToyController;
use crate::support::{Client, LIMIT};

pub const BROKER: NodeId = NodeId(0);
pub const COORDINATOR: NodeId = NodeId(9);
/// Id of `__consumer_offsets`.
pub const OFFSETS: TopicId = TopicId(Uuid::from_u128(77));

pub struct Cluster {
    pub controller: ToyController,
    pub broker: Arc<Broker>,
    pub network: MemoryNetwork,
    dialer: Dialer,
    address: SocketAddr,
    _dir: TempDir,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(configs: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let own = [
            ("offsets.topic.num.partitions", "4"),
            ("offsets.topic.replication.factor", "1"),
        ];
        let values = own.iter().chain(configs);
        let fixed = StaticValues {
            values: values
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..StaticValues::default()
        };
        let (controller, images) = ToyController::new(image());
        let network = MemoryNetwork::new();
        let dialer = Dialer::new(network.clone());
        let shutdown = Shutdown::new(LIMIT);
        let clock = Clock::system();
        let channel = dialer.channel("controller", 1);
        let broker = Broker::start(BrokerParts {
            node_id: BROKER,
            epoch: BrokerEpoch(1),
            config: BrokerConfig::resolve(&BrokerLayers::fixed(&fixed)).unwrap(),
            fixed,
            inter_broker_listener: "PLAINTEXT".into(),
            recovered: RecoveredLogs::open(dir.path(), &StaticValues::default(), clock.now_ms()).unwrap(),
            images,
            controller: Box::new(move || ControllerClient::new(channel.clone())),
            dialer: dialer.clone(),
            clock,
            shutdown: shutdown.clone(),
        })
        .unwrap();
        let services = [
            (
                "controller",
                server().add_service(ControllerServer::new(controller.clone())),
            ),
            ("broker", server().add_service(Service::server(Arc::clone(&broker)))),
        ];
        for (name, router) in services {
            shutdown.spawn(serve(router, network.listen(name, 1).unwrap(), shutdown.token(), LIMIT));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&broker);
        shutdown.spawn(async move { serving.serve(listener, "PLAINTEXT").await });
        broker.wait_for_image(Revision(1), Instant::now() + LIMIT).await;
        Self {
            controller,
            broker,
            network,
            dialer,
            address,
            _dir: dir,
        }
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// The broker's service, as coordinators call it.
    pub fn shards(&self) -> BrokerClient<Channel> {
        BrokerClient::new(self.dialer.channel("broker", 1)).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Changes the image; its revision. The broker has carried it out when this returns.
    pub async fn change(&self, changes: Vec<Change>) -> Revision {
        let revision = Revision(self.controller.commit(changes));
        self.broker.wait_for_image(revision, Instant::now() + LIMIT).await;
        assert!(self.broker.image().revision >= revision);
        revision
    }

    /// `__consumer_offsets` with these partitions, led by this broker.
    pub async fn create_offsets(&self, partitions: i32) {
        let mut changes: Vec<_> = (0..partitions).map(|index| led_by(index, Some(BROKER), 0)).collect();
        changes.push(Change::PutTopic {
            name: CONSUMER_OFFSETS_TOPIC.to_owned(),
            topic_id: OFFSETS,
            partition_count: partitions,
            configs: BTreeMap::new(),
            owner: None,
        });
        self.change(changes).await;
    }

    /// Assigns a shard to the coordinator.
    pub async fn assign(&self, index: i32, epoch: i32) -> Revision {
        self.change(vec![assigned(index, epoch)]).await
    }
}

pub fn shard(index: i32) -> ShardId {
    ShardId {
        kind: ShardKind::Group,
        index: PartitionIndex(index),
    }
}

pub fn assigned(index: i32, epoch: i32) -> Change {
    let assignment = ShardAssignment {
        owner: Some(COORDINATOR),
        epoch: CoordinatorEpoch(epoch),
    };
    Change::PutShard(shard(index), assignment)
}

/// A partition of `__consumer_offsets` with this broker as its only replica in sync.
pub fn led_by(index: i32, leader: Option<NodeId>, epoch: i32) -> Change {
    let partition = Partition {
        replicas: vec![BROKER],
        isr: vec![BROKER],
        leader,
        leader_epoch: LeaderEpoch(epoch),
        ..Partition::default()
    };
    Change::PutPartition(OFFSETS, PartitionIndex(index), partition)
}

pub fn node(id: NodeId, role: NodeRole, listener: &str, host: &str, port: u16) -> [Change; 2] {
    let registration = NodeRegistration {
        role,
        incarnation: Uuid::from_u128(1),
        directory_id: Uuid::from_u128(2),
        endpoints: vec![Endpoint {
            name: listener.to_owned(),
            host: host.to_owned(),
            port,
        }],
        rack: None,
        api_ranges: Vec::new(),
        pod_uid: None,
    };
    [
        Change::PutNodeRegistration(id, registration),
        Change::PutNodeState(id, NodeState::Active),
    ]
}

fn image() -> MetadataImage {
    let cluster = ClusterInfo {
        cluster_id: "cluster".into(),
        generation: 1,
        format_version: 1,
    };
    let broker = node(BROKER, NodeRole::Broker, "PLAINTEXT", "test.host", 9092);
    let changes = std::iter::once(Change::PutCluster(cluster)).chain(broker).collect();
    MetadataImage::default().apply(&MetadataUpdate {
        revision: Revision(1),
        changes,
    })
}
