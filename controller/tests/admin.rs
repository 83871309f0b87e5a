//! What the operator asks of the controller, over gRPC, on the embedded store, with brokers that copy at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_controller::service::{Controller, ControllerConfig};
use highwater_controller::store::EmbeddedStore;
use highwater_node::clock::Clock;
use highwater_node::config::SessionConfig;
use highwater_node::shutdown::Shutdown;
use highwater_node::transport::{Channel, Dialer, MemoryNetwork};
use highwater_proto::config::StaticValues;
use highwater_proto::grpc;
use highwater_proto::grpc::admin_client::AdminClient;
use highwater_proto::grpc::alter_partitions_request::{IsrMember, Proposal};
use highwater_proto::grpc::controller_client::ControllerClient;
use highwater_proto::grpc::session_request::{
    HandedOver, Heartbeat, Register, ReplicaSizes, Request as Said, Retired, TopicSizes, Unfence,
};
use highwater_proto::grpc::session_response::{AskReplicaSizes, Response as Answer};
use highwater_proto::metadata::{MetadataImage, NodeRegistration, NodeRole, Partition, convert};
use highwater_proto::types::{NodeId, TopicId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

const WAIT: Duration = Duration::from_secs(20);

struct World {
    controller: Controller,
    /// What brokers say that each of their replicas has that is in sync; others are half as large.
    bytes: Arc<AtomicI64>,
    /// Brokers that were told that they are unregistered.
    retired: Arc<Mutex<Vec<i32>>>,
    memory: MemoryNetwork,
    shutdown: Shutdown,
    _dir: tempfile::TempDir,
}

impl World {
    /// With live brokers 1..=n.
    async fn start(n: i32) -> Self {
        Self::start_with(n, |_| {}).await
    }

    async fn start_with(n: i32, change: impl FnOnce(&mut ControllerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(dir.path()).unwrap());
        let session = SessionConfig {
            reconnect_grace: Duration::from_millis(300),
            timeout: Duration::from_secs(10),
        };
        let mut config = ControllerConfig::new("test", StaticValues::default(), session).unwrap();
        config.settings.rebalance_moves_per_broker = 2;
        change(&mut config);
        let memory = MemoryNetwork::new();
        let shutdown = Shutdown::new(Duration::from_millis(200));
        let started = Controller::start(store, config, Clock::system(), shutdown.clone()).await;
        let controller = started.unwrap();
        controller.serve(memory.listen("controller", 9190).unwrap());
        let world = Self {
            controller,
            bytes: Arc::new(AtomicI64::new(1_000)),
            retired: Arc::default(),
            memory,
            shutdown,
            _dir: dir,
        };
        for id in 1..=n {
            world.broker(id).await;
        }
        let copying = world.controller.clone();
        let client = world.client();
        tokio::spawn(async move { copy(copying, client).await });
        world
    }

    fn channel(&self) -> Channel {
        Dialer::new(self.memory.clone()).channel("controller", 9190)
    }

    fn client(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel())
    }

    fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel())
    }

    /// A live broker that hands over whenever it is asked to.
    async fn broker(&self, id: i32) {
        let registration = NodeRegistration {
            role: NodeRole::Broker,
            incarnation: Uuid::new_v4(),
            directory_id: Uuid::new_v4(),
            endpoints: Vec::new(),
            rack: None,
            api_ranges: Vec::new(),
            pod_uid: Some(format!("pod-{id}")),
        };
        let register = Register {
            node_id: Some(id),
            cluster_id: String::new(),
            registration: Some((&registration).into()),
            ..Default::default()
        };
        let (say, said) = mpsc::channel(16);
        let request = |said| grpc::SessionRequest { request: Some(said) };
        say.send(request(Said::Register(register))).await.unwrap();
        say.send(request(Said::Unfence(Unfence::default()))).await.unwrap();
        let heartbeat = Heartbeat {
            disk_free_bytes: 1 << 40,
            disk_total_bytes: 1 << 41,
            ..Default::default()
        };
        say.send(request(Said::Heartbeat(heartbeat))).await.unwrap();
        let (controller, bytes, retired) = (self.controller.clone(), self.bytes.clone(), self.retired.clone());
        let answers = self.client().session(ReceiverStream::new(said)).await;
        let mut answers = answers.unwrap().into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = answers.message().await {
                let said = match message.response {
                    Some(Answer::HandOver(asked)) => Said::HandedOver(HandedOver {
                        question: asked.question,
                        ready: asked.moves.into_iter().filter_map(|wanted| wanted.replica).collect(),
                    }),
                    Some(Answer::AskReplicaSizes(asked)) => {
                        let image = controller.image();
                        Said::ReplicaSizes(sizes(&image, NodeId(id), &asked, bytes.load(Ordering::SeqCst)))
                    }
                    Some(Answer::Retire(asked)) => {
                        retired.lock().unwrap().push(id);
                        Said::Retired(Retired {
                            question: asked.question,
                        })
                    }
                    _ => continue,
                };
                if say.send(request(said)).await.is_err() {
                    return;
                }
            }
        });
        let live = |image: &MetadataImage| image.live_broker(NodeId(id)).is_some();
        self.image_where("the broker is live", live).await;
    }

    async fn image_where(&self, what: &str, holds: impl Fn(&MetadataImage) -> bool) -> Arc<MetadataImage> {
        let mut images = self.controller.images();
        let found = tokio::time::timeout(WAIT, images.wait_for(|image| holds(image))).await;
        Arc::clone(&found.unwrap_or_else(|_| panic!("no image in which {what}")).unwrap())
    }

    async fn create(&self, name: &str, partitions: i32, replication_factor: i32) -> TopicId {
        let request = grpc::CreateTopicRequest {
            name: name.into(),
            partitions,
            replication_factor,
            owner: "me".into(),
            ..Default::default()
        };
        let created = self.admin().create_topic(request).await.unwrap().into_inner();
        assert_eq!(code(created.outcome), 0);
        convert::topic_id(&created.topic_id).unwrap()
    }

    async fn describe(&self, name: &str) -> grpc::describe_topics_response::Topic {
        let request = grpc::DescribeTopicsRequest {
            names: vec![name.into()],
            all: false,
        };
        self.admin()
            .describe_topics(request)
            .await
            .unwrap()
            .into_inner()
            .topics
            .remove(0)
    }

    async fn status(&self, id: i32) -> grpc::decommission_status_response::Node {
        let request = grpc::NodesRequest { node_ids: vec![id] };
        let answer = self.admin().decommission_status(request).await.unwrap();
        answer.into_inner().nodes.remove(0)
    }

    async fn stop(self) {
        self.shutdown.trigger();
        self.shutdown.finished().await.unwrap();
    }
}

