//! The controller over its gRPC interface, on the embedded store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use highwater_controller::cluster::sessions::Patience;
use highwater_controller::service::{Controller, ControllerConfig, StopReason};
use highwater_controller::store::{
    CommitError, EmbeddedStore, Leadership, Loaded, MetadataStore, StoreError, Transaction, Watch,
};
use highwater_node::clock::Clock;
use highwater_node::config::SessionConfig;
use highwater_node::shutdown::Shutdown;
use highwater_node::telemetry::Metrics;
use highwater_node::transport::{Channel, Dialer, Listener, MemoryNetwork};
use highwater_proto::config::StaticValues;
use highwater_proto::grpc;
use highwater_proto::grpc::alter_partitions_request::{IsrMember, Proposal};
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::grpc::session_request::{
    HandedOver, Heartbeat, Leave, LogEnd, LogEnds, Register, ReplicaRef, Request as Said, Unfence,
};
use highwater_proto::grpc::session_response::{HandOver, LeaderMove, Response as Answer};
use highwater_proto::metadata::convert::{Received, UpdateAssembler};
use highwater_proto::metadata::{MetadataImage, NodeRegistration, NodeRole, NodeState};
use highwater_proto::types::{NodeId, PartitionIndex, Revision};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};
use uuid::Uuid;

const WAIT: Duration = Duration::from_secs(20);

