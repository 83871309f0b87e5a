//! A broker with images made by hand, and a client that speaks frames.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use highwater_broker::Broker;
use highwater_broker::broker::BrokerParts;
use highwater_broker::partitions::RecoveredLogs;
use highwater_node::clock::Clock;
use highwater_node::shutdown::Shutdown;
use highwater_node::transport::{Dialer, MemoryNetwork};
use highwater_proto::config::{BrokerConfig, BrokerLayers, StaticValues};
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::kafka::{ApiKey, Message, Request, RequestHeader, ResponseHeader};
use highwater_proto::metadata::{
    Change, ClusterInfo, Endpoint, MetadataImage, MetadataUpdate, NodeRegistration, NodeRole, NodeState, Partition,
};
use highwater_proto::record::BatchBuilder;
use highwater_proto::types::{
    BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, ProducerEpoch, ProducerId, Revision, TimestampMs, TopicId,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

pub const NODE: NodeId = NodeId(0);
/// Nothing here should take longer.
pub const LIMIT: Duration = Duration::from_secs(10);

/// A broker under test.
pub struct TestBroker {
    pub broker: Arc<Broker>,
    pub address: SocketAddr,
    images: watch::Sender<Arc<MetadataImage>>,
    shutdown: Shutdown,
    fixed: StaticValues,
    dir: Option<TempDir>,
}

/// A topic's id follows from its name.
pub fn topic_id(name: &str) -> TopicId {
    TopicId(Uuid::from_u128(
        name.bytes()
            .fold(1, |id, byte| id.wrapping_mul(257).wrapping_add(u128::from(byte))),
    ))
}

impl TestBroker {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With broker configs.
    pub async fn start_with(configs: &[(&str, &str)]) -> Self {
        let fixed = StaticValues {
            values: strings(configs),
            ..StaticValues::default()
        };
        Self::start_in(tempfile::tempdir().unwrap(), fixed, Arc::new(registered_image())).await
    }

    /// On a directory that another broker has left, with an image that knows no topics.
    pub async fn start_on(dir: TempDir) -> Self {
        Self::start_in(dir, StaticValues::default(), Arc::new(registered_image())).await
    }

    async fn start_in(dir: TempDir, fixed: StaticValues, image: Arc<MetadataImage>) -> Self {
        let config = BrokerConfig::resolve(&BrokerLayers::fixed(&fixed)).unwrap();
        let (images, receiver) = watch::channel(Arc::clone(&image));
        let clock = Clock::system();
        let shutdown = Shutdown::new(LIMIT);
        let dialer = Dialer::new(MemoryNetwork::default());
        let mut recovered = RecoveredLogs::open(dir.path(), &fixed, clock.now_ms()).unwrap();
        recovered.remove_deleted();
        let broker = Broker::start(BrokerParts {
            node_id: NODE,
            epoch: BrokerEpoch(1),
            config,
            fixed: fixed.clone(),
            inter_broker_listener: "PLAINTEXT".into(),
            recovered,
            images: receiver,
            dialer: dialer.clone(),
            controller: Box::new(move || ControllerClient::new(dialer.channel("nowhere", 0))),
            clock,
            shutdown: shutdown.clone(),
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&broker);
        shutdown.spawn(async move { serving.serve(listener, "PLAINTEXT").await });
        broker.wait_for_image(image.revision, Instant::now() + LIMIT).await;
        Self {
            broker,
            address,
            images,
            shutdown,
            fixed,
            dir: Some(dir),
        }
    }

    /// Stops cleanly and starts again on the same directory, with leadership bumped as a registration does.
    pub async fn restart(self) -> Self {
        self.restart_after(Vec::new()).await
    }

    /// The same, with changes that were decided while the broker was away.
    pub async fn restart_after(mut self, changes: Vec<Change>) -> Self {
        let old = Arc::clone(&self.images.borrow());
        let revision = Revision(old.revision.get() + 1);
        let old = old.apply(&MetadataUpdate { revision, changes });
        let dir = self.stop().await;
        let fixed = self.fixed.clone();
        // The lock on the directory goes with the broker.
        drop(self);
        let mut changes = Vec::new();
        for topic in old.topics() {
            for (index, partition) in topic.partitions.iter().enumerate() {
                let next = Partition {
                    leader_epoch: LeaderEpoch(partition.leader_epoch.get() + 1),
                    ..Partition::clone(partition)
                };
                changes.push(Change::PutPartition(topic.id, PartitionIndex(index as i32), next));
            }
        }
        let revision = Revision(old.revision.get() + 1);
        let image = Arc::new(old.apply(&MetadataUpdate { revision, changes }));
        Self::start_in(dir, fixed, image).await
    }

    pub async fn stop(&mut self) -> TempDir {
        self.shutdown.trigger();
        self.shutdown.finished().await.unwrap();
        self.broker.close().await.unwrap();
        self.dir.take().unwrap()
    }

    pub fn data_dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// Publishes changes and waits until they are carried out.
    pub async fn change(&self, changes: Vec<Change>) {
        let old = Arc::clone(&self.images.borrow());
        let revision = Revision(old.revision.get() + 1);
        self.images
            .send_replace(Arc::new(old.apply(&MetadataUpdate { revision, changes })));
        self.broker.wait_for_image(revision, Instant::now() + LIMIT).await;
        assert!(self.broker.image().revision >= revision);
    }

    /// Publishes the first image again, as that of a store which was restored in a higher generation.
    pub async fn restore(&self) {
        let cluster = ClusterInfo {
            generation: 1,
            ..ClusterInfo::default()
        };
        let restored = registered_image().apply(&MetadataUpdate {
            revision: Revision(2),
            changes: vec![Change::PutCluster(cluster)],
        });
        self.images.send_replace(Arc::new(restored));
        let deadline = Instant::now() + LIMIT;
        while self.broker.image().cluster.generation == 0 {
            assert!(Instant::now() < deadline, "the restored image is not carried out");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A topic whose partitions this broker leads alone.
    pub async fn create(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let alone = Partition {
            replicas: vec![NODE],
            isr: vec![NODE],
            leader: Some(NODE),
            leader_epoch: LeaderEpoch(0),
            ..Partition::default()
        };
        self.create_with(name, partitions, configs, &alone).await;
    }

    pub async fn create_with(&self, name: &str, partitions: i32, configs: &[(&str, &str)], partition: &Partition) {
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
        self.change(changes).await;
    }

    pub async fn delete(&self, name: &str) {
        self.change(vec![Change::DeleteTopic {
            name: name.to_owned(),
            topic_id: topic_id(name),
        }])
        .await;
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }
}

fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn registered_image() -> MetadataImage {
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
    MetadataImage::default().apply(&MetadataUpdate {
        revision: Revision(1),
        changes: vec![
            Change::PutNodeRegistration(NODE, registration),
            Change::PutNodeState(NODE, NodeState::Active),
        ],
    })
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    next_correlation: i32,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            next_correlation: 100,
        }
    }

    /// Sends a request; its correlation id.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.next_correlation += 1;
        let frame = frame(R::API_KEY, version, self.next_correlation, request);
        self.stream.write_all(&frame).await.unwrap();
        self.next_correlation
    }

    /// The next response; its correlation id comes first.
    pub async fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let mut frame = self.receive_frame().await.expect("the broker closed the connection");
        let header_version = R::API_KEY.response_header_version(version);
        let header = ResponseHeader::decode(&mut frame, header_version).unwrap();
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty(), "{} bytes behind the response", frame.len());
        (header.correlation_id, response)
    }

    /// The next frame; `None` when the broker closed the connection.
    pub async fn receive_frame(&mut self) -> Option<Bytes> {
        tokio::time::timeout(LIMIT, async {
            let size = self.stream.read_i32().await.ok()?;
            let mut bytes = vec![0; size as usize];
            self.stream.read_exact(&mut bytes).await.ok()?;
            Some(Bytes::from(bytes))
        })
        .await
        .expect("no answer in time")
    }

    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let correlation = self.send(version, request).await;
        let (answered, response) = self.receive::<R>(version).await;
        assert_eq!(answered, correlation);
        response
    }

    /// True if the broker closes the connection and sends nothing before.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(LIMIT, self.stream.read(&mut byte))
            .await
            .expect("neither closed nor answered");
        matches!(read, Ok(0) | Err(_))
    }
}

