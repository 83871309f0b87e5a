//! Brokers 0, 1 and 2 and what they are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_broker::Broker;
use highwater_broker::broker::BrokerParts;
use highwater_broker::partition::Partition as Replica;
use highwater_broker::partitions::RecoveredLogs;
use highwater_node::clock::Clock;
use highwater_node::shutdown::Shutdown;
use highwater_node::transport::{Dialer, MemoryNetwork, serve, server};
use highwater_proto::config::{BrokerConfig, BrokerLayers, StaticValues};
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::grpc::controller_server::ControllerServer;
use highwater_proto::kafka::messages::fetch::FetchRequest;
use highwater_proto::kafka::messages::fetch::request::{FetchPartition, FetchTopic};
use highwater_proto::kafka::messages::fetch::response::PartitionData;
use highwater_proto::kafka::messages::produce::ProduceRequest;
use highwater_proto::kafka::messages::produce::request::{PartitionProduceData, TopicProduceData};
use highwater_proto::kafka::messages::produce::response::PartitionProduceResponse;
use highwater_proto::metadata::{
    Change, ClusterInfo, Endpoint, MetadataImage, MetadataUpdate, NodeRegistration, NodeRole, NodeState, Partition,
};
use highwater_proto::record::{Batches, RecordIter};
use highwater_proto::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, Revision, TopicId};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use uuid::Uuid;

use crate::controller::ToyController;
use crate::support::{Client, LIMIT, topic_id};

pub const PRODUCE_VERSION: i16 = 12;
pub const FETCH_VERSION: i16 = 12;

pub struct Cluster {
    pub controller: ToyController,
    pub brokers: Vec<Member>,
    configs: BTreeMap<String, String>,
    network: MemoryNetwork,
    _controller: Shutdown,
}

/// One broker, while it runs.
pub struct Member {
    pub broker: Arc<Broker>,
    pub address: SocketAddr,
    pub dir: TempDir,
    shutdown: Shutdown,
}

impl Cluster {
    pub async fn start(configs: &[(&str, &str)]) -> Self {
        let cluster = ClusterInfo {
            cluster_id: "cluster".into(),
            generation: 1,
            format_version: 1,
        };
        let image = MetadataImage::default().apply(&MetadataUpdate {
            revision: Revision(1),
            changes: vec![Change::PutCluster(cluster)],
        });
        let (controller, _) = ToyController::new(image);
        let network = MemoryNetwork::new();
        let listener = network.listen("controller", 1).unwrap();
        let shutdown = Shutdown::new(LIMIT);
        let router = server().add_service(ControllerServer::new(controller.clone()));
        shutdown.spawn(serve(router, listener, shutdown.token(), LIMIT));
        let mut cluster = Self {
            controller,
            brokers: Vec::new(),
            configs: strings(configs),
            network,
            _controller: shutdown,
        };
        for id in 0..3 {
            let member = cluster.start_broker(NodeId(id), tempfile::tempdir().unwrap()).await;
            cluster.brokers.push(member);
        }
        cluster
    }

    /// Registers and starts a broker; broker n is in rack n.
    pub async fn start_broker(&self, id: NodeId, dir: TempDir) -> Member {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let registration = NodeRegistration {
            role: NodeRole::Broker,
            incarnation: Uuid::new_v4(),
            directory_id: Uuid::from_u128(2),
            endpoints: vec![Endpoint {
                name: "PLAINTEXT".into(),
                host: "127.0.0.1".into(),
                port: address.port(),
            }],
            rack: Some(format!("rack-{id}")),
            api_ranges: Vec::new(),
            pod_uid: None,
        };
        let epoch = self
            .controller
            .commit(vec![Change::PutNodeRegistration(id, registration)]);
        self.set_state(id, NodeState::Active).await;
        let fixed = StaticValues {
            values: self.configs.clone(),
            ..StaticValues::default()
        };
        let dialer = Dialer::new(self.network.clone());
        let channel = dialer.channel("controller", 1);
        let clock = Clock::system();
        let shutdown = Shutdown::new(LIMIT);
        let broker = Broker::start(BrokerParts {
            node_id: id,
            epoch: BrokerEpoch(epoch),
            config: BrokerConfig::resolve(&BrokerLayers::fixed(&fixed)).unwrap(),
            fixed,
            inter_broker_listener: "PLAINTEXT".into(),
            recovered: RecoveredLogs::open(dir.path(), &StaticValues::default(), clock.now_ms()).unwrap(),
            images: self.controller.images(),
            controller: Box::new(move || ControllerClient::new(channel.clone())),
            dialer,
            clock,
            shutdown: shutdown.clone(),
        })
        .unwrap();
        let serving = Arc::clone(&broker);
        shutdown.spawn(async move { serving.serve(listener, "PLAINTEXT").await });
        broker.wait_for_image(Revision(epoch), Instant::now() + LIMIT).await;
        Member {
            broker,
            address,
            dir,
            shutdown,
        }
    }

    pub async fn set_state(&self, id: NodeId, state: NodeState) {
        self.decide(vec![Change::PutNodeState(id, state)]).await;
    }