fn config() -> ControllerConfig {
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
struct Running {
    controller: Controller,
    memory: MemoryNetwork,
    shutdown: Shutdown,
}

impl Running {
    async fn start(store: Arc<dyn MetadataStore>) -> Self {
        Self::start_with(store, config()).await
    }

    async fn start_with(store: Arc<dyn MetadataStore>, config: ControllerConfig) -> Self {
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

    async fn on_folder(folder: &Path) -> Self {
        Self::start(Arc::new(EmbeddedStore::open(folder).unwrap())).await
    }

    fn client(&self) -> ControllerClient<Channel> {
        ControllerClient::new(Dialer::new(self.memory.clone()).channel("controller", 9190))
    }

    async fn image_where(&self, what: &str, holds: impl Fn(&MetadataImage) -> bool) -> Arc<MetadataImage> {
        let mut images = self.controller.images();
        let found = tokio::time::timeout(WAIT, images.wait_for(|image| holds(image))).await;
        Arc::clone(&found.unwrap_or_else(|_| panic!("no image in which {what}")).unwrap())
    }

    async fn stop(self) {
        self.shutdown.trigger();
        self.shutdown.finished().await.unwrap();
    }
}

/// A node as the controller sees it.
struct Node {
    say: mpsc::Sender<grpc::SessionRequest>,
    answers: Streaming<grpc::SessionResponse>,
}

impl Node {
    async fn connect(mut client: ControllerClient<Channel>, register: Register) -> Self {
        let (say, said) = mpsc::channel(16);
        say.send(grpc::SessionRequest {
            request: Some(Said::Register(register)),
        })
        .await
        .unwrap();
        let answers = client.session(ReceiverStream::new(said)).await.unwrap().into_inner();
        Self { say, answers }
    }

    async fn say(&mut self, said: Said) -> Answer {
        self.say
            .send(grpc::SessionRequest { request: Some(said) })
            .await
            .unwrap();
        self.answer().await.unwrap()
    }

    async fn answer(&mut self) -> Result<Answer, tonic::Status> {
        let message = tokio::time::timeout(WAIT, self.answers.message())
            .await
            .expect("an answer in time")?;
        Ok(message.expect("the stream goes on").response.unwrap())
    }

    async fn registered(&mut self) -> grpc::session_response::Registered {
        match self.answer().await.unwrap() {
            Answer::Registered(registered) => registered,
            other => panic!("{other:?}"),
        }
    }
}

fn register(id: Option<i32>, incarnation: u128, directory: u128) -> Register {
    let registration = NodeRegistration {
        role: NodeRole::Broker,
        incarnation: Uuid::from_u128(incarnation),
        directory_id: Uuid::from_u128(directory),
        endpoints: Vec::new(),
        rack: None,
        api_ranges: Vec::new(),
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
async fn broker(running: &Running, id: i32, incarnation: u128) -> (Node, i64) {
    let mut node = Node::connect(running.client(), register(Some(id), incarnation, 1_000 + id as u128)).await;
    let epoch = node.registered().await.epoch;
    match node.say(Said::Unfence(Unfence::default())).await {
        Answer::Unfenced(unfenced) => assert!(unfenced.revision > epoch),
        other => panic!("{other:?}"),
    }
    (node, epoch)
}

async fn create(client: &mut ControllerClient<Channel>, name: &str, partitions: i32) -> (i32, i64) {
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

fn leader(image: &MetadataImage, name: &str) -> (Option<NodeId>, i32) {
    let partition = image.topic(name).unwrap().partition(PartitionIndex(0)).unwrap();
    (partition.leader, partition.leader_epoch.get())
}

#[tokio::test]
async fn a_broker_registers_serves_and_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    assert_eq!(running.controller.image().cluster.cluster_id.len(), 22);
    let (mut node, epoch) = broker(&running, 3, 1).await;
    assert!(matches!(
        node.say(Said::Heartbeat(Heartbeat::default())).await,
        Answer::Alive(_)
    ));

    let mut client = running.client();
    assert_eq!(create(&mut client, "a", 4).await.0, 0);
    let (code, revision) = create(&mut client, "a", 4).await;
    assert_eq!(code, 36, "without an id of the caller it is another topic");
    let image = running.controller.image();
    assert_eq!(
        (image.revision.get(), leader(&image, "a").0),
        (revision, Some(NodeId(3)))
    );
    let ids = grpc::AllocateProducerIdsRequest {
        broker_id: 3,
        broker_epoch: epoch,
    };
    let blocks = [
        client.allocate_producer_ids(ids).await.unwrap(),
        client.allocate_producer_ids(ids).await.unwrap(),
    ];
    assert_eq!(
        blocks.map(|block| (block.get_ref().first, block.get_ref().count)),
        [(0, 1000), (1000, 1000)]
    );
    let stale = grpc::AllocateProducerIdsRequest {
        broker_id: 3,
        broker_epoch: epoch - 1,
    };
    assert_eq!(
        client
            .allocate_producer_ids(stale)
            .await
            .unwrap()
            .into_inner()
            .outcome
            .unwrap()
            .code,
        77
    );

    match node.say(Said::Leave(Leave::default())).await {
        Answer::MayLeave(may_leave) => assert_eq!(may_leave.revision, running.controller.image().revision.get()),
        other => panic!("{other:?}"),
    }
    let image = running.controller.image();
    assert_eq!(image.node(NodeId(3)).unwrap().state, NodeState::Fenced);
    assert_eq!(leader(&image, "a").0, None);
    running.stop().await;
}

/// A topic of one partition on these brokers.
async fn create_on(running: &Running, name: &str, brokers: &[i32], configs: &[(&str, &str)]) -> ReplicaRef {
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
    async fn question(&mut self) -> Answer {
        loop {
            match self.answer().await.unwrap() {
                Answer::Alive(_) => {}
                other => return other,
            }
        }
    }

    async fn tell(&mut self, said: Said) {
        let request = Some(said);
        self.say.send(grpc::SessionRequest { request }).await.unwrap();
    }

    /// Answers that all of a hand-over is ready.
    async fn hand_over(&mut self) -> Vec<LeaderMove> {
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

#[tokio::test]
async fn an_empty_directory_takes_no_id_whose_process_may_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (_node, epoch) = broker(&running, 1, 1).await;
    running.stop().await;
    // The next controller waits for those that it finds live.
    let running = Running::on_folder(folder.path()).await;
    let mut empty = Node::connect(running.client(), register(Some(1), 2, 99)).await;
    let status = empty.answer().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("may come back"), "{status}");
    let mut node = Node::connect(running.client(), register(Some(1), 1, 1_001)).await;
    assert_eq!(node.registered().await.epoch, epoch, "nothing has changed for it");
    running.stop().await;
}

#[tokio::test]
async fn who_leaves_hands_over_before_others_lead() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (mut first, _) = broker(&running, 1, 1).await;
    let (_second, _) = broker(&running, 2, 2).await;
    create_on(&running, "a", &[1, 2], &[]).await;
    let alone = create_on(&running, "alone", &[1], &[]).await;
    let (_, epoch) = leader(&running.controller.image(), "a");
    first.tell(Said::Leave(Leave::default())).await;
    let Answer::HandOver(asked) = first.question().await else {
        panic!("no hand-over")
    };
    let wanted = asked.moves.iter().map(|it| (it.leader_epoch, it.target));
    assert_eq!(
        wanted.collect::<Vec<_>>(),
        [(epoch, 2)],
        "there is nobody to hand the other one to"
    );
    assert!(asked.moves.iter().all(|it| it.replica.as_ref() != Some(&alone)));
    assert_eq!(
        leader(&running.controller.image(), "a").0,
        Some(NodeId(1)),
        "not before the answer"
    );
    let ready = asked.moves.iter().filter_map(|wanted| wanted.replica.clone()).collect();
    let answer = HandedOver {
        question: asked.question,
        ready,
    };
    first.tell(Said::HandedOver(answer)).await;
    assert!(matches!(first.question().await, Answer::MayLeave(_)));
    let image = running.controller.image();
    assert_eq!(leader(&image, "a"), (Some(NodeId(2)), epoch + 1));
    assert_eq!(image.node(NodeId(1)).unwrap().state, NodeState::Fenced);
    running.stop().await;
}

#[tokio::test]
async fn who_leaves_waits_for_others_for_as_long_as_it_says_and_not_when_all_leave() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(broker(&running, id, id as u128).await.0);
    }
    create_on(&running, "a", &[1, 2, 3], &[("min.insync.replicas", "2")]).await;
    drop(nodes.pop());
    running
        .image_where("broker 3 is gone", |image| image.live_broker(NodeId(3)).is_none())
        .await;
    let (mut second, mut first) = (nodes.pop().unwrap(), nodes.pop().unwrap());
    let leave = |wait_ms| Said::Leave(Leave { wait_ms });
    first.tell(leave(60_000)).await;
    first.hand_over().await;
    running
        .image_where("broker 2 leads", |image| leader(image, "a").0 == Some(NodeId(2)))
        .await;
    first.tell(leave(60_000)).await;
    let waits = tokio::time::timeout(Duration::from_millis(300), first.question()).await;
    assert!(waits.is_err(), "broker 3 may come back: {waits:?}");
    assert!(running.controller.image().live_broker(NodeId(1)).is_some());
    // It asks again all the time. Its patience is over; broker 2 finds that nobody stays.
    first.tell(leave(1)).await;
    assert!(matches!(first.question().await, Answer::MayLeave(_)));
    second.tell(leave(60_000)).await;
    assert!(matches!(second.question().await, Answer::MayLeave(_)));
    running.stop().await;
}

#[tokio::test]
async fn a_leader_that_does_not_answer_is_not_waited_for_longer_than_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (mut first, _) = broker(&running, 1, 1).await;
    let (_second, _) = broker(&running, 2, 2).await;
    create_on(&running, "a", &[1, 2], &[]).await;
    let started = tokio::time::Instant::now();
    first.tell(Said::Leave(Leave::default())).await;
    assert!(matches!(first.question().await, Answer::HandOver(_)));
    assert!(matches!(first.question().await, Answer::MayLeave(_)));
    let took = started.elapsed();
    assert!(
        took >= Duration::from_millis(500) && took < Duration::from_secs(5),
        "{took:?}"
    );
    assert_eq!(leader(&running.controller.image(), "a").0, Some(NodeId(2)));
    running.stop().await;
}

