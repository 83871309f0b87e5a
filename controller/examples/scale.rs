//! How the metadata image and the controller fare at the size of design section 11. Run in release mode:
//!
//! ```text
//! cargo run --release -p highwater-controller --example scale -- image [PARTITIONS [BROKERS]]
//! cargo run --release -p highwater-controller --example scale -- fence [PARTITIONS_LED] [ETCD_ENDPOINT]
//! ```
//!
//! `image` needs no store: memory, loading, fencing and creating as pure work. `fence` runs a controller on a store
//! (embedded, or etcd) and loses a broker that leads so many partitions.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_controller::cluster::{
    AlterPartitions, CreatableTopic, CreateTopics, FenceNode, IsrMember, IsrProposal, Settings, decide, reconcile,
};
use highwater_controller::service::{Controller, ControllerConfig};
use highwater_controller::store::{EmbeddedStore, Entry, EtcdStore, Loaded, MetadataStore, Operation, layout};
use highwater_node::clock::Clock;
use highwater_node::config::{NodeConfig, SessionConfig, Sources};
use highwater_node::shutdown::Shutdown;
use highwater_node::transport::{Channel, Dialer, MemoryNetwork};
use highwater_proto::config::{Profile, StaticValues, Values};
use highwater_proto::grpc;
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::grpc::session_request::{Register, Request as Said, Unfence};
use highwater_proto::grpc::session_response::Response as Answer;
use highwater_proto::metadata::{
    Change, ClusterInfo, MetadataImage, MetadataUpdate, NodeRegistration, NodeRole, NodeState, Partition, convert,
};
use highwater_proto::types::{
    BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, Revision, TopicId, TopicPartition,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |position: usize, default: usize| {
        arguments
            .get(position)
            .map_or(default, |text| text.parse().expect("a number"))
    };
    match arguments.first().map(String::as_str) {
        Some("fence") => {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(lose_a_broker(number(1, 10_000), arguments.get(2).cloned()));
        }
        _ => at_size(number(1, 1_000_000), number(2, 1_000)),
    }
}

fn timed<R>(what: &str, work: impl FnOnce() -> R) -> R {
    let started = Instant::now();
    let result = work();
    println!("{what:<64} {:>10.1} ms", started.elapsed().as_secs_f64() * 1_000.0);
    result
}

const PARTITIONS_PER_TOPIC: usize = 100;

fn registration(id: usize) -> NodeRegistration {
    NodeRegistration {
        role: NodeRole::Broker,
        incarnation: Uuid::from_u128(id as u128 + 1),
        directory_id: Uuid::from_u128(id as u128 + 1_000_000),
        endpoints: Vec::new(),
        rack: Some(format!("rack-{}", id % 3)),
        api_ranges: Vec::new(),
        pod_uid: None,
    }
}

