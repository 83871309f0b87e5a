use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use highwater_proto::grpc;
use highwater_proto::grpc::coordinator_client::CoordinatorClient;
use highwater_proto::grpc::coordinator_server::{Coordinator, CoordinatorServer};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use super::*;

/// Answers each forwarded body with itself.
struct Echo;

type Replies = Pin<Box<dyn Stream<Item = Result<grpc::ForwardResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Coordinator for Echo {
    type ForwardStream = Replies;

    async fn forward(&self, request: Request<Streaming<grpc::ForwardRequest>>) -> Result<Response<Replies>, Status> {
        let peer = request.extensions().get::<PeerAddress>().cloned();
        assert!(peer.is_some(), "handlers see where a connection comes from");
        let replies = request.into_inner().map(|forwarded| {
            forwarded.map(|forwarded| grpc::ForwardResponse {
                correlation: forwarded.correlation,
                body: forwarded.body,
                ..grpc::ForwardResponse::default()
            })
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

fn echo_on(listener: Listener, stop: &CancellationToken) -> tokio::task::JoinHandle<()> {
    let service = CoordinatorServer::new(Echo)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let serving = serve(
        server().add_service(service),
        listener,
        stop.clone(),
        Duration::from_millis(50),
    );
    tokio::spawn(async move { serving.await.unwrap() })
}

fn client(dialer: &Dialer, host: &str, port: u16) -> CoordinatorClient<Channel> {
    CoordinatorClient::new(dialer.channel(host, port))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

async fn echo(client: &mut CoordinatorClient<Channel>, body: Vec<u8>) -> Result<Vec<u8>, Status> {
    let request = grpc::ForwardRequest {
        correlation: 7,
        body: body.into(),
        ..Default::default()
    };
    let mut replies = client
        .forward(futures_util::stream::iter([request]))
        .await?
        .into_inner();
    let reply = replies
        .message()
        .await?
        .ok_or_else(|| Status::unavailable("no reply"))?;
    assert_eq!(reply.correlation, 7);
    Ok(reply.body.into())
}

#[tokio::test]
async fn a_call_reaches_a_server_over_tcp() {
    let stop = CancellationToken::new();
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.port();
    let serving = echo_on(listener, &stop);
    let mut client = client(&Dialer::tcp(), "127.0.0.1", port);
    assert_eq!(echo(&mut client, b"high".to_vec()).await.unwrap(), b"high");
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_call_reaches_a_server_in_memory_and_messages_may_be_large() {
    let stop = CancellationToken::new();
    let memory = MemoryNetwork::new();
    let serving = echo_on(memory.listen("controller", 9190).unwrap(), &stop);
    let mut client = client(&Dialer::new(memory), "controller", 9190);
    let body = vec![42; 20 * 1024 * 1024];
    assert!(echo(&mut client, body.clone()).await.unwrap() == body);
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_channel_connects_again_when_the_server_is_back() {
    let memory = MemoryNetwork::new();
    let dialer = Dialer::new(memory.clone());
    let mut client = client(&dialer, "controller", 9190);

    let stop = CancellationToken::new();
    let serving = echo_on(memory.listen("controller", 9190).unwrap(), &stop);
    echo(&mut client, b"one".to_vec()).await.unwrap();
    stop.cancel();
    serving.await.unwrap();
    let error = echo(&mut client, b"nobody".to_vec()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");

    let stop = CancellationToken::new();
    let serving = echo_on(memory.listen("controller", 9190).unwrap(), &stop);
    let mut answer = echo(&mut client, b"two".to_vec()).await;
    if answer.is_err() {
        answer = echo(&mut client, b"two".to_vec()).await;
    }
    assert_eq!(answer.unwrap(), b"two");
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn an_endless_stream_does_not_outlive_the_grace() {
    let stop = CancellationToken::new();
    let memory = MemoryNetwork::new();
    let serving = echo_on(memory.listen("coordinator", 9192).unwrap(), &stop);
    let mut client = client(&Dialer::new(memory), "coordinator", 9192);
    let mut replies = client
        .forward(futures_util::stream::pending())
        .await
        .unwrap()
        .into_inner();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), serving)
        .await
        .expect("the server stops")
        .unwrap();
    assert!(replies.message().await.is_err(), "the stream was cut");
}

#[tokio::test]
async fn a_call_in_flight_is_finished_before_the_server_stops() {
    let stop = CancellationToken::new();
    let memory = MemoryNetwork::new();
    let listener = memory.listen("coordinator", 9192).unwrap();
    let router = server().add_service(CoordinatorServer::new(Echo));
    let serving = tokio::spawn(serve(router, listener, stop.clone(), Duration::from_secs(60)));
    let mut client = client(&Dialer::new(memory), "coordinator", 9192);
    let (requests, sent) = tokio::sync::mpsc::channel(1);
    let in_flight = tokio_stream::wrappers::ReceiverStream::new(sent);
    let mut replies = client.forward(in_flight).await.unwrap().into_inner();
    stop.cancel();
    // The server has heard of it: it takes nothing new, and finishes what is in flight.
    tokio::time::sleep(Duration::from_millis(20)).await;
    requests
        .send(grpc::ForwardRequest {
            correlation: 3,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(replies.message().await.unwrap().unwrap().correlation, 3);
    drop((requests, replies));
    tokio::time::timeout(Duration::from_secs(5), serving)
        .await
        .expect("stops at once")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_second_listener_of_the_same_name_is_refused() {
    let memory = MemoryNetwork::new();
    let first = memory.listen("broker", 9191).unwrap();
    assert_eq!(
        memory.listen("broker", 9191).err().unwrap().kind(),
        std::io::ErrorKind::AddrInUse
    );
    drop(first);
    assert!(memory.listen("broker", 9191).is_ok());
}

#[tokio::test]
async fn a_name_without_its_listener_is_refused_and_not_tried_over_tcp() {
    let memory = MemoryNetwork::new();
    drop(memory.listen("localhost", 9191).unwrap());
    let error = Dialer::new(memory).connect("localhost", 9191).await.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(error.to_string().contains("in-memory"), "{error}");
}

#[tokio::test]
async fn calls_are_counted_by_method_and_unknown_names_are_not() {
    let (clock, _) = crate::clock::Clock::manual(highwater_proto::types::TimestampMs(0));
    let metrics = crate::telemetry::Metrics::new(&clock);
    let counts = CallCounts::new(&metrics);
    let stop = CancellationToken::new();
    let memory = MemoryNetwork::new();
    let serving = echo_on(memory.listen("coordinator", 9192).unwrap().counted(&counts), &stop);
    let dialer = Dialer::new(memory);
    let mut client = client(&dialer, "coordinator", 9192);
    for _ in 0..3 {
        echo(&mut client, b"counted".to_vec()).await.unwrap();
    }
    // Nobody serves that here.
    let mut other = grpc::broker_client::BrokerClient::new(dialer.channel("coordinator", 9192));
    let status = other
        .confirm_shard(grpc::ConfirmShardRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let text = metrics.encode().unwrap();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("highwater_grpc_requests_total"))
        .collect();
    assert_eq!(
        lines,
        ["highwater_grpc_requests_total{service=\"highwater.v1.Coordinator\",method=\"Forward\"} 3"]
    );
    assert_eq!(counts.get("highwater.v1.Coordinator", "Forward"), 3);
    stop.cancel();
    serving.await.unwrap();
}