/// What a broker says of its replicas, two at a time whatever it is asked for.
fn sizes(image: &MetadataImage, node: NodeId, asked: &AskReplicaSizes, bytes: i64) -> ReplicaSizes {
    let after = asked.after.as_ref().map(|it| (it.topic_id.clone(), it.partition));
    let mut here = Vec::new();
    for topic in image.topics() {
        for (index, partition) in topic.indexed_partitions() {
            let place = (convert::uuid_bytes(topic.id.0), index.get());
            if partition.replicas.contains(&node) && Some(&place) > after.as_ref() {
                let in_sync = partition.isr.contains(&node);
                here.push((place, if in_sync { bytes } else { bytes / 2 }));
            }
        }
    }
    here.sort();
    let topics = here.iter().take(2).map(|((topic_id, partition), bytes)| TopicSizes {
        topic_id: topic_id.clone(),
        partitions: vec![*partition],
        bytes: vec![*bytes],
    });
    ReplicaSizes {
        question: asked.question,
        topics: topics.collect(),
        more: here.len() > 2,
    }
}

/// The leaders of all partitions: every replica is in sync at once.
async fn copy(controller: Controller, mut client: ControllerClient<Channel>) {
    let mut images = controller.images();
    while images.changed().await.is_ok() {
        let image = Arc::clone(&images.borrow_and_update());
        for topic in image.topics() {
            for (index, partition) in topic.indexed_partitions() {
                let live = |node: &&NodeId| image.live_broker(**node).is_some();
                let replicas: Vec<_> = partition.replicas.iter().filter(live).collect();
                let Some(leader) = partition.leader.and_then(|leader| image.live_broker(leader)) else {
                    continue;
                };
                if replicas.len() == partition.isr.len() {
                    continue;
                }
                let member = |node: &&NodeId| IsrMember {
                    broker: node.get(),
                    broker_epoch: image.node(**node).unwrap().epoch.get(),
                };
                let proposal = Proposal {
                    topic_id: convert::uuid_bytes(topic.id.0),
                    partition: index.get(),
                    leader_epoch: partition.leader_epoch.get(),
                    partition_epoch: partition.epoch.get(),
                    isr: replicas.iter().map(member).collect(),
                };
                let request = grpc::AlterPartitionsRequest {
                    broker_id: leader.id.get(),
                    broker_epoch: leader.epoch.get(),
                    proposals: vec![proposal],
                    ..Default::default()
                };
                let _ = client.alter_partitions(request).await;
            }
        }
    }
}