#[tokio::test]
async fn preferred_leaders_are_restored_by_themselves_once_they_have_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.settings.leader_imbalance_check_interval = Duration::from_millis(200);
    let store = EmbeddedStore::open(folder.path()).unwrap();
    let running = Running::start_with(Arc::new(store), config).await;
    let (first, _) = broker(&running, 1, 1).await;
    let (mut second, second_epoch) = broker(&running, 2, 2).await;
    let replica = create_on(&running, "a", &[1, 2], &[]).await;
    drop(first);
    running
        .image_where("broker 2 leads", |image| leader(image, "a").0 == Some(NodeId(2)))
        .await;
    let (_first, first_epoch) = broker(&running, 1, 11).await;
    let image = running.controller.image();
    let partition = image.topic("a").unwrap().partition(PartitionIndex(0)).unwrap();
    let member = |broker, broker_epoch| IsrMember { broker, broker_epoch };
    let request = grpc::AlterPartitionsRequest {
        broker_id: 2,
        broker_epoch: second_epoch,
        proposals: vec![Proposal {
            topic_id: replica.topic_id.clone(),
            partition: 0,
            leader_epoch: partition.leader_epoch.get(),
            partition_epoch: partition.epoch.get(),
            isr: vec![member(1, first_epoch), member(2, second_epoch)],
        }],
        ..Default::default()
    };
    running.client().alter_partitions(request).await.unwrap();
    // The first time its successor lacks records: nothing moves, and it is tried again.
    let Answer::HandOver(asked) = second.question().await else {
        panic!("no hand-over")
    };
    assert_eq!(asked.moves.iter().map(|it| it.target).collect::<Vec<_>>(), [1]);
    let answer = HandedOver {
        question: asked.question,
        ready: Vec::new(),
    };
    second.tell(Said::HandedOver(answer)).await;
    assert_eq!(second.hand_over().await, asked.moves);
    running
        .image_where("the preferred leader leads", |image| {
            leader(image, "a").0 == Some(NodeId(1))
        })
        .await;
    running.stop().await;
}