/// A request as it stands on the wire.
pub fn frame<R: Message>(api: ApiKey, version: i16, correlation_id: i32, request: &R) -> Vec<u8> {
    let mut body = BytesMut::new();
    let header = RequestHeader {
        request_api_key: api.code(),
        request_api_version: version,
        correlation_id,
        client_id: Some("test".into()),
        ..RequestHeader::default()
    };
    header.encode(&mut body, api.request_header_version(version)).unwrap();
    request.encode(&mut body, version).unwrap();
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    frame
}

/// One batch of these values, without keys, timestamps from 1,000,000 on.
pub fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (index, value) in values.iter().enumerate() {
        builder
            .append(TimestampMs(1_000_000 + index as i64), None, Some(value.as_bytes()), &[])
            .unwrap();
    }
    builder.build().unwrap().to_bytes()
}

/// The same from an idempotent producer, with timestamps of now: producers are forgotten by the age of their records.
pub fn sequenced(values: &[&str], producer: i64, epoch: i16, sequence: i32) -> Bytes {
    sequenced_at(Clock::system().now_ms(), values, producer, epoch, sequence)
}

pub fn sequenced_at(time: TimestampMs, values: &[&str], producer: i64, epoch: i16, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new().producer(ProducerId(producer), ProducerEpoch(epoch), sequence);
    for value in values {
        builder.append(time, None, Some(value.as_bytes()), &[]).unwrap();
    }
    builder.build().unwrap().to_bytes()
}
