//! A controller on a store, and nodes, watchers and requests as it sees them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater_controller::cluster::sessions::Patience;
use highwater_controller::service::{Controller, ControllerConfig};
use highwater_controller::store::{
    CommitError, EmbeddedStore, Leadership, Loaded, MetadataStore, StoreError, Transaction, Watch,
};
use highwater_node::clock::Clock;
use highwater_node::config::SessionConfig;
use highwater_node::shutdown::Shutdown;
use highwater_node::transport::{Channel, Dialer, MemoryNetwork};
use highwater_proto::config::StaticValues;
use highwater_proto::grpc;
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::grpc::session_request::{HandedOver, Register, ReplicaRef, Request as Said, Unfence};
use highwater_proto::grpc::session_response::{HandOver, LeaderMove, Response as Answer};
use highwater_proto::metadata::convert::{Received, UpdateAssembler};
use highwater_proto::metadata::{MetadataImage, NodeRegistration, NodeRole};
use highwater_proto::types::{NodeId, PartitionIndex, Revision};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use uuid::Uuid;

pub const WAIT: Duration = Duration::from_secs(20);

pub fn config() -> ControllerConfig {
    let session = SessionConfig {
        reconnect_grace: Duration::from_millis(300),
        timeout: Duration::from_secs(10),
    };
    let config = ControllerConfig::new("test", StaticValues::default(), session).unwrap();
    assert_eq!(
        config.patience,
        Patience {
            silence: session.timeout,
            reconnect: session.reconnect_grace
        }
    );
    config
}

/// A controller on a store, reached in memory.
pub struct Running {
    pub controller: Controller,
    pub memory: MemoryNetwork,
    pub shutdown: Shutdown,
}

impl Running {
    pub async fn start(store: Arc<dyn MetadataStore>) -> Self {
        Self::start_with(store, config()).await
    }

    pub async fn start_with(store: Arc<dyn MetadataStore>, config: ControllerConfig) -> Self {
        let memory = MemoryNetwork::new();
        let shutdown = Shutdown::new(Duration::from_millis(200));
        let controller = Controller::start(store, config, Clock::system(), shutdown.clone())
            .await
            .unwrap();
        controller.serve(memory.listen("controller", 9190).unwrap());
        Self {
            controller,
            memory,
            shutdown,
        }
    }

    pub async fn on_folder(folder: &Path) -> Self {
        Self::start(Arc::new(EmbeddedStore::open(folder).unwrap())).await
    }

    pub fn client(&self) -> ControllerClient<Channel> {
        ControllerClient::new(Dialer::new(self.memory.clone()).channel("controller", 9190))
    }

    pub async fn image_where(&self, what: &str, holds: impl Fn(&MetadataImage) -> bool) -> Arc<MetadataImage> {
        let mut images = self.controller.images();
        let found = tokio::time::timeout(WAIT, images.wait_for(|image| holds(image))).await;
        Arc::clone(&found.unwrap_or_else(|_| panic!("no image in which {what}")).unwrap())
    }

    pub async fn stop(self) {
        self.shutdown.trigger();
        self.shutdown.finished().await.unwrap();
    }
}

/// A node as the controller sees it.
pub struct Node {
    pub say: mpsc::Sender<grpc::SessionRequest>,
    pub answers: Streaming<grpc::SessionResponse>,
}

impl Node {
    pub async fn connect(mut client: ControllerClient<Channel>, register: Register) -> Self {
        let (say, said) = mpsc::channel(16);
        say.send(grpc::SessionRequest {
            request: Some(Said::Register(register)),
        })
        .await
        .unwrap();
        let answers = client.session(ReceiverStream::new(said)).await.unwrap().into_inner();
        Self { say, answers }
    }

    pub async fn say(&mut self, said: Said) -> Answer {
        self.say
            .send(grpc::SessionRequest { request: Some(said) })
            .await
            .unwrap();
        self.answer().await.unwrap()
    }

    pub async fn answer(&mut self) -> Result<Answer, tonic::Status> {
        let message = tokio::time::timeout(WAIT, self.answers.message())
            .await
            .expect("an answer in time")?;
        Ok(message.expect("the stream goes on").response.unwrap())
    }

    pub async fn registered(&mut self) -> grpc::session_response::Registered {
        match self.answer().await.unwrap() {
            Answer::Registered(registered) => registered,
            other => panic!("{other:?}"),
        }
    }
}

pub fn register(id: Option<i32>, incarnation: u128, directory: u128) -> Register {
    let registration = NodeRegistration {
        role: NodeRole::Broker,
        incarnation: Uuid::from_u128(incarnation),
        directory_id: Uuid::from_u128(directory),
        endpoints: Vec::new(),
        rack: None,
        api_ranges: Vec::new(),
        pod_uid: None,
    };
    Register {
        node_id: id,
        cluster_id: String::new(),
        registration: Some((&registration).into()),
        clean_shutdown: true,
        ..Register::default()
    }
}

/// A live broker.
pub async fn broker(running: &Running, id: i32, incarnation: u128) -> (Node, i64) {
    let mut node = Node::connect(running.client(), register(Some(id), incarnation, 1_000 + id as u128)).await;
    let epoch = node.registered().await.epoch;
    match node.say(Said::Unfence(Unfence::default())).await {
        Answer::Unfenced(unfenced) => assert!(unfenced.revision > epoch),
        other => panic!("{other:?}"),
    }
    (node, epoch)
}