#[tokio::test]
async fn the_longest_log_of_those_that_answer_is_elected_uncleanly() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let unclean = [("unclean.leader.election.enable", "true")];
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(broker(&running, id, id as u128).await.0);
    }
    let replica = create_on(&running, "a", &[1, 2, 3], &unclean).await;
    drop(nodes);
    let headless = |image: &MetadataImage| image.topic("a").is_some() && leader(image, "a").0.is_none();
    running.image_where("nobody leads", headless).await;
    // All come back after an unclean stop: nobody is trusted any more.
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let mut node = Node::connect(
            running.client(),
            register(Some(id), 10 + id as u128, 1_000 + id as u128),
        )
        .await;
        node.registered().await;
        nodes.push(node);
    }
    let ends = [(3, 50), (4, 7), (4, 9)];
    let answering = nodes.into_iter().zip(ends).map(|(mut node, (last_epoch, end))| {
        let replica = replica.clone();
        tokio::spawn(async move {
            let unfence = Unfence {
                untrusted: vec![replica.clone()],
                ..Unfence::default()
            };
            node.tell(Said::Unfence(unfence)).await;
            loop {
                let Answer::AskLogEnds(asked) = node.question().await else {
                    continue;
                };
                assert_eq!(asked.replicas, std::slice::from_ref(&replica));
                let end = LogEnd {
                    replica: Some(replica.clone()),
                    last_epoch,
                    end,
                };
                // So late that all three are asked, if the controller waits for them.
                tokio::time::sleep(Duration::from_millis(50)).await;
                let question = asked.question;
                node.tell(Said::LogEnds(LogEnds {
                    question,
                    ends: vec![end],
                }))
                .await;
            }
        })
    });
    let answering: Vec<_> = answering.collect();
    let image = running
        .image_where("somebody leads", |image| leader(image, "a").0.is_some())
        .await;
    let elected = leader(&image, "a").0.unwrap();
    let live = |id: i32| image.live_broker(NodeId(id)).is_some();
    assert!(
        elected == NodeId(3) || !live(3),
        "broker {elected} leads although broker 3 is live and has the longest log"
    );
    let metrics = Metrics::new(&Clock::system());
    running.controller.register_metrics(&metrics);
    let text = metrics.encode().unwrap();
    assert!(
        text.contains("\nkafka_controller_controllerstats_uncleanleaderelections_total 1\n"),
        "{text}"
    );
    answering.iter().for_each(tokio::task::JoinHandle::abort);
    running.stop().await;
}

