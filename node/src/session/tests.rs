mod failover;

use std::collections::VecDeque;
use std::pin::Pin;

use futures_util::Stream;
use highwater_proto::grpc;
use highwater_proto::grpc::controller_server::{Controller, ControllerServer};
use highwater_proto::grpc::session_request::Request as Said;
use highwater_proto::grpc::session_response::{Alive, MayLeave, Refused, Registered, Response as Heard, Unfenced};
use highwater_proto::metadata::convert::{self, snapshot_to_grpc, update_to_grpc};
use highwater_proto::metadata::{Change, ClusterInfo, MetadataImage, MetadataUpdate, NodeRole};
use highwater_proto::types::{LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId};
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{BroadcastStream, ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::transport::{MemoryNetwork, serve, server};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A controller that does as it is told and notes what it hears.
#[derive(Clone)]
struct Scripted {
    heard: Arc<Mutex<Vec<Said>>>,
    watched_from: Arc<Mutex<Vec<i64>>>,
    /// Reasons to refuse registrations with, in turn.
    refusals: Arc<Mutex<VecDeque<String>>>,
    /// What it asks, in place of signs of life.
    asks: Arc<Mutex<VecDeque<Heard>>>,
    silent: Arc<Mutex<bool>>,
    /// What it registers nodes with.
    epoch: Arc<Mutex<i64>>,
    image: Arc<Mutex<MetadataImage>>,
    updates: broadcast::Sender<grpc::MetadataUpdate>,
}

const CLUSTER: &str = "a-cluster";

fn image_at(revision: i64) -> MetadataImage {
    let cluster = ClusterInfo {
        cluster_id: CLUSTER.to_owned(),
        generation: 1,
        format_version: 1,
    };
    MetadataImage::default().apply(&MetadataUpdate {
        revision: Revision(revision),
        changes: vec![Change::PutCluster(cluster)],
    })
}

impl Scripted {
    fn new() -> Self {
        Self {
            heard: Arc::default(),
            watched_from: Arc::default(),
            refusals: Arc::default(),
            asks: Arc::default(),
            silent: Arc::default(),
            epoch: Arc::new(Mutex::new(9)),
            image: Arc::new(Mutex::new(image_at(10))),
            updates: broadcast::channel(16).0,
        }
    }

    /// Commits one change and streams it.
    fn commit(&self, revision: i64) {
        let change = Change::PutProducerIds(ProducerId(revision));
        let update = MetadataUpdate {
            revision: Revision(revision),
            changes: vec![change],
        };
        let mut image = self.image.lock();
        *image = image.apply(&update);
        let _ = self.updates.send(update_to_grpc(&update));
    }

    fn count(&self, matching: impl Fn(&Said) -> bool) -> usize {
        self.heard.lock().iter().filter(|said| matching(said)).count()
    }

    fn answer(&self, said: Said) -> Option<Heard> {
        self.heard.lock().push(said.clone());
        if *self.silent.lock() {
            return None;
        }
        let revision = self.image.lock().revision.get();
        Some(match said {
            Said::Register(register) => match self.refusals.lock().pop_front() {
                Some(reason) => Heard::Refused(Refused { reason }),
                None => Heard::Registered(Registered {
                    node_id: register.node_id.unwrap_or(7),
                    epoch: *self.epoch.lock(),
                    cluster_id: CLUSTER.to_owned(),
                    revision,
                }),
            },
            Said::Heartbeat(_) => {
                let ask = self.asks.lock().pop_front();
                ask.unwrap_or(Heard::Alive(Alive::default()))
            }
            Said::Unfence(_) => Heard::Unfenced(Unfenced { revision }),
            Said::Leave(_) => Heard::MayLeave(MayLeave { revision }),
            Said::LogEnds(_) | Said::HandedOver(_) | Said::Released(_) | Said::ReplicaSizes(_) | Said::Retired(_) => {
                return None;
            }
        })
    }
}

fn not_asked<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not asked in these tests"))
}

#[tonic::async_trait]
impl Controller for Scripted {
    type SessionStream = Answers<grpc::SessionResponse>;
    type WatchMetadataStream = Answers<grpc::MetadataUpdate>;

