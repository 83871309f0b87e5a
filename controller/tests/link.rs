//! The controller and a node's own tie to it, as they run together.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use highwater_controller::service::{Controller, ControllerConfig};
use highwater_controller::store::EmbeddedStore;
use highwater_node::clock::Clock;
use highwater_node::config::SessionConfig;
use highwater_node::session::{ControllerLink, LinkError, LinkOptions, NodeStatus, Recovery, Registration};
use highwater_node::shutdown::Shutdown;
use highwater_node::transport::{Dialer, MemoryNetwork};
use highwater_proto::config::StaticValues;
use highwater_proto::grpc;
use highwater_proto::metadata::{NodeRegistration, NodeRole, NodeState};
use highwater_proto::types::{NodeId, Revision, ShardId, ShardKind};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const WAIT: Duration = Duration::from_secs(20);
const SESSION: SessionConfig = SessionConfig {
    reconnect_grace: Duration::from_millis(300),
    timeout: Duration::from_secs(10),
};

async fn controller(store: EmbeddedStore, memory: &MemoryNetwork) -> (Controller, Shutdown) {
    let shutdown = Shutdown::new(Duration::from_millis(200));
    let config = ControllerConfig::new("test", StaticValues::default(), SESSION).unwrap();
    let controller = Controller::start(Arc::new(store), config, Clock::system(), shutdown.clone())
        .await
        .unwrap();
    controller.serve(memory.listen("controller", 9190).unwrap());
    (controller, shutdown)
}

fn options(memory: &MemoryNetwork) -> LinkOptions {
    LinkOptions {
        controllers: vec![("controller".to_owned(), 9190)],
        dialer: Dialer::new(memory.clone()),
        session: SESSION,
        status: Arc::new(NodeStatus::default),
    }
}

fn registration(role: NodeRole, node_id: Option<i32>, incarnation: u128, directory: u128) -> Registration {
    Registration {
        node_id: node_id.map(NodeId),
        cluster_id: String::new(),
        node: NodeRegistration {
            role,
            incarnation: Uuid::from_u128(incarnation),
            directory_id: Uuid::from_u128(directory),
            endpoints: Vec::new(),
            rack: None,
            api_ranges: Vec::new(),
            pod_uid: None,
        },
        clean_shutdown: true,
        seen: Default::default(),
    }
}

async fn create(link: &ControllerLink, name: &str, partitions: i32) -> Revision {
    let topic = grpc::create_topics_request::CreatableTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: -1,
        ..Default::default()
    };
    let request = grpc::CreateTopicsRequest {
        topics: vec![topic],
        validate_only: false,
    };
    let response = link.admin().create_topics(request).await.unwrap().into_inner();
    assert_eq!(response.results[0].outcome.as_ref().unwrap().code, 0, "{response:?}");
    Revision(response.revision)
}

#[tokio::test]
async fn nodes_live_through_a_change_of_the_controller() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path()).unwrap();
    let memory = MemoryNetwork::new();
    let stop = CancellationToken::new();
    let (_, first) = controller(store.clone(), &memory).await;

    let broker = registration(NodeRole::Broker, None, 1, 11);
    let broker = ControllerLink::connect(options(&memory), broker, &stop).await.unwrap();
    let id = broker.identity().unwrap().node_id;
    broker.unfence(Recovery::default(), WAIT).await.unwrap();
    let coordinator = registration(NodeRole::Coordinator, None, 2, 0);
    let coordinator = ControllerLink::connect(options(&memory), coordinator, &stop)
        .await
        .unwrap();
    coordinator.unfence(Recovery::default(), WAIT).await.unwrap();

    let revision = create(&broker, "__consumer_offsets", 5).await;
    let image = coordinator.wait_for_revision(revision, WAIT).await.unwrap();
    let partitions = &image.topic("__consumer_offsets").unwrap().partitions;
    assert!(partitions.len() == 5 && partitions.iter().all(|partition| partition.leader == Some(id)));
    let owner = coordinator.identity().unwrap().node_id;
    let mut images = broker.images();
    let owned = images.wait_for(|image| {
        (0..5).all(|index| {
            let shard = image.shards.get(&ShardId {
                kind: ShardKind::Group,
                index: index.into(),
            });
            shard.is_some_and(|shard| shard.owner == Some(owner))
        })
    });
    let epoch_before = {
        let image = tokio::time::timeout(WAIT, owned).await.unwrap().unwrap();
        image.topic("__consumer_offsets").unwrap().partitions[0].leader_epoch
    };

    // The controller goes and another one comes, from the same store: nobody is fenced, nothing moves.
    first.trigger();
    first.finished().await.unwrap();
    let (second, shutdown) = controller(store, &memory).await;
    let revision = create_when_connected(&broker, "after").await;
    for link in [&broker, &coordinator] {
        let image = link.wait_for_revision(revision, WAIT).await.unwrap();
        assert_eq!(
            image.topic("__consumer_offsets").unwrap().partitions[0].leader_epoch,
            epoch_before
        );
        assert!(image.nodes.values().all(|node| node.state == NodeState::Active));
    }

    // A clean end: nothing depends on the node any more.
    let revision = broker.leave(WAIT).await.unwrap();
    assert!(second.image().revision >= revision);
    assert_eq!(second.image().node(id).unwrap().state, NodeState::Fenced);
    broker.close();
    coordinator.close();
    shutdown.trigger();
    shutdown.finished().await.unwrap();
}

async fn create_when_connected(link: &ControllerLink, name: &str) -> Revision {
    let connected = async {
        let probe = grpc::DeleteTopicsRequest { targets: Vec::new() };
        while !link.is_connected() || link.admin().delete_topics(probe.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WAIT, connected).await.unwrap();
    create(link, name, 1).await
}

#[tokio::test]
async fn a_node_of_another_cluster_learns_why_it_may_not_take_part() {
    let folder = tempfile::tempdir().unwrap();
    let memory = MemoryNetwork::new();
    let (_controller, shutdown) = controller(EmbeddedStore::open(folder.path()).unwrap(), &memory).await;
    let mut foreign = registration(NodeRole::Broker, Some(1), 1, 11);
    foreign.cluster_id = "another".to_owned();
    let error = ControllerLink::connect(options(&memory), foreign, &CancellationToken::new())
        .await
        .err()
        .unwrap();
    assert!(
        matches!(&error, LinkError::Refused(reason) if reason.contains("belongs to cluster another")),
        "{error}"
    );
    shutdown.trigger();
    shutdown.finished().await.unwrap();
}