#[tokio::test]
async fn a_broker_whose_disk_stalls_leads_nothing_and_is_waited_for_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (mut first, _) = broker(&running, 1, 1).await;
    let (_second, _) = broker(&running, 2, 2).await;
    create_on(&running, "led", &[1, 2], &[]).await;
    create_on(&running, "followed", &[2, 1], &[]).await;
    create_on(&running, "needed", &[2, 1], &[("min.insync.replicas", "2")]).await;
    create_on(&running, "alone", &[1], &[]).await;
    let beat = |flush: i64| {
        Said::Heartbeat(Heartbeat {
            oldest_unfinished_flush_ms: flush,
            ..Heartbeat::default()
        })
    };
    first.tell(beat(1_999)).await;
    first.tell(beat(2_000)).await;
    assert_eq!(first.hand_over().await.len(), 1);
    let isr = |image: &MetadataImage, name: &str| -> Vec<i32> {
        let partition = image.topic(name).unwrap().partition(PartitionIndex(0)).unwrap();
        partition.isr.iter().map(|node| node.get()).collect()
    };
    let image = running
        .image_where("it is relieved", |image| {
            isr(image, "followed") == [2] && isr(image, "led") == [2]
        })
        .await;
    assert_eq!(leader(&image, "led").0, Some(NodeId(2)));
    assert_eq!(
        leader(&image, "alone").0,
        Some(NodeId(1)),
        "better a slow leader than none"
    );
    assert_eq!(isr(&image, "needed"), [2, 1], "min ISR would not remain");
    assert!(image.node(NodeId(1)).unwrap().disk.stalled);
    running.stop().await;
}

#[tokio::test]
async fn a_restart_finds_everything_again_and_bumps_leader_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let killed = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (_node, epoch) = broker(&running, 1, 1).await;
    let (_, revision) = create(&mut running.client(), "a", 3).await;
    let before = running.controller.image();
    // What a killed process leaves: the file as it is, nothing closed, nobody fenced.
    std::fs::copy(folder.path().join("metadata.redb"), killed.path().join("metadata.redb")).unwrap();
    running.stop().await;

    let running = Running::on_folder(killed.path()).await;
    let image = running.controller.image();
    assert!(
        image.revision.get() > revision,
        "the election of the new controller is a revision"
    );
    assert_eq!(image.cluster, before.cluster);
    assert_eq!(image.topic("a"), before.topic("a"), "epochs included");
    assert_eq!(image.node(NodeId(1)).unwrap().epoch.get(), epoch);
    assert_eq!(image.next_producer_id, before.next_producer_id);

    let (_node, later) = broker(&running, 1, 2).await;
    assert!(later > epoch);
    let image = running.controller.image();
    assert_eq!(leader(&image, "a").0, Some(NodeId(1)));
    assert!(leader(&image, "a").1 > leader(&before, "a").1);
    running.stop().await;
}

