//! Two coordinators, one broker and the images that the test decides on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use highwater_coordinator::config::CoordinatorConfig;
use highwater_coordinator::{Coordinator, CoordinatorContext};
use highwater_node::clock::Clock;
use highwater_node::shutdown::Shutdown;
use highwater_node::telemetry::Metrics;
use highwater_node::transport::{self, Dialer, MemoryNetwork};
use highwater_proto::grpc::broker_server::BrokerServer;
use highwater_proto::grpc::coordinator_client::CoordinatorClient;
use highwater_proto::grpc::{ForwardRequest, ForwardResponse};
use highwater_proto::kafka::{ErrorCode, Message as _, Request};
use highwater_proto::metadata::{
    Change, Endpoint, MetadataImage, MetadataUpdate, NodeRegistration, NodeRole, NodeState, Partition, ShardAssignment,
};
use highwater_proto::types::{
    CONSUMER_OFFSETS_TOPIC, CoordinatorEpoch, LeaderEpoch, NodeId, PartitionIndex, Revision, ShardId, ShardKind,
    TopicId,
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::broker::FakeBroker;

pub const FIRST: i32 = 11;
pub const SECOND: i32 = 12;
const BROKER: i32 = 1;
const OFFSETS_TOPIC: TopicId = TopicId(Uuid::from_u128(1));
const SHARD: ShardId = ShardId {
    kind: ShardKind::Group,
    index: PartitionIndex(0),
};

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<ForwardResponse>>>>;

struct Member {
    images: watch::Sender<Arc<MetadataImage>>,
    frozen: bool,
    shutdown: Shutdown,
    metrics: Metrics,
    requests: mpsc::Sender<ForwardRequest>,
    waiting: Waiting,
    _coordinator: Coordinator,
}

pub struct Cluster {
    pub broker: FakeBroker,
    image: Arc<MetadataImage>,
    members: HashMap<i32, Member>,
    epoch: i32,
    correlation: u64,
    change: fn(&mut CoordinatorConfig),
}

impl Cluster {
    /// The first coordinator owns the shard.
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// With other settings.
    pub async fn start_with(change: fn(&mut CoordinatorConfig)) -> Self {
        let network = MemoryNetwork::new();
        let broker = FakeBroker::default();
        let listener = network.listen("broker-1", 9191).unwrap();
        let router = transport::server().add_service(BrokerServer::new(broker.clone()));
        tokio::spawn(transport::serve(
            router,
            listener,
            CancellationToken::new(),
            Duration::ZERO,
        ));
        let mut cluster = Self {
            broker,
            image: Arc::new(MetadataImage::default()),
            members: HashMap::new(),
            epoch: 0,
            correlation: 0,
            change,
        };
        cluster.image = Arc::new(first_image());
        for id in [FIRST, SECOND] {
            let member = cluster.start_member(id, &network).await;
            cluster.members.insert(id, member);
        }
        cluster.assign(FIRST);
        cluster
    }

    async fn start_member(&self, id: i32, network: &MemoryNetwork) -> Member {
        let (images, follow) = watch::channel(Arc::clone(&self.image));
        let shutdown = Shutdown::new(Duration::from_secs(5));
        let clock = Clock::system();
        let metrics = Metrics::new(&clock);
        let mut config = CoordinatorConfig::new(NodeId(id));
        config.shard.group.initial_rebalance_delay = Duration::from_millis(10);
        config.image_timeout = Duration::from_millis(200);
        config.lag_interval = Duration::from_millis(20);
        (self.change)(&mut config);
        let context = CoordinatorContext {
            images: follow,
            dialer: Dialer::new(network.clone()),
            clock,
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        let coordinator = Coordinator::start(config, context);
        let name = format!("coordinator-{id}");
        let listener = network.listen(&name, 9192).unwrap();
        let serving = coordinator.clone();
        tokio::spawn(async move { serving.serve(listener).await });
        let (requests, outgoing) = mpsc::channel(1_024);
        let mut client = CoordinatorClient::new(Dialer::new(network.clone()).channel(&name, 9192));
        let mut replies = client
            .forward(ReceiverStream::new(outgoing))
            .await
            .unwrap()
            .into_inner();
        let waiting = Waiting::default();
        let answered = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Ok(Some(reply)) = replies.message().await {
                if let Some(sender) = answered.lock().remove(&reply.correlation) {
                    let _ = sender.send(reply);
                }
            }
        });
        Member {
            images,
            frozen: false,
            shutdown,
            metrics,
            requests,
            waiting,
            _coordinator: coordinator,
        }
    }

    fn apply(&mut self, changes: Vec<Change>) {
        let revision = Revision(self.image.revision.get() + 1);
        self.image = Arc::new(self.image.apply(&MetadataUpdate { revision, changes }));
        for member in self.members.values().filter(|member| !member.frozen) {
            member.images.send_replace(Arc::clone(&self.image));
        }
    }

    pub fn assign(&mut self, owner: i32) {
        self.epoch += 1;
        self.broker.apply_assignment(self.epoch);
        let assignment = ShardAssignment {
            owner: Some(NodeId(owner)),
            epoch: CoordinatorEpoch(self.epoch),
        };
        self.apply(vec![Change::PutShard(SHARD, assignment)]);
    }

    pub fn move_leader(&mut self) {
        self.broker.move_leader();
        let partition = led_by_broker(self.broker.leader_epoch());
        self.apply(vec![Change::PutPartition(OFFSETS_TOPIC, PartitionIndex(0), partition)]);
    }

    pub fn touch_image(&mut self) {
        self.apply(Vec::new());
    }

    pub fn freeze_image(&mut self, coordinator: i32) {
        self.members.get_mut(&coordinator).unwrap().frozen = true;
    }

    pub fn metrics(&self, coordinator: i32) -> String {
        self.members[&coordinator].metrics.encode().unwrap()
    }

    pub async fn stop(&self, coordinator: i32) {
        let shutdown = &self.members[&coordinator].shutdown;
        shutdown.trigger();
        shutdown.finished().await.unwrap();
    }

    /// Lets the tasks run.
    pub async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    pub fn stamped(&self, request: ForwardRequest) -> ForwardRequest {
        ForwardRequest {
            image_revision: self.image.revision.get(),
            shard: Some(SHARD.into()),
            ..request
        }
    }

    /// A request of a broker whose image is old.
    pub fn without_revision(&self, request: ForwardRequest) -> ForwardRequest {
        ForwardRequest {
            image_revision: 0,
            ..self.stamped(request)
        }
    }

    pub async fn send(&mut self, coordinator: i32, request: ForwardRequest) -> oneshot::Receiver<ForwardResponse> {
        self.correlation += 1;
        let (sender, receiver) = oneshot::channel();
        let member = &self.members[&coordinator];
        member.waiting.lock().insert(self.correlation, sender);
        let request = ForwardRequest {
            correlation: self.correlation,
            ..request
        };
        member.requests.send(request).await.unwrap();
        receiver
    }

    pub async fn call_once<R: Request>(
        &mut self,
        coordinator: i32,
        request: ForwardRequest,
        version: i16,
    ) -> Result<R::Response, ErrorCode> {
        let request = ForwardRequest {
            shard: Some(SHARD.into()),
            ..request
        };
        let reply = self.send(coordinator, request).await;
        let mut reply = tokio::time::timeout(Duration::from_secs(10), reply)
            .await
            .expect("a reply")
            .unwrap();
        match reply.error {
            0 => Ok(R::Response::decode(&mut reply.body, version).unwrap()),
            error => Err(ErrorCode::from_code(error as i16)),
        }
    }

    /// Again while the shard is being taken over, as clients do.
    pub async fn call<R: Request>(
        &mut self,
        coordinator: i32,
        request: ForwardRequest,
        version: i16,
    ) -> Result<R::Response, ErrorCode> {
        for _ in 0..500 {
            let stamped = self.stamped(request.clone());
            match self.call_once::<R>(coordinator, stamped, version).await {
                Err(ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other => return other,
            }
        }
        Err(ErrorCode::CoordinatorNotAvailable)
    }

    pub async fn call_all(&mut self, coordinator: i32, requests: Vec<ForwardRequest>) -> Vec<ForwardResponse> {
        let mut replies = Vec::new();
        for request in requests {
            let stamped = self.stamped(request);
            replies.push(self.send(coordinator, stamped).await);
        }
        let mut answered = Vec::new();
        for reply in replies {
            answered.push(reply.await.unwrap());
        }
        answered
    }
}

fn led_by_broker(leader_epoch: i32) -> Partition {
    Partition {
        replicas: vec![NodeId(BROKER)],
        isr: vec![NodeId(BROKER)],
        leader: Some(NodeId(BROKER)),
        leader_epoch: LeaderEpoch(leader_epoch),
        ..Partition::default()
    }
}

fn first_image() -> MetadataImage {
    let registration = NodeRegistration {
        role: NodeRole::Broker,
        incarnation: Uuid::from_u128(3),
        directory_id: Uuid::from_u128(4),
        endpoints: vec![Endpoint {
            name: "GRPC".to_owned(),
            host: "broker-1".to_owned(),
            port: 9191,
        }],
        rack: None,
        api_ranges: Vec::new(),
        pod_uid: None,
    };
    let topic = |name: &str, topic_id| Change::PutTopic {
        name: name.to_owned(),
        topic_id,
        partition_count: 1,
        configs: BTreeMap::new(),
        owner: None,
    };
    let other = TopicId(Uuid::from_u128(2));
    let changes = vec![
        Change::PutNodeRegistration(NodeId(BROKER), registration),
        Change::PutNodeState(NodeId(BROKER), NodeState::Active),
        Change::PutPartition(OFFSETS_TOPIC, PartitionIndex(0), led_by_broker(0)),
        topic(CONSUMER_OFFSETS_TOPIC, OFFSETS_TOPIC),
        Change::PutPartition(other, PartitionIndex(0), led_by_broker(0)),
        topic("t", other),
    ];
    MetadataImage::default().apply(&MetadataUpdate {
        revision: Revision(1),
        changes,
    })
}