    /// Decides, and waits until the brokers have heard of it.
    pub async fn decide(&self, changes: Vec<Change>) {
        let revision = Revision(self.controller.commit(changes));
        for member in &self.brokers {
            member.broker.wait_for_image(revision, Instant::now() + LIMIT).await;
        }
    }

    /// A topic of which broker 0 leads every partition and all three have replicas.
    pub async fn create(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let nodes: Vec<NodeId> = (0..3).map(NodeId).collect();
        let partition = Partition {
            replicas: nodes.clone(),
            isr: nodes,
            leader: Some(NodeId(0)),
            leader_epoch: LeaderEpoch(0),
            ..Partition::default()
        };
        let mut changes: Vec<Change> = (0..partitions)
            .map(|index| Change::PutPartition(topic_id(name), PartitionIndex(index), partition.clone()))
            .collect();
        changes.push(Change::PutTopic {
            name: name.to_owned(),
            topic_id: topic_id(name),
            partition_count: partitions,
            configs: strings(configs),
            owner: None,
        });
        self.decide(changes).await;
    }

    /// What the controller has decided of partition 0.
    pub fn decided(&self, topic: &str) -> Partition {
        let image = self.controller.image();
        Partition::clone(image.partition(topic_id(topic), PartitionIndex(0)).unwrap())
    }

    /// Changes partition 0 with a new leader epoch.
    pub async fn elect(&self, topic: &str, leader: i32, isr: &[i32]) {
        let before = self.decided(topic);
        let changed = Partition {
            leader: Some(NodeId(leader)),
            leader_epoch: LeaderEpoch(before.leader_epoch.get() + 1),
            isr: isr.iter().copied().map(NodeId).collect(),
            ..before
        };
        self.decide(vec![Change::PutPartition(topic_id(topic), PartitionIndex(0), changed)])
            .await;
    }

    pub fn replica(&self, broker: usize, topic: &str, index: i32) -> Arc<Replica> {
        let partitions = self.brokers[broker].broker.partitions();
        partitions.get(topic_id(topic), PartitionIndex(index)).unwrap()
    }

    pub fn log_end(&self, broker: usize, topic: &str) -> i64 {
        self.replica(broker, topic, 0)
            .ends()
            .map_or(-1, |ends| ends.log_end.get())
    }

    pub async fn client(&self, broker: usize) -> Client {
        Client::connect(self.brokers[broker].address).await
    }

    /// Takes a broker away: cleanly, but without a word to the controller.
    pub async fn stop(&mut self, broker: usize) -> TempDir {
        let member = self.brokers.remove(broker);
        member.shutdown.trigger();
        member.shutdown.finished().await.unwrap();
        member.broker.close().await.unwrap();
        member.dir
    }
}

/// Waits until something holds; nothing here is told.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub async fn produce(
    client: &mut Client,
    topic: &str,
    index: i32,
    acks: i16,
    records: Bytes,
) -> PartitionProduceResponse {
    let request = ProduceRequest {
        acks,
        timeout_ms: 5_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![PartitionProduceData {
                index,
                records: Some(records),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(PRODUCE_VERSION, &request).await;
    response.responses[0].partition_responses[0].clone()
}

/// Writes the same to many partitions with acks=all, in one request; the error codes.
pub async fn produce_to_each(
    client: &mut Client,
    topic: &str,
    partitions: impl Iterator<Item = i32>,
    records: Bytes,
) -> Vec<i16> {
    let data = |index| PartitionProduceData {
        index,
        records: Some(records.clone()),
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 5_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: partitions.map(data).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(PRODUCE_VERSION, &request).await;
    let answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    answers.map(|answer| answer.error_code).collect()
}

pub fn fetch_request(topic: &str, offset: i64, max_wait_ms: i32) -> FetchRequest {
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic: topic.into(),
            topic_id: TopicId::ZERO.0,
            partitions: vec![FetchPartition {
                partition: 0,
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub async fn fetch(client: &mut Client, topic: &str, offset: i64) -> PartitionData {
    let response = client.call(FETCH_VERSION, &fetch_request(topic, offset, 0)).await;
    assert_eq!(response.error_code, 0);
    response.responses[0].partitions[0].clone()
}

/// Values of all records, and the leader epoch of each.
pub fn records(data: &PartitionData) -> Vec<(String, i32)> {
    let mut records = Vec::new();
    for batch in Batches::new(data.records.clone().unwrap_or_default()) {
        let batch = batch.unwrap();
        assert!(batch.verify_crc());
        for record in RecordIter::new(&batch.header, &batch.records) {
            let value = record.unwrap().value.unwrap().to_vec();
            records.push((String::from_utf8(value).unwrap(), batch.header.leader_epoch.get()));
        }
    }
    records
}

fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Values and leader epochs of all records of a partition that a broker shows.
pub async fn records_of(client: &mut Client, topic: &str, index: i32) -> Vec<(String, i32)> {
    let mut all: Vec<(String, i32)> = Vec::new();
    loop {
        let mut request = fetch_request(topic, all.len() as i64, 0);
        request.topics[0].partitions[0].partition = index;
        let response = client.call(FETCH_VERSION, &request).await;
        let data = &response.responses[0].partitions[0];
        assert_eq!(data.error_code, 0, "at offset {}", all.len());
        let more = records(data);
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}
