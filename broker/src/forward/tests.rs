//! Against a coordinator that is played by the test: it sees what arrives and decides what is answered, and when.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, stream::FuturesUnordered};
use highwater_node::transport::{MAX_BODY_BYTES, MemoryNetwork, serve, server};
use highwater_proto::grpc::coordinator_server::{Coordinator, CoordinatorServer};
use highwater_proto::grpc::{self, ForwardRequest};
use highwater_proto::metadata::{
    Change, Endpoint, MetadataUpdate, NodeRegistration, NodeRole, NodeState, ShardAssignment,
};
use highwater_proto::types::{PartitionIndex, Revision, ShardKind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

type ToBroker = mpsc::UnboundedSender<Result<ForwardResponse, Status>>;

/// A request as the coordinator got it, and the stream that it came by.
struct Seen {
    stream: usize,
    request: ForwardRequest,
    replies: ToBroker,
}

impl Seen {
    fn reply(&self, body: &[u8]) {
        let body = Bytes::copy_from_slice(body);
        let reply = ForwardResponse {
            correlation: self.request.correlation,
            body,
            ..ForwardResponse::default()
        };
        self.replies.send(Ok(reply)).unwrap();
    }

    fn body(&self) -> &[u8] {
        &self.request.body
    }
}

struct Played {
    streams: parking_lot::Mutex<usize>,
    seen: mpsc::UnboundedSender<Seen>,
}

#[tonic::async_trait]
impl Coordinator for Played {
    type ForwardStream = Pin<Box<dyn Stream<Item = Result<ForwardResponse, Status>> + Send>>;

    async fn forward(
        &self,
        request: Request<Streaming<ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        let (replies, outgoing) = mpsc::unbounded_channel();
        let stream = {
            let mut streams = self.streams.lock();
            *streams += 1;
            *streams
        };
        let (seen, mut requests) = (self.seen.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let _ = seen.send(Seen {
                    stream,
                    request,
                    replies: replies.clone(),
                });
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(outgoing))))
    }
}

/// A coordinator on the network, until it is dropped.
struct Coordinating {
    seen: mpsc::UnboundedReceiver<Seen>,
    _stop: tokio_util::sync::DropGuard,
}

impl Coordinating {
    fn start(network: &MemoryNetwork, id: i32) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        let router = server().add_service(CoordinatorServer::new(Played {
            streams: Default::default(),
            seen: sender,
        }));
        let listener = network.listen(&format!("c{id}"), 1).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve(router, listener, stop.clone(), Duration::ZERO));
        Self {
            seen,
            _stop: stop.drop_guard(),
        }
    }

    async fn next(&mut self) -> Seen {
        tokio::time::timeout(LIMIT, self.seen.recv())
            .await
            .expect("nothing arrived")
            .unwrap()
    }

    async fn take(&mut self, count: usize) -> Vec<Seen> {
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(self.next().await);
        }
        taken
    }
}

fn shard(index: i32) -> ShardId {
    ShardId {
        kind: ShardKind::Group,
        index: PartitionIndex(index),
    }
}

fn owned(index: i32, owner: i32, epoch: i32) -> Change {
    let owner = Some(NodeId(owner));
    Change::PutShard(
        shard(index),
        ShardAssignment {
            owner,
            epoch: CoordinatorEpoch(epoch),
        },
    )
}

fn registered(id: i32) -> [Change; 2] {
    let registration = NodeRegistration {
        role: NodeRole::Coordinator,
        incarnation: Uuid::from_u128(1),
        directory_id: Uuid::nil(),
        endpoints: vec![Endpoint {
            name: GRPC_LISTENER.to_owned(),
            host: format!("c{id}"),
            port: 1,
        }],
        rack: None,
        api_ranges: Vec::new(),
        pod_uid: None,
    };
    let active = Change::PutNodeState(NodeId(id), NodeState::Active);
    [Change::PutNodeRegistration(NodeId(id), registration), active]
}