#[tokio::test]
async fn a_process_that_is_the_whole_cluster_waits_for_nobody_it_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let killed = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let _broker = broker(&running, 1, 1).await;
    std::fs::copy(folder.path().join("metadata.redb"), killed.path().join("metadata.redb")).unwrap();
    let store = Arc::new(EmbeddedStore::open(killed.path()).unwrap());
    let restarted = Running::start_with(
        store,
        ControllerConfig {
            sole_process: true,
            ..config()
        },
    )
    .await;
    let started = std::time::Instant::now();
    restarted
        .image_where("it is fenced", |image| {
            image.node(NodeId(1)).unwrap().state == NodeState::Fenced
        })
        .await;
    assert!(started.elapsed() < Duration::from_secs(2), "not the full timeout");
    running.stop().await;
    restarted.stop().await;
}

#[tokio::test]
async fn metrics_have_the_names_of_kafkas_controller() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (node, _) = broker(&running, 1, 1).await;
    create(&mut running.client(), "a", 3).await;
    drop(node);
    running
        .image_where("nobody leads", |image| leader(image, "a").0.is_none())
        .await;
    let metrics = Metrics::new(&Clock::system());
    running.controller.register_metrics(&metrics);
    let text = metrics.encode().unwrap();
    for line in [
        "kafka_controller_kafkacontroller_activecontrollercount 1.0",
        "kafka_controller_kafkacontroller_fencedbrokercount 1.0",
        "kafka_controller_kafkacontroller_globalpartitioncount 3.0",
        "kafka_controller_kafkacontroller_offlinepartitionscount 3.0",
        "kafka_controller_controllerstats_uncleanleaderelections_total 0",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}\n{text}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_broken_session_is_fenced_at_once_in_memory_and_after_the_grace_over_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.port();
    running.controller.serve(listener);
    let (local, _) = broker(&running, 1, 1).await;
    let channel = Dialer::tcp().channel("127.0.0.1", port);
    let mut remote = Node::connect(ControllerClient::new(channel), register(Some(2), 2, 2)).await;
    remote.registered().await;
    remote.say(Said::Unfence(Unfence::default())).await;
    let state = |image: &MetadataImage, id| image.node(NodeId(id)).unwrap().state;

    let started = std::time::Instant::now();
    drop(remote);
    drop(local);
    running
        .image_where("the local broker is fenced", |image| {
            state(image, 1) == NodeState::Fenced
        })
        .await;
    assert_eq!(
        state(&running.controller.image(), 2),
        NodeState::Active,
        "within its grace"
    );
    running
        .image_where("the remote broker is fenced", |image| {
            state(image, 2) == NodeState::Fenced
        })
        .await;
    assert!(started.elapsed() >= Duration::from_millis(300));
    running.stop().await;
}

#[tokio::test]
async fn silence_on_a_stream_that_stands_is_fenced_and_the_stream_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.patience.silence = Duration::from_millis(600);
    let store = Arc::new(EmbeddedStore::open(folder.path()).unwrap());
    let running = Running::start_with(store, config).await;
    let (mut node, _) = broker(&running, 1, 1).await;
    let status = node.answer().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("silence"), "{status}");
    assert_eq!(
        running.controller.image().node(NodeId(1)).unwrap().state,
        NodeState::Fenced
    );
    running.stop().await;
}

