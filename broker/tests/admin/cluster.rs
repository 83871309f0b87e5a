//! A broker in this process with a toy controller behind it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use highwater_broker::Broker;
use highwater_broker::broker::BrokerParts;
use highwater_broker::partitions::RecoveredLogs;
use highwater_node::clock::Clock;
use highwater_node::shutdown::Shutdown;
use highwater_node::transport::{Dialer, MemoryNetwork, serve, server};
use highwater_proto::config::{BrokerConfig, BrokerLayers, StaticValues};
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::grpc::controller_server::ControllerServer;
use highwater_proto::kafka::messages::create_topics::request::{CreatableTopic, CreatableTopicConfig};
use highwater_proto::kafka::messages::create_topics::{CreateTopicsRequest, CreateTopicsResponse};
use highwater_proto::metadata::{
    Change, ClusterInfo, Endpoint, MetadataImage, MetadataUpdate, NodeRegistration, NodeRole, NodeState,
};
use highwater_proto::types::{BrokerEpoch, NodeId, Revision};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::controller::ToyController;
use crate::support::{Client, LIMIT};

pub struct Cluster {
    pub controller: ToyController,
    address: SocketAddr,
    network: MemoryNetwork,
    shutdown: Shutdown,
    controller_task: Mutex<JoinHandle<()>>,
    _dir: TempDir,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(configs: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let values = configs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let fixed = StaticValues {
            values: values.collect(),
            ..StaticValues::default()
        };
        let (controller, images) = ToyController::new(image());
        let network = MemoryNetwork::new();
        let shutdown = Shutdown::new(LIMIT);
        let controller_task = Mutex::new(serve_controller(&network, &controller, &shutdown));
        let dialer = Dialer::new(network.clone());
        let channel = dialer.channel("controller", 1);
        let clock = Clock::system();
        let broker = Broker::start(BrokerParts {
            node_id: NodeId(0),
            epoch: BrokerEpoch(1),
            config: BrokerConfig::resolve(&BrokerLayers::fixed(&fixed)).expect("valid configs"),
            fixed,
            inter_broker_listener: "PLAINTEXT".into(),
            recovered: RecoveredLogs::open(dir.path(), &StaticValues::default(), clock.now_ms())
                .expect("an empty directory"),
            images,
            controller: Box::new(move || ControllerClient::new(channel.clone())),
            dialer,
            clock,
            shutdown: shutdown.clone(),
        })
        .expect("starts");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let serving = Arc::clone(&broker);
        shutdown.spawn(async move { serving.serve(listener, "PLAINTEXT").await });
        broker.wait_for_image(Revision(1), Instant::now() + LIMIT).await;
        Self {
            controller,
            address,
            network,
            shutdown,
            controller_task,
            _dir: dir,
        }
    }

    /// The controller dies over what it has not answered, and another one with the same metadata comes.
    pub async fn kill_controller(&self, meanwhile: impl FnOnce()) {
        let mut task = self.controller_task.lock().await;
        task.abort();
        let _ = (&mut *task).await;
        *self.controller.mute.lock() = false;
        meanwhile();
        *task = serve_controller(&self.network, &self.controller, &self.shutdown);
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Creates a topic through the broker.
    pub async fn create(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreateTopicsResponse {
        let request = CreateTopicsRequest {
            topics: vec![topic(name, partitions, configs)],
            ..Default::default()
        };
        self.connect().await.call(7, &request).await
    }
}

fn serve_controller(network: &MemoryNetwork, controller: &ToyController, shutdown: &Shutdown) -> JoinHandle<()> {
    let listener = network.listen("controller", 1).expect("a free name");
    let router = server().add_service(ControllerServer::new(controller.clone()));
    let serving = serve(router, listener, shutdown.token(), LIMIT);
    shutdown.spawn(async move { serving.await.expect("serves") })
}

pub fn topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
        ..Default::default()
    };
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: -1,
        configs: configs.iter().map(config).collect(),
        ..Default::default()
    }
}

fn image() -> MetadataImage {
    let registration = NodeRegistration {
        role: NodeRole::Broker,
        incarnation: Uuid::from_u128(1),
        directory_id: Uuid::from_u128(2),
        endpoints: vec![Endpoint {
            name: "PLAINTEXT".into(),
            host: "test.host".into(),
            port: 9092,
        }],
        rack: None,
        api_ranges: Vec::new(),
        pod_uid: None,
    };
    let cluster = ClusterInfo {
        cluster_id: "cluster".into(),
        generation: 1,
        format_version: 1,
    };
    MetadataImage::default().apply(&MetadataUpdate {
        revision: Revision(1),
        changes: vec![
            Change::PutCluster(cluster),
            Change::PutNodeRegistration(NodeId(0), registration),
            Change::PutNodeState(NodeId(0), NodeState::Active),
            Change::PutConfig(
                highwater_proto::metadata::ConfigResource::ClusterDefault,
                BTreeMap::new(),
            ),
        ],
    })
}