fn settings() -> Settings {
    let values: Values = [("default.replication.factor", "3"), ("min.insync.replicas", "2")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    Settings::new(StaticValues {
        profile: Profile::Cluster,
        values,
    })
    .unwrap()
}

/// A store with so many partitions in topics of 100, three replicas each.
fn loaded(partitions: usize, brokers: usize) -> Loaded {
    let mut entries = Vec::with_capacity(partitions + brokers * 2);
    let mut revision = 0;
    let mut put = |change: Change| {
        revision += 1;
        for operation in layout::operations(&change) {
            if let Operation::Put(key, value) = operation {
                entries.push(Entry {
                    key,
                    value,
                    modified: Revision(revision),
                });
            }
        }
    };
    put(Change::PutCluster(ClusterInfo {
        cluster_id: "4L6g3nShT-eMCtK--X86sw".to_owned(),
        generation: 1,
        format_version: 1,
    }));
    for id in 0..brokers {
        put(Change::PutNodeRegistration(NodeId(id as i32), registration(id)));
        put(Change::PutNodeState(NodeId(id as i32), NodeState::Active));
    }
    for topic in 0..partitions.div_ceil(PARTITIONS_PER_TOPIC) {
        let topic_id = TopicId(Uuid::from_u128(topic as u128 + 1));
        for index in 0..PARTITIONS_PER_TOPIC {
            let number = topic * PARTITIONS_PER_TOPIC + index;
            let replica = |offset: usize| NodeId(((number + offset * (1 + number / brokers % 7)) % brokers) as i32);
            let replicas = vec![replica(0), replica(1), replica(2)];
            let partition = Partition {
                isr: replicas.clone(),
                leader: Some(replicas[0]),
                replicas,
                ..Partition::default()
            };
            put(Change::PutPartition(topic_id, PartitionIndex(index as i32), partition));
        }
        put(Change::PutTopic {
            name: format!("topic-{topic}"),
            topic_id,
            partition_count: PARTITIONS_PER_TOPIC as i32,
            configs: BTreeMap::new(),
            owner: Default::default(),
        });
    }
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Loaded {
        revision: Revision(revision),
        entries,
    }
}

fn at_size(partitions: usize, brokers: usize) {
    println!("{partitions} partitions, 3 replicas each, {brokers} brokers");
    let settings = settings();
    let loaded = loaded(partitions, brokers);
    let stored: usize = loaded
        .entries
        .iter()
        .map(|entry| entry.key.len() + entry.value.len())
        .sum();
    println!(
        "in the store: {} bytes per partition, keys included",
        stored / partitions
    );
    let snapshot = timed("load: decode what the store has", || layout::snapshot(&loaded).unwrap());
    drop(loaded);
    let image = timed("load: build the image", || MetadataImage::from_snapshot(&snapshot));
    // The first ones may take what was freed before them.
    let mut images = vec![
        MetadataImage::from_snapshot(&snapshot),
        MetadataImage::from_snapshot(&snapshot),
    ];
    let before = resident();
    images.extend([(); 3].map(|()| MetadataImage::from_snapshot(&snapshot)));
    println!("image: {} bytes per partition", (resident() - before) / 3 / partitions);
    drop((images, snapshot));
    assert_eq!(image.partition_count(), partitions);
    let image = timed("settle: nothing to do after a take-over", || {
        assert!(reconcile(&MetadataImage::default(), &image, &settings).is_empty());
        image
    });
    let messages = timed("snapshot for a watcher: build", || {
        convert::snapshot_to_grpc(&image.snapshot()).collect::<Vec<_>>()
    });
    println!("snapshot for a watcher: {} messages", messages.len());
    drop(messages);

    let node = NodeId(0);
    let epoch = image.node(node).unwrap().epoch;
    let fenced = fence(&image, &settings, node, epoch);
    create(&fenced, &settings);
    alter(&image, &settings);
}

/// Applies steps as the active controller does, without a store.
fn commit(image: &MetadataImage, steps: Vec<Vec<Change>>) -> MetadataImage {
    let mut image = image.clone();
    for changes in steps {
        for change in &changes {
            std::hint::black_box(layout::operations(change));
        }
        let update = MetadataUpdate {
            revision: Revision(image.revision.get() + 1),
            changes,
        };
        image = image.apply(&update);
        std::hint::black_box(convert::update_to_grpc(&update));
    }
    image
}

fn fence(image: &MetadataImage, settings: &Settings, node: NodeId, epoch: BrokerEpoch) -> MetadataImage {
    let led = image
        .topics()
        .flat_map(|topic| &topic.partitions)
        .filter(|partition| partition.leader == Some(node));
    let led = led.count();
    let decision = timed("fence one broker: decide", || {
        decide(image, &FenceNode { node, epoch }, settings)
    });
    let steps = decision.steps.len();
    let changes: usize = decision.steps.iter().map(Vec::len).sum();
    let fenced = timed("fence one broker: encode, apply and stream", || {
        commit(image, decision.steps)
    });
    timed("fence one broker: derive that nothing is left", || {
        assert!(reconcile(image, &fenced, settings).is_empty());
    });
    println!("fence one broker: it led {led} partitions; {changes} changes in {steps} transactions");
    let kept = fenced
        .topics()
        .flat_map(|topic| &topic.partitions)
        .all(|partition| partition.leader.is_some());
    assert!(kept, "everything has a leader");
    fenced
}

fn create(image: &MetadataImage, settings: &Settings) {
    let topic = |count: i32| CreateTopics {
        topics: vec![CreatableTopic {
            name: format!("new-{count}"),
            topic_id: TopicId(Uuid::new_v4()),
            partitions: count,
            replication_factor: 3,
            assignments: Vec::new(),
            configs: Vec::new(),
            owner: Default::default(),
        }],
        validate_only: false,
    };
    for count in [1, 100, 10_000] {
        let decision = timed(&format!("create a topic of {count} partitions: decide"), || {
            decide(image, &topic(count), settings)
        });
        let steps = decision.steps.len();
        let created = timed(
            &format!("create a topic of {count} partitions: apply {steps} transactions"),
            || commit(image, decision.steps),
        );
        timed("derive that nothing is left", || {
            assert!(reconcile(image, &created, settings).is_empty())
        });
    }
}

/// A leader of 100 partitions takes one replica out of each ISR.
fn alter(image: &MetadataImage, settings: &Settings) {
    let topics: Vec<_> = image.topics().collect();
    let leader = NodeId(7);
    let mut proposals = Vec::new();
    for topic in topics {
        for (index, partition) in topic.indexed_partitions() {
            if partition.leader == Some(leader) && proposals.len() < 100 {
                let isr = partition.isr[..2].iter().map(|broker| IsrMember {
                    broker: *broker,
                    epoch: image.node(*broker).unwrap().epoch,
                });
                proposals.push(IsrProposal {
                    key: TopicPartition {
                        topic_id: topic.id,
                        partition: index,
                    },
                    leader_epoch: LeaderEpoch(0),
                    partition_epoch: PartitionEpoch(partition.epoch.get()),
                    isr: isr.collect(),
                });
            }
        }
    }
    let command = AlterPartitions {
        broker: leader,
        broker_epoch: image.node(leader).unwrap().epoch,
        proposals,
    };
    let decision = timed("alter 100 ISRs: decide", || decide(image, &command, settings));
    assert!(decision.reply.iter().all(|altered| altered.result.is_ok()));
    let altered = timed("alter 100 ISRs: apply", || commit(image, decision.steps));
    timed("alter 100 ISRs: derive that nothing is left", || {
        assert!(reconcile(image, &altered, settings).is_empty());
    });
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Loses one of four brokers on a real store and measures from the first thing that is decided to the last.
#[expect(clippy::too_many_lines, reason = "one measurement, told in order")]
async fn lose_a_broker(led: usize, etcd: Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn MetadataStore> = match &etcd {
        None => Arc::new(EmbeddedStore::open(folder.path()).unwrap()),
        Some(endpoint) => {
            let sources = Sources {
                flags: vec![
                    ("etcd.endpoints".to_owned(), endpoint.clone()),
                    ("cluster.name".to_owned(), format!("scale-{}", Uuid::new_v4())),
                ],
                ..Sources::default()
            };
            let config = NodeConfig::load(Profile::Cluster, &sources).unwrap();
            Arc::new(EtcdStore::connect(config.etcd.unwrap()).await.unwrap())
        }
    };
    let session = SessionConfig {
        reconnect_grace: Duration::from_millis(300),
        timeout: Duration::from_secs(600),
    };
    let values: Values = [("default.replication.factor", "3"), ("min.insync.replicas", "2")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    let fixed = StaticValues {
        profile: Profile::Cluster,
        values,
    };
    let config = ControllerConfig::new("scale", fixed, session).unwrap();
    let shutdown = Shutdown::new(Duration::from_secs(1));
    let controller = Controller::start(store, config, Clock::system(), shutdown.clone())
        .await
        .unwrap();
    let network = MemoryNetwork::new();
    controller.serve(network.listen("controller", 1).unwrap());
    let client = ControllerClient::new(Dialer::new(network).channel("controller", 1));
    let mut brokers = Vec::new();
    for id in 1..=4 {
        brokers.push(join(client.clone(), id).await);
    }
    // Of four brokers each leads a quarter.
    let started = Instant::now();
    for topic in 0..(led * 4).div_ceil(10_000) {
        let topic = grpc::create_topics_request::CreatableTopic {
            name: format!("topic-{topic}"),
            partitions: (led * 4).min(10_000) as i32,
            replication_factor: 3,
            ..Default::default()
        };
        let request = grpc::CreateTopicsRequest {
            topics: vec![topic],
            validate_only: false,
        };
        let response = client.clone().create_topics(request).await.unwrap().into_inner();
        assert_eq!(response.results[0].outcome.as_ref().unwrap().code, 0, "{response:?}");
    }
    let image = controller.image();
    println!(
        "create {} partitions: {:.2} s",
        image.partition_count(),
        started.elapsed().as_secs_f64()
    );
    let lost = NodeId(1);
    let leads = |image: &MetadataImage| {
        let partitions = image.topics().flat_map(|topic| &topic.partitions);
        partitions.filter(|partition| partition.leader == Some(lost)).count()
    };
    println!("the broker leads {} partitions and follows in others", leads(&image));
    let mut images = controller.images();
    // A node of the same process needs no grace: what follows is the controller's work.
    let (first, started) = (image.revision, Instant::now());
    drop(brokers.remove(0));
    let state = |image: &MetadataImage| image.node(lost).unwrap().state;
    let done = images
        .wait_for(|image| state(image) == NodeState::Fenced)
        .await
        .unwrap()
        .clone();
    let took = started.elapsed();
    assert_eq!(leads(&done), 0);
    let transactions = done.revision.get() - first.get();
    println!(
        "lose a broker: {:.3} s for {transactions} transactions",
        took.as_secs_f64()
    );
    shutdown.trigger();
    shutdown.finished().await.unwrap();
}

async fn join(mut client: ControllerClient<Channel>, id: i32) -> mpsc::Sender<grpc::SessionRequest> {
    let (say, said) = mpsc::channel(4);
    let register = Register {
        node_id: Some(id),
        registration: Some((&registration(id as usize)).into()),
        clean_shutdown: true,
        ..Register::default()
    };
    for request in [Said::Register(register), Said::Unfence(Unfence::default())] {
        say.send(grpc::SessionRequest { request: Some(request) }).await.unwrap();
    }
    let mut answers = client.session(ReceiverStream::new(said)).await.unwrap().into_inner();
    loop {
        if let Some(Answer::Unfenced(_)) = answers.message().await.unwrap().unwrap().response {
            break;
        }
    }
    tokio::spawn(async move { while let Ok(Some(_)) = answers.message().await {} });
    say
}