#[tokio::test]
async fn a_live_session_blocks_another_process_of_the_same_node() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let (node, epoch) = broker(&running, 1, 1).await;
    for id in [Some(1), None] {
        let mut other = Node::connect(running.client(), register(id, 2, 1_001)).await;
        let status = other.answer().await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "to be tried again: {status}");
    }
    // The same process start may come back on another stream, and is the same registration.
    let mut again = Node::connect(running.client(), register(Some(1), 1, 1_001)).await;
    assert_eq!(again.registered().await.epoch, epoch);
    drop((node, again));
    running
        .image_where("it is fenced", |image| {
            image.node(NodeId(1)).unwrap().state == NodeState::Fenced
        })
        .await;
    let mut other = Node::connect(running.client(), register(Some(1), 2, 1_001)).await;
    assert!(other.registered().await.epoch > epoch);
    // The first process start is over for good.
    let mut superseded = Node::connect(running.client(), register(Some(1), 1, 1_001)).await;
    match superseded.answer().await.unwrap() {
        Answer::Refused(refused) => assert!(refused.reason.contains("taken its place"), "{refused:?}"),
        other => panic!("{other:?}"),
    }
    // Also for a controller that was not there.
    let later = tempfile::tempdir().unwrap();
    std::fs::copy(folder.path().join("metadata.redb"), later.path().join("metadata.redb")).unwrap();
    running.stop().await;
    let running = Running::on_folder(later.path()).await;
    let first = Register {
        epoch,
        ..register(Some(1), 1, 1_001)
    };
    let mut superseded = Node::connect(running.client(), first).await;
    assert!(matches!(superseded.answer().await.unwrap(), Answer::Refused(_)));
    running.stop().await;
}

#[tokio::test]
async fn foreign_directories_and_sessions_without_a_registration_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let foreign = Register {
        cluster_id: "other".into(),
        ..register(Some(1), 1, 1)
    };
    let mut node = Node::connect(running.client(), foreign).await;
    match node.answer().await.unwrap() {
        Answer::Refused(refused) => assert!(refused.reason.contains("belongs to cluster other"), "{refused:?}"),
        other => panic!("{other:?}"),
    }
    let nothing = Register {
        registration: None,
        ..register(Some(1), 1, 1)
    };
    let mut node = Node::connect(running.client(), nothing).await;
    assert_eq!(node.answer().await.unwrap_err().code(), Code::InvalidArgument);
    let mut client = running.client();
    let short = grpc::delete_topics_request::Target {
        name: None,
        topic_id: Bytes::from_static(b"short"),
    };
    let status = client
        .delete_topics(grpc::DeleteTopicsRequest { targets: vec![short] })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    running.stop().await;
}

/// A watcher that keeps an image, as nodes do.
struct Watcher {
    stream: Streaming<grpc::MetadataUpdate>,
    assembler: UpdateAssembler,
    image: MetadataImage,
    snapshots: usize,
}

impl Watcher {
    async fn open(mut client: ControllerClient<Channel>, image: MetadataImage) -> Result<Self, tonic::Status> {
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

    async fn reach(&mut self, revision: Revision) {
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

#[tokio::test]
async fn watchers_see_every_image_and_resume_where_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::on_folder(folder.path()).await;
    let mut early = Watcher::open(running.client(), MetadataImage::default()).await.unwrap();
    early.reach(running.controller.image().revision).await;
    let _broker = broker(&running, 1, 1).await;
    let mut client = running.client();
    create(&mut client, "wide", 300).await;
    let now = running.controller.image();
    early.reach(now.revision).await;
    assert_eq!((&early.image, early.snapshots), (&*now, 1), "a snapshot, then updates");

    let mut resumed = Watcher::open(running.client(), early.image.clone()).await.unwrap();
    create(&mut client, "b", 1).await;
    let now = running.controller.image();
    resumed.reach(now.revision).await;
    assert_eq!(
        (&resumed.image, resumed.snapshots),
        (&*now, 0),
        "no snapshot for who can go on"
    );

    let mut ahead = (*now).clone();
    ahead.revision = Revision(now.revision.get() + 1);
    assert_eq!(
        Watcher::open(running.client(), ahead).await.err().unwrap().code(),
        Code::Unavailable
    );
    let mut foreign = (*now).clone();
    foreign.cluster.cluster_id = "other".into();
    assert_eq!(
        Watcher::open(running.client(), foreign).await.err().unwrap().code(),
        Code::FailedPrecondition
    );
    running.stop().await;
}

#[tokio::test]
async fn a_slow_watcher_gets_a_fresh_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(folder.path()).unwrap());
    let running = Running::start_with(
        store,
        ControllerConfig {
            watch_history: 4,
            ..config()
        },
    )
    .await;
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://127.0.0.1:{}", listener.port());
    running.controller.serve(listener);
    let _broker = broker(&running, 1, 1).await;
    // A window so small that a few updates fill it while nobody reads.
    let endpoint = tonic::transport::Endpoint::from_shared(uri)
        .unwrap()
        .initial_stream_window_size(1_024);
    let slow_client = ControllerClient::new(Channel::from(endpoint.connect().await.unwrap()));
    let start = (*running.controller.image()).clone();
    let mut slow = Watcher::open(slow_client, start).await.unwrap();
    let mut client = running.client();
    for n in 0..40 {
        create(&mut client, &format!("topic-{n}"), 100).await;
    }
    let now = running.controller.image();
    slow.reach(now.revision).await;
    assert_eq!(slow.image, *now);
    assert!(slow.snapshots >= 1);
    running.stop().await;
}

