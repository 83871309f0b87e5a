//! Three brokers in this process, each with its gRPC service and with images of its own: one may be cut off from the
//! controller, which is the test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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
use highwater_proto::metadata::{
    Change, Endpoint, MetadataImage, MetadataUpdate, NodeRegistration, NodeRole, NodeState, Partition,
};
use highwater_proto::types::{BrokerEpoch, CONSUMER_OFFSETS_TOPIC, LeaderEpoch, NodeId, PartitionIndex, Revision};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::cluster::OFFSETS;
use crate::support::{Client, LIMIT};

pub struct Brokers {
    pub network: MemoryNetwork,
    image: Arc<MetadataImage>,
    members: Vec<Member>,
}

struct Member {
    broker: Arc<Broker>,
    images: watch::Sender<Arc<MetadataImage>>,
    cut_off: bool,
    address: SocketAddr,
    service: CancellationToken,
    _dir: TempDir,
}

impl Brokers {
    /// Brokers 0, 1 and 2.
    pub async fn start() -> Self {
        let mut brokers = Self {
            network: MemoryNetwork::new(),
            image: Arc::default(),
            members: Vec::new(),
        };
        let registered = (0..3).flat_map(|id| registration(id, &name(id)));
        brokers.image = Arc::new(brokers.image.apply(&MetadataUpdate {
            revision: Revision(1),
            changes: registered.collect(),
        }));
        for id in 0..3 {
            let member = brokers.start_member(id).await;
            brokers.members.push(member);
        }
        brokers.change(Vec::new()).await;
        brokers
    }

    async fn start_member(&self, id: i32) -> Member {
        let dir = tempfile::tempdir().unwrap();
        let (images, followed) = watch::channel(Arc::clone(&self.image));
        let fixed = StaticValues::default();
        let dialer = Dialer::new(self.network.clone());
        let nobody = dialer.channel("controller", 1);
        let clock = Clock::system();
        let shutdown = Shutdown::new(LIMIT);
        let broker = Broker::start(BrokerParts {
            node_id: NodeId(id),
            epoch: BrokerEpoch(1),
            config: BrokerConfig::resolve(&BrokerLayers::fixed(&fixed)).unwrap(),
            fixed,
            inter_broker_listener: "PLAINTEXT".into(),
            recovered: RecoveredLogs::open(dir.path(), &StaticValues::default(), clock.now_ms()).unwrap(),
            images: followed,
            controller: Box::new(move || ControllerClient::new(nobody.clone())),
            dialer,
            clock,
            shutdown: shutdown.clone(),
        })
        .unwrap();
        let service = CancellationToken::new();
        let router = server().add_service(Service::server(Arc::clone(&broker)));
        let internal = self.network.listen(&name(id), 1).unwrap();
        shutdown.spawn(serve(router, internal, service.clone(), Duration::ZERO));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&broker);
        shutdown.spawn(async move { serving.serve(listener, "PLAINTEXT").await });
        Member {
            broker,
            images,
            cut_off: false,
            address,
            service,
            _dir: dir,
        }
    }

    /// The controller decides; whoever is not cut off has carried it out when this returns.
    pub async fn change(&mut self, changes: Vec<Change>) -> i64 {
        let revision = Revision(self.image.revision.get() + 1);
        self.image = Arc::new(self.image.apply(&MetadataUpdate { revision, changes }));
        for member in self.members.iter().filter(|member| !member.cut_off) {
            member.images.send_replace(Arc::clone(&self.image));
        }
        for member in self.members.iter().filter(|member| !member.cut_off) {
            member.broker.wait_for_image(revision, Instant::now() + LIMIT).await;
            assert!(member.broker.image().revision >= revision);
        }
        revision.get()
    }

    /// `__consumer_offsets` with these leaders, each partition on all brokers.
    pub async fn create_offsets(&mut self, leaders: &[i32]) {
        let partitions = (0..)
            .zip(leaders)
            .map(|(index, leader)| led(index, *leader, 0, &[0, 1, 2]));
        let mut changes: Vec<_> = partitions.collect();
        changes.push(Change::PutTopic {
            name: CONSUMER_OFFSETS_TOPIC.to_owned(),
            topic_id: OFFSETS,
            partition_count: i32::try_from(leaders.len()).unwrap(),
            configs: BTreeMap::from([("min.insync.replicas".to_owned(), "2".to_owned())]),
            owner: None,
        });
        self.change(changes).await;
    }

    /// Images do not reach it any more, or do again from the next one on.
    pub fn cut_off(&mut self, broker: usize, is_cut_off: bool) {
        self.members[broker].cut_off = is_cut_off;
    }

    /// Its gRPC service ends.
    pub fn silence(&self, broker: usize) {
        self.members[broker].service.cancel();
    }

    pub fn service(&self, broker: i32) -> BrokerClient<Channel> {
        let dialer = Dialer::new(self.network.clone());
        BrokerClient::new(dialer.channel(&name(broker), 1)).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub async fn connect(&self, broker: usize) -> Client {
        Client::connect(self.members[broker].address).await
    }
}

pub fn name(broker: i32) -> String {
    format!("broker-{broker}")
}

pub fn registration(id: i32, host: &str) -> [Change; 2] {
    let endpoint = |name: &str| Endpoint {
        name: name.to_owned(),
        host: host.to_owned(),
        port: 1,
    };
    let registration = NodeRegistration {
        role: NodeRole::Broker,
        incarnation: Uuid::new_v4(),
        directory_id: Uuid::from_u128(id as u128 + 1),
        endpoints: vec![endpoint("PLAINTEXT"), endpoint("GRPC")],
        rack: None,
        api_ranges: Vec::new(),
        pod_uid: None,
    };
    [
        Change::PutNodeRegistration(NodeId(id), registration),
        Change::PutNodeState(NodeId(id), NodeState::Active),
    ]
}

/// A partition of `__consumer_offsets` on all three brokers.
pub fn led(index: i32, leader: i32, leader_epoch: i32, isr: &[i32]) -> Change {
    let partition = Partition {
        replicas: (0..3).map(NodeId).collect(),
        isr: isr.iter().copied().map(NodeId).collect(),
        leader: Some(NodeId(leader)),
        leader_epoch: LeaderEpoch(leader_epoch),
        ..Partition::default()
    };
    Change::PutPartition(OFFSETS, PartitionIndex(index), partition)
}