fn code(outcome: Option<grpc::Outcome>) -> i32 {
    outcome.unwrap().code
}

fn replicas(image: &MetadataImage, of: impl Fn(&Partition) -> Vec<NodeId>) -> BTreeMap<i32, usize> {
    let mut counts = BTreeMap::new();
    for partition in image.topics().flat_map(|topic| &topic.partitions) {
        for node in of(partition) {
            *counts.entry(node.get()).or_default() += 1;
        }
    }
    counts
}

fn settled(image: &MetadataImage) -> bool {
    let mut partitions = image.topics().flat_map(|topic| &topic.partitions);
    !image.rebalance.wanted && !partitions.any(|partition| partition.is_reassigning())
}

#[tokio::test]
async fn topics_grow_for_their_owner_only_and_every_call_can_be_repeated() {
    let world = World::start(3).await;
    let mut admin = world.admin();
    let topic_id = world.create("a", 2, 1).await;
    let id = convert::uuid_bytes(topic_id.0);
    let again = grpc::CreateTopicRequest {
        name: "a".into(),
        partitions: 2,
        replication_factor: 1,
        topic_id: id.clone(),
        owner: "other".into(),
        ..Default::default()
    };
    assert_eq!(
        code(admin.create_topic(again.clone()).await.unwrap().into_inner().outcome),
        44
    );
    let mine = grpc::CreateTopicRequest {
        owner: "me".into(),
        ..again
    };
    assert_eq!(code(admin.create_topic(mine).await.unwrap().into_inner().outcome), 0);

    let grow = |owner: &str, expected, count| grpc::AddPartitionsRequest {
        topic_id: id.clone(),
        owner: owner.into(),
        expected,
        count,
    };
    for (owner, expected, count, wanted) in [
        ("other", 2, 4, 44),
        ("", 2, 4, 44),
        ("me", 3, 4, 95),
        ("me", 2, 4, 0),
        ("me", 2, 4, 0),
        ("me", 4, 3, 37),
    ] {
        let answer = admin.create_partitions(grow(owner, expected, count)).await.unwrap();
        assert_eq!(code(answer.into_inner().outcome), wanted, "{owner} {expected} {count}");
    }
    world.stop().await;
}