pub async fn create(client: &mut ControllerClient<Channel>, name: &str, partitions: i32) -> (i32, i64) {
    let topic = grpc::create_topics_request::CreatableTopic {
        name: name.into(),
        partitions,
        replication_factor: -1,
        ..Default::default()
    };
    let request = grpc::CreateTopicsRequest {
        topics: vec![topic],
        validate_only: false,
    };
    let response = client.create_topics(request).await.unwrap().into_inner();
    (response.results[0].outcome.as_ref().unwrap().code, response.revision)
}

pub fn leader(image: &MetadataImage, name: &str) -> (Option<NodeId>, i32) {
    let partition = image.topic(name).unwrap().partition(PartitionIndex(0)).unwrap();
    (partition.leader, partition.leader_epoch.get())
}

/// A topic of one partition on these brokers.
pub async fn create_on(running: &Running, name: &str, brokers: &[i32], configs: &[(&str, &str)]) -> ReplicaRef {
    let topic = grpc::create_topics_request::CreatableTopic {
        name: name.into(),
        partitions: -1,
        replication_factor: -1,
        assignments: vec![grpc::create_topics_request::Assignment {
            partition: 0,
            brokers: brokers.to_vec(),
        }],
        configs: configs
            .iter()
            .map(|(name, value)| grpc::ConfigEntry {
                name: (*name).to_owned(),
                value: Some((*value).to_owned()),
            })
            .collect(),
        ..Default::default()
    };
    let request = grpc::CreateTopicsRequest {
        topics: vec![topic],
        validate_only: false,
    };
    let response = running.client().create_topics(request).await.unwrap().into_inner();
    assert_eq!(response.results[0].outcome.as_ref().unwrap().code, 0);
    ReplicaRef {
        topic_id: response.results[0].topic_id.clone(),
        partition: 0,
    }
}

impl Node {
    /// The next message that is no sign of life.
    pub async fn question(&mut self) -> Answer {
        loop {
            match self.answer().await.unwrap() {
                Answer::Alive(_) => {}
                other => return other,
            }
        }
    }

    pub async fn tell(&mut self, said: Said) {
        let request = Some(said);
        self.say.send(grpc::SessionRequest { request }).await.unwrap();
    }

    /// Answers that all of a hand-over is ready.
    pub async fn hand_over(&mut self) -> Vec<LeaderMove> {
        match self.question().await {
            Answer::HandOver(HandOver { question, moves }) => {
                let ready = moves.iter().filter_map(|wanted| wanted.replica.clone()).collect();
                self.tell(Said::HandedOver(HandedOver { question, ready })).await;
                moves
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A watcher that keeps an image, as nodes do.
pub struct Watcher {
    pub stream: Streaming<grpc::MetadataUpdate>,
    pub assembler: UpdateAssembler,
    pub image: MetadataImage,
    pub snapshots: usize,
}

impl Watcher {
    pub async fn open(mut client: ControllerClient<Channel>, image: MetadataImage) -> Result<Self, tonic::Status> {
        let request = grpc::WatchMetadataRequest {
            node_id: 1,
            cluster_id: image.cluster.cluster_id.clone(),
            generation: image.cluster.generation,
            from_revision: image.revision.get(),
        };
        let stream = client.watch_metadata(request).await?.into_inner();
        Ok(Self {
            stream,
            assembler: UpdateAssembler::default(),
            image,
            snapshots: 0,
        })
    }

    pub async fn reach(&mut self, revision: Revision) {
        while self.image.revision < revision {
            let message = tokio::time::timeout(WAIT, self.stream.message())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            match self.assembler.push(message).unwrap() {
                Some(Received::Update(update)) => self.image = self.image.apply(&update),
                Some(Received::Snapshot(snapshot)) => {
                    self.image = self.image.apply_snapshot(&snapshot).unwrap();
                    self.snapshots += 1;
                }
                None => {}
            }
        }
    }
}

/// A store whose next commit happens but is not known to have happened, does not reach the store, or takes its time.
pub struct Flaky {
    store: EmbeddedStore,
    pub forget_outcome: AtomicBool,
    pub unreachable: AtomicBool,
    /// Each commit takes one of them.
    permits: Semaphore,
}

impl Flaky {
    pub fn over(store: EmbeddedStore) -> Arc<Self> {
        Arc::new(Self {
            store,
            forget_outcome: AtomicBool::new(false),
            unreachable: AtomicBool::new(false),
            permits: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    /// From now on commits wait to be let through.
    pub fn hold(&self) {
        self.permits.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets so many commits through.
    pub fn let_through(&self, commits: usize) {
        self.permits.add_permits(commits);
    }
}

#[tonic::async_trait]
impl MetadataStore for Flaky {
    async fn load(&self) -> Result<Loaded, StoreError> {
        self.store.load().await
    }

    async fn commit(&self, leadership: &Leadership, transaction: Transaction) -> Result<Revision, CommitError> {
        self.permits.acquire().await.unwrap().forget();
        if self.unreachable.swap(false, Ordering::SeqCst) {
            return Err(CommitError::Unavailable("no route".into()));
        }
        let revision = self.store.commit(leadership, transaction).await?;
        if self.forget_outcome.swap(false, Ordering::SeqCst) {
            return Err(CommitError::Unknown("the connection broke".into()));
        }
        Ok(revision)
    }

    async fn watch(&self, after: Revision) -> Result<Watch, StoreError> {
        self.store.watch(after).await
    }

    async fn campaign(&self, candidate: &str) -> Result<Leadership, StoreError> {
        self.store.campaign(candidate).await
    }

    async fn resign(&self, leadership: Leadership) {
        self.store.resign(leadership).await;
    }

    fn leader(&self) -> tokio::sync::watch::Receiver<Option<String>> {
        self.store.leader()
    }
}
