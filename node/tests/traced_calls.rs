//! What traces do to the calls between our processes. A test of its own: traces are taken in a whole process or not at all.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use highwater_node::telemetry::Trace;
use highwater_node::telemetry::trace::{finish_tracing, start_with};
use highwater_node::transport::{Channel, Dialer, MemoryNetwork, serve, server};
use highwater_proto::grpc;
use highwater_proto::grpc::coordinator_client::CoordinatorClient;
use highwater_proto::grpc::coordinator_server::{Coordinator, CoordinatorServer};
use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// Keeps what was exported.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().extend(batch);
        Ok(())
    }
}

/// Answers with W3C's header of the span that it works in, and has others ask that far.
struct Tells(Option<CoordinatorClient<Channel>>);

type Replies = Pin<Box<dyn Stream<Item = Result<grpc::ForwardResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Coordinator for Tells {
    type ForwardStream = Replies;

    async fn forward(&self, _: Request<Streaming<grpc::ForwardRequest>>) -> Result<Response<Replies>, Status> {
        let mut told = current();
        if let Some(next) = &self.0 {
            told = format!("{told},{}", ask(&mut next.clone()).await);
        }
        let reply = grpc::ForwardResponse {
            body: told.into(),
            ..Default::default()
        };
        Ok(Response::new(Box::pin(futures_util::stream::iter([Ok(reply)]))))
    }
}

fn current() -> String {
    Trace::current().map_or_else(|| "none".to_owned(), |trace| trace.traceparent())
}

async fn ask(client: &mut CoordinatorClient<Channel>) -> String {
    let replies = client.forward(futures_util::stream::empty()).await.unwrap();
    let reply = replies.into_inner().next().await.unwrap().unwrap();
    String::from_utf8(reply.body.into()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_made_within_a_span_is_served_within_one_below_it_and_so_on() {
    let kept = Kept::default();
    start_with(kept.clone(), 1.0, "test");
    let (network, stop) = (MemoryNetwork::new(), CancellationToken::new());
    let client = |name| CoordinatorClient::new(Dialer::new(network.clone()).channel(name, 1));
    for (name, next) in [("far", None), ("near", Some(client("far")))] {
        let router = server().add_service(CoordinatorServer::new(Tells(next)));
        let listener = network.listen(name, 1).unwrap();
        tokio::spawn(serve(router, listener, stop.clone(), Duration::ZERO));
    }
    let mut near = client("near");

    assert_eq!(ask(&mut near).await, "none,none", "nobody follows that call");

    let root = Trace::root("Produce").unwrap();
    let told = root.clone().scope(async { (current(), ask(&mut near).await) }).await;
    assert_eq!(told.0, root.traceparent());
    let trace_id = root.traceparent().split('-').nth(1).unwrap().to_owned();
    let spans: Vec<&str> = told.1.split(',').collect();
    assert_eq!(spans.len(), 2);
    for span in spans {
        assert_eq!(span.split('-').nth(1), Some(&*trace_id), "{span}");
    }
    assert_eq!(current(), "none", "the scope has ended");
    assert_eq!(ask(&mut near).await, "none,none", "and with it what the channel sends");

    // A header that is none, or says that nobody follows it, begins nothing.
    assert!(Trace::join("00-nonsense", "x").is_none());
    assert!(Trace::join("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "x").is_none());

    drop(root);
    tokio::task::spawn_blocking(finish_tracing).await.unwrap();
    let spans = kept.0.lock().clone();
    assert_eq!(spans.len(), 3, "{spans:?}");
    let root = spans.iter().find(|span| span.name == "Produce").unwrap();
    let below = |parent: &SpanData| {
        let mut found = spans
            .iter()
            .filter(|span| span.parent_span_id == parent.span_context.span_id());
        found.next().cloned().unwrap()
    };
    let near = below(root);
    let far = below(&near);
    let trace = TraceId::from_hex(&trace_id).unwrap();
    for call in [&near, &far] {
        assert_eq!(call.name, "highwater.v1.Coordinator/Forward");
        assert_eq!(call.span_kind, SpanKind::Server);
        assert_eq!(call.span_context.trace_id(), trace);
    }
    stop.cancel();
}