    async fn session(
        &self,
        request: Request<Streaming<grpc::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (controller, mut said) = (self.clone(), request.into_inner());
        let (answers, outbox) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok(Some(grpc::SessionRequest { request: Some(said) })) = said.message().await {
                if let Some(response) = controller.answer(said) {
                    let _ = answers
                        .send(Ok(grpc::SessionResponse {
                            response: Some(response),
                        }))
                        .await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbox))))
    }

    async fn watch_metadata(
        &self,
        request: Request<grpc::WatchMetadataRequest>,
    ) -> Result<Response<Self::WatchMetadataStream>, Status> {
        let from = request.into_inner().from_revision;
        self.watched_from.lock().push(from);
        let image = self.image.lock();
        let updates = BroadcastStream::new(self.updates.subscribe())
            .filter_map(Result::ok)
            .map(Ok);
        let first: Vec<_> = if from == image.revision.get() {
            Vec::new()
        } else {
            snapshot_to_grpc(&image.snapshot()).map(Ok).collect()
        };
        Ok(Response::new(Box::pin(futures_util::StreamExt::chain(
            futures_util::stream::iter(first),
            updates,
        ))))
    }

    async fn create_topics(
        &self,
        _: Request<grpc::CreateTopicsRequest>,
    ) -> Result<Response<grpc::CreateTopicsResponse>, Status> {
        not_asked()
    }

    async fn delete_topics(
        &self,
        _: Request<grpc::DeleteTopicsRequest>,
    ) -> Result<Response<grpc::DeleteTopicsResponse>, Status> {
        not_asked()
    }

    async fn create_partitions(
        &self,
        _: Request<grpc::CreatePartitionsRequest>,
    ) -> Result<Response<grpc::CreatePartitionsResponse>, Status> {
        not_asked()
    }

    async fn alter_configs(
        &self,
        _: Request<grpc::AlterConfigsRequest>,
    ) -> Result<Response<grpc::AlterConfigsResponse>, Status> {
        not_asked()
    }

    async fn alter_partitions(
        &self,
        _: Request<grpc::AlterPartitionsRequest>,
    ) -> Result<Response<grpc::AlterPartitionsResponse>, Status> {
        not_asked()
    }

    async fn alter_partition_reassignments(
        &self,
        _: Request<grpc::AlterPartitionReassignmentsRequest>,
    ) -> Result<Response<grpc::AlterPartitionReassignmentsResponse>, Status> {
        not_asked()
    }

    async fn elect_leaders(
        &self,
        _: Request<grpc::ElectLeadersRequest>,
    ) -> Result<Response<grpc::ElectLeadersResponse>, Status> {
        not_asked()
    }

    async fn unregister_broker(
        &self,
        _: Request<grpc::UnregisterBrokerRequest>,
    ) -> Result<Response<grpc::UnregisterBrokerResponse>, Status> {
        not_asked()
    }

    async fn allocate_producer_ids(
        &self,
        _: Request<grpc::AllocateProducerIdsRequest>,
    ) -> Result<Response<grpc::AllocateProducerIdsResponse>, Status> {
        not_asked()
    }
}

struct World {
    network: MemoryNetwork,
    controller: Scripted,
    stop: CancellationToken,
}