fn after(image: &MetadataImage, changes: impl IntoIterator<Item = Change>) -> Arc<MetadataImage> {
    let revision = Revision(image.revision.get() + 1);
    Arc::new(image.apply(&MetadataUpdate {
        revision,
        changes: changes.into_iter().collect(),
    }))
}

/// Two coordinators; shards 0 and 1 belong to the first.
struct Scene {
    forwarder: Forwarder,
    image: Arc<MetadataImage>,
    first: Coordinating,
    second: Coordinating,
    network: MemoryNetwork,
}

impl Scene {
    fn new() -> Self {
        let network = MemoryNetwork::new();
        let (first, second) = (Coordinating::start(&network, 1), Coordinating::start(&network, 2));
        let nodes = registered(1).into_iter().chain(registered(2));
        let image = after(&MetadataImage::default(), nodes.chain([owned(0, 1, 1), owned(1, 1, 1)]));
        let forwarder = Forwarder::new(Dialer::new(network.clone()));
        forwarder.image_changed(&image);
        Self {
            forwarder,
            image,
            first,
            second,
            network,
        }
    }

    fn forward(&self, index: i32, body: &str) -> impl Future<Output = Result<Forwarded, ErrorCode>> + Send + use<> {
        self.forwarder.forward(&self.image, request(index, body))
    }

    fn announce(&mut self, changes: impl IntoIterator<Item = Change>) {
        self.image = after(&self.image, changes);
        self.forwarder.image_changed(&self.image);
    }

    fn in_flight(&self) -> usize {
        self.forwarder
            .links
            .read()
            .by_coordinator
            .values()
            .map(|(_, link)| link.in_flight())
            .sum()
    }
}

fn request(index: i32, body: &str) -> ForwardedRequest {
    ForwardedRequest {
        shard: shard(index),
        api_key: ApiKey::Heartbeat.code(),
        api_version: 4,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        traceparent: String::new(),
    }
}

async fn within<T>(outcome: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, outcome).await.expect("no outcome in time")
}

const MOVED: Result<Forwarded, ErrorCode> = Err(ErrorCode::NotCoordinator);

#[tokio::test]
async fn requests_arrive_in_order_and_replies_find_theirs() {
    let mut scene = Scene::new();
    // Handed over by `forward` itself, before anybody awaits the outcome.
    let outcomes: Vec<_> = (0..200)
        .map(|number| scene.forward(number % 2, &number.to_string()))
        .collect();
    let seen = scene.first.take(200).await;
    for (number, seen) in seen.iter().enumerate() {
        assert_eq!(seen.body(), number.to_string().as_bytes(), "in order");
        assert_eq!(seen.stream, 1, "one stream");
        assert_eq!(seen.request.image_revision, scene.image.revision.get());
        assert_eq!(seen.request.shard, Some(grpc::ShardId::from(shard(number as i32 % 2))));
        assert_eq!((seen.request.api_key, seen.request.api_version), (12, 4));
        assert_eq!(
            (&*seen.request.client_id, &*seen.request.client_host),
            ("client", "/127.0.0.1")
        );
    }
    seen.iter()
        .rev()
        .for_each(|seen| seen.reply(&[b"re:", seen.body()].concat()));
    for (number, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(within(outcome).await.unwrap().body, format!("re:{number}"));
    }
}

#[tokio::test]
async fn the_errors_in_a_reply_come_beside_it() {
    let mut scene = Scene::new();
    let outcome = scene.forward(0, "a");
    let seen = scene.first.next().await;
    let error = |code, count| grpc::forward_response::ErrorCount { code, count };
    let reply = ForwardResponse {
        correlation: seen.request.correlation,
        body: Bytes::from_static(b"not looked into"),
        errors: vec![error(22, 3), error(70_000, 1), error(25, -1)],
        ..ForwardResponse::default()
    };
    seen.replies.send(Ok(reply)).unwrap();
    let reply = within(outcome).await.unwrap();
    assert_eq!(reply.body, "not looked into");
    assert_eq!(reply.errors, [(ErrorCode::IllegalGeneration, 3)]);
}