#[tokio::test]
async fn configs_are_set_and_unset_and_others_stay() {
    let world = World::start(3).await;
    let mut admin = world.admin();
    let topic_id = world.create("a", 4, 1).await;
    let id = convert::uuid_bytes(topic_id.0);
    let configure = |set: &[(&str, &str)], unset: &[&str]| grpc::AlterTopicConfigsRequest {
        topic_id: id.clone(),
        owner: "me".into(),
        set: set
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
        unset: unset.iter().map(|name| (*name).into()).collect(),
    };
    let set = [("retention.ms", "5000"), ("segment.ms", "7000")];
    let answer = admin.alter_configs(configure(&set, &[])).await.unwrap().into_inner();
    assert_eq!(code(answer.outcome), 0);
    let answer = admin
        .alter_configs(configure(&[], &["segment.ms"]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(code(answer.outcome), 0);
    let bad = admin
        .alter_configs(configure(&[("retention.ms", "x")], &[]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(code(bad.outcome), 40);
    let described = world.describe("a").await;
    assert_eq!(described.configs.len(), 1);
    assert_eq!(described.configs["retention.ms"], "5000");
    world.stop().await;
}

#[tokio::test]
async fn another_replication_factor_is_asked_for_until_it_is_there() {
    let world = World::start(3).await;
    let mut admin = world.admin();
    let topic_id = world.create("a", 4, 1).await;
    let id = convert::uuid_bytes(topic_id.0);
    let replicate = |factor| grpc::AlterReplicationRequest {
        topic_id: id.clone(),
        owner: "me".into(),
        replication_factor: factor,
    };
    assert_eq!(
        code(
            admin
                .alter_replication(replicate(4))
                .await
                .unwrap()
                .into_inner()
                .outcome
        ),
        38
    );
    for factor in [3, 3, 2] {
        let answer = admin.alter_replication(replicate(factor)).await.unwrap().into_inner();
        assert_eq!(code(answer.outcome), 0);
        world
            .image_where("all have so many replicas, in sync", |image| {
                let mut partitions = image.topic("a").unwrap().partitions.iter();
                partitions.all(|it| !it.is_reassigning() && it.isr.len() == factor as usize)
            })
            .await;
    }

    let names = grpc::DescribeTopicsRequest {
        names: vec!["a".into(), "b".into()],
        all: false,
    };
    let described = admin.describe_topics(names).await.unwrap().into_inner();
    assert_eq!(described.missing[0].name, "b");
    let topic = &described.topics[0];
    assert_eq!(
        (topic.partitions, topic.replication_factor, topic.owner.as_deref()),
        (4, 2, Some("me"))
    );
    world.stop().await;
}

#[tokio::test]
async fn topics_are_adopted_released_and_deleted_by_their_owner() {
    let world = World::start(3).await;
    let mut admin = world.admin();
    let topic_id = world.create("a", 4, 1).await;
    let id = convert::uuid_bytes(topic_id.0);
    let owned = |owner: &str| grpc::OwnedTopic {
        topic_id: id.clone(),
        owner: owner.into(),
    };
    assert_eq!(
        code(admin.release_topic(owned("other")).await.unwrap().into_inner().outcome),
        44
    );
    for _ in 0..2 {
        assert_eq!(
            code(admin.release_topic(owned("me")).await.unwrap().into_inner().outcome),
            0
        );
    }
    assert_eq!(
        code(admin.adopt_topic(owned("other")).await.unwrap().into_inner().outcome),
        0
    );
    assert_eq!(
        code(admin.adopt_topic(owned("me")).await.unwrap().into_inner().outcome),
        44
    );
    let delete = |owner: &str| grpc::DeleteTopicRequest {
        topic_id: id.clone(),
        owner: owner.into(),
    };
    for (owner, wanted) in [("me", 44), ("other", 0), ("other", 100)] {
        assert_eq!(
            code(admin.delete_topic(delete(owner)).await.unwrap().into_inner().outcome),
            wanted
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn a_broker_that_joins_gets_its_share_of_replicas_and_leaders() {
    let world = World::start(2).await;
    world.create("a", 12, 2).await;
    world.broker(3).await;
    let image = world.image_where("all is even", |image| {
        settled(image) && replicas(image, |partition| partition.replicas.clone()).len() == 3
    });
    let image = image.await;
    let even = BTreeMap::from([(1, 8), (2, 8), (3, 8)]);
    assert_eq!(replicas(&image, |partition| partition.replicas.clone()), even);
    let led = BTreeMap::from([(1, 4), (2, 4), (3, 4)]);
    let preferred = |partition: &Partition| partition.replicas.first().copied().into_iter().collect();
    assert_eq!(replicas(&image, preferred), led);
    // Leaderships follow without waiting for the next look at them.
    let leaders = |partition: &Partition| partition.leader.into_iter().collect();
    world
        .image_where("the preferred lead", |image| replicas(image, leaders) == led)
        .await;
    let request = grpc::RebalanceRequest::default();
    let again = world.admin().rebalance(request).await.unwrap().into_inner();
    assert_eq!((again.replica_moves, again.leader_moves), (0, 0));
    world.stop().await;
}

#[tokio::test]
async fn a_rebalance_onto_some_brokers_tells_what_it_has_to_copy() {
    let world = World::start_with(2, |config| config.settings.auto_rebalance = false).await;
    world.create("a", 12, 2).await;
    for id in [3, 4] {
        world.broker(id).await;
    }
    let mut admin = world.admin();
    let mut ask = async |node_ids: &[i32], dry_run| {
        let request = grpc::RebalanceRequest {
            dry_run,
            node_ids: node_ids.to_vec(),
            throttle_bytes_per_second: 9_000_000,
            ..Default::default()
        };
        admin.rebalance(request).await.unwrap().into_inner()
    };
    assert_eq!(code(ask(&[4, 7], false).await.outcome), 102);
    let planned = ask(&[4], true).await;
    assert_eq!(
        world.controller.image().rebalance,
        Default::default(),
        "it was only asked"
    );
    // 24 replicas on three brokers; each is told to have 1,000 bytes, over several answers.
    assert_eq!((planned.replica_moves, planned.bytes_remaining), (8, 8_000));
    let begun = ask(&[4], false).await;
    assert_eq!(code(begun.outcome), 0);
    let image = world.image_where("broker 4 has its share", |image| {
        settled(image) && replicas(image, |partition| partition.replicas.clone()).contains_key(&4)
    });
    let even = BTreeMap::from([(1, 8), (2, 8), (4, 8)]);
    assert_eq!(replicas(&*image.await, |partition| partition.replicas.clone()), even);
    let image = world.image_where("nothing is left of it", |image| image.rebalance == Default::default());
    image.await;
    assert_eq!(ask(&[], true).await.replica_moves, 6, "3 is as empty as it was");
    world.stop().await;
}

#[tokio::test]
async fn what_a_broker_has_is_told_in_bytes_before_and_while_it_is_emptied() {
    let world = World::start(3).await;
    world.create("a", 6, 2).await;
    world.create("b", 3, 3).await;
    let on_3 = replicas(&world.controller.image(), |partition| partition.replicas.clone())[&3];
    let mut admin = world.admin();
    let nodes = grpc::NodesRequest { node_ids: vec![3, 8] };
    let told = admin.decommission_status(nodes).await.unwrap().into_inner().nodes;
    assert_eq!(told[0].bytes_remaining, 1_000 * on_3 as i64);
    assert_eq!(told[0].eta_seconds, None, "nothing has moved yet");
    assert_eq!(code(told[1].outcome.clone()), 102);
    let described = world.describe("a").await;
    assert_eq!((described.bytes_remaining, described.eta_seconds), (0, None));
    world.stop().await;
}

#[tokio::test]
async fn a_decommissioned_broker_is_emptied_and_forgotten() {
    let world = World::start(3).await;
    world.create("a", 6, 2).await;
    let mut admin = world.admin();
    let nodes = |ids: &[i32]| grpc::NodesRequest { node_ids: ids.to_vec() };
    let refused = admin.unregister_broker(grpc::UnregisterBrokerRequest {
        broker_id: 3,
        epoch: None,
    });
    assert_eq!(
        code(refused.await.unwrap().into_inner().outcome),
        42,
        "it runs and has replicas"
    );
    assert_eq!(
        code(admin.cordon(nodes(&[3, 9])).await.unwrap().into_inner().outcome),
        102
    );
    assert_eq!(code(admin.cordon(nodes(&[3])).await.unwrap().into_inner().outcome), 0);
    let drain = |ids: &[i32], throttle_bytes_per_second| grpc::DecommissionRequest {
        node_ids: ids.to_vec(),
        throttle_bytes_per_second,
    };
    let drained = admin.decommission(drain(&[3], 5_000)).await.unwrap().into_inner();
    assert_eq!(code(drained.outcome), 0);
    assert_eq!(world.controller.image().rebalance.drain_throttle, Some(5_000));
    let mut status = world.status(3).await;
    assert!(status.draining && status.blocked.is_none());
    let started = tokio::time::Instant::now();
    while !status.empty {
        assert!(started.elapsed() < WAIT, "{status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        status = world.status(3).await;
    }
    let cluster = admin
        .describe_cluster(grpc::DescribeClusterRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (cluster.under_replicated_partitions, cluster.reassigning_partitions),
        (0, 0)
    );
    assert_eq!(cluster.nodes[2].disk_free_bytes, 1 << 40);
    let pod = cluster.nodes[2].registration.as_ref().unwrap().pod_uid.as_deref();
    assert_eq!(pod, Some("pod-3"));
    assert_eq!((status.bytes_remaining, status.eta_seconds), (0, Some(0)));

    // With two brokers left for two replicas, the next one cannot be emptied.
    admin.decommission(drain(&[2], 0)).await.unwrap();
    let status = world.status(2).await;
    assert!(
        status
            .blocked
            .is_some_and(|blocked| blocked.starts_with("6 replica(s)"))
    );
    admin.recommission(nodes(&[2])).await.unwrap();

    let unregister = |epoch| grpc::UnregisterBrokerRequest { broker_id: 3, epoch };
    let stale = admin.unregister_broker(unregister(Some(1))).await.unwrap().into_inner();
    assert_eq!(code(stale.outcome), 77);
    for wanted in [0, 102] {
        let answer = admin.unregister_broker(unregister(None)).await.unwrap().into_inner();
        assert_eq!(code(answer.outcome), wanted);
    }
    assert!(world.controller.image().node(NodeId(3)).is_none());
    assert_eq!(*world.retired.lock().unwrap(), [3], "it was told, once");
    world.stop().await;
}

#[tokio::test]
async fn leaders_leave_a_broker_before_it_is_restarted_and_what_would_stop_is_named() {
    let world = World::start(3).await;
    world.create("a", 6, 3).await;
    world.create("single", 3, 1).await;
    let mut admin = world.admin();
    let epoch = |id: i32| world.controller.image().node(NodeId(id)).unwrap().epoch.get();
    let request = |epoch| grpc::ControlledShutdownRequest { node_id: 1, epoch };
    let stale = admin.controlled_shutdown(request(1)).await.unwrap().into_inner();
    assert_eq!(code(stale.outcome), 77);
    let done = admin.controlled_shutdown(request(epoch(1))).await.unwrap().into_inner();
    let single = |image: &MetadataImage| {
        let partitions = &image.topic("single").unwrap().partitions;
        partitions.iter().filter(|it| it.leader == Some(NodeId(1))).count()
    };
    let alone = single(&world.controller.image());
    assert_eq!(
        (code(done.outcome), done.remaining_leaders),
        (0, alone as i32),
        "nobody else has those"
    );
    let check = |node_id| grpc::PreRestartCheckRequest { node_id };
    let checked = admin.pre_restart_check(check(1)).await.unwrap().into_inner();
    assert!(checked.safe);
    assert_eq!((checked.blocking_count, checked.unavoidable_count), (0, alone as i32));
    assert_eq!(
        code(admin.pre_restart_check(check(7)).await.unwrap().into_inner().outcome),
        102
    );
    world.stop().await;
}

#[tokio::test]
async fn watchers_of_topics_get_all_names_then_those_that_change() {
    let world = World::start(1).await;
    world.create("a", 1, 1).await;
    let watching = world.admin().watch_topics(grpc::WatchTopicsRequest {}).await;
    let mut watch = watching.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!((first.all, first.names), (true, vec!["a".to_owned()]));
    world.create("b", 1, 1).await;
    let next = tokio::time::timeout(WAIT, watch.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!((next.all, next.names), (false, vec!["b".to_owned()]));
    world.stop().await;
}