impl World {
    fn new() -> Self {
        Self {
            network: MemoryNetwork::new(),
            controller: Scripted::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Serves until the token is cancelled.
    fn serve(&self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        self.serve_at("controller", &self.controller)
    }

    fn serve_at(&self, host: &str, controller: &Scripted) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let stop = self.stop.child_token();
        let listener = self.network.listen(host, 9190).unwrap();
        let router = server().add_service(ControllerServer::new(controller.clone()));
        let serving = serve(router, listener, stop.clone(), Duration::ZERO);
        (stop, tokio::spawn(async move { serving.await.unwrap() }))
    }

    async fn connect(&self, registration: Registration) -> Result<ControllerLink, LinkError> {
        self.connect_to(&["controller"], registration).await
    }

    async fn connect_to(&self, hosts: &[&str], registration: Registration) -> Result<ControllerLink, LinkError> {
        let options = LinkOptions {
            controllers: hosts.iter().map(|host| ((*host).to_owned(), 9190)).collect(),
            dialer: Dialer::new(self.network.clone()),
            session: SessionConfig {
                reconnect_grace: Duration::from_millis(500),
                timeout: Duration::from_millis(250),
            },
            status: Arc::new(|| NodeStatus {
                disk_free_bytes: 5,
                ..NodeStatus::default()
            }),
        };
        let connecting = ControllerLink::connect(options, registration, &self.stop);
        tokio::time::timeout(SOON, connecting)
            .await
            .expect("an answer to the registration")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

const SOON: Duration = Duration::from_secs(10);

fn registration() -> Registration {
    Registration {
        node_id: None,
        cluster_id: String::new(),
        node: NodeRegistration {
            role: NodeRole::Broker,
            incarnation: uuid::Uuid::from_u128(1),
            directory_id: uuid::Uuid::from_u128(2),
            endpoints: Vec::new(),
            rack: None,
            api_ranges: Vec::new(),
            pod_uid: None,
        },
        clean_shutdown: true,
        seen: Default::default(),
    }
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_node_registers_gets_its_id_and_image_and_sends_heartbeats() {
    let world = World::new();
    world.serve();
    let link = world.connect(registration()).await.unwrap();
    let identity = link.identity().unwrap();
    assert_eq!((identity.node_id, identity.epoch), (NodeId(7), BrokerEpoch(9)));
    assert_eq!(identity.cluster_id, CLUSTER);
    assert_eq!((link.image().revision, link.is_connected()), (Revision(10), true));
    let beats = || {
        world.controller.count(
            |said| matches!(said, Said::Heartbeat(beat) if beat.applied_revision == 10 && beat.disk_free_bytes == 5),
        )
    };
    eventually("heartbeats", || beats() >= 3).await;
}

#[tokio::test]
async fn deltas_move_the_image_and_waiters_see_the_revision_they_wait_for() {
    let world = World::new();
    world.serve();
    let link = world.connect(registration()).await.unwrap();
    let missed = link.wait_for_revision(Revision(12), Duration::from_millis(20)).await;
    assert_eq!(missed.unwrap_err(), LinkError::Timeout(Duration::from_millis(20)));
    world.controller.commit(12);
    let image = link.wait_for_revision(Revision(12), SOON).await.unwrap();
    assert_eq!(image.next_producer_id, ProducerId(12));
    world.controller.commit(11);
    world.controller.commit(13);
    let image = link.wait_for_revision(Revision(13), SOON).await.unwrap();
    assert_eq!((image.revision, image.next_producer_id), (Revision(13), ProducerId(13)));
}

#[tokio::test]
async fn a_broken_session_comes_back_with_the_same_incarnation_id_and_wishes() {
    let world = World::new();
    let (cut, serving) = world.serve();
    let link = world.connect(registration()).await.unwrap();
    let short = TopicPartition {
        topic_id: TopicId(uuid::Uuid::from_u128(3)),
        partition: PartitionIndex(1),
    };
    let recovery = Recovery {
        short: vec![short],
        offline: vec![short],
        ..Recovery::default()
    };
    assert_eq!(link.unfence(recovery, SOON).await, Ok(Revision(10)));
    cut.cancel();
    serving.await.unwrap();
    eventually("the link notices", || !link.is_connected()).await;
    world.controller.commit(14);
    world.serve();
    link.wait_for_revision(Revision(14), SOON).await.unwrap();
    let unfences = |heard: &[Said]| -> Vec<usize> {
        heard
            .iter()
            .filter_map(|said| {
                if let Said::Unfence(unfence) = said {
                    Some(unfence.short.len() + unfence.offline.len())
                } else {
                    None
                }
            })
            .collect()
    };
    eventually("the wish is said again", || {
        unfences(&world.controller.heard.lock()).len() == 2
    })
    .await;
    let heard = world.controller.heard.lock().clone();
    assert_eq!(
        unfences(&heard),
        [2, 0],
        "what was found wanting is the controller's knowledge by then, and may have been repaired"
    );
    let registered: Vec<_> = heard
        .iter()
        .filter_map(|said| {
            if let Said::Register(register) = said {
                Some(register)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(registered.len(), 2);
    assert_eq!(registered[0].registration, registered[1].registration);
    assert_eq!((registered[0].node_id, registered[1].node_id), (None, Some(7)));
    assert_eq!(registered[1].cluster_id, CLUSTER);
    assert_eq!(
        *world.controller.watched_from.lock(),
        [0, 10],
        "the watch resumes from its revision"
    );
}

#[tokio::test]
async fn an_older_snapshot_is_not_followed() {
    let world = World::new();
    let (cut, serving) = world.serve();
    let link = world.connect(registration()).await.unwrap();
    cut.cancel();
    serving.await.unwrap();
    *world.controller.image.lock() = image_at(8);
    world.serve();
    eventually("asked again", || world.controller.watched_from.lock().len() >= 3).await;
    assert_eq!(link.image().revision, Revision(10));
    *world.controller.image.lock() = image_at(20);
    link.wait_for_revision(Revision(20), SOON).await.unwrap();
}

#[tokio::test]
async fn a_refused_registration_ends_the_link_with_the_reason() {
    let world = World::new();
    world
        .controller
        .refusals
        .lock()
        .push_back("the data directory belongs to node 3".to_owned());
    world.serve();
    let error = world.connect(registration()).await.err().unwrap();
    assert_eq!(
        error,
        LinkError::Refused("the data directory belongs to node 3".to_owned())
    );
    assert!(error.is_fatal());
}

#[tokio::test]
async fn a_superseded_process_learns_that_it_is_over() {
    let world = World::new();
    let (cut, serving) = world.serve();
    let link = world.connect(registration()).await.unwrap();
    world
        .controller
        .refusals
        .lock()
        .push_back("another incarnation is registered".to_owned());
    cut.cancel();
    serving.await.unwrap();
    world.serve();
    let error = tokio::time::timeout(SOON, link.failed()).await.unwrap();
    assert_eq!(
        error,
        LinkError::Refused("another incarnation is registered".to_owned())
    );
    assert_eq!(link.wait_for_revision(Revision(99), SOON).await.unwrap_err(), error);
}

#[tokio::test]
async fn a_controller_of_another_cluster_is_refused_by_the_node() {
    let world = World::new();
    world.serve();
    let foreign = Registration {
        cluster_id: "another".to_owned(),
        ..registration()
    };
    assert!(
        matches!(world.connect(foreign).await.err().unwrap(), LinkError::Mismatch(reason) if reason.contains("another"))
    );
}

#[tokio::test]
async fn leaving_waits_for_the_permission_and_closing_ends_the_link() {
    let world = World::new();
    world.serve();
    let link = world.connect(registration()).await.unwrap();
    assert_eq!(link.leave(SOON).await, Ok(Revision(10)));
    link.close();
    assert_eq!(
        tokio::time::timeout(SOON, link.failed()).await.unwrap(),
        LinkError::Closed
    );
    eventually("the session ends", || !link.is_connected()).await;
}

#[tokio::test]
async fn questions_reach_whoever_answers_and_the_answers_name_them() {
    use highwater_proto::grpc::session_request as said;
    use highwater_proto::grpc::session_response as heard;

    let world = World::new();
    world.serve();
    let link = world.connect(registration()).await.unwrap();
    let mut questions = link.questions().unwrap();
    assert!(link.questions().is_none(), "one answers");
    let key = TopicPartition {
        topic_id: TopicId(uuid::Uuid::from_u128(3)),
        partition: PartitionIndex(4),
    };
    let replica = crate::session::questions::replica(&key);
    let log_ends = heard::AskLogEnds {
        question: 5,
        replicas: vec![replica.clone()],
    };
    let hand_over = heard::HandOver {
        question: 8,
        moves: vec![heard::LeaderMove {
            replica: Some(replica.clone()),
            leader_epoch: 6,
            target: 7,
        }],
    };
    let unreadable = heard::AskLogEnds {
        question: 9,
        replicas: vec![said::ReplicaRef::default()],
    };
    let asks = [
        Heard::AskLogEnds(unreadable),
        Heard::AskLogEnds(log_ends),
        Heard::HandOver(hand_over),
    ];
    world.controller.asks.lock().extend(asks);
    let asked = [questions.recv().await.unwrap(), questions.recv().await.unwrap()];
    let replicas = vec![key];
    let moves = vec![LeaderMove {
        key,
        leader_epoch: LeaderEpoch(6),
        target: NodeId(7),
    }];
    assert_eq!(
        asked,
        [
            Question::LogEnds { id: 5, replicas },
            Question::HandOver { id: 8, moves },
        ]
    );
    let end = LogEnd {
        key,
        last_epoch: LeaderEpoch(2),
        end: Offset(11),
    };
    link.reply(Reply::LogEnds { id: 5, ends: vec![end] });
    link.reply(Reply::HandedOver {
        id: 8,
        ready: vec![key],
    });
    let answers = [
        Said::LogEnds(said::LogEnds {
            question: 5,
            ends: vec![said::LogEnd {
                replica: Some(replica.clone()),
                last_epoch: 2,
                end: 11,
            }],
        }),
        Said::HandedOver(said::HandedOver {
            question: 8,
            ready: vec![replica],
        }),
    ];
    let answered = || {
        answers
            .iter()
            .all(|answer| world.controller.count(|said| said == answer) == 1)
    };
    eventually("both answers", answered).await;
}

#[tokio::test]
async fn a_broker_is_asked_for_sizes_and_told_that_it_is_unregistered() {
    use highwater_proto::grpc::session_request as said;
    use highwater_proto::grpc::session_response as heard;

    let world = World::new();
    world.serve();
    let link = world.connect(registration()).await.unwrap();
    let mut questions = link.questions().unwrap();
    let of = |topic, partition| TopicPartition {
        topic_id: TopicId(uuid::Uuid::from_u128(topic)),
        partition: PartitionIndex(partition),
    };
    let asks = [
        Heard::AskReplicaSizes(heard::AskReplicaSizes {
            question: 10,
            after: Some(crate::session::questions::replica(&of(3, 4))),
            limit: 3,
        }),
        Heard::Retire(heard::Retire { question: 11 }),
    ];
    world.controller.asks.lock().extend(asks);
    let asked = [questions.recv().await.unwrap(), questions.recv().await.unwrap()];
    let sizes = Question::ReplicaSizes {
        id: 10,
        after: Some(of(3, 4)),
        limit: 3,
    };
    assert_eq!(asked, [sizes, Question::Retire { id: 11 }]);
    link.reply(Reply::ReplicaSizes {
        id: 10,
        sizes: vec![(of(3, 5), 100), (of(3, 6), 0), (of(4, 0), 7)],
        more: true,
    });
    link.reply(Reply::Retired { id: 11 });
    let topic_sizes = |topic: u128, partitions: &[i32], bytes: &[i64]| said::TopicSizes {
        topic_id: convert::uuid_bytes(uuid::Uuid::from_u128(topic)),
        partitions: partitions.to_vec(),
        bytes: bytes.to_vec(),
    };
    let answers = [
        Said::ReplicaSizes(said::ReplicaSizes {
            question: 10,
            topics: vec![topic_sizes(3, &[5, 6], &[100, 0]), topic_sizes(4, &[0], &[7])],
            more: true,
        }),
        Said::Retired(said::Retired { question: 11 }),
    ];
    let answered = || {
        answers
            .iter()
            .all(|answer| world.controller.count(|said| said == answer) == 1)
    };
    eventually("both answers", answered).await;
}

#[tokio::test]
async fn leaders_hear_that_they_stay() {
    use highwater_proto::grpc::session_response as heard;

    let world = World::new();
    world.serve();
    let link = world.connect(registration()).await.unwrap();
    let mut questions = link.questions().unwrap();
    let key = TopicPartition {
        topic_id: TopicId(uuid::Uuid::from_u128(3)),
        partition: PartitionIndex(4),
    };
    let keep = heard::Keep {
        question: 8,
        replicas: vec![crate::session::questions::replica(&key)],
    };
    world.controller.asks.lock().extend([Heard::Keep(keep)]);
    let kept = vec![key];
    assert_eq!(questions.recv().await, Some(Question::Keep { id: 8, kept }));
}