#[tokio::test]
async fn an_error_code_of_the_coordinator_is_the_outcome() {
    let mut scene = Scene::new();
    let outcome = scene.forward(0, "a");
    let seen = scene.first.next().await;
    let refused = ForwardResponse {
        correlation: seen.request.correlation,
        error: 14,
        ..ForwardResponse::default()
    };
    seen.replies.send(Ok(refused)).unwrap();
    assert_eq!(within(outcome).await, Err(ErrorCode::CoordinatorLoadInProgress));
}

#[tokio::test]
async fn a_broken_stream_fails_what_is_in_flight_and_nothing_is_sent_again() {
    let mut scene = Scene::new();
    let (one, two) = (scene.forward(0, "one"), scene.forward(1, "two"));
    let seen = scene.first.take(2).await;
    seen[0].replies.send(Err(Status::unavailable("gone"))).unwrap();
    assert_eq!((within(one).await, within(two).await), (MOVED, MOVED));

    let three = scene.forward(0, "three");
    let next = scene.first.next().await;
    assert_eq!(
        (next.stream, next.body()),
        (2, &b"three"[..]),
        "a fresh stream, without what was in flight"
    );
    next.reply(b"served");
    assert_eq!(within(three).await.unwrap().body, "served");
    assert!(scene.first.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_coordinator_that_cannot_be_reached_is_tried_again_by_the_next_request_only() {
    let mut scene = Scene::new();
    scene.first = Coordinating::start(&MemoryNetwork::new(), 1);
    // Its listener is closed by the server's own task.
    let mut listener = scene.network.listen("c1", 1);
    while listener.is_err() {
        tokio::task::yield_now().await;
        listener = scene.network.listen("c1", 1);
    }
    drop(listener);
    assert_eq!(within(scene.forward(0, "lost")).await, MOVED);
    scene.first = Coordinating::start(&scene.network, 1);
    let outcome = scene.forward(0, "second");
    let seen = scene.first.next().await;
    assert_eq!(seen.body(), b"second");
    seen.reply(b"ok");
    assert_eq!(within(outcome).await.unwrap().body, "ok");
}

#[tokio::test]
async fn a_moved_shard_fails_at_once_and_its_late_reply_is_dropped() {
    let mut scene = Scene::new();
    let (stays, moves) = (scene.forward(0, "stays"), scene.forward(1, "moves"));
    let seen = scene.first.take(2).await;
    scene.announce([owned(1, 2, 2)]);
    assert_eq!(within(moves).await, MOVED);

    seen[1].reply(b"late");
    seen[0].reply(b"in time");
    assert_eq!(
        within(stays).await.unwrap().body,
        "in time",
        "other shards of the same stream are not disturbed"
    );

    let again = scene.forward(1, "again");
    let next = scene.second.next().await;
    assert_eq!(next.body(), b"again");
    // Not even when it bears the same correlation id on another stream.
    assert_eq!(next.request.correlation, 1);
    next.reply(b"by the new owner");
    assert_eq!(within(again).await.unwrap().body, "by the new owner");
    assert_eq!(scene.in_flight(), 0);
}

#[tokio::test]
async fn an_owner_that_got_its_shard_anew_has_lost_what_was_in_flight() {
    let mut scene = Scene::new();
    let outcome = scene.forward(0, "before");
    let seen = scene.first.next().await;
    // It moved away and back; the image between was skipped.
    scene.announce([owned(0, 1, 3)]);
    assert_eq!(within(outcome).await, MOVED);
    seen.reply(b"late");
}

#[tokio::test]
async fn an_incarnation_that_is_gone_has_lost_what_was_in_flight() {
    let mut scene = Scene::new();
    let outcome = scene.forward(0, "before");
    scene.first.next().await;
    scene.announce(registered(1));
    assert_eq!(within(outcome).await, MOVED);
    let outcome = scene.forward(0, "after");
    let next = scene.first.next().await;
    assert_eq!((next.stream, next.body()), (2, &b"after"[..]));
    next.reply(b"ok");
    assert!(within(outcome).await.is_ok());
}

#[tokio::test]
async fn a_request_that_comes_with_an_older_image_goes_by_the_newer_one() {
    let mut scene = Scene::new();
    let older = Arc::clone(&scene.image);
    scene.announce([owned(0, 2, 2)]);
    let outcome = scene.forwarder.forward(&older, request(0, "a"));
    let seen = scene.second.next().await;
    assert_eq!(seen.request.image_revision, scene.image.revision.get());
    seen.reply(b"ok");
    assert!(within(outcome).await.is_ok());
    assert!(scene.first.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_full_queue_refuses_before_anything_has_left() {
    let mut scene = Scene::new();
    // The stream's task does not run until this test awaits something.
    let taken: FuturesUnordered<_> = (0..link::MAX_QUEUED).map(|_| scene.forward(0, "taken")).collect();
    assert_eq!(
        within(scene.forward(0, "refused")).await,
        Err(ErrorCode::CoordinatorLoadInProgress)
    );
    let seen = scene.first.take(link::MAX_QUEUED).await;
    assert!(seen.iter().all(|seen| seen.body() == b"taken"));
    seen.iter().for_each(|seen| seen.reply(b"ok"));
    let served = within(taken.filter(|outcome| std::future::ready(outcome.is_ok())).count()).await;
    assert_eq!(served, link::MAX_QUEUED);
    let outcome = scene.forward(0, "later");
    scene.first.next().await.reply(b"ok");
    assert!(within(outcome).await.is_ok());
}

#[tokio::test]
async fn whoever_gives_up_leaves_nothing_behind() {
    let mut scene = Scene::new();
    let (kept, dropped) = (scene.forward(0, "kept"), scene.forward(0, "dropped"));
    let seen = scene.first.take(2).await;
    assert_eq!(scene.in_flight(), 2);
    drop(dropped);
    assert_eq!(scene.in_flight(), 1);
    seen[1].reply(b"nobody wants it");
    seen[0].reply(b"ok");
    assert!(within(kept).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_never_comes_is_given_up_but_not_that_of_a_parked_member() {
    let scene = Scene::new();
    let heartbeat = scene.forward(0, "heartbeat");
    let join = ForwardedRequest {
        api_key: ApiKey::JoinGroup.code(),
        ..request(0, "join")
    };
    let join = scene.forwarder.forward(&scene.image, join);
    assert_eq!(heartbeat.await, MOVED);
    assert!(
        tokio::time::timeout(REPLY_LIMIT * 10, join).await.is_err(),
        "it is parked"
    );
    assert_eq!(scene.in_flight(), 0, "and gone when its client is");
}

#[tokio::test]
async fn a_shard_without_a_live_owner_is_nobodys() {
    let mut scene = Scene::new();
    assert_eq!(within(scene.forward(7, "no such shard")).await, MOVED);
    let nobody = ShardAssignment {
        owner: None,
        epoch: CoordinatorEpoch(2),
    };
    scene.announce([Change::PutShard(shard(0), nobody)]);
    assert_eq!(within(scene.forward(0, "not assigned")).await, MOVED);
    scene.announce([Change::PutNodeState(NodeId(1), NodeState::Fenced)]);
    assert_eq!(within(scene.forward(1, "fenced")).await, MOVED);
    assert!(scene.first.seen.try_recv().is_err());
}

#[tokio::test]
async fn a_body_that_no_message_can_carry_is_refused_alone() {
    let mut scene = Scene::new();
    let before = scene.forward(0, "before");
    let large = ForwardedRequest {
        body: Bytes::from(vec![0; MAX_BODY_BYTES + 1]),
        ..request(0, "")
    };
    let large = scene.forwarder.forward(&scene.image, large);
    assert_eq!(within(large).await.err(), Some(ErrorCode::InvalidRequest));
    scene.first.next().await.reply(b"still there");
    assert_eq!(within(before).await.unwrap().body, "still there");
}