/// A store whose next commit happens but is not known to have happened, or does not reach the store.
struct Flaky {
    store: EmbeddedStore,
    forget_outcome: AtomicBool,
    unreachable: AtomicBool,
}

#[tonic::async_trait]
impl MetadataStore for Flaky {
    async fn load(&self) -> Result<Loaded, StoreError> {
        self.store.load().await
    }

    async fn commit(&self, leadership: &Leadership, transaction: Transaction) -> Result<Revision, CommitError> {
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

#[tokio::test]
async fn an_unknown_outcome_is_read_back_before_anything_else_is_decided() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path()).unwrap();
    let store = Arc::new(Flaky {
        store,
        forget_outcome: false.into(),
        unreachable: false.into(),
    });
    let running = Running::start(Arc::clone(&store) as Arc<dyn MetadataStore>).await;
    let _broker = broker(&running, 1, 1).await;
    let mut watcher = Watcher::open(running.client(), (*running.controller.image()).clone())
        .await
        .unwrap();
    let mut client = running.client();
    let topic = grpc::create_topics_request::CreatableTopic {
        name: "a".into(),
        partitions: 200,
        replication_factor: 1,
        topic_id: Bytes::copy_from_slice(Uuid::from_u128(7).as_bytes()),
        ..Default::default()
    };
    let request = grpc::CreateTopicsRequest {
        topics: vec![topic],
        validate_only: false,
    };

    store.unreachable.store(true, Ordering::SeqCst);
    assert_eq!(
        client.create_topics(request.clone()).await.unwrap_err().code(),
        Code::Unavailable
    );
    store.forget_outcome.store(true, Ordering::SeqCst);
    assert_eq!(
        client.create_topics(request.clone()).await.unwrap_err().code(),
        Code::Aborted
    );
    // The first step happened; what it left is swept, and the same request succeeds as if it were the first.
    let answer = client.create_topics(request).await.unwrap().into_inner();
    assert_eq!(answer.results[0].outcome.as_ref().unwrap().code, 0);
    let now = running.controller.image();
    assert_eq!(now.topic("a").unwrap().partitions.len(), 200);
    assert_eq!(now.orphan_partitions().count(), 0);
    watcher.reach(now.revision).await;
    assert_eq!(watcher.image, *now, "watchers follow through a reload");
    running.stop().await;
}

#[tokio::test]
async fn a_controller_that_lost_the_leadership_stops_deciding() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path()).unwrap();
    let running = Running::start(Arc::new(store.clone())).await;
    let (mut node, _) = broker(&running, 1, 1).await;
    running.shutdown.trigger();
    let reason = tokio::time::timeout(WAIT, running.controller.stopped()).await.unwrap();
    assert!(matches!(reason, StopReason::Asked), "{reason}");
    assert!(node.answer().await.is_err(), "sessions end with their controller");
    // The leadership is free again, as is everything that was committed.
    let next = Running::start(Arc::new(store)).await;
    assert!(next.controller.image().node(NodeId(1)).is_some());
    next.stop().await;
}
